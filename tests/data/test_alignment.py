"""Alignment of genes, against pandas' reindex."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hrca.data._alignment import GeneAlignment, align, check_shared, check_unique, make_selector

MODEL_GENES = pd.Index([f"g{i}" for i in range(12)])


def alignment_of(genes: pd.Index) -> GeneAlignment:
    positions = genes.get_indexer(MODEL_GENES)
    return GeneAlignment(make_selector(positions, len(genes)), positions >= 0)


def expected(counts: np.ndarray, genes: pd.Index) -> np.ndarray:
    return pd.DataFrame(counts, columns=genes).reindex(columns=MODEL_GENES, fill_value=0).to_numpy()


@pytest.mark.parametrize(
    "genes",
    [
        pytest.param(MODEL_GENES, id="same"),
        pytest.param(MODEL_GENES[::-1], id="reversed"),
        pytest.param(MODEL_GENES[[7, 2, 9, 0, 4, 11]], id="subset, shuffled"),
        pytest.param(MODEL_GENES[:5], id="the first"),
        pytest.param(pd.Index([*MODEL_GENES, "x"]), id="one more"),
        pytest.param(pd.Index(["x", *MODEL_GENES[3:], "y"]), id="extra and missing"),
    ],
)
@pytest.mark.parametrize(
    "container",
    [sparse.csr_matrix, sparse.csr_array, np.asarray],
    ids=["csr_matrix", "csr_array", "dense"],
)
@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.float64])
def test_align_equals_reindex(genes, container, dtype):
    counts = np.random.default_rng(0).poisson(1.0, (5, len(genes))).astype(dtype)
    alignment = alignment_of(genes)
    aligned = align(container(counts), alignment)
    assert sparse.issparse(aligned) == (container is not np.asarray)
    assert aligned.dtype == np.float32
    dense = aligned.toarray() if sparse.issparse(aligned) else aligned
    np.testing.assert_array_equal(dense, expected(counts, genes))
    np.testing.assert_array_equal(alignment.present, MODEL_GENES.isin(genes))
    assert alignment.n_shared == MODEL_GENES.isin(genes).sum()
    np.testing.assert_array_equal(alignment.used(len(genes)), genes.isin(MODEL_GENES))


def test_same_genes_need_no_product():
    assert alignment_of(MODEL_GENES).selector is None


def test_no_shared_gene_shows_three_names_of_each_side():
    with pytest.raises(ValueError, match=r"share none.*'ENSG0', 'ENSG1', 'ENSG2'\].*'g0', 'g1', 'g2'\]"):
        check_shared(0, pd.Index([f"ENSG{i}" for i in range(5)]), MODEL_GENES)


def test_duplicated_genes_raise_by_name():
    with pytest.raises(ValueError, match=r"`adata.var_names` has 1 duplicated: \['b'\]"):
        check_unique(pd.Index(["a", "b", "b", "b"]), "`adata.var_names`")
