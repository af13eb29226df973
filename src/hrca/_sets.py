"""Sets of labels that hold the true one as often as was asked for: split conformal prediction on held-out cells."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

# Held-out cells are told apart by depth in as many bins of equal size as have this many cells, at most five.
CELLS_A_BIN, MOST_BINS = 20, 5
# With a threshold for each label, the other labels' cells count as this many of its own: a label that few held-out
# cells have is drawn to the common threshold, where alone it would be in every set (docs/decisions/0004).
SHARED_CELLS = 20.0
# Held-out cells that are kept with a model, at most: more change no threshold by half a point.
MOST_CELLS = 2000


def label_scores(probabilities: np.ndarray, draws: np.ndarray) -> np.ndarray:
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


def draws_of(names: Sequence[str]) -> np.ndarray:
    """Return a number in [0, 1) for each name: the same whenever the name is asked for; shape (n_obs,)."""
    hashes = [int.from_bytes(blake2b(str(name).encode(), digest_size=6).digest()) for name in names]
    return np.array(hashes, dtype=float) / 2**48


def held_out_scores(probabilities: np.ndarray, depth: np.ndarray, codes: np.ndarray, cells: np.ndarray) -> dict:
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
    ``score`` of the true label, ``depth``, ``code`` and ``cell``, each of shape (n_obs,), of at most 2,000 cells.
    """
    rng = np.random.default_rng(0)
    scores = label_scores(probabilities, rng.random(len(codes)))[np.arange(len(codes)), codes]
    known = np.unique(cells)
    kept = np.isin(cells, rng.choice(known, MOST_CELLS, replace=False) if len(known) > MOST_CELLS else known)
    return {
        "score": scores[kept].astype(np.float32),
        "depth": depth[kept].astype(np.float32),
        "code": codes[kept].astype(np.int32),
        "cell": cells[kept].astype(np.int32),
    }


def prediction_sets(
    held_out: dict[str, np.ndarray],
    probabilities: np.ndarray,
    depth: np.ndarray,
    draws: np.ndarray,
    *,
    coverage: float,
    class_conditional: bool,
) -> np.ndarray:
    """Choose for each cell the labels that stand no further down than held-out cells' true ones of similar depth.

    Parameters
    ----------
    held_out
        From :func:`held_out_scores`.
    probabilities
        Calibrated, shape (n_obs, n_labels).
    depth
        Counts of each cell, shape (n_obs,); a cell without gets all labels.
    draws
        As in :func:`label_scores`.
    coverage
        Share of cells whose set is to hold the true label.
    class_conditional
        Whether it is to hold for each label, not only over all cells.

    Returns
    -------
    Whether a label is in the set, shape (n_obs, n_labels).
    """
    n_bins = int(np.clip(len(np.unique(held_out["cell"])) // CELLS_A_BIN, 1, MOST_BINS))
    edges = np.quantile(held_out["depth"], np.linspace(0, 1, n_bins + 1)[1:-1])
    own_bin = np.searchsorted(edges, held_out["depth"], side="right")
    n_labels = probabilities.shape[1]
    thresholds = np.empty((n_bins, n_labels))
    for i in range(n_bins):
        inside = {name: values[own_bin == i] for name, values in held_out.items()}
        for label in range(n_labels if class_conditional else 1):
            weights = _weights(inside, label if class_conditional else None)
            thresholds[i, label if class_conditional else slice(None)] = _threshold(inside["score"], weights, coverage)
    scores = label_scores(probabilities.astype(float), draws)
    return (scores <= thresholds[np.searchsorted(edges, depth, side="right")]) | (depth == 0)[:, None]


def _weights(held_out: dict[str, np.ndarray], label: int | None) -> np.ndarray:
    """Return how many cells each score stands for: a cell's scores at several depths are one cell's."""
    if label is None:
        return np.full(len(held_out["cell"]), len(np.unique(held_out["cell"])) / max(len(held_out["cell"]), 1))
    own = held_out["code"] == label
    weights = np.zeros(len(own))
    for members, most in ((own, np.inf), (~own, SHARED_CELLS)):
        if members.any():
            weights[members] = min(len(np.unique(held_out["cell"][members])), most) / members.sum()
    return weights


def _threshold(scores: np.ndarray, weights: np.ndarray, coverage: float) -> float:
    """Return the score that a new cell's true label does not exceed with this probability; infinite if none is."""
    order = np.argsort(scores)
    # the new cell is one more, whose score might be the highest; tolerance: sums of shares of cells
    position = np.searchsorted(weights[order].cumsum(), (weights.sum() + 1) * coverage - 1e-9)
    return float(scores[order][position]) if position < len(scores) else np.inf
