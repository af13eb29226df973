"""Ratio of the densities of query and held-out cells."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from hrca._blocks import BLOCK_CELLS, row_blocks

# Inverse penalty of the classifier; chosen among 0.001, 0.01 and 0.1 (docs/decisions/0004).
INVERSE_PENALTY = 0.001

# Bound of the log ratio. Not tuned.
MAX_ABS_LOG_RATIO = 4.0

# Maximum number of query cells that the classifier is fitted to. Not tuned.
MAX_FITTED_CELLS = 20_000

# Lower bound of a probability before its log becomes a feature of the classifier. Not tuned.
MIN_PROBABILITY = 1e-4


def density_ratio(
    probabilities: np.ndarray,
    depth: np.ndarray,
    query_probabilities: np.ndarray,
    query_depth: np.ndarray,
    uniform: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Estimate the ratio of the densities of query and held-out cells.

    Parameters
    ----------
    probabilities
        Calibrated probabilities of held-out cells, shape (n_rows, n_labels).
    depth
        Counts of held-out cells, above 0, shape (n_rows,).
    query_probabilities
        Calibrated probabilities of query cells, shape (n_obs, n_labels).
    query_depth
        Counts of query cells, above 0, shape (n_obs,).
    uniform
        A random number for each query cell, shape (n_obs,). The classifier is fitted to the 20,000 cells with the
        lowest numbers.

    Returns
    -------
    ratios
        Ratio at each held-out cell, shape (n_rows,).
    query_ratios
        Ratio at each query cell, shape (n_obs,).

    Notes
    -----
    An L2-penalised logistic regression separates query from held-out cells, both with the same total weight. Its
    features :math:`x` are the log probabilities and the log depth. The ratio is its odds
    :cite:p:`tibshirani2019conformal`, bounded:

    .. math:: w(x) = \frac{\hat P(\text{query} \mid x)}{1 - \hat P(\text{query} \mid x)}, \quad |\log w(x)| \le 4.
    """
    fitted_cells = np.argsort(uniform, kind="stable")[:MAX_FITTED_CELLS]
    held_out = _features(probabilities, depth)
    groups = [held_out, _features(query_probabilities[fitted_cells], query_depth[fitted_cells])]
    is_query = np.repeat([False, True], [len(group) for group in groups])
    balance = np.concatenate([np.full(len(group), len(is_query) / 2 / len(group)) for group in groups])
    classifier = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    classifier.fit(np.concatenate(groups), is_query, sample_weight=balance)

    def ratios(features: np.ndarray) -> np.ndarray:
        return np.exp(np.clip(classifier.decision_function(features), -MAX_ABS_LOG_RATIO, MAX_ABS_LOG_RATIO))

    query_ratios = [
        ratios(_features(query_probabilities[rows], query_depth[rows]))
        for rows in row_blocks(len(query_depth), BLOCK_CELLS)
    ]
    return ratios(held_out), np.concatenate(query_ratios)


def _features(probabilities: np.ndarray, depth: np.ndarray) -> np.ndarray:
    # in double precision: a rounded logarithm would separate the groups where all cells have the same probabilities
    return np.column_stack(
        [np.log(np.maximum(probabilities, MIN_PROBABILITY).astype(float)), np.log(depth.astype(float))]
    )
