"""Types that signatures share."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from scipy import sparse

# Counts in memory, shape (n_obs, n_vars).
CountMatrix: TypeAlias = sparse.csr_matrix | sparse.csr_array | np.ndarray
# Batches of a query: the rows, and their counts in the order of the model's genes.
Batches: TypeAlias = Iterator[tuple[slice, sparse.csr_array]]


@runtime_checkable
class StoredMatrix(Protocol):
    """A matrix, sparse or dense, in memory, in a file or in a dask graph."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Select some rows; of a dask array, without computing them."""
        ...
