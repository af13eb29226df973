"""Random scores of held-out cells, for cards."""

import numpy as np

from hrca.uncertainty._conformal import ConformalScores

LABELS = ["a", "b", "never held out", "d"]
N_CELLS, N_DEPTHS = 300, 10


def held_out_cells() -> ConformalScores:
    """Random cells at ten depths, own depths first; wrong in every way that a prediction can be."""
    rng = np.random.default_rng(0)
    codes = np.tile(rng.choice([0, 1, 3], N_CELLS, p=[0.6, 0.3, 0.1]), N_DEPTHS)
    n_rows = N_CELLS * N_DEPTHS
    logits = rng.normal(size=(n_rows, len(LABELS)))
    logits[np.arange(n_rows), codes] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = rng.integers(20, 5000, N_CELLS)
    depth = np.r_[own, *(np.ceil(own * rng.random(N_CELLS)) for _ in range(N_DEPTHS - 1))]
    cells = np.tile(rng.permutation(10_000)[:N_CELLS], N_DEPTHS)
    return ConformalScores(
        scores=np.zeros(n_rows, dtype=np.float32),
        depth=depth.astype(np.float32),
        codes=codes.astype(np.int32),
        cells=cells.astype(np.int32),
        probabilities=probabilities.astype(np.float32),
    )
