"""Values that pass as raw counts, and the words for others."""

import numpy as np
import pytest
from scipy import sparse

from hrca.data._count_checks import check_counts

GOOD = np.array([[0, 3, 1], [0, 0, 0]])
CONTAINERS = [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
BAD = {
    "NaN": (np.nan, "NaN"),
    "inf": (np.inf, "infinite"),
    "negative": (-2.0, "negative values such as -2"),
    "log": (1.5, "log-normalised"),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, bool])
def test_counts_pass(container, dtype):
    check_counts(container(GOOD.astype(dtype)), "`adata.X`")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", BAD)
def test_other_values_raise(container, case):
    value, words = BAD[case]
    x = GOOD.astype(np.float32)
    x[1, 2] = value
    with pytest.raises(ValueError, match=f"`adata.X` must hold raw counts.*{words}.*layer"):
        check_counts(container(x), "`adata.X`")


def test_large_fractions_are_not_called_logs():
    with pytest.raises(ValueError, match="normalised or ambient-corrected"):
        check_counts(np.array([[250.5, 3.0]]), "`adata.X`")


def test_negative_integers_raise():
    with pytest.raises(ValueError, match="negative"):
        check_counts(np.array([[-1, 3]]), "`adata.X`")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_matrices_pass(shape):
    check_counts(sparse.csr_matrix(shape), "`adata.X`")
    check_counts(np.zeros(shape), "`adata.X`")
