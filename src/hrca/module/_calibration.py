"""Probabilities that mean what they say, at each depth.

No ``from __future__ import annotations`` here: the tests check the shapes in the signatures.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F

from ._count_likelihood import REFERENCE_DEPTH

# Standard deviations of the priors, around 0, of the log temperature and its slopes: by log depth, by its square, by
# the log of the highest probability, by the product of both. 15 held-out cells change little, 100 have their way.
# Trials on real data stand in docs/decisions/0004, for the next two as well.
TEMPERATURE_PRIOR_SDS = (1.0, 0.3, 0.1, 0.5, 0.5)

# Of the bias of a label at the usual depth, and of its slope by log depth; of what one label's log-probability adds to
# another's.
BIAS_PRIOR_SDS, WEIGHT_PRIOR_SD = (1.0, 0.5), 0.2

# Log-probability below which a label is out of the question, and how far does not matter to the others. Not tuned.
MIN_LOG_PROBABILITY = -8.0

# Mean and standard deviation of the prior of the log odds of a stray label: 2 % of the cells, .3 to 12 % within one
# standard deviation; other means and spreads change next to nothing (docs/decisions/0004).
OUTLIER_PRIOR = (-4.0, 2.0)

# Shares of the held-out depths beyond which the temperature stays as it is there.
DEPTH_QUANTILES = (0.01, 0.99)

# How far the log temperature may go from 0: e^3 times; far beyond, its exponential overflows.
MAX_ABS_LOG_TEMPERATURE = 3.0


class Calibration(nn.Module):
    """A temperature for each cell, a share of stray labels and, with cells enough, what labels tell of one another.

    Dividing log-probabilities by one number for all labels is temperature scaling (Guo et al., ICML 2017). Here its log
    is a square of the log of the depth, and changes with how sure the cell is (parameterized temperature scaling,
    Tomani et al., ECCV 2022, has a network for that). A bias for each label, by depth, and a matrix by which labels
    that are mistaken for one another draw each other, is Dirichlet calibration (Kull et al., NeurIPS 2019). A share of
    the cells has a label that their counts do not explain, and that might be any: however sure the networks, no
    confidence is above what that leaves. Without held-out cells probabilities stay as they are.

    Parameters
    ----------
    n_labels
        Number of labels.

    Attributes
    ----------
    temperature_coef
        At the usual depth of a cell that is sure, and its slopes by log depth, its square, the log of the highest
        probability, and the product of this and the log depth, shape (5,).
    dirichlet_bias
        What is added to the log-probability of each label: at the usual depth, and by log depth, shape (2, n_labels).
    dirichlet_weight
        How much of each label's log-probability (column) is added to each label's (row), shape (n_labels, n_labels).
    outlier_rate
        Share of the cells whose label might be any, a scalar.
    depth_range
        Counts beyond which a cell is calibrated as at the nearer end, shape (2,): the depths that taught it.
    """

    def __init__(self, n_labels: int):
        super().__init__()
        self.register_buffer("temperature_coef", torch.zeros(len(TEMPERATURE_PRIOR_SDS)))
        self.register_buffer("dirichlet_bias", torch.zeros(2, n_labels))
        self.register_buffer("dirichlet_weight", torch.zeros(n_labels, n_labels))
        self.register_buffer("outlier_rate", torch.tensor(0.0))
        self.register_buffer("depth_range", torch.tensor([1.0, float("inf")]))

    def forward(
        self, log_probabilities: Float[Tensor, "n_obs n_labels"], depth: Float[Tensor, " n_obs"]
    ) -> Float[Tensor, "n_obs n_labels"]:
        """Return calibrated log-probabilities of cells with these counts, shape (n_obs, n_labels)."""
        log_depth = _log_depth(depth, self.depth_range.to(depth))
        learned = (self.temperature_coef, self.dirichlet_bias, self.dirichlet_weight, self.outlier_rate)
        return _scale(log_probabilities, log_depth, *(x.to(depth) for x in learned))

    def fit(
        self,
        log_probabilities: Float[Tensor, "n_obs n_labels"],
        depth: Float[Tensor, " n_obs"],
        codes: Int[Tensor, " n_obs"],
        n_cells: int,
        *,
        by_label: bool = False,
    ) -> None:
        """Learn all of it by the cross-entropy of cells that trained nothing, with a normal prior.

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
        by_label
            Whether there are bias and mixing: they need cells of each label, and with them labels may change.
        """
        log_probabilities, depth = log_probabilities.double(), depth.double()
        n_labels, n_slopes = log_probabilities.shape[1], len(TEMPERATURE_PRIOR_SDS)
        ends = torch.quantile(depth, torch.tensor(DEPTH_QUANTILES).to(depth))
        log_depth = _log_depth(depth, ends)
        by_label_spreads = np.repeat([*BIAS_PRIOR_SDS, WEIGHT_PRIOR_SD], [n_labels, n_labels, n_labels**2])
        spread = torch.tensor(
            [*TEMPERATURE_PRIOR_SDS, OUTLIER_PRIOR[1], *(by_label_spreads if by_label else [])]
        ).double()
        mean = torch.zeros_like(spread)
        mean[n_slopes] = OUTLIER_PRIOR[0]

        def parts(chosen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            of_labels = chosen[n_slopes + 1 :] if by_label else torch.zeros(len(by_label_spreads)).double()
            bias, mixing = of_labels.split([2 * n_labels, n_labels**2])
            outlier_rate = chosen[n_slopes].sigmoid()
            return chosen[:n_slopes], bias.reshape(2, n_labels), mixing.reshape(n_labels, n_labels), outlier_rate

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            chosen = torch.from_numpy(flat).requires_grad_(True)
            value = F.nll_loss(_scale(log_probabilities, log_depth, *parts(chosen)), codes)
            value = value + ((chosen - mean) / spread).square().sum() / (2 * n_cells)
            (gradient,) = torch.autograd.grad(value, chosen)
            return value.item(), gradient.numpy()

        with torch.enable_grad():
            # bounds, since a step of the line search could overflow the exponentials
            bounds = [(m - 5 * s, m + 5 * s) for m, s in zip(mean.tolist(), spread.tolist(), strict=True)]
            fitted = torch.from_numpy(minimize(loss, mean.numpy(), jac=True, method="L-BFGS-B", bounds=bounds).x)
        own = (self.temperature_coef, self.dirichlet_bias, self.dirichlet_weight, self.outlier_rate)
        for buffer, learned in zip(own, parts(fitted), strict=True):
            buffer.copy_(learned)
        self.depth_range.copy_(ends)


def _log_depth(depth: Float[Tensor, " n_obs"], ends: Float[Tensor, "2"]) -> Float[Tensor, " n_obs"]:
    return (depth.clamp(ends[0], ends[1]) / REFERENCE_DEPTH).log()


def _scale(
    log_probabilities: Float[Tensor, "n_obs n_labels"],
    log_depth: Float[Tensor, " n_obs"],
    slopes: Float[Tensor, "5"],
    dirichlet_bias: Float[Tensor, "2 n_labels"],
    dirichlet_weight: Float[Tensor, "n_labels n_labels"],
    outlier_rate: Float[Tensor, ""],
) -> Float[Tensor, "n_obs n_labels"]:
    highest = log_probabilities.max(dim=1).values
    known = torch.stack([torch.ones_like(log_depth), log_depth, log_depth**2, highest, highest * log_depth], dim=1)
    temperature = (known @ slopes).clamp(-MAX_ABS_LOG_TEMPERATURE, MAX_ABS_LOG_TEMPERATURE).exp()
    of_labels = dirichlet_bias[0] + log_depth[:, None] * dirichlet_bias[1]
    of_labels = of_labels + log_probabilities.clamp(min=MIN_LOG_PROBABILITY) @ dirichlet_weight.T
    explained = (log_probabilities / temperature[:, None] + of_labels).log_softmax(dim=1)
    return torch.logaddexp(explained + torch.log1p(-outlier_rate), (outlier_rate / explained.shape[1]).log())
