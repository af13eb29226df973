"""Novelty of simulated and real cells, and of a trained model."""

from functools import partial

import numpy as np
import pytest
from conftest import QUIET, TINY, synthetic
from scipy import sparse, stats

import hrca
from hrca.module._thinning import thin_to_depth
from hrca.prediction._open_set import OpenSetScores
from hrca.uncertainty import _novelty
from hrca.uncertainty._novelty import query_novelty, ranked_cells, reference_novelty
from hrca.uncertainty._novelty_reference import build_novelty_reference


def counts(n: int, rates: np.ndarray, seed: int, depth: float = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(len(rates), size=n)
    size = depth * np.exp(rng.normal(0, 0.5, n))
    own = rates[codes] * rng.gamma(4, 1 / 4, (n, rates.shape[1]))
    return rng.poisson(size[:, None] * own / own.sum(axis=1, keepdims=True)).astype(np.float32), codes


# By how much another seed may move the novelty of 99 of 100 deep cells.
MAX_CHANGE = 0.05

RATES = np.random.default_rng(0).dirichlet(np.full(80, 0.4), size=4)


def novelty_of(x, reference, genes=None, *, batch_size=50):
    genes = np.ones(x.shape[1], dtype=np.float32) if genes is None else genes

    batches = (
        (slice(i, i + batch_size), sparse.csr_array(x[i : i + batch_size])) for i in range(0, len(x), batch_size)
    )
    return reference_novelty(reference, batches, x @ (genes > 0), genes)


@pytest.mark.parametrize("fraction", [1.0, 0.2])
def test_novelty_of_cells_like_the_reference_is_uniform(fraction):
    x, codes = counts(800, RATES, seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    query, _ = counts(800, RATES, seed=2)
    query = np.random.default_rng(3).binomial(query.astype(int), fraction).astype(np.float32)
    found = novelty_of(query, reference)
    assert stats.kstest(found, "uniform").statistic < 0.07
    for alpha in (0.05, 0.1):
        assert abs((found >= 1 - alpha).mean() - alpha) < 0.02


@pytest.mark.parametrize("depths", ["log-uniform", "two groups"])
def test_novelty_of_real_cells_is_uniform_at_each_depth(depths):
    adata, rng = hrca.datasets.pbmc68k(), np.random.default_rng(0)
    x, labels = adata.X.toarray(), adata.obs["bulk_labels"].to_numpy().astype(str)
    in_reference = rng.random(len(x)) < 0.5
    names, codes = np.unique(labels[in_reference], return_inverse=True)
    max_depth = float(np.quantile(x[in_reference].sum(axis=1), 0.9))
    reference = build_novelty_reference(sparse.csr_array(x[in_reference]), codes, len(names), max_depth)
    query = x[~in_reference]
    if depths == "two groups":
        query = np.vstack([query, *(rng.binomial(query.astype(int), 0.05) for _ in range(2))]).astype(np.float32)
    else:
        query = rng.binomial(query.astype(int), np.exp(rng.uniform(np.log(0.03), 0, (len(query), 1)))).astype(
            np.float32
        )
    found, depth = novelty_of(query, reference), query.sum(axis=1)
    for part in (depth < np.median(depth), depth >= np.median(depth), depth >= np.quantile(depth, 0.7)):
        assert np.mean(found[part] >= 0.95) < 0.12


def test_without_counts_on_shared_genes_there_is_no_novelty():
    x, codes = counts(100, RATES, seed=1)
    x[:, 0] = 0
    genes = (np.arange(80) == 0).astype(np.float32)
    query = np.ones((3, 80), dtype=np.float32)
    assert np.isnan(novelty_of(query, build_novelty_reference(x, codes, 4, 1e9), genes)).all()


def test_a_type_that_the_reference_lacks_is_novel():
    x, codes = counts(600, RATES[:3], seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 3, 1e9)
    novel, _ = counts(200, RATES[3:], seed=2)
    assert (novelty_of(novel, reference) >= 0.95).mean() > 0.9


def test_genes_that_a_query_lacks_are_ignored():
    x, codes = counts(600, RATES, seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    query, _ = counts(300, RATES, seed=2)
    genes = (np.arange(80) % 2).astype(np.float32)
    found = novelty_of(query, reference, genes)
    np.testing.assert_array_equal(found, novelty_of(query * genes, reference, genes))
    assert abs((found >= 0.95).mean() - 0.05) < 0.03


def test_deep_cells_are_no_more_novel_than_others():
    x, codes = counts(600, RATES, seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, float(np.quantile(x.sum(axis=1), 0.9)))
    deep, _ = counts(300, RATES, seed=2, depth=2000)
    assert (novelty_of(deep, reference) >= 0.95).mean() < 0.15


def test_another_seed_of_the_draws_hardly_moves_the_novelty_of_a_deep_cell(monkeypatch):
    x, codes = counts(600, RATES, seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, float(np.quantile(x.sum(axis=1), 0.9)))
    deep, _ = counts(300, RATES, seed=2, depth=2000)
    found, alone = {}, {}
    for seed in range(3):
        monkeypatch.setattr(_novelty, "thin_to_depth", partial(thin_to_depth, seed=seed))
        found[seed] = novelty_of(deep, reference)
        with monkeypatch.context() as context:
            context.setattr(_novelty, "N_NOVELTY_DRAWS", 1)
            alone[seed] = novelty_of(deep, reference)
    for seed in (1, 2):
        assert np.quantile(np.abs(found[seed] - found[0]), 0.99) < MAX_CHANGE
        assert np.quantile(np.abs(alone[seed] - alone[0]), 0.99) > 4 * MAX_CHANGE


def test_a_cell_without_counts_has_no_novelty():
    x, codes = counts(100, RATES, seed=1)
    reference = build_novelty_reference(x, codes, 4, 1e9)
    assert np.isnan(novelty_of(np.zeros((3, 80), dtype=np.float32), reference)).all()
    x[7] = 0
    assert np.flatnonzero(np.isnan(novelty_of(x, reference))).tolist() == [7]


def test_the_order_of_the_cells_does_not_matter():
    x, codes = counts(300, RATES, seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    # shallow: many cells of one depth
    query, _ = counts(200, RATES, seed=2, depth=20)
    order = np.random.default_rng(0).permutation(200)
    found = novelty_of(query, reference)
    again = novelty_of(query[order], reference)
    np.testing.assert_allclose(again, found[order], atol=0.011)
    assert (again != found[order]).mean() < 0.05


def test_a_batch_without_any_counts_changes_nothing():
    x, codes = counts(100, RATES, seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    query, _ = counts(20, RATES, seed=2)
    query[[3, 19]] = 0
    found = novelty_of(query, reference, batch_size=1)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 19]
    np.testing.assert_allclose(found, novelty_of(query, reference), atol=0.03)


def test_platform_factors_are_not_novel():
    rng = np.random.default_rng(5)
    rates, factors = rng.dirichlet(np.full(80, 1.5), size=7), np.exp(rng.normal(0, 0.5, 80))
    x, codes = counts(800, rates[:6], seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 6, 1e9)
    # another platform: each gene with an efficiency of its own
    elsewhere = rates * factors
    query, types = counts(800, elsewhere / elsewhere.sum(axis=1, keepdims=True), seed=2)
    novel = types == 6
    found, alone = novelty_of(query, reference, factors), novelty_of(query, reference)
    assert (alone[~novel] >= 0.95).mean() > 0.4
    assert (found[~novel] >= 0.95).mean() < 0.1
    assert (found[novel] >= 0.95).mean() > 0.9


def fits_of(novel: np.ndarray, depth: np.ndarray, deviance: np.ndarray) -> OpenSetScores:
    return OpenSetScores(novel, np.zeros(len(depth), dtype=int), depth, deviance)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_among_known_cells_novelty_is_uniform_on_any_platform(scale):
    rng = np.random.default_rng(0)
    depth = rng.integers(20, 500, 2000).astype(float)
    # another platform multiplies all deviances
    deviance = scale * depth * rng.lognormal(0, 0.3, 2000)
    novelty = query_novelty(fits_of(np.full(2000, 0.1), depth, deviance))
    assert stats.kstest(novelty, "uniform").statistic < 0.02
    assert np.corrcoef(novelty, depth)[0, 1] < 0.1


def test_probably_novel_cells_rank_above_known_ones_and_do_not_rank_them():
    rng = np.random.default_rng(0)
    depth, deviance = np.full(1000, 100.0), rng.lognormal(0, 0.3, 1000)
    is_novel = np.arange(1000) < 700
    novelty = query_novelty(fits_of(np.where(is_novel, 0.99, 0.05), depth, deviance))
    assert (novelty[is_novel] >= 0.95).mean() > 0.95
    assert (novelty[~is_novel] >= 0.95).mean() == pytest.approx(0.05, abs=0.02)


def test_a_cell_without_counts_has_no_rank_and_takes_none():
    depth = np.where(np.arange(80) % 2, 50.0, 0.0)
    novelty = query_novelty(fits_of(np.zeros(80), depth, np.arange(80.0)))
    np.testing.assert_array_equal(np.isnan(novelty), depth == 0)
    assert (np.diff(novelty[1::2]) >= 0).all()
    assert novelty[79] > 0.9
    assert np.isnan(query_novelty(fits_of(np.zeros(2), np.zeros(2), np.zeros(2)))).all()


def test_if_all_cells_are_novel_they_are_ranked_among_themselves():
    depth = np.full(100, 50.0)
    novelty = query_novelty(fits_of(np.full(100, 0.9), depth, np.arange(100.0)))
    assert (np.diff(novelty) >= 0).all()
    assert novelty.max() < 1


def test_a_mixture_of_two_types_is_novel():
    # half of its counts are of each type: a label's profile explains much of it, but no reference cell is like it
    x, codes = counts(800, RATES, seed=1, depth=400)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    one, two = (counts(400, RATES[[i]], seed=i, depth=200)[0] for i in (2, 3))
    assert (novelty_of(one + two, reference) >= 0.95).mean() > 0.9


@pytest.mark.parametrize("n", [1, 2, 30, 45])
def test_few_reference_cells_are_enough_to_run(n):
    x, codes = counts(n, RATES[:1], seed=1)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 1, 1e9)
    query, _ = counts(60, RATES[[0, 3]], seed=2)
    found = novelty_of(query, reference)
    assert ((found >= 0) & (found < 1)).all()


@pytest.mark.parametrize("n", [45, 300])
def test_the_false_positive_rate_holds_about_with_few_reference_cells(n):
    rates = []
    for seed in range(5):
        x, codes = counts(n, RATES, seed=seed)
        reference = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
        found = novelty_of(counts(400, RATES, seed=100 + seed)[0], reference)
        rates.append((found >= 0.95).mean())
    assert 0.02 < np.mean(rates) < 0.1


def test_one_gene_is_enough_to_run():
    x, codes = counts(100, RATES, seed=1)
    genes = (np.arange(80) == 3).astype(np.float32)
    found = novelty_of(x, build_novelty_reference(x, codes, 4, 1e9), genes)
    assert (np.isnan(found) == (x[:, 3] == 0)).all()


@pytest.fixture(scope="module")
def model():
    adata = synthetic(400, n_labels=4)
    adata = adata[adata.obs["cell_type"] != "type 3"].copy()
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(10, pretrain_epochs=2, lr=1e-2, **QUIET)
    return model


def test_predict_labels_novel_cells_unknown(model, tmp_path):
    query = synthetic(200, n_labels=4, seed=5)
    novel = (query.obs["cell_type"] == "type 3").to_numpy()
    plain = np.asarray(model.predict(query, platform_correction=False))
    with pytest.warns(UserWarning, match=r"of 200 cells \(\d+%\) are rejected .*'Unknown', where 5% are") as record:
        labels = np.asarray(model.predict(query, novelty_fpr=0.05, platform_correction=False))
    assert record[0].filename == __file__
    rejected = labels == "Unknown"
    assert rejected[novel].mean() > 0.9
    assert rejected[~novel].mean() < 0.12
    np.testing.assert_array_equal(labels[~rejected], plain[~rejected])
    np.testing.assert_array_equal(rejected, query.obs["hrca_novelty"] >= 0.95)
    assert query.uns["hrca"]["novelty_fpr"] == 0.05
    model.save(tmp_path / "model")
    again = synthetic(200, n_labels=4, seed=5)
    hrca.HRCA.load(tmp_path / "model").predict(again, platform_correction=False)
    np.testing.assert_array_equal(again.obs["hrca_novelty"], query.obs["hrca_novelty"])


@pytest.mark.parametrize("rate", [0, 1])
def test_impossible_rates_raise(model, rate):
    with pytest.raises(ValueError, match=f"between 0 and 1, got {rate}"):
        model.predict(synthetic(5), novelty_fpr=rate)


def test_cells_are_ranked_among_those_that_are_chosen():
    rng = np.random.default_rng(0)
    cells = fits_of(np.full(400, 0.1), rng.integers(50, 500, 400).astype(float), rng.gamma(50, 1, 400))
    is_ranked = np.arange(400) % 2 == 0
    novelty = query_novelty(cells, is_ranked)
    np.testing.assert_array_equal(novelty[is_ranked], query_novelty(cells.subset(is_ranked)))
    assert set(np.round(novelty * 201).astype(int)) <= set(range(201))
    np.testing.assert_allclose(novelty, query_novelty(cells), atol=0.15)


def test_at_most_a_million_cells_are_ranked_among(monkeypatch):
    names = [f"cell{i}" for i in range(100)]
    assert ranked_cells(names) is None
    monkeypatch.setattr("hrca.uncertainty._novelty.MAX_RANKED_CELLS", 30)
    is_ranked = ranked_cells(names)
    assert is_ranked.sum() == 30
    # the order of the cells does not matter
    np.testing.assert_array_equal(ranked_cells(names[::-1])[::-1], is_ranked)
