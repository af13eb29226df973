"""Sets of labels that hold the true one as often as was asked for: split conformal prediction on held-out cells."""

from dataclasses import dataclass, fields

import numpy as np
from sklearn.linear_model import LogisticRegression

from hrca._warnings import warn_user

# Held-out cells are told apart by depth in as many bins of equal size as have this many cells, at most five.
MIN_CELLS_PER_BIN, MAX_DEPTH_BINS = 20, 5

# With a threshold for each label, the other labels' cells count as this many of its own: a label that few held-out
# cells have is drawn to the common threshold, where alone it would be in every set (docs/decisions/0004).
OTHER_LABELS_N_CELLS = 20.0

# Held-out cells that are kept with a model, at most: more change no threshold by half a point.
MAX_HELD_OUT_CELLS = 2000

# Weighted sets: inverse penalty of the classifier that tells query from held-out cells, .001 of .001, .01 and .1
# (docs/decisions/0004).
IMPORTANCE_C = 0.001

# The bound of its log odds, the query cells that teach it, at most, and the probability below which all are as good as
# none when cells are compared by their logs. None was tuned.
MAX_ABS_LOG_ODDS, MAX_IMPORTANCE_CELLS, MIN_PROBABILITY = 4.0, 20_000, 1e-4


@dataclass(frozen=True)
class ConformalScores:
    """Scores of held-out cells, from which thresholds of prediction sets are computed.

    Each cell has one row for each depth at which it was scored.

    Attributes
    ----------
    scores
        Score of the true label, shape (n_rows,), float32.
    depth
        Counts of the cell at that depth, shape (n_rows,), float32.
    codes
        Index of the true label, shape (n_rows,), int32.
    cells
        Index of the cell in the reference, shape (n_rows,), int32.
    probabilities
        Calibrated, shape (n_rows, n_labels), float32.
    """

    scores: np.ndarray
    depth: np.ndarray
    codes: np.ndarray
    cells: np.ndarray
    probabilities: np.ndarray

    def subset(self, rows: np.ndarray) -> "ConformalScores":
        """Return some rows, given by a mask or by indices."""
        return ConformalScores(**{name: values[rows] for name, values in self.to_dict().items()})

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return the arrays by the names of the attributes, for a saved model."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, arrays: dict[str, np.ndarray]) -> "ConformalScores":
        """Return the scores that :meth:`to_dict` was called on."""
        return cls(**arrays)


def aps_scores(probabilities: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return how far down a cell's list each label stands: the probability of those before it and a share of its own.

    The randomised score of adaptive prediction sets (Romano, Sesia and Candes, NeurIPS 2020). It is uniform for the
    true label where probabilities are right, for sure and unsure cells alike.

    Parameters
    ----------
    probabilities
        Shape (n_obs, n_labels).
    draws
        Which share of its own probability each cell's labels get, in [0, 1), shape (n_obs,).

    Returns
    -------
    Shape (n_obs, n_labels), in [0, 1].

    Examples
    --------
    >>> label_scores(np.array([[0.2, 0.7, 0.1]]), np.array([0.5])).round(2)
    array([[0.8 , 0.35, 0.95]])
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sorted_ = np.take_along_axis(probabilities, order, axis=1)
    scores = np.empty_like(probabilities)
    np.put_along_axis(scores, order, sorted_.cumsum(axis=1) - (1 - draws[:, None]) * sorted_, axis=1)
    return scores


def conformal_scores(
    probabilities: np.ndarray, depth: np.ndarray, codes: np.ndarray, cells: np.ndarray
) -> ConformalScores:
    """Return what is to be kept of held-out cells.

    Parameters
    ----------
    probabilities
        Calibrated, shape (n_obs, n_labels).
    depth
        Counts of each, shape (n_obs,).
    codes
        Index of the true label, shape (n_obs,).
    cells
        Number of the cell, shape (n_obs,): each stands at several depths.

    Returns
    -------
    Scores of at most 2,000 cells.
    """
    rng = np.random.default_rng(0)
    scores = aps_scores(probabilities, rng.random(len(codes)))[np.arange(len(codes)), codes]
    used = np.unique(cells)
    if len(used) > MAX_HELD_OUT_CELLS:
        used = rng.choice(used, MAX_HELD_OUT_CELLS, replace=False)
    rows = np.isin(cells, used)
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
    draws: np.ndarray,
    *,
    coverage: float,
    class_conditional: bool = False,
    reweight_to_query: bool = False,
) -> np.ndarray:
    """Choose for each cell the labels that stand no further down than held-out cells' true ones.

    Compared are held-out cells of similar depth; or, weighted, all of them, each as much as it is like the query's
    cells (Tibshirani, Barber, Candes and Ramdas, NeurIPS 2019), in depth too.

    Parameters
    ----------
    conformal
        From :func:`conformal_scores`.
    probabilities
        Calibrated, shape (n_obs, n_labels).
    depth
        Counts of each cell, shape (n_obs,); a cell without gets all labels.
    draws
        As in :func:`aps_scores`.
    coverage
        Share of cells whose set is to hold the true label.
    class_conditional
        Whether it is to hold for each label, not only over all cells.
    weighted
        Whether to weigh the held-out cells for this query; not with `class_conditional`.

    Returns
    -------
    Whether a label is in the set, shape (n_obs, n_labels).
    """
    has_counts = depth > 0
    if not has_counts.any():
        return np.ones(probabilities.shape, dtype=bool)
    scores = aps_scores(probabilities.astype(float), draws)
    if reweight_to_query:
        own_weights = np.ones(len(depth))
        weights, own_weights[has_counts] = _importance_weights(
            conformal, probabilities[has_counts], depth[has_counts], draws[has_counts]
        )
        thresholds = _thresholds(conformal.scores, weights, own_weights, coverage)[:, None]
    else:
        thresholds = _by_depth(conformal, depth, probabilities.shape[1], coverage, class_conditional)
    return (scores <= thresholds) | ~has_counts[:, None]


def _by_depth(
    conformal: ConformalScores, depth: np.ndarray, n_labels: int, coverage: float, class_conditional: bool
) -> np.ndarray:
    """Return a threshold for each cell and label, shape (n_obs, n_labels)."""
    n_bins = int(np.clip(len(np.unique(conformal.cells)) // MIN_CELLS_PER_BIN, 1, MAX_DEPTH_BINS))
    edges = np.quantile(conformal.depth, np.linspace(0, 1, n_bins + 1)[1:-1])
    own_bin = np.searchsorted(edges, conformal.depth, side="right")
    thresholds = np.empty((n_bins, n_labels))
    for i in range(n_bins):
        inside = conformal.subset(own_bin == i)
        for label in range(n_labels) if class_conditional else [None]:
            found = _thresholds(inside.scores, _weights(inside, label), 1.0, coverage)
            thresholds[i, slice(None) if label is None else label] = found
    return thresholds[np.searchsorted(edges, depth, side="right")]


def _weights(conformal: ConformalScores, label: int | None) -> np.ndarray:
    """Return how many cells each score stands for: a cell's scores at several depths are one cell's."""
    if label is None:
        return np.full(len(conformal.cells), len(np.unique(conformal.cells)) / max(len(conformal.cells), 1))
    own = conformal.codes == label
    weights = np.zeros(len(own))
    for members, most in ((own, np.inf), (~own, OTHER_LABELS_N_CELLS)):
        if members.any():
            weights[members] = min(len(np.unique(conformal.cells[members])), most) / members.sum()
    return weights


def _importance_weights(
    conformal: ConformalScores, probabilities: np.ndarray, depth: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many cells each held-out score stands for, and each of the query's cells: importance weights.

    A logistic regression tells held-out cells from the query's by depth and log-probabilities; its odds are the
    weights.
    """
    drawn = np.argsort(draws, kind="stable")[:MAX_IMPORTANCE_CELLS]
    theirs, kept = _features(probabilities, depth), _features(conformal.probabilities, conformal.depth)
    sides = [kept, theirs[drawn]]
    is_query = np.repeat([False, True], [len(side) for side in sides])
    balance = np.concatenate([np.full(len(side), len(is_query) / 2 / len(side)) for side in sides])
    classifier = LogisticRegression(C=IMPORTANCE_C, max_iter=1000)
    classifier.fit(np.concatenate(sides), is_query, sample_weight=balance)
    own, weights = (
        np.exp(np.clip(classifier.decision_function(side), -MAX_ABS_LOG_ODDS, MAX_ABS_LOG_ODDS))
        for side in (theirs, kept)
    )
    n_cells = len(np.unique(conformal.cells))
    # Kish's effective sample size, of cells and not of their scores at several depths
    effective = weights.sum() ** 2 / np.square(weights).sum() * n_cells / len(weights)
    if effective < MIN_CELLS_PER_BIN:
        warn_user(
            f"The weighted sets stand on the equivalent of {effective:.0f} held-out cells, of {n_cells}: few are like "
            "the query's. Their coverage is uncertain; without `weighted` it does not hold for this query either.",
        )
    mean = weights.mean()
    return weights / mean * n_cells / len(weights), own / mean


def _features(probabilities: np.ndarray, depth: np.ndarray) -> np.ndarray:
    # in double precision: a rounded logarithm would tell the sides apart where all cells have the same
    return np.column_stack([np.log(np.maximum(probabilities, MIN_PROBABILITY).astype(float)), np.log(depth)])


def _thresholds(
    scores: np.ndarray, weights: np.ndarray, own_weights: np.ndarray | float, coverage: float
) -> np.ndarray | float:
    """Return, for new cells of these weights, the score that the true label does not exceed with this probability.

    Infinite where none is: the new cell is one more, whose score might be the highest.
    """
    order = np.argsort(scores)
    # tolerance: sums of shares of cells
    positions = np.searchsorted(weights[order].cumsum(), (weights.sum() + own_weights) * coverage - 1e-9)
    return np.append(scores[order].astype(float), np.inf)[positions]
