"""Reference cells and label profiles that novelty is computed from."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hrca.module._profiles import PROFILE_PSEUDOCOUNT, class_sums, normalize_rows
from hrca.typing import StoredMatrix

# Maximum number of reference cells in a saved model. Not tuned.
MAX_REFERENCE_CELLS = 2000

# Pseudocount of a gene in the mean profile, so that a gene without counts in the reference has a probability above 0.
# Not tuned.
GENE_PSEUDOCOUNT = 0.5

# Seed of the sample. Any fixed number serves.
SAMPLE_SEED = 0


@dataclass(frozen=True)
class NoveltyReference:
    """A random sample of the labelled reference cells, and the summed counts of each label.

    Attributes
    ----------
    sums
        Summed counts by label and gene over all labelled cells, shape (n_labels, n_genes), float32.
    counts
        Raw counts of the sampled cells, shape (n_cells, n_genes), float32.
    codes
        Index of the label of each sampled cell, shape (n_cells,), int32.
    max_depth
        Counts to which deeper query cells are thinned before they are compared. It is rounded to float32.
    """

    sums: np.ndarray
    counts: sparse.csr_array
    codes: np.ndarray
    max_depth: float

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return arrays to be saved; the counts are ``data``, ``indices`` and ``indptr``."""
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
        """Restore the reference from the arrays of :meth:`to_dict`."""
        shape = (len(arrays["codes"]), arrays["sums"].shape[1])
        counts = sparse.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        return cls(arrays["sums"], counts, arrays["codes"], float(arrays["max_depth"]))


def build_novelty_reference(
    counts: StoredMatrix, codes: np.ndarray, n_labels: int, max_depth: float
) -> NoveltyReference:
    """Sum the counts of each label, and sample at most 2,000 of the labelled cells.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without a label.
    n_labels
        Number of labels.
    max_depth
        Counts to which deeper query cells are thinned before they are compared.

    Returns
    -------
    The reference of :func:`hrca.uncertainty._novelty.reference_novelty`.
    """
    sampled = np.flatnonzero(codes < n_labels)
    if len(sampled) > MAX_REFERENCE_CELLS:
        sampled = np.sort(np.random.default_rng(SAMPLE_SEED).choice(sampled, MAX_REFERENCE_CELLS, replace=False))
    cells = counts[sampled]
    cells = sparse.csr_array(cells if sparse.issparse(cells) else np.asarray(cells))
    return NoveltyReference(
        sums=class_sums(counts, codes, n_labels).astype(np.float32),
        counts=cells.astype(np.float32),
        codes=codes[sampled].astype(np.int32),
        max_depth=float(np.float32(max_depth)),
    )


@dataclass(frozen=True)
class LeaveOneOutProfiles:
    r"""Profiles of labels, from which the counts of one cell can be subtracted.

    Attributes
    ----------
    sums
        Summed counts by label and gene, shape (n_labels, n_genes); 0 for genes that are not used.
    gene_mask
        1 for each gene that is used, 0 for the others, shape (n_genes,).

    Notes
    -----
    With summed counts :math:`c_{kg}` of label :math:`k` and :math:`G` genes used, the profile of the label is

    .. math::

        \pi_{kg} \propto c_{kg} + 0.3\, G\, m_g, \qquad m_g \propto \sum_{l} c_{lg} + 0.5,

    where :math:`\pi_k` and the mean profile :math:`m` each sum to one.
    """

    sums: np.ndarray
    gene_mask: np.ndarray

    @property
    def label_pseudocount(self) -> float:
        """Pseudocounts of a label over all genes."""
        return PROFILE_PSEUDOCOUNT * self.gene_mask.sum()

    def by_label(self) -> np.ndarray:
        """Return the profile of each label, shape (n_labels, n_genes); each row sums to one."""
        profiles = self.sums + self.label_pseudocount * self._mean_profile(self.sums.sum(axis=0))
        return normalize_rows(profiles)

    def without_cells(self, counts: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return for each cell the profile of its label, estimated from all other cells.

        Parameters
        ----------
        counts
            Counts of cells that are part of `sums`, on the genes used, shape (n_obs, n_genes).
        codes
            Index of the label of each, shape (n_obs,).

        Returns
        -------
        Shape (n_obs, n_genes); each row sums to one.
        """
        other_totals = (self.sums.sum(axis=0) - counts).clip(0)
        profiles = (self.sums[codes] - counts).clip(0) + self.label_pseudocount * self._mean_profile(other_totals)
        return normalize_rows(profiles)

    def _mean_profile(self, totals: np.ndarray) -> np.ndarray:
        return normalize_rows((totals + GENE_PSEUDOCOUNT) * self.gene_mask)
