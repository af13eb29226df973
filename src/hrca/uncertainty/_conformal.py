"""Conformal prediction sets: sets of labels that contain the true label with a given probability."""

from dataclasses import dataclass, fields

import numpy as np

from hrca._blocks import BLOCK_CELLS, row_blocks
from hrca._messages import counted
from hrca._warnings import DoubtfulPredictionWarning, warn_user

from ._density_ratio import density_ratio

# Held-out cells are divided by depth into at most MAX_DEPTH_BINS bins of equal size, with at least MIN_CELLS_PER_BIN
# cells each. With 20 cells in a bin, the expected coverage exceeds its target by at most 1/21.
MIN_CELLS_PER_BIN = 20
MAX_DEPTH_BINS = 5

# With a threshold for each label, the cells of all other labels together count as this many cells. Without them, a
# label with few held-out cells would be in every set (docs/decisions/0004).
OTHER_LABELS_N_CELLS = 20.0

# Maximum number of held-out cells in a saved model. With more, no threshold changes by more than half a percentage
# point.
MAX_HELD_OUT_CELLS = 2000

# Seed of the random numbers of held-out cells, and of their sample. Any fixed number serves.
HELD_OUT_SCORES_SEED = 0


@dataclass(frozen=True)
class ConformalScores:
    """Scores of held-out cells, from which the thresholds of prediction sets are computed.

    Each cell has one row for each depth at which it was scored.

    Attributes
    ----------
    scores
        Score of the true label, shape (n_rows,), float32; see :func:`aps_scores`.
    depth
        Counts of the cell, shape (n_rows,), float32.
    codes
        Index of the true label, shape (n_rows,), int32.
    cells
        Index of the cell in the reference, shape (n_rows,), int32.
    probabilities
        Calibrated probabilities, shape (n_rows, n_labels), float32.
    """

    scores: np.ndarray
    depth: np.ndarray
    codes: np.ndarray
    cells: np.ndarray
    probabilities: np.ndarray

    @property
    def n_cells(self) -> int:
        """Number of different cells."""
        return len(np.unique(self.cells))

    def subset(self, rows: np.ndarray) -> "ConformalScores":
        """Return some of the rows, given by a mask or by indices."""
        return ConformalScores(**{name: values[rows] for name, values in self.to_dict().items()})

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return the arrays by the names of the attributes, to be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, arrays: dict[str, np.ndarray]) -> "ConformalScores":
        """Restore the scores from the arrays of :meth:`to_dict`."""
        return cls(**arrays)


def aps_scores(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    r"""Compute the randomised scores of adaptive prediction sets (APS).

    Parameters
    ----------
    probabilities
        Probabilities, shape (n_obs, n_labels).
    uniform
        A random number in [0, 1) for each cell, shape (n_obs,).

    Returns
    -------
    Score of each label, in [0, 1], shape (n_obs, n_labels).

    Notes
    -----
    For a cell with probabilities :math:`p` and random number :math:`u`, the score of label :math:`k` is
    :cite:p:`romano2020classification`

    .. math:: s_k = \sum_{j: p_j > p_k} p_j + u\, p_k.

    Where the probabilities are calibrated, the score of the true label is uniform, for confident and unconfident cells
    alike.

    Examples
    --------
    >>> aps_scores(np.array([[0.2, 0.7, 0.1]]), np.array([0.5])).round(2)
    array([[0.8 , 0.35, 0.95]])
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    descending = np.take_along_axis(probabilities, order, axis=1)
    scores = np.empty_like(probabilities)
    np.put_along_axis(scores, order, descending.cumsum(axis=1) - (1 - uniform[:, None]) * descending, axis=1)
    return scores


def conformal_scores(
    probabilities: np.ndarray, depth: np.ndarray, codes: np.ndarray, cells: np.ndarray
) -> ConformalScores:
    """Score the true labels of held-out cells.

    Parameters
    ----------
    probabilities
        Calibrated probabilities, shape (n_rows, n_labels).
    depth
        Counts of each cell, shape (n_rows,).
    codes
        Index of the true label, shape (n_rows,).
    cells
        Index of the cell, shape (n_rows,). Each cell has one row for each depth at which it was scored.

    Returns
    -------
    All rows of at most 2,000 cells, chosen at random.
    """
    rng = np.random.default_rng(HELD_OUT_SCORES_SEED)
    scores = aps_scores(probabilities, rng.random(len(codes)))[np.arange(len(codes)), codes]
    sampled_cells = np.unique(cells)
    if len(sampled_cells) > MAX_HELD_OUT_CELLS:
        sampled_cells = rng.choice(sampled_cells, MAX_HELD_OUT_CELLS, replace=False)
    rows = np.isin(cells, sampled_cells)
    return ConformalScores(
        scores=scores[rows].astype(np.float32),
        depth=depth[rows].astype(np.float32),
        codes=codes[rows].astype(np.int32),
        cells=cells[rows].astype(np.int32),
        probabilities=probabilities[rows].astype(np.float32),
    )


def prediction_sets(
    conformal: ConformalScores,
    probabilities: np.ndarray,
    depth: np.ndarray,
    uniform: np.ndarray,
    *,
    coverage: float,
    class_conditional: bool = False,
    reweight_to_query: bool = False,
) -> np.ndarray:
    r"""Select for each cell the labels whose score is at most a quantile of held-out scores.

    Parameters
    ----------
    conformal
        Scores of held-out cells, from :func:`conformal_scores`.
    probabilities
        Calibrated probabilities, shape (n_obs, n_labels).
    depth
        Counts of each cell, shape (n_obs,). The set of a cell without counts contains all labels.
    uniform
        A random number in [0, 1) for each cell, shape (n_obs,).
    coverage
        Fraction of the cells whose set is to contain the true label, in (0, 1).
    class_conditional
        If True, the coverage holds for each label, and not only over all cells. It is ignored with `reweight_to_query`.
    reweight_to_query
        If True, held-out cells are weighted by their similarity to the query's cells. All of them are used, and not
        only those of similar depth.

    Returns
    -------
    True for each label in the set of a cell, shape (n_obs, n_labels).

    Warns
    -----
    UserWarning
        With `reweight_to_query`, if few held-out cells are similar to the query's cells.

    Notes
    -----
    Split conformal prediction :cite:p:`vovk2005algorithmic`. With scores :math:`s_i` and weights :math:`w_i` of the
    held-out cells, the set of a cell of weight :math:`w` contains the labels with a score of at most

    .. math:: t = \min \Big\{ s : \sum_{i: s_i \le s} w_i \ge \alpha \big(w + \sum_i w_i\big) \Big\},

    where :math:`\alpha` is the coverage. By default, the held-out cells are those of one depth bin, each of weight 1.
    With `class_conditional`, there is a threshold for each label :cite:p:`vovk2012conditional`. The held-out cells of
    the label then have weight 1, and those of all other labels have a total weight of at most 20. With
    `reweight_to_query`, the weights estimate the ratio of the densities of query and held-out cells
    :cite:p:`tibshirani2019conformal`. A cell that was scored at several depths has its weight divided among its rows.
    """
    has_counts = depth > 0
    is_in_set = np.ones(probabilities.shape, dtype=bool)
    if not has_counts.any():
        return is_in_set
    if reweight_to_query:
        query_weights = np.ones(len(depth))
        weights, query_weights[has_counts] = _importance_weights(
            conformal, probabilities[has_counts], depth[has_counts], uniform[has_counts]
        )
        thresholds, rows_of_cells = (
            _weighted_quantile(conformal.scores, weights, query_weights, coverage)[:, None],
            None,
        )
    else:
        thresholds, rows_of_cells = _thresholds_by_depth(
            conformal, depth, probabilities.shape[1], coverage, class_conditional
        )
    for rows in row_blocks(len(depth), BLOCK_CELLS):
        scores = aps_scores(probabilities[rows].astype(float), uniform[rows])
        limits = thresholds[rows] if rows_of_cells is None else thresholds[rows_of_cells[rows]]
        is_in_set[rows] = (scores <= limits) | ~has_counts[rows, None]
    return is_in_set


def _thresholds_by_depth(
    conformal: ConformalScores, depth: np.ndarray, n_labels: int, coverage: float, class_conditional: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the thresholds of each depth bin and label, shape (n_bins, n_labels), and each cell's bin, (n_obs,)."""
    n_bins = int(np.clip(conformal.n_cells // MIN_CELLS_PER_BIN, 1, MAX_DEPTH_BINS))
    edges = np.quantile(conformal.depth, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins = np.searchsorted(edges, conformal.depth, side="right")
    thresholds = np.empty((n_bins, n_labels))
    for i in range(n_bins):
        in_bin = conformal.subset(bins == i)
        for label in range(n_labels) if class_conditional else [None]:
            weights = _row_weights(in_bin, label)
            threshold = _weighted_quantile(in_bin.scores, weights, np.ones(1), coverage)
            thresholds[i, slice(None) if label is None else label] = threshold.item()
    return thresholds, np.searchsorted(edges, depth, side="right")


def _row_weights(conformal: ConformalScores, label: int | None) -> np.ndarray:
    """Return the weight of each row, shape (n_rows,): the weight of a cell is divided among its rows."""
    n_rows = len(conformal.cells)
    if label is None:
        return np.full(n_rows, conformal.n_cells / max(n_rows, 1))
    has_label = conformal.codes == label
    weights = np.zeros(n_rows)
    for rows, max_weight in ((has_label, np.inf), (~has_label, OTHER_LABELS_N_CELLS)):
        if rows.any():
            weights[rows] = min(len(np.unique(conformal.cells[rows])), max_weight) / rows.sum()
    return weights


def _importance_weights(
    conformal: ConformalScores, probabilities: np.ndarray, depth: np.ndarray, uniform: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight held-out cells by their similarity to the query's cells, which have counts.

    Returns
    -------
    held_out_weights
        Weight of each row of the held-out cells, shape (n_rows,); the sum is the number of held-out cells.
    query_weights
        Weight of each query cell on the same scale, shape (n_obs,).
    """
    ratios, query_ratios = density_ratio(conformal.probabilities, conformal.depth, probabilities, depth, uniform)
    n_cells, n_rows = conformal.n_cells, len(ratios)
    # Kish's effective sample size of the rows, in cells
    effective = ratios.sum() ** 2 / np.square(ratios).sum() * n_cells / n_rows
    if effective < MIN_CELLS_PER_BIN:
        warn_user(
            f"The reweighted sets are computed from the equivalent of {counted(round(effective), 'held-out cell')}, of "
            f"{n_cells:,} in all: few are similar to the query's cells. The coverage is uncertain; without "
            "`reweight_to_query` it does not hold for this query either.",
            DoubtfulPredictionWarning,
        )
    return ratios / ratios.mean() * n_cells / n_rows, query_ratios / ratios.mean()


def _weighted_quantile(scores: np.ndarray, weights: np.ndarray, new_weights: np.ndarray, coverage: float) -> np.ndarray:
    """Return the threshold for new cells of given weights; see :func:`prediction_sets`.

    Parameters
    ----------
    scores
        Scores of held-out cells, shape (n_rows,).
    weights
        Their weights, shape (n_rows,).
    new_weights
        Weights of new cells, shape (n_obs,).
    coverage
        Probability that the score of a new cell's true label is at most the threshold.

    Returns
    -------
    Shape (n_obs,); infinite where the weight of the new cell alone exceeds 1 - `coverage` of the total.
    """
    order = np.argsort(scores)
    # the tolerance is for rounding: the weights of the rows of a cell are fractions that add up to 1
    positions = np.searchsorted(weights[order].cumsum(), (weights.sum() + new_weights) * coverage - 1e-9)
    return np.append(scores[order].astype(float), np.inf)[positions]
