"""The sample of reference cells that novelty is measured against."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hrca.module._profiles import class_sums

# Maximum number of reference cells. Not tuned.
MAX_REFERENCE_CELLS = 2000

SEED = 0


@dataclass(frozen=True)
class NoveltyReference:
    """Counts of each label, and a sample of the labelled reference cells.

    Attributes
    ----------
    sums
        Counts by label and gene, shape (n_labels, n_genes), float32.
    counts
        Raw counts of the sample, shape (n_cells, n_genes), float32.
    codes
        Index of each sampled cell's label, shape (n_cells,), int32.
    max_depth
        Counts to which deeper cells are thinned before they are compared; a float32 value.
    """

    sums: np.ndarray
    counts: sparse.csr_array
    codes: np.ndarray
    max_depth: float

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return plain arrays, for a saved model: the counts as ``data``, ``indices`` and ``indptr``."""
        return {
            "sums": self.sums,
            "data": self.counts.data,
            "indices": self.counts.indices,
            "indptr": self.counts.indptr,
            "codes": self.codes,
            "max_depth": np.array(self.max_depth, dtype=np.float32),
        }

    @classmethod
    def from_dict(cls, arrays: dict[str, np.ndarray]) -> "NoveltyReference":
        """Return the reference that :meth:`to_dict` was called on."""
        shape = (len(arrays["codes"]), arrays["sums"].shape[1])
        counts = sparse.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        return cls(arrays["sums"], counts, arrays["codes"], float(arrays["max_depth"]))


def build_novelty_reference(counts, codes: np.ndarray, n_labels: int, max_depth: float) -> NoveltyReference:
    """Sum the counts of each label, and draw at most 2,000 of the labelled cells.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    n_labels
        Number of labels.
    max_depth
        Counts to which deeper cells are thinned before they are compared.

    Returns
    -------
    The sums and the sampled cells.
    """
    chosen = np.flatnonzero(codes < n_labels)
    if len(chosen) > MAX_REFERENCE_CELLS:
        chosen = np.sort(np.random.default_rng(SEED).choice(chosen, MAX_REFERENCE_CELLS, replace=False))
    cells = counts[chosen]
    cells = sparse.csr_array(cells if sparse.issparse(cells) else np.asarray(cells))
    return NoveltyReference(
        sums=class_sums(counts, codes, n_labels).astype(np.float32),
        counts=cells.astype(np.float32),
        codes=codes[chosen].astype(np.int32),
        max_depth=float(np.float32(max_depth)),
    )
