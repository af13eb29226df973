"""Training matched to a query, and prediction from network and counts together."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from conftest import QUIET, TINY, calibrated_by_hand, synthetic
from scipy import sparse, stats
from simulated import network_scores, thinned_draws

import hrca
from hrca.module import _module
from hrca.module._networks import GeneAE
from hrca.module._sparse_counts import SparseCounts
from hrca.module._transforms import corrupt, log_normalize
from hrca.uncertainty import _posthoc_fit

N_SHARED = 45


def cells_of_depth(depth: np.ndarray, seed: int) -> ad.AnnData:
    """Cells of three labels on 60 genes, each of about the depth that is given."""
    adata = synthetic(len(depth), seed=seed)
    shares = np.array([adata.X[label::3].mean(axis=0).A1 for label in range(3)])
    shares /= shares.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    counts = [rng.multinomial(int(cell), shares[i % 3]) for i, cell in enumerate(depth)]
    adata.X = sparse.csr_matrix(np.array(counts, dtype=np.float32))
    return adata


def panel(adata: ad.AnnData) -> ad.AnnData:
    """The same cells on 45 of their genes and on 5 that the reference lacks, unlabelled and shuffled."""
    other = ad.AnnData(
        sparse.csr_matrix(np.full((adata.n_obs, 5), 3, dtype=np.float32)),
        obs=pd.DataFrame(index=adata.obs_names),
        var=pd.DataFrame(index=[f"other{i}" for i in range(5)]),
    )
    both = ad.concat([adata[:, :N_SHARED], other], axis=1)
    return both[:, np.random.default_rng(0).permutation(both.n_vars)].copy()


@pytest.fixture
def deep_reference() -> ad.AnnData:
    return cells_of_depth(np.random.default_rng(0).lognormal(np.log(8000), 0.1, 600), seed=1)


@pytest.fixture
def sparse_query() -> ad.AnnData:
    return panel(cells_of_depth(np.random.default_rng(2).lognormal(np.log(500), 0.3, 300), seed=3))


def new_model(adata, **kwargs) -> hrca.HRCA:
    # named, since counts so deep that no cell has a 1 are taken for rounded values
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type", layer="X")
    return hrca.HRCA(adata, **TINY, **kwargs)


def soft(model, adata, **kwargs) -> np.ndarray:
    return model.predict(adata, soft=True, key_added=None, **kwargs).to_numpy()


def aligned(model, adata) -> torch.Tensor:
    """The oracle of alignment: pandas."""
    frame = pd.DataFrame(adata.X.toarray(), columns=adata.var_names)
    return torch.from_numpy(frame.reindex(columns=model.gene_names, fill_value=0).to_numpy(dtype=np.float32))


@pytest.fixture(scope="module")
def matched_model() -> hrca.HRCA:
    """A model that is matched to a query of 45 genes and some 100 counts a cell; read only."""
    scvi.settings.seed = 0
    model = new_model(cells_of_depth(np.random.default_rng(0).integers(50, 300, 120), seed=1))
    query = panel(cells_of_depth(np.random.default_rng(2).integers(20, 200, 50), seed=3))
    model.train(20, pretrain_epochs=2, query=query, lr=1e-2, batch_size=32, **QUIET)
    return model


@pytest.fixture
def query_of_any_depth(matched_model) -> ad.AnnData:
    """Cells on both sides of the depth from which they are thinned; one without counts on the model's genes."""
    query = panel(cells_of_depth(np.geomspace(10, 1000, 60), seed=5))
    max_depth = float(matched_model.module.count_likelihood.max_depth)
    depths = aligned(matched_model, query).sum(dim=1)
    assert 15 < int((depths > max_depth).sum()) < 45
    own = ~query.var_names.str.startswith("other")
    counts = query.X.tolil()
    counts[7, np.flatnonzero(own)] = 0
    query.X = counts.tocsr()
    return query


# Training ------------------------------------------------------------------------------------------------------------


def dense(cells: torch.Tensor | SparseCounts) -> torch.Tensor:
    return cells.to_dense() if isinstance(cells, SparseCounts) else cells


class Entered:
    """What goes through the networks while a model is trained, dense."""

    def __init__(self, monkeypatch):
        self.corrupted, self.normalized, self.encoded = [], [], []
        encode = GeneAE.encode

        def recorded_corrupt(*args, **kwargs):
            corrupted = corrupt(*args, **kwargs)
            self.corrupted.append(dense(corrupted))
            return corrupted

        def recorded_normalize(counts):
            self.normalized.append(dense(counts))
            return log_normalize(counts)

        def recorded_encode(gene_ae, x_norm):
            self.encoded.append(dense(x_norm))
            return encode(gene_ae, x_norm)

        monkeypatch.setattr(_module, "corrupt", recorded_corrupt)
        monkeypatch.setattr(_module, "log_normalize", recorded_normalize)
        monkeypatch.setattr(GeneAE, "encode", recorded_encode)


def test_training_sees_only_the_querys_genes_and_depths(deep_reference, sparse_query, monkeypatch):
    model, entered = new_model(deep_reference), Entered(monkeypatch)
    model.train(6, pretrain_epochs=4, query=sparse_query, **QUIET)

    lacking = ~model.gene_names.isin(sparse_query.var_names)
    assert lacking.sum() == 60 - N_SHARED
    for batches in (entered.corrupted, entered.normalized, entered.encoded):
        seen = torch.cat(batches)
        assert not seen[:, lacking].any()
        assert seen[:, ~lacking].any(dim=0).all()

    # in training the encoder sees each batch only after the thinning
    n_batches = len(entered.corrupted)
    assert n_batches >= 10 * (540 // 128)
    for thinned, encoded in zip(entered.corrupted, entered.encoded[:n_batches], strict=True):
        torch.testing.assert_close(log_normalize(thinned), encoded)

    depths, percentiles = aligned(model, sparse_query).sum(dim=1), [5, 25, 50, 75, 95]
    thinned = torch.cat(entered.corrupted).sum(dim=1)
    assert float(torch.from_numpy(deep_reference.X[:, :N_SHARED].sum(axis=1)).min()) > float(depths.max())
    np.testing.assert_allclose(np.percentile(thinned, percentiles), np.percentile(depths, percentiles), rtol=0.05)


def test_without_a_query_training_sees_all_genes_down_to_10_counts(deep_reference, monkeypatch):
    model, entered = new_model(deep_reference), Entered(monkeypatch)
    model.train(1, pretrain_epochs=1, **QUIET)
    seen = torch.cat(entered.corrupted)
    assert seen.any(dim=0).all()
    # log-uniform between some 8,000 and 10: as many below the geometric mean as above
    assert float((seen.sum(dim=1) < np.sqrt(8000 * 10)).float().mean()) == pytest.approx(0.5, abs=0.06)
    assert model.query_match_ is None
    assert not model.module.is_matched


def test_weights_of_network_and_counts_are_learned_at_the_querys_depths(deep_reference, sparse_query, monkeypatch):
    fit_pool_weights, seen = _posthoc_fit.fit_pool_weights, []

    def recorded(network, log_likelihood, depth, codes, n_cells):
        seen.append(depth.reshape(-1, n_cells))
        return fit_pool_weights(network, log_likelihood, depth, codes, n_cells)

    monkeypatch.setattr(_posthoc_fit, "fit_pool_weights", recorded)
    model = new_model(deep_reference)
    model.train(1, pretrain_epochs=1, query=sparse_query, **QUIET)
    # the last time by all of them
    own, thinned = seen[-1][0], seen[-1][1:]
    np.testing.assert_array_equal(own, deep_reference.X[model.split_.validation, :N_SHARED].sum(axis=1).A1)
    depths = aligned(model, sparse_query).sum(dim=1)
    assert float(thinned.median()) == pytest.approx(float(depths.median()), rel=0.05)


def test_match_returns_and_keeps_how_the_query_lies_to_the_reference(deep_reference, sparse_query):
    model, before = new_model(deep_reference), sparse_query.copy()
    returned = model.match_query(sparse_query)
    assert isinstance(returned, pd.Series)
    assert returned.to_dict() == model.query_match_.to_dict()

    depth = aligned(model, sparse_query).sum(dim=1).numpy()
    reference_depth = deep_reference.X[:, :N_SHARED].sum(axis=1).A1
    assert list(returned.index) == [
        "n_shared_genes",
        "n_genes",
        "shared_information",
        "query_depth",
        "reference_depth",
        "kept_fraction",
    ]
    assert (returned["n_shared_genes"], returned["n_genes"]) == (N_SHARED, 60)
    assert returned["query_depth"] == np.median(depth)
    assert returned["reference_depth"] == np.median(reference_depth)
    assert returned["kept_fraction"] == pytest.approx((np.median(depth) / reference_depth).mean(), rel=1e-5)
    # the 30 genes that tell the labels apart are among the 45
    assert 0.98 < returned["shared_information"] <= 1

    np.testing.assert_array_equal(model.module.gene_mask, model.gene_names.isin(sparse_query.var_names))
    np.testing.assert_allclose(model.module.query_depth_quantiles, np.percentile(depth, range(101)), rtol=1e-6)
    assert sparse_query.var_names.equals(before.var_names)
    assert not (sparse_query.X != before.X).nnz
    assert not sparse_query.uns
    assert list(sparse_query.obs) == list(before.obs)


@pytest.mark.filterwarnings("ignore:The query has 30 of the model's 60 genes:UserWarning")
def test_a_panel_without_the_telling_genes_shares_little_information(deep_reference):
    model = new_model(deep_reference)
    with_them, without = (
        model.match_query(deep_reference[:, genes].copy(), layer="X") for genes in (np.r_[:30], np.r_[30:60])
    )
    assert without["shared_information"] < 0.02
    assert with_them["shared_information"] + without["shared_information"] == pytest.approx(1)


def test_a_layer_of_the_query_is_matched_when_it_is_named(deep_reference, sparse_query):
    model = new_model(deep_reference)
    expected = model.match_query(sparse_query)
    sparse_query.layers["counts"] = sparse_query.X.copy()
    sparse_query.X = np.log1p(sparse_query.X)
    pd.testing.assert_series_equal(model.match_query(sparse_query, layer="counts"), expected)


def test_a_query_deeper_than_the_reference_leaves_the_reference_as_it_is(deep_reference, sparse_query, monkeypatch):
    shallow = cells_of_depth(np.full(120, 40), seed=4)
    model, entered = new_model(shallow), Entered(monkeypatch)
    matched = model.match_query(deep_reference, layer="X")
    assert matched["kept_fraction"] == 1
    model.pretrain(1, **QUIET)
    depths = torch.cat(entered.corrupted).sum(dim=1)
    np.testing.assert_array_equal(depths, 40)


def test_a_reference_without_labels_can_be_matched(deep_reference, sparse_query):
    hrca.HRCA.setup_anndata(deep_reference, layer="X")
    model = hrca.HRCA(deep_reference, **TINY)
    matched = model.match_query(sparse_query)
    assert np.isnan(matched["shared_information"])
    assert matched["n_shared_genes"] == N_SHARED
    model.pretrain(1, **QUIET)


def test_matched_training_is_reproducible_and_match_then_train_is_the_same():
    sparse_query = panel(cells_of_depth(np.full(50, 12), seed=3))
    probabilities = []
    for way in ("train", "train", "match and train", "no query"):
        scvi.settings.seed = 7
        model = new_model(cells_of_depth(np.full(100, 100), seed=1))
        if way == "match and train":
            model.match_query(sparse_query)
        model.train(2, pretrain_epochs=1, query=sparse_query if way == "train" else None, **QUIET)
        probabilities.append(soft(model, sparse_query))
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    np.testing.assert_array_equal(probabilities[0], probabilities[2])
    assert np.abs(probabilities[0] - probabilities[3]).max() > 1e-4


def break_query(query, case):
    if case == "no shared genes":
        query.var_names = "ENSMUSG" + query.var_names
    elif case == "no counts":
        query.X = sparse.csr_matrix(query.shape, dtype=np.float32)
    elif case == "counts on other genes only":
        query.X = query.X.multiply(query.var_names.str.startswith("other")).tocsr()
    elif case == "log":
        query.X = np.log1p(query.X)
    return query


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no shared genes", "it has 0 of its 60 genes"),
        ("no counts", "holds zeros only"),
        ("counts on other genes only", "must have cells with counts on the model's genes, but none has"),
        ("log", "log1p of counts"),
    ],
)
@pytest.mark.parametrize("method", ["match", "train"])
def test_a_query_that_cannot_be_matched_raises_before_any_work(deep_reference, sparse_query, case, words, method):
    model, query = new_model(deep_reference), break_query(sparse_query, case)
    with pytest.raises(ValueError, match=words):
        model.match_query(query) if method == "match" else model.train(1, pretrain_epochs=1, query=query, **QUIET)
    assert model.query_match_ is None
    assert not model.module.is_matched
    assert model.module.gene_mask.all()
    assert not model.is_trained_


def test_a_query_without_cells_cannot_be_matched(deep_reference, sparse_query):
    with pytest.raises(ValueError, match="must have cells with counts"):
        new_model(deep_reference).match_query(sparse_query[:0].copy())


def test_a_matched_model_predicts_only_after_a_new_training(deep_reference, sparse_query):
    model = new_model(deep_reference)
    model.train(1, pretrain_epochs=0, **QUIET)
    adapted = model.adapt(sparse_query, select=False, max_steps=1, **QUIET)
    adapted.match_query(sparse_query)
    with pytest.raises(ValueError, match="must be trained on labels before it predicts"):
        adapted.predict(sparse_query)
    adapted.finetune(1, **QUIET)
    assert not adapted.module.is_adapted
    assert adapted.module.has_fitted_counts
    assert len(adapted.predict(sparse_query)) == sparse_query.n_obs
    # the model that was adapted is as it was
    assert model.query_match_ is None
    assert len(model.predict(sparse_query)) == sparse_query.n_obs


def test_a_reference_on_disk_is_matched_as_one_in_memory(deep_reference, sparse_query, tmp_path):
    expected = new_model(deep_reference).match_query(sparse_query)
    deep_reference.write_h5ad(tmp_path / "reference.h5ad")
    backed = ad.read_h5ad(tmp_path / "reference.h5ad", backed="r")
    matched = new_model(backed).match_query(sparse_query)
    assert matched["shared_information"] == pytest.approx(expected["shared_information"])
    pd.testing.assert_series_equal(matched.drop("shared_information"), expected.drop("shared_information"))


def test_a_model_without_its_reference_cannot_be_matched(matched_model, sparse_query, tmp_path):
    matched_model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="loaded without"):
        hrca.HRCA.load(tmp_path / "model").match_query(sparse_query)


def test_save_and_load_keep_match_profiles_and_weights(matched_model, query_of_any_depth, tmp_path):
    matched_model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    assert loaded.query_match_ == matched_model.query_match_
    assert loaded.module.is_matched
    kept = loaded.module.state_dict()
    for name, value in matched_model.module.state_dict().items():
        assert torch.equal(kept[name], value), name
    assert {
        "gene_mask",
        "_query_depth_quantiles",
        "count_likelihood.log_profiles",
        "count_likelihood.pool_weights",
        "count_likelihood.max_depth",
    } <= set(kept)
    assert kept["count_likelihood.is_fitted"]
    assert int(kept["gene_mask"].sum()) == N_SHARED
    np.testing.assert_array_equal(soft(loaded, query_of_any_depth), soft(matched_model, query_of_any_depth))


# Prediction ----------------------------------------------------------------------------------------------------------


def expected_probabilities(model, query, factors=None) -> np.ndarray:
    """Network, both multinomials, weights and temperature, a cell at a time."""
    count_likelihood, x = model.module.count_likelihood, aligned(model, query)
    present = model.gene_names.isin(query.var_names) & (model.module.gene_mask.numpy() > 0)
    all_profiles = count_likelihood.log_profiles.double().exp().numpy()
    weights, max_depth = count_likelihood.pool_weights.double().numpy(), float(count_likelihood.max_depth)
    rows = []
    for cell in x * torch.from_numpy(present):
        depth = float(cell.sum())
        if depth == 0:
            rows.append(np.zeros(len(all_profiles)))
            continue
        seen = min(depth, max_depth)
        draws = thinned_draws(cell[None], max_depth) if depth > max_depth else [cell[None]]
        with torch.no_grad():
            network = np.mean([model.module.classify(draw).log_softmax(dim=1)[0].numpy() for draw in draws], axis=0)
        likelihood = np.zeros(len(all_profiles))
        others = 1 / (1 + depth / 100)
        for genes, share in ((present, others), (present & (count_likelihood.is_informative.numpy() > 0), 1 - others)):
            profiles = all_profiles[:, genes] / all_profiles[:, genes].sum(axis=1, keepdims=True)
            counts = cell.numpy()[genes].astype(int)
            likelihood += share * np.array([stats.multinomial.logpmf(counts, counts.sum(), row) for row in profiles])
        likelihood *= seen / depth
        weight = np.exp(weights[0] + weights[1] * np.log(max(seen, 1) / 100))
        logits = weight[0] * network + weight[1] * likelihood / (1 + seen / 300)
        rows.append(calibrated_by_hand(model.module.calibration, logits, seen))
    return np.array(rows)


def test_the_network_judges_a_deep_cell_by_thinned_draws_of_it(matched_model, query_of_any_depth):
    x, max_depth = aligned(matched_model, query_of_any_depth), float(matched_model.module.count_likelihood.max_depth)
    with torch.no_grad():
        says = network_scores(matched_model.module, x)
        for i in range(0, 60, 4):
            cell = x[i : i + 1]
            deep = float(cell.sum()) > max_depth
            draws = thinned_draws(cell, max_depth) if deep else [cell]
            expected = [matched_model.module.classify(draw).log_softmax(dim=1) for draw in draws]
            np.testing.assert_allclose(says[i], torch.cat(expected).mean(dim=0), rtol=1e-4, atol=1e-5)


def test_probabilities_are_network_and_counts_together(matched_model, query_of_any_depth):
    probabilities = soft(matched_model, query_of_any_depth, platform_correction=False)
    np.testing.assert_allclose(probabilities, expected_probabilities(matched_model, query_of_any_depth), atol=1e-5)
    assert not probabilities[7].any()


def test_probabilities_of_a_smaller_panel_than_the_matched_one(matched_model, query_of_any_depth):
    smaller = query_of_any_depth[:, query_of_any_depth.var_names != "gene3"].copy()
    probabilities = soft(matched_model, smaller, platform_correction=False)
    np.testing.assert_allclose(probabilities, expected_probabilities(matched_model, smaller), atol=1e-5)


def test_genes_beyond_the_matched_ones_change_nothing(matched_model):
    whole = cells_of_depth(np.full(40, 80), seed=6)
    for platform_correction in (True, False):
        np.testing.assert_array_equal(
            soft(matched_model, whole, platform_correction=platform_correction),
            soft(matched_model, whole[:, :N_SHARED].copy(), platform_correction=platform_correction),
        )


def test_without_matching_the_platform_a_cell_is_judged_alone(matched_model, query_of_any_depth):
    together = soft(matched_model, query_of_any_depth, platform_correction=False)
    some = range(0, 60, 3)
    alone = [soft(matched_model, query_of_any_depth[i].copy(), platform_correction=False) for i in some]
    np.testing.assert_allclose(np.concatenate(alone), together[some], atol=1e-6)


@pytest.mark.parametrize("platform_correction", [True, False])
def test_neither_order_nor_batches_matter(matched_model, query_of_any_depth, platform_correction):
    expected = soft(matched_model, query_of_any_depth, platform_correction=platform_correction)
    order = np.random.default_rng(4).permutation(60)
    shuffled = soft(matched_model, query_of_any_depth[order].copy(), platform_correction=platform_correction)
    np.testing.assert_allclose(shuffled, expected[order], atol=1e-6)
    for batch_size in (1, 7):
        batched = soft(
            matched_model, query_of_any_depth, platform_correction=platform_correction, batch_size=batch_size
        )
        np.testing.assert_allclose(batched, expected, atol=1e-6)


def test_matching_the_platform_is_told_and_changes_the_probabilities(matched_model):
    # another platform: it sees each gene by a factor of its own
    cells = cells_of_depth(np.full(1500, 12), seed=6)
    factors = np.random.default_rng(0).lognormal(0, 1, 60)
    cells.X = sparse.csr_matrix(np.random.default_rng(1).poisson(cells.X.toarray() * factors).astype(np.float32))
    spread, scores = {}, {}
    for platform_correction in (True, False):
        matched_model.predict(cells, platform_correction=platform_correction)
        uns = cells.uns["hrca"]
        assert uns["platform_correction"] is platform_correction
        spread[platform_correction] = uns["platform_log_sd"]
        scores[platform_correction] = matched_model.evaluate(
            cells, "cell_type", platform_correction=platform_correction
        )
        assert (
            scores[platform_correction]["accuracy"] == (cells.obs["hrca"].astype(str) == cells.obs["cell_type"]).mean()
        )
    assert spread[False] == 0
    # log-normal with sigma 1; the prior holds the rare genes back
    assert spread[True] == pytest.approx(np.log(factors[:N_SHARED]).std(), rel=0.3)
    probabilities = [soft(matched_model, cells, platform_correction=value) for value in (True, False)]
    assert np.abs(probabilities[0] - probabilities[1]).max() > 0.01


def test_a_query_without_the_matched_genes_raises(matched_model):
    # genes that the model has, but did not use
    with pytest.raises(ValueError, match=r"15 of its 60 genes, and 0 \(0.0%\) of the 30 informative ones"):
        matched_model.predict(synthetic(10)[:, N_SHARED:].copy())


def test_a_query_without_counts_is_unknown(tiny_model):
    cells = synthetic(10)
    cells.X = sparse.csr_matrix(cells.shape, dtype=np.float32)
    assert (tiny_model.predict(cells) == "Unknown").all()
    assert (cells.obs["hrca_confidence"] == 0).all()
    assert not cells.obsm["hrca_probabilities"].to_numpy().any()
    assert cells.uns["hrca"]["platform_log_sd"] == 0


def test_without_count_evidence_the_network_stands_alone(sparse_query, tmp_path):
    model = new_model(cells_of_depth(np.full(120, 60), seed=1), count_likelihood=False)
    model.train(3, pretrain_epochs=1, **QUIET)
    assert model.module.count_likelihood is None
    with torch.no_grad():
        x = aligned(model, sparse_query)
        log_probabilities = model.module.classify(x).log_softmax(dim=1)
        expected = model.module.calibration(log_probabilities, x.sum(dim=1)).exp().numpy()
    for platform_correction in (True, False):
        np.testing.assert_allclose(
            soft(model, sparse_query, platform_correction=platform_correction), expected, atol=1e-6
        )
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    assert loaded.module.count_likelihood is None
    np.testing.assert_array_equal(soft(loaded, sparse_query), soft(model, sparse_query))
