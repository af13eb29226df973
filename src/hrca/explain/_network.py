"""Contributions of the genes to the difference between two labels in the classifier: integrated gradients."""

from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hrca._blocks import row_blocks
from hrca.module._branch_scorer import N_NETWORK_DRAWS
from hrca.module._module import HRCAModule
from hrca.module._sparse_counts import SparseCounts
from hrca.module._thinning import thin_to_depth
from hrca.module._transforms import log_normalize

from ._label_scores import pooling_weights

# The path from no expression to the cell's is integrated in parts, whose ends are these fractions of the cell's
# expression. LayerNorm makes the logits change fast near 0. One part with 64 steps left a median error of 6 and 13 % of
# the difference (blood, STARmap), these parts with 16 steps each 2 %.
PATH_ENDS = (0, 1 / 256, 1 / 64, 1 / 16, 1 / 4, 1)

# Steps of each part. They are doubled for the cells whose sum is off by more than a fraction of the difference between
# the labels' scores, and by more than a number of nats.
MIN_STEPS, MAX_STEPS = 8, 256
MAX_RELATIVE_ERROR, MAX_ERROR = 0.02, 0.01

# Number of inputs of the network in memory at a time.
N_INPUTS = 512


def check_captum() -> None:
    """Raise an ImportError that names the extra if captum is not installed."""
    if find_spec("captum") is None:
        raise ImportError(
            'The genes behind the networks need captum: `pip install "hrca[explain]"`. `network_genes=False` needs no '
            "captum: the networks' part is then a single row, and that of the counts is by gene."
        )


def network_contributions(
    module: HRCAModule, counts: np.ndarray, codes: np.ndarray, against: np.ndarray, differences: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Divide the difference between two labels in the pooled log-probabilities of the classifier among the genes.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    counts
        Raw counts on the shared genes, shape (n_obs, n_genes), float32; the other genes are 0.
    codes, against
        Index of both labels in each cell, shape (n_obs,).
    differences
        Difference of the scores of both labels over all branches, shape (n_obs,). The error of the integration is to be
        small in comparison.

    Returns
    -------
    contributions
        Shape (n_obs, n_genes). That of a gene without counts is 0.
    baseline
        The difference in a cell without expression, shape (n_obs,). It and the contributions of a cell sum to the
        difference, up to the error of the integration.

    Notes
    -----
    Integrated gradients :cite:p:`sundararajan2017axiomatic` of the difference of two logits with respect to the
    log-normalised expression :math:`x`, from 0 to the cell's. For a cell that the classifier sees as thinned draws, it
    is their mean. The differences of logits and of log-probabilities are the same.
    """
    inputs, labels = torch.from_numpy(counts), (torch.from_numpy(codes), torch.from_numpy(against))
    max_depth, weight = module.max_classified_depth, np.ones(len(counts))
    if module.has_fitted_counts and module.count_likelihood is not None:
        depth = np.minimum(counts.sum(axis=1).astype(float), float(module.count_likelihood.max_depth))
        weight, _ = pooling_weights(module.count_likelihood, depth)
    is_deep = inputs.sum(dim=1) > max_depth
    tolerance = torch.from_numpy(np.maximum(MAX_RELATIVE_ERROR * np.abs(differences), MAX_ERROR) / weight)
    contributions = torch.zeros_like(inputs)
    for chosen in (is_deep, ~is_deep):
        if chosen.any():
            cells, n_draws = inputs[chosen], 1
            if chosen is is_deep:
                n_draws = N_NETWORK_DRAWS
                cells = thin_to_depth(SparseCounts.from_dense(cells), max_depth, n_draws).to_dense()
            expression = log_normalize(cells).unflatten(0, (n_draws, -1))
            contributions[chosen] = _integrate(module, expression, *(values[chosen] for values in (*labels, tolerance)))
    baseline = _logit_difference(module, torch.zeros_like(inputs), *labels)
    return contributions.numpy() * weight[:, None], baseline.numpy() * weight


def _logit_difference(module: HRCAModule, expression: Tensor, codes: Tensor, against: Tensor) -> Tensor:
    """Return the difference of two logits for each row of expression, shape (n_rows,), on the CPU."""
    with torch.inference_mode():
        parts = [
            _difference(module, expression[rows], codes[rows], against[rows]).cpu()
            for rows in row_blocks(len(expression), N_INPUTS)
        ]
        return torch.cat(parts)


def _difference(module: HRCAModule, expression: Tensor, codes: Tensor, against: Tensor) -> Tensor:
    logits = module.classify_normalized(expression.to(module.device))
    rows = torch.arange(len(logits))
    return logits[rows, codes] - logits[rows, against]


def _integrate(module: HRCAModule, expression: Tensor, codes: Tensor, against: Tensor, tolerance: Tensor) -> Tensor:
    """Return the integrated gradients of cells, the mean over their draws.

    Parameters
    ----------
    module
        The module.
    expression
        Log-normalised expression, shape (n_draws, n_obs, n_genes).
    codes, against
        Index of both labels, shape (n_obs,).
    tolerance
        Error of a cell's sum below which no more steps are taken, shape (n_obs,).

    Returns
    -------
    Shape (n_obs, n_genes).
    """
    n_draws, n_obs, _ = expression.shape
    ends = [_logit_difference(module, draw, codes, against) for draw in (*expression, torch.zeros_like(expression[0]))]
    target = torch.stack(ends[:-1]).mean(dim=0) - ends[-1]
    gradients, pending, n_steps = torch.zeros_like(expression[0]), torch.arange(n_obs), MIN_STEPS
    while len(pending) and n_steps <= MAX_STEPS:
        inputs = expression[:, pending].flatten(0, 1)
        first, second = (code[pending].repeat(n_draws) for code in (codes, against))
        values = _path_integral(module, inputs, first, second, n_steps)
        gradients[pending] = values.unflatten(0, (n_draws, -1)).mean(dim=0)
        error = (gradients[pending].sum(dim=1) - target[pending]).abs()
        pending = pending[error > tolerance[pending]]
        n_steps *= 2
    return gradients


def _path_integral(module: HRCAModule, expression: Tensor, codes: Tensor, against: Tensor, n_steps: int) -> Tensor:
    """Return the integrated gradients of rows of expression, shape (n_rows, n_genes)."""
    from captum.attr import IntegratedGradients

    def difference(inputs: Tensor, codes: Tensor, against: Tensor) -> Tensor:
        return _difference(module, inputs, codes, against)

    method, gradients = IntegratedGradients(difference), torch.zeros_like(expression)
    for rows in row_blocks(len(expression), N_INPUTS):
        for begin, end in pairwise(PATH_ENDS):
            gradients[rows] += method.attribute(
                expression[rows] * end,
                expression[rows] * begin,
                additional_forward_args=(codes[rows], against[rows]),
                n_steps=n_steps,
                internal_batch_size=N_INPUTS,
            ).detach()
    return gradients
