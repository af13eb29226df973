"""Counts and labels of a reference, as training and uncertainty read them."""

from dataclasses import dataclass

import numpy as np

from hrca.typing import StoredMatrix


@dataclass(frozen=True)
class ReferenceCells:
    """The cells of a reference: raw counts and label codes.

    Attributes
    ----------
    counts
        Raw counts, shape (n_obs, n_genes); sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); `n_labels` for a cell without a label.
    n_labels
        Number of labels; 0 for a reference without labels.

    Examples
    --------
    >>> reference = ReferenceCells(np.zeros((3, 5)), codes=np.array([1, 2, 0]), n_labels=2)
    >>> reference.labelled
    array([0, 2])
    """

    counts: StoredMatrix
    codes: np.ndarray
    n_labels: int

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.codes)

    @property
    def labelled(self) -> np.ndarray:
        """Indices of the labelled cells, shape (n_labelled,)."""
        return np.flatnonzero(self.codes < self.n_labels)

    @property
    def n_labelled(self) -> int:
        """Number of labelled cells."""
        return int((self.codes < self.n_labels).sum())
