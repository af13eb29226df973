"""Digests of counts and labels."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hrca.data._digest import counts_digest, names_digest


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(0.5, (50, 30))


@pytest.mark.parametrize(
    "store",
    [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, np.asfortranarray, np.float32, np.uint16],
)
def test_the_digest_does_not_depend_on_the_format(counts, store):
    assert counts_digest(store(counts)) == counts_digest(counts)


def test_the_digest_of_a_file_is_that_of_its_matrix(counts, tmp_path):
    ad.AnnData(sparse.csr_matrix(counts.astype(np.float32))).write_h5ad(tmp_path / "counts.h5ad")
    backed = ad.read_h5ad(tmp_path / "counts.h5ad", backed="r")
    assert counts_digest(backed.X) == counts_digest(counts)
    backed.file.close()


def moved_count(counts: np.ndarray) -> np.ndarray:
    # the sums of all cells and of all genes stay
    moved = counts + 1
    moved[:2, :2] += [[1, -1], [-1, 1]]
    return moved - 1


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[::-1],
        lambda x: x[:, ::-1],
        lambda x: x[:-1],
        lambda x: np.hstack([x, np.zeros_like(x[:, :1])]),
        lambda x: np.log1p(x),
        moved_count,
    ],
)
def test_other_counts_have_another_digest(counts, change):
    assert counts_digest(change(counts)) != counts_digest(counts)


def test_the_digest_of_names_is_of_their_order():
    names = ["a", "b", "a"]
    assert names_digest(names) == names_digest(pd.Series(names, dtype="category"))
    different = {
        names_digest(others) for others in (names, ["b", "a", "a"], ["a", "b"], ["x", "b", "x"], ["ab", "", "ab"])
    }
    assert len(different) == 5
