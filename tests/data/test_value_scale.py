"""Classified values, and recovered counts, against the counts that they were made from."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

from hrca.data._inverses import invert_to_counts
from hrca.data._row_reader import sample_cells
from hrca.data._value_scale import classify_values


@pytest.fixture
def counts() -> np.ndarray:
    """120 cells x 400 genes, about 300 counts a cell; each has a 1."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.3, 2.5, 400), (120, 400)).astype(np.float32)
    counts[:, 0] = 1
    return counts


def scale_of(x):
    return classify_values(sample_cells(sparse.csr_matrix(x)))


def per(x, target_sum):
    return x / x.sum(axis=1, keepdims=True) * target_sum


MADE = {
    "raw counts": lambda x: x,
    "counts per 10,000 (within these 400 genes)": lambda x: per(x, 1e4),
    "counts per 1,000,000 (within these 400 genes)": lambda x: per(x, 1e6),
    "fractions of each cell's counts (within these 400 genes)": lambda x: per(x, 1),
    "log1p of counts per 10,000 (within these 400 genes)": lambda x: np.log1p(per(x, 1e4)),
    "log1p of counts per 300 (within these 400 genes)": lambda x: np.log1p(per(x, 300)),
    "log2(x + 1) of counts per 10,000 (within these 400 genes)": lambda x: np.log2(per(x, 1e4) + 1),
    "log10(x + 1) of counts per 10,000 (within these 400 genes)": lambda x: np.log10(per(x, 1e4) + 1),
    "log1p of counts": np.log1p,
    "square root of counts": np.sqrt,
    "log1p of normalised counts": lambda x: np.log1p(per(x, 1e4))[:, :200],
    "normalised counts": lambda x: per(x, 1e4)[:, :200],
}


@pytest.mark.parametrize("text", MADE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_transformation_is_named_and_inverted(counts, text, dtype):
    x = MADE[text](counts.astype(np.float64)).astype(dtype)
    scale = scale_of(x)
    assert scale.text == text
    assert scale.is_counts == (text == "raw counts")
    if scale.inverse is not None:
        np.testing.assert_array_equal(
            invert_to_counts(sparse.csr_array(x), scale.inverse).toarray(), counts[:, : x.shape[1]]
        )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: np.where(x > 5, np.nan, x), "NaN"),
        (lambda x: np.where(x > 5, np.inf, x), "infinite"),
        (lambda x: (x - x.mean(0)) / (x.std(0) + 1e-6), "around 0 for each gene"),
        (lambda x: np.log1p(x) - np.log1p(x).mean(1, keepdims=True), "around 0 within each cell"),
        (lambda x: np.where(x == x.max(), -3, x), "negative values such as -3"),
        (lambda x: x + np.random.default_rng(0).random(x.shape), "imputed or denoised"),
        (lambda x: np.where(x > 4, 0.9 * x, x), "counts and fractions"),
        (lambda x: np.sign(x) * np.random.default_rng(0).random(x.shape), "log-normalised data"),
        (lambda x: 50 * x * np.random.default_rng(0).random(x.shape), "ambient-corrected"),
    ],
)
def test_values_that_cannot_be_inverted_are_described(counts, make, words):
    scale = scale_of(make(counts))
    assert words in scale.text
    assert (scale.is_counts, scale.inverse) == (False, None)


@pytest.mark.parametrize(
    ("make", "words"),
    [(np.sign, "only 0 and 1"), (lambda x: np.rint(per(x, 1e4)), "without ones"), (np.zeros_like, "zeros only")],
)
def test_integers_that_are_not_counts_are_suspicious(counts, make, words):
    scale = scale_of(make(counts))
    assert words in scale.text
    assert scale.is_counts and scale.is_suspicious


@pytest.mark.parametrize(
    "x", [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((2, 2)), np.ones((5, 4)), 3 * np.ones((9, 9))]
)
def test_few_cells_or_genes_are_not_suspicious(x):
    scale = scale_of(x)
    assert scale.is_counts and not scale.is_suspicious


def test_counts_with_one_fraction_have_no_inverse(counts):
    counts[3, 0] = 0.5
    assert scale_of(counts).inverse is None


def test_large_values_do_not_overflow():
    with np.errstate(over="raise"):
        assert not scale_of(np.full((60, 3), 1234.5) + np.arange(3) / 7).is_counts


@pytest.mark.filterwarnings("ignore:Some cells have zero counts")
def test_real_cells_are_classified(data_dir):
    for path in sorted(data_dir.glob("*.h5ad")):
        adata = ad.read_h5ad(path)
        assert scale_of(adata.X).text == "raw counts", path.stem
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        assert scale_of(adata.X).text.startswith("log1p of counts per 10,000"), path.stem
