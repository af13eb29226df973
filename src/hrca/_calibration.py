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
# Mean and standard deviation of the prior of the log odds of a stray label: 2 % of the cells, .3 to 12 % within one
# standard deviation; other means and spreads change next to nothing (docs/decisions/0004).
STRAY_PRIOR = (-4.0, 2.0)
# Shares of the held-out depths beyond which the temperature stays as it is there.
DEPTH_QUANTILES = (0.01, 0.99)


class Calibration(nn.Module):
    """A temperature for each cell, by its counts, and a share of stray labels; the order of the labels stays as it is.

    Dividing log-probabilities by one number for all labels is temperature scaling (Guo et al., ICML 2017). Here its log
    is a straight line in the log of the depth. A share of the cells has a label that their counts do not explain, and
    that might be any: however sure the networks, no confidence is above what that leaves. Without held-out cells the
    temperature is 1 and the share 0: probabilities stay as they are.

    Attributes
    ----------
    log_temperature
        At the usual depth, and its slope by log depth, shape (2,).
    stray_share
        Share of the cells whose label might be any, a scalar.
    depth_range
        Counts beyond which the temperature is that of the nearer end, shape (2,): the depths that taught it.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("log_temperature", torch.zeros(2))
        self.register_buffer("stray_share", torch.tensor(0.0))
        self.register_buffer("depth_range", torch.tensor([1.0, float("inf")]))

    def forward(
        self, log_probabilities: Float[Tensor, "n_obs n_labels"], depth: Float[Tensor, " n_obs"]
    ) -> Float[Tensor, "n_obs n_labels"]:
        """Return calibrated log-probabilities of cells with these counts, shape (n_obs, n_labels)."""
        log_depth = _log_depth(depth, self.depth_range.to(depth))
        return _scale(log_probabilities, log_depth, self.log_temperature.to(depth), self.stray_share.to(depth))

    def fit(
        self,
        log_probabilities: Float[Tensor, "n_obs n_labels"],
        depth: Float[Tensor, " n_obs"],
        codes: Int[Tensor, " n_obs"],
        n_cells: int,
    ) -> None:
        """Learn temperature and share by the cross-entropy of cells that trained nothing, with a normal prior.

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
        log_depth = _log_depth(depth, ends)
        mean, spread = (torch.tensor(x).double() for x in ((0.0, 0.0, STRAY_PRIOR[0]), (*PRIOR_SPREAD, STRAY_PRIOR[1])))

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            chosen = torch.from_numpy(flat).requires_grad_(True)
            value = F.nll_loss(_scale(log_probabilities, log_depth, chosen[:2], chosen[2].sigmoid()), codes)
            value = value + ((chosen - mean) / spread).square().sum() / (2 * n_cells)
            (gradient,) = torch.autograd.grad(value, chosen)
            return value.item(), gradient.numpy()

        with torch.enable_grad():
            # bounds, since a step of the line search could overflow the exponential
            bounds = [(-3, 3), (-1, 1), (-10, 2)]
            fitted = torch.from_numpy(minimize(loss, mean.numpy(), jac=True, method="L-BFGS-B", bounds=bounds).x)
        self.log_temperature.copy_(fitted[:2])
        self.stray_share.copy_(fitted[2].sigmoid())
        self.depth_range.copy_(ends)


def _log_depth(depth: Float[Tensor, " n_obs"], ends: Float[Tensor, "2"]) -> Float[Tensor, " n_obs"]:
    return (depth.clamp(ends[0], ends[1]) / USUAL_DEPTH).log()


def _scale(
    log_probabilities: Float[Tensor, "n_obs n_labels"],
    log_depth: Float[Tensor, " n_obs"],
    line: Float[Tensor, "2"],
    stray_share: Float[Tensor, ""],
) -> Float[Tensor, "n_obs n_labels"]:
    temperature = (line[0] + line[1] * log_depth).exp()
    explained = (log_probabilities / temperature[:, None]).log_softmax(dim=1)
    return torch.logaddexp(explained + torch.log1p(-stray_share), (stray_share / explained.shape[1]).log())
