"""Types that signatures share."""

from collections.abc import Iterator
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from scipy import sparse

# A matrix of counts in memory, shape (n_obs, n_vars).
CountMatrix: TypeAlias = sparse.csr_matrix | sparse.csr_array | np.ndarray
# Batches of a query: the rows, and their dense counts in the order of the model's genes.
Batches: TypeAlias = Iterator[tuple[slice, np.ndarray]]


@runtime_checkable
class StoredMatrix(Protocol):
    """A matrix of counts wherever it lies: in memory, in a file or in a graph of dask."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        ...

