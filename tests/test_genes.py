"""Alignment, against pandas' reindex."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hrca._genes import align, check_unique, match_genes

MODEL_GENES = pd.Index([f"g{i}" for i in range(12)])


def expected(counts: np.ndarray, genes: pd.Index) -> np.ndarray:
    return pd.DataFrame(counts, columns=genes).reindex(columns=MODEL_GENES, fill_value=0).to_numpy()


@pytest.mark.parametrize(
    "genes",
    [
        pytest.param(MODEL_GENES, id="same"),
        pytest.param(MODEL_GENES[::-1], id="reversed"),
        pytest.param(MODEL_GENES[[7, 2, 9, 0, 4, 11]], id="subset, shuffled"),
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
    match = match_genes(genes, MODEL_GENES)
    aligned = align(container(counts), match)
    assert sparse.issparse(aligned) == (container is not np.asarray)
    assert aligned.dtype == np.float32
    dense = aligned.toarray() if sparse.issparse(aligned) else aligned
    np.testing.assert_array_equal(dense, expected(counts, genes))
    np.testing.assert_array_equal(match.present, MODEL_GENES.isin(genes))
    assert match.n_shared == MODEL_GENES.isin(genes).sum()


def test_same_genes_need_no_product():
    assert match_genes(MODEL_GENES, MODEL_GENES).selector is None


def test_no_shared_gene_shows_three_names_of_each_side():
    with pytest.raises(ValueError, match=r"share none.*'ENSG0', 'ENSG1', 'ENSG2'\].*'g0', 'g1', 'g2'\]"):
        match_genes(pd.Index([f"ENSG{i}" for i in range(5)]), MODEL_GENES)


def test_few_shared_genes_warn_with_the_way_out():
    with pytest.warns(UserWarning, match=r"Only 3 of the model's 12 genes \(25%\).*isin"):
        match_genes(MODEL_GENES[:3], MODEL_GENES)


def test_another_case_is_named():
    with pytest.warns(UserWarning, match="12 would if case were ignored"):
        match_genes(pd.Index(["g0", *MODEL_GENES[1:].str.upper()]), MODEL_GENES)


def test_duplicated_genes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"`adata.var_names` has 1 duplicated: \['b'\]"):
        check_unique(pd.Index(["a", "b", "b", "b"]), "`adata.var_names`")
    with pytest.raises(ValueError, match="duplicated"):
        match_genes(pd.Index(["g0", "g0"]), MODEL_GENES)
