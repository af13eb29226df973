"""Calibration of label probabilities by the depth of the cell."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ._count_likelihood import REFERENCE_DEPTH
from ._optimize import minimize_bounded

# Standard deviations of the normal priors, with mean 0, of the temperature coefficients: intercept, log depth, its
# square, maximum log-probability, its product with log depth. With 15 held-out cells the prior dominates, with 100 the
# data do. These, the next and OUTLIER_PRIOR were compared on real data (docs/decisions/0004).
TEMPERATURE_PRIOR_SDS = (1.0, 0.3, 0.1, 0.5, 0.5)

# The same for the Dirichlet bias (intercept, slope by log depth) and for the Dirichlet weights.
BIAS_PRIOR_SDS, WEIGHT_PRIOR_SD = (1.0, 0.5), 0.2

# Mean and standard deviation of the normal prior of the log odds of the outlier rate: a rate of 0.018, and of 0.002 to
# 0.12 within one standard deviation. Other means and standard deviations change almost nothing (docs/decisions/0004).
OUTLIER_PRIOR = (-4.0, 2.0)

# Minimum log-probability of a label as an input of the Dirichlet terms: below it, a label is practically excluded and
# its exact value should not affect the others. Not tuned.
MIN_LOG_PROBABILITY = -8.0

# Quantiles of the held-out depths beyond which the calibration no longer changes with depth. Not tuned.
DEPTH_QUANTILES = (0.01, 0.99)

# Maximum absolute log temperature; at much larger values its exponential overflows.
MAX_ABS_LOG_TEMPERATURE = 3.0

# Bounds of the fit, in prior standard deviations from the prior means: a step of the line search beyond them could
# overflow the exponentials.
MAX_PRIOR_SDS = 5


class Calibration(nn.Module):
    r"""Depth-dependent temperature scaling with a uniform outlier component.

    The log temperature is a quadratic in log depth plus terms in the maximum log-probability. With `by_label=True`,
    :meth:`fit` adds a bias for each label and a coupling matrix, which can change the predicted label. A fraction
    `outlier_rate` of the cells is assumed to carry a label that their counts do not determine. This bounds the maximum
    confidence by ``1 - outlier_rate * (1 - 1 / n_labels)``. Without a fit, probabilities stay unchanged.

    Parameters
    ----------
    n_labels
        Number of labels.

    Attributes
    ----------
    temperature_coef
        Coefficients of the log temperature, shape (5,): intercept, log depth, its square, maximum log-probability, and
        the product of the last with log depth.
    dirichlet_bias
        Bias of each label, shape (2, n_labels): intercept, and slope by log depth.
    dirichlet_weight
        Coupling matrix, shape (n_labels, n_labels): the weight of the log-probability of one label (column) in the
        score of another (row).
    outlier_rate
        Fraction of the cells whose label is uniformly random, a scalar.
    depth_range
        Smallest and largest depth of the fit, in counts, shape (2,). Other depths are clipped to this range.

    Notes
    -----
    For a cell of n counts with log-probabilities :math:`\log p_k` over K labels, let :math:`u = \log(n / 100)`, with n
    clipped to `depth_range`, and :math:`h = \max_k \log p_k`. The calibrated probabilities are

    .. math::
        \log T &= a_0 + a_1 u + a_2 u^2 + a_3 h + a_4 h u \quad \text{(clipped to } [-3, 3] \text{)} \\
        s_k &= \frac{\log p_k}{T} + b_k + c_k u + \sum_j W_{kj} \max(\log p_j, -8) \\
        \tilde p_k &= (1 - \epsilon) \, \operatorname{softmax}(s)_k + \epsilon / K

    with the coefficients a (`temperature_coef`), b and c (`dirichlet_bias`), W (`dirichlet_weight`) and
    :math:`\epsilon` (`outlier_rate`).

    A constant T is temperature scaling :cite:p:`guo2017calibration`. A temperature that depends on the prediction is
    parameterized temperature scaling :cite:p:`tomani2022parameterized`, there with a neural network. The terms in b, c
    and W are Dirichlet calibration :cite:p:`kull2019beyond`, here with a slope by log depth.
    """

    temperature_coef: Tensor
    dirichlet_bias: Tensor
    dirichlet_weight: Tensor
    outlier_rate: Tensor
    depth_range: Tensor

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
        """Return calibrated log-probabilities.

        Parameters
        ----------
        log_probabilities
            Log-probabilities before calibration, shape (n_obs, n_labels).
        depth
            Counts of each cell, shape (n_obs,).

        Returns
        -------
        Calibrated log-probabilities, shape (n_obs, n_labels).
        """
        log_depth = _log_depth(depth, self.depth_range.to(depth))
        return _calibrate(log_probabilities, log_depth, *(value.to(depth) for value in self._fitted_buffers()))

    def label_offsets(
        self, log_probabilities: Float[Tensor, "n_obs n_labels"], depth: Float[Tensor, " n_obs"]
    ) -> Float[Tensor, "n_obs n_labels"]:
        """Return what the calibration adds to the log-probabilities before it divides them by the temperature.

        The most probable label after calibration has the largest sum of log-probability and offset.

        Parameters
        ----------
        log_probabilities
            Log-probabilities before calibration, shape (n_obs, n_labels).
        depth
            Counts of each cell, shape (n_obs,).

        Returns
        -------
        Dirichlet terms times the temperature, shape (n_obs, n_labels); zeros without a fit by label.
        """
        log_depth = _log_depth(depth, self.depth_range.to(depth))
        coef, bias, weight, _ = (value.to(depth) for value in self._fitted_buffers())
        temperature, by_label = _calibration_terms(log_probabilities, log_depth, coef, bias, weight)
        return temperature[:, None] * by_label

    def fit(
        self,
        log_probabilities: Float[Tensor, "n_obs n_labels"],
        depth: Float[Tensor, " n_obs"],
        codes: Int[Tensor, " n_obs"],
        n_cells: int,
        *,
        by_label: bool = False,
    ) -> None:
        """Fit the calibration to held-out cells, by cross-entropy with normal priors.

        Parameters
        ----------
        log_probabilities
            Log-probabilities before calibration, shape (n_obs, n_labels).
        depth
            Counts of each cell, shape (n_obs,), above 0.
        codes
            Index of the true label, shape (n_obs,).
        n_cells
            Number of distinct cells, for the weight of the priors: each cell has a row for each of its depths.
        by_label
            If True, also fit `dirichlet_bias` and `dirichlet_weight`. This needs held-out cells of each label, and can
            change the predicted label.
        """
        log_probabilities, depth = log_probabilities.double(), depth.double()
        n_labels = log_probabilities.shape[1]
        depth_range = torch.quantile(depth, torch.tensor(DEPTH_QUANTILES).to(depth))
        log_depth = _log_depth(depth, depth_range)
        mean, sd = _prior(n_labels, by_label=by_label)

        def loss(parameters: Tensor) -> Tensor:
            calibrated = _calibrate(log_probabilities, log_depth, *_unpack(parameters, n_labels))
            return F.nll_loss(calibrated, codes) + ((parameters - mean) / sd).square().sum() / (2 * n_cells)

        fitted = minimize_bounded(loss, mean, mean - MAX_PRIOR_SDS * sd, mean + MAX_PRIOR_SDS * sd)
        for buffer, value in zip(self._fitted_buffers(), _unpack(fitted, n_labels), strict=True):
            buffer.copy_(value)
        self.depth_range.copy_(depth_range)

    def _fitted_buffers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.temperature_coef, self.dirichlet_bias, self.dirichlet_weight, self.outlier_rate


def _log_depth(depth: Float[Tensor, " n_obs"], depth_range: Float[Tensor, "2"]) -> Float[Tensor, " n_obs"]:
    return (depth.clamp(depth_range[0], depth_range[1]) / REFERENCE_DEPTH).log()


def _prior(n_labels: int, *, by_label: bool) -> tuple[Float[Tensor, " n_parameters"], Float[Tensor, " n_parameters"]]:
    """Return prior means and standard deviations of all parameters, in the order of :func:`_unpack`."""
    sds, dtype = [*TEMPERATURE_PRIOR_SDS, OUTLIER_PRIOR[1]], torch.float32
    if by_label:
        sds += np.repeat([*BIAS_PRIOR_SDS, WEIGHT_PRIOR_SD], [n_labels, n_labels, n_labels**2]).tolist()
        dtype = torch.float64
    # single precision without the terms by label: the last bits of the frozen answers (tests/frozen.py) depend on it
    sd = torch.tensor(sds, dtype=dtype).double()
    mean = torch.zeros_like(sd)
    mean[len(TEMPERATURE_PRIOR_SDS)] = OUTLIER_PRIOR[0]
    return mean, sd


def _unpack(
    parameters: Float[Tensor, " n_parameters"], n_labels: int
) -> tuple[Float[Tensor, "5"], Float[Tensor, "2 n_labels"], Float[Tensor, "n_labels n_labels"], Float[Tensor, ""]]:
    """Return temperature coefficients, Dirichlet bias and weight (zeros if not fitted by label), and outlier rate."""
    n_coef, n_bias, n_weights = len(TEMPERATURE_PRIOR_SDS), 2 * n_labels, n_labels**2
    dirichlet = parameters[n_coef + 1 :]
    if not len(dirichlet):
        dirichlet = torch.zeros(n_bias + n_weights).double()
    bias, weight = dirichlet.split([n_bias, n_weights])
    outlier_rate = parameters[n_coef].sigmoid()
    return parameters[:n_coef], bias.reshape(2, n_labels), weight.reshape(n_labels, n_labels), outlier_rate


def _calibrate(
    log_probabilities: Float[Tensor, "n_obs n_labels"],
    log_depth: Float[Tensor, " n_obs"],
    temperature_coef: Float[Tensor, "5"],
    dirichlet_bias: Float[Tensor, "2 n_labels"],
    dirichlet_weight: Float[Tensor, "n_labels n_labels"],
    outlier_rate: Float[Tensor, ""],
) -> Float[Tensor, "n_obs n_labels"]:
    """Return calibrated log-probabilities; see the notes of :class:`Calibration`."""
    temperature, by_label = _calibration_terms(
        log_probabilities, log_depth, temperature_coef, dirichlet_bias, dirichlet_weight
    )
    inlier = (log_probabilities / temperature[:, None] + by_label).log_softmax(dim=1)
    return torch.logaddexp(inlier + torch.log1p(-outlier_rate), (outlier_rate / inlier.shape[1]).log())


def _calibration_terms(
    log_probabilities: Float[Tensor, "n_obs n_labels"],
    log_depth: Float[Tensor, " n_obs"],
    temperature_coef: Float[Tensor, "5"],
    dirichlet_bias: Float[Tensor, "2 n_labels"],
    dirichlet_weight: Float[Tensor, "n_labels n_labels"],
) -> tuple[Float[Tensor, " n_obs"], Float[Tensor, "n_obs n_labels"]]:
    """Return the temperature of each cell and the Dirichlet terms; see the notes of :class:`Calibration`."""
    highest = log_probabilities.max(dim=1).values
    terms = torch.stack([torch.ones_like(log_depth), log_depth, log_depth**2, highest, highest * log_depth], dim=1)
    temperature = (terms @ temperature_coef).clamp(-MAX_ABS_LOG_TEMPERATURE, MAX_ABS_LOG_TEMPERATURE).exp()
    by_label = torch.zeros_like(log_probabilities)
    # without cross-fitting they are zeros, and the product costs more than all other steps; a fit has gradients to them
    if dirichlet_bias.requires_grad or dirichlet_bias.any() or dirichlet_weight.any():
        by_label = dirichlet_bias[0] + log_depth[:, None] * dirichlet_bias[1]
        by_label = by_label + log_probabilities.clamp(min=MIN_LOG_PROBABILITY) @ dirichlet_weight.T
    return temperature, by_label
