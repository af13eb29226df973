import numpy as np
import pytest
from conftest import QUIET, TINY, synthetic
from scipy import sparse, stats

import hrca
from hrca.uncertainty import _novelty
from hrca.uncertainty._novelty import LeaveOneOutProfiles, novelty
from hrca.uncertainty._novelty_reference import build_novelty_reference


def counts(n: int, rates: np.ndarray, seed: int, depth: float = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(len(rates), size=n)
    size = depth * np.exp(rng.normal(0, 0.5, n))
    own = rates[codes] * rng.gamma(4, 1 / 4, (n, rates.shape[1]))
    return rng.poisson(size[:, None] * own / own.sum(axis=1, keepdims=True)).astype(np.float32), codes


RATES = np.random.default_rng(0).dirichlet(np.full(80, 0.4), size=4)


def ask(kept, x, genes=None, *, platform_correction=True, names=None, batch_size=50):
    genes = np.ones(x.shape[1], dtype=np.float32) if genes is None else genes
    names = [str(i) for i in range(len(x))] if names is None else names

    def batches():
        return ((slice(i, i + batch_size), x[i : i + batch_size]) for i in range(0, len(x), batch_size))

    return novelty(kept, batches, x @ genes, genes, names if platform_correction else None)


def test_a_cell_is_taken_out_of_its_own_profile():
    x, codes = counts(12, RATES, seed=1)
    profiles = LeaveOneOutProfiles(np.stack([x[codes == i].sum(axis=0) for i in range(4)]), np.ones(80))
    without = profiles.without(x, codes)
    for cell in range(12):
        rest = np.arange(12) != cell
        sums = np.stack([x[rest & (codes == i)].sum(axis=0) for i in range(4)])
        np.testing.assert_allclose(
            without[cell], LeaveOneOutProfiles(sums, np.ones(80)).of_labels()[codes[cell]], rtol=1e-6
        )


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_cells_of_the_references_kind_have_any_value_as_often(share):
    x, codes = counts(800, RATES, seed=1)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    query, _ = counts(800, RATES, seed=2)
    query = np.random.default_rng(3).binomial(query.astype(int), share).astype(np.float32)
    found = ask(kept, query)
    assert stats.kstest(found, "uniform").statistic < 0.07
    for alpha in (0.05, 0.1):
        assert abs((found >= 1 - alpha).mean() - alpha) < 0.02


@pytest.mark.parametrize("depths", ["log-uniform", "two kinds"])
def test_real_cells_are_judged_among_those_of_their_depth(depths):
    adata, rng = hrca.datasets.pbmc68k(), np.random.default_rng(0)
    x, labels = adata.X.toarray(), adata.obs["bulk_labels"].to_numpy().astype(str)
    reference = rng.random(len(x)) < 0.5
    names, codes = np.unique(labels[reference], return_inverse=True)
    max_depth = float(np.quantile(x[reference].sum(axis=1), 0.9))
    kept = build_novelty_reference(sparse.csr_array(x[reference]), codes, len(names), max_depth)
    query = x[~reference]
    if depths == "two kinds":
        query = np.vstack([query, *(rng.binomial(query.astype(int), 0.05) for _ in range(2))]).astype(np.float32)
    else:
        query = rng.binomial(query.astype(int), np.exp(rng.uniform(np.log(0.03), 0, (len(query), 1)))).astype(
            np.float32
        )
    found, depth = ask(kept, query), query.sum(axis=1)
    for part in (depth < np.median(depth), depth >= np.median(depth), depth >= np.quantile(depth, 0.7)):
        assert np.mean(found[part] >= 0.95) < 0.12


def test_where_no_shared_gene_has_counts_there_is_no_novelty():
    x, codes = counts(100, RATES, seed=1)
    x[:, 0] = 0
    genes = (np.arange(80) == 0).astype(np.float32)
    query = np.ones((3, 80), dtype=np.float32)
    assert np.isnan(ask(build_novelty_reference(x, codes, 4, 1e9), query, genes)).all()


def test_a_type_that_the_reference_lacks_is_strange():
    x, codes = counts(600, RATES[:3], seed=1)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 3, 1e9)
    strange, _ = counts(200, RATES[3:], seed=2)
    assert (ask(kept, strange) >= 0.95).mean() > 0.9


def test_genes_that_a_query_lacks_play_no_part():
    x, codes = counts(600, RATES, seed=1)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    query, _ = counts(300, RATES, seed=2)
    genes = (np.arange(80) % 2).astype(np.float32)
    found = ask(kept, query, genes)
    np.testing.assert_array_equal(found, ask(kept, query * genes, genes))
    assert abs((found >= 0.95).mean() - 0.05) < 0.03


def test_deep_cells_are_no_stranger_than_others():
    x, codes = counts(600, RATES, seed=1)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 4, float(np.quantile(x.sum(axis=1), 0.9)))
    deep, _ = counts(300, RATES, seed=2, depth=2000)
    assert (ask(kept, deep) >= 0.95).mean() < 0.15


def test_a_cell_without_counts_has_none():
    x, codes = counts(100, RATES, seed=1)
    kept = build_novelty_reference(x, codes, 4, 1e9)
    assert np.isnan(ask(kept, np.zeros((3, 80), dtype=np.float32))).all()
    x[7] = 0
    assert np.flatnonzero(np.isnan(ask(kept, x))).tolist() == [7]


def test_what_is_kept_of_many_cells_is_bounded():
    x, codes = counts(2500, RATES, seed=1, depth=20)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    assert len(kept.codes) == 2000
    np.testing.assert_allclose(kept.sums.sum(axis=0), x.sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("most", [5000, 60])
def test_the_order_of_the_cells_plays_no_part(most, monkeypatch):
    monkeypatch.setattr(_novelty, "MAX_FACTOR_CELLS", most)
    x, codes = counts(300, RATES, seed=1)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    # shallow: many cells of one depth
    query, _ = counts(200, RATES, seed=2, depth=20)
    order = np.random.default_rng(0).permutation(200)
    found = ask(kept, query)
    again = ask(kept, query[order], names=[str(i) for i in order])
    np.testing.assert_allclose(again, found[order], atol=0.011)
    assert (again != found[order]).mean() < 0.05


def test_a_batch_without_any_counts_changes_nothing():
    x, codes = counts(100, RATES, seed=1)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    query, _ = counts(20, RATES, seed=2)
    query[[3, 19]] = 0
    found = ask(kept, query, batch_size=1)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 19]
    np.testing.assert_allclose(found, ask(kept, query), atol=0.03)


def test_what_the_platform_catches_is_not_strange():
    rng = np.random.default_rng(5)
    rates = rng.dirichlet(np.full(80, 1.5), size=7)
    x, codes = counts(800, rates[:6], seed=1)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 6, 1e9)
    # another platform: each gene with an efficiency of its own
    elsewhere = rates * np.exp(rng.normal(0, 0.5, 80))
    query, types = counts(800, elsewhere / elsewhere.sum(axis=1, keepdims=True), seed=2)
    strange = types == 6
    found, alone = ask(kept, query), ask(kept, query, platform_correction=False)
    assert (alone[~strange] >= 0.95).mean() > 0.4
    assert (found[~strange] >= 0.95).mean() < 0.1
    assert (found[strange] >= 0.95).mean() > 0.9


def test_a_mixture_of_two_types_is_strange():
    # each half of its counts is one type's: some label's profile explains much of it, but no cell is like it
    x, codes = counts(800, RATES, seed=1, depth=400)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    one, two = (counts(400, RATES[[i]], seed=i, depth=200)[0] for i in (2, 3))
    assert (ask(kept, one + two) >= 0.95).mean() > 0.9


@pytest.mark.parametrize("n", [1, 2, 30, 45])
def test_few_reference_cells_are_enough_to_run(n):
    x, codes = counts(n, RATES[:1], seed=1)
    kept = build_novelty_reference(sparse.csr_array(x), codes, 1, 1e9)
    query, _ = counts(60, RATES[[0, 3]], seed=2)
    found = ask(kept, query)
    assert ((found >= 0) & (found < 1)).all()


@pytest.mark.parametrize("n", [45, 300])
def test_the_rate_is_about_kept_by_few_reference_cells(n):
    rates = []
    for seed in range(5):
        x, codes = counts(n, RATES, seed=seed)
        found = ask(build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9), counts(400, RATES, seed=100 + seed)[0])
        rates.append((found >= 0.95).mean())
    assert 0.02 < np.mean(rates) < 0.1


def test_one_gene_is_enough_to_run():
    x, codes = counts(100, RATES, seed=1)
    genes = (np.arange(80) == 3).astype(np.float32)
    found = ask(build_novelty_reference(x, codes, 4, 1e9), x, genes)
    assert (np.isnan(found) == (x[:, 3] == 0)).all()


# The model -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    adata = synthetic(400, n_labels=4)
    adata = adata[adata.obs["cell_type"] != "type 3"].copy()
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(2, 10, lr=1e-2, **QUIET)
    return model


def test_predict_calls_what_is_strange_unknown(model, tmp_path):
    query = synthetic(200, n_labels=4, seed=5)
    strange = (query.obs["cell_type"] == "type 3").to_numpy()
    plain = np.asarray(model.predict(query, platform_correction=False))
    with pytest.warns(UserWarning, match=r"\d+% of the cells are called 'Unknown', where 5% of") as record:
        labels = np.asarray(model.predict(query, novelty_fpr=0.05, platform_correction=False))
    assert record[0].filename == __file__
    rejected = labels == "Unknown"
    assert rejected[strange].mean() > 0.9
    assert rejected[~strange].mean() < 0.12
    np.testing.assert_array_equal(labels[~rejected], plain[~rejected])
    np.testing.assert_array_equal(rejected, query.obs["hrca_novelty"] >= 0.95)
    assert query.uns["hrca"]["novelty_fpr"] == 0.05
    model.save(tmp_path / "model")
    again = synthetic(200, n_labels=4, seed=5)
    hrca.HRCA.load(tmp_path / "model").predict(again, platform_correction=False)
    np.testing.assert_array_equal(again.obs["hrca_novelty"], query.obs["hrca_novelty"])


@pytest.mark.parametrize("rate", [0, 1])
def test_what_is_no_rate_is_refused(model, rate):
    with pytest.raises(ValueError, match=f"between 0 and 1, got {rate}"):
        model.predict(synthetic(5), novelty_fpr=rate)
