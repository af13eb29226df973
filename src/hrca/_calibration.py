"""Probabilities that mean what they say, at each depth.

No ``from __future__ import annotations`` here: the tests check the shapes in the signatures.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F

from ._evidence import USUAL_DEPTH

# Standard deviation of the prior of the log temperature, around 0, and of its slope by log depth: 15 held-out cells
# change little, 100 have their way. Trials on real data stand in docs/decisions/0004.
PRIOR_SPREAD = (1.0, 0.3)
# Shares of the held-out depths beyond which the temperature stays as it is there.
DEPTH_QUANTILES = (0.01, 0.99)


class Calibration(nn.Module):
    """A temperature for each cell, by its counts; it leaves the order of the labels as it is.

    Dividing log-probabilities by one number for all labels is temperature scaling (Guo et al., ICML 2017). Here its log
    is a straight line in the log of the depth. Without held-out cells it is 1: probabilities stay as they are.

    Attributes
    ----------
    log_temperature
        At the usual depth, and its slope by log depth, shape (2,).
    depth_range
        Counts beyond which the temperature is that of the nearer end, shape (2,): the depths that taught it.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("log_temperature", torch.zeros(2))
        self.register_buffer("depth_range", torch.tensor([1.0, float("inf")]))

    def forward(
        self, log_probabilities: Float[Tensor, "n_obs n_labels"], depth: Float[Tensor, " n_obs"]
    ) -> Float[Tensor, "n_obs n_labels"]:
        """Return calibrated log-probabilities of cells with these counts, shape (n_obs, n_labels)."""
        line = self.log_temperature.to(depth)
        return _scale(log_probabilities, _log_depth(depth, self.depth_range.to(depth)), line)

    def fit(
        self,
        log_probabilities: Float[Tensor, "n_obs n_labels"],
        depth: Float[Tensor, " n_obs"],
        codes: Int[Tensor, " n_obs"],
        n_cells: int,
    ) -> None:
        """Learn the temperature by the cross-entropy of cells that trained nothing, with a normal prior.

        Parameters
        ----------
        log_probabilities
            Not calibrated, shape (n_obs, n_labels).
        depth
            Counts of each cell, shape (n_obs,), above 0.
        codes
            Index of the true label, shape (n_obs,).
        n_cells
            Number of different cells among these: each stands at several depths.
        """
        log_probabilities, depth = log_probabilities.double(), depth.double()
        ends = torch.quantile(depth, torch.tensor(DEPTH_QUANTILES).to(depth))
        log_depth, spread = _log_depth(depth, ends), torch.tensor(PRIOR_SPREAD).double()

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            line = torch.from_numpy(flat).requires_grad_(True)
            value = F.nll_loss(_scale(log_probabilities, log_depth, line), codes)
            value = value + (line / spread).square().sum() / (2 * n_cells)
            (gradient,) = torch.autograd.grad(value, line)
            return value.item(), gradient.numpy()

        with torch.enable_grad():
            # bounds, since a step of the line search could overflow the exponential
            fitted = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-1, 1)])
        self.log_temperature.copy_(torch.from_numpy(fitted.x))
        self.depth_range.copy_(ends)


def _log_depth(depth: Float[Tensor, " n_obs"], ends: Float[Tensor, "2"]) -> Float[Tensor, " n_obs"]:
    return (depth.clamp(ends[0], ends[1]) / USUAL_DEPTH).log()


def _scale(
    log_probabilities: Float[Tensor, "n_obs n_labels"], log_depth: Float[Tensor, " n_obs"], line: Float[Tensor, "2"]
) -> Float[Tensor, "n_obs n_labels"]:
    temperature = (line[0] + line[1] * log_depth).exp()
    return (log_probabilities / temperature[:, None]).log_softmax(dim=1)
