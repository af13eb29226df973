"""Prediction sets, against written-out loops and by their coverage on simulated cells."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import QUIET, TINY, synthetic

import hrca
from hrca.uncertainty import _conformal, _density_ratio
from hrca.uncertainty._conformal import (
    ConformalScores,
    _importance_weights,
    aps_scores,
    conformal_scores,
    prediction_sets,
)


def simulated(n: int, seed: int, n_labels: int = 4):
    """Calibrated probabilities, higher for deeper cells; depth; true labels."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(np.log(10), np.log(1000), n))
    logits = rng.normal(size=(n, n_labels)) * np.log(depth)[:, None] / 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = (probabilities.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=n_labels - 1)
    return probabilities, depth, codes


def test_a_score_sums_the_higher_probabilities_and_a_fraction_of_the_labels_own():
    probabilities, _, _ = simulated(30, seed=0)
    uniform = np.random.default_rng(1).random(30)
    scores = aps_scores(probabilities, uniform)
    for cell, row in enumerate(probabilities):
        for label, own in enumerate(row):
            expected = row[row > own].sum() + uniform[cell] * own
            assert scores[cell, label] == pytest.approx(expected)


def test_scores_of_true_labels_are_uniform_where_probabilities_are_calibrated():
    probabilities, _, codes = simulated(20_000, seed=0)
    scores = aps_scores(probabilities, np.random.default_rng(1).random(20_000))[np.arange(20_000), codes]
    np.testing.assert_allclose(np.quantile(scores, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.015)


def held_out_by_hand(n_cells: int, n_depths: int, seed: int) -> ConformalScores:
    """Cells with a row for each of several depths; the fewer the counts, the higher the true label's score."""
    rng = np.random.default_rng(seed)
    cell = np.tile(np.arange(n_cells), n_depths)
    depth = np.exp(rng.uniform(np.log(10), np.log(1000), n_cells * n_depths))
    return ConformalScores(
        scores=rng.random(n_cells * n_depths) ** (np.log(depth) / 4),
        depth=depth,
        codes=np.tile(rng.integers(4, size=n_cells), n_depths),
        cells=cell,
        probabilities=np.full((n_cells * n_depths, 4), 0.25),
    )


def threshold_in_a_loop(held_out, inside, coverage, label):
    """The smallest score such that the cells with at most that score have the needed fraction of the weights."""
    groups = [inside] if label is None else [inside & (held_out.codes == label), inside & (held_out.codes != label)]
    weight = {}
    for group, max_weight in zip(groups, (np.inf, 20), strict=False):
        n_cells = min(len(set(held_out.cells[group])), max_weight)
        weight |= {i: n_cells / group.sum() for i in np.flatnonzero(group)}
    needed, reached = (sum(weight.values()) + 1) * coverage, 0.0
    for i in sorted(weight, key=lambda i: held_out.scores[i]):
        reached += weight[i]
        if reached >= needed - 1e-9:
            return held_out.scores[i]
    return np.inf


@pytest.mark.parametrize("class_conditional", [False, True])
@pytest.mark.parametrize(("n_cells", "n_depths", "n_bins"), [(15, 1, 1), (50, 4, 2), (130, 10, 5)])
def test_sets_equal_a_loop_over_bins_and_labels(n_cells, n_depths, n_bins, class_conditional):
    held_out = held_out_by_hand(n_cells, n_depths, seed=0)
    probabilities, depth, _ = simulated(60, seed=1)
    depth[3] = 0
    uniform = np.random.default_rng(2).random(60)
    sets = prediction_sets(held_out, probabilities, depth, uniform, coverage=0.8, class_conditional=class_conditional)
    edges = np.quantile(held_out.depth, np.arange(1, n_bins) / n_bins)
    for cell in range(60):
        inside = np.array([(d >= edges).sum() == (depth[cell] >= edges).sum() for d in held_out.depth])
        for label in range(4):
            own = probabilities[cell]
            score = own[own > own[label]].sum() + uniform[cell] * own[label]
            threshold = threshold_in_a_loop(held_out, inside, 0.8, label if class_conditional else None)
            assert sets[cell, label] == (cell == 3 or score <= threshold)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_have_their_coverage_also_with_overconfident_probabilities(coverage):
    def overconfident(n, seed):
        probabilities, depth, codes = simulated(n, seed)
        return probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True), depth, codes

    covered = []
    for seed in range(40):
        probabilities, depth, codes = overconfident(100, 2 * seed)
        held_out = conformal_scores(probabilities, depth, codes, np.arange(100))
        probabilities, depth, codes = overconfident(500, 2 * seed + 1)
        uniform = np.random.default_rng(seed).random(500)
        sets = prediction_sets(held_out, probabilities, depth, uniform, coverage=coverage)
        covered.append(sets[np.arange(500), codes].mean())
    # at least, and with 20 cells in a bin at most 1 / 21 more
    assert coverage - 0.01 < np.mean(covered) < coverage + 1 / 21 + 0.01


def test_with_few_held_out_cells_sets_contain_all_labels():
    probabilities, depth, codes = simulated(5, seed=0)
    held_out = conformal_scores(probabilities, depth, codes, np.arange(5))
    sets = prediction_sets(held_out, *simulated(20, seed=1)[:2], np.zeros(20), coverage=0.9)
    assert sets.all()  # the score of a sixth cell is the highest of six with a probability of 1/6


def test_a_label_without_held_out_cells_gets_the_threshold_of_the_others():
    held_out = held_out_by_hand(100, 5, seed=0)
    held_out = replace(held_out, codes=np.where(held_out.codes == 3, 0, held_out.codes))
    probabilities, depth, _ = simulated(200, seed=1)
    sets = prediction_sets(held_out, probabilities, depth, np.full(200, 0.5), coverage=0.9, class_conditional=True)
    assert 0 < sets[:, 3].mean() < 1


def shifted(n: int, seed: int):
    """Held-out cells of all depths, and a query of deep cells, whose probabilities are overconfident."""

    def overconfident(n, seed, min_depth):
        probabilities, depth, codes = simulated(20 * n, seed)
        chosen = np.flatnonzero(depth > min_depth)[:n]
        powers = probabilities[chosen] ** np.where(depth[chosen] > 200, 4, 1)[:, None]
        return powers / powers.sum(axis=1, keepdims=True), depth[chosen], codes[chosen]

    return conformal_scores(*overconfident(n, 2 * seed, 10), np.arange(n)), overconfident(500, 2 * seed + 1, 500)


def test_reweighted_sets_have_their_coverage_where_the_query_has_other_cells(monkeypatch):
    monkeypatch.setattr(_conformal, "MAX_DEPTH_BINS", 1)  # with more, the bins correct for the depth
    covered = {False: [], True: []}
    for seed in range(20):
        held_out, (probabilities, depth, codes) = shifted(400, seed)
        uniform = np.random.default_rng(seed).random(500)
        for reweight_to_query in covered:
            sets = prediction_sets(
                held_out, probabilities, depth, uniform, coverage=0.8, reweight_to_query=reweight_to_query
            )
            covered[reweight_to_query].append(sets[np.arange(500), codes].mean())
    without, with_weights = (np.mean(covered[reweight_to_query]) for reweight_to_query in (False, True))
    assert without < 0.75
    assert abs(with_weights - 0.8) < 0.025


def test_weights_for_a_query_like_the_held_out_cells_are_about_equal():
    probabilities, depth, codes = simulated(1000, seed=0)
    held_out = conformal_scores(probabilities, depth, codes, np.arange(1000))
    weights, query_weights = _importance_weights(held_out, *simulated(2000, seed=1)[:2], np.arange(2000))
    np.testing.assert_allclose(weights.sum(), 1000)
    np.testing.assert_allclose(np.concatenate([weights, query_weights]), 1, atol=0.4)


@pytest.mark.parametrize(
    "settings", [{}, {"class_conditional": True}, {"reweight_to_query": True}], ids=["plain", "by label", "reweighted"]
)
def test_sets_do_not_depend_on_the_blocks_of_cells(settings, monkeypatch):
    held_out, (probabilities, depth, _) = shifted(400, 0)
    is_empty = np.arange(len(depth)) % 9 == 0
    query = probabilities, np.where(is_empty, 0, depth), np.random.default_rng(0).random(len(depth))
    whole = prediction_sets(held_out, *query, coverage=0.8, **settings)
    for module in (_conformal, _density_ratio):
        monkeypatch.setattr(module, "BLOCK_CELLS", 37)
    np.testing.assert_array_equal(prediction_sets(held_out, *query, coverage=0.8, **settings), whole)


def test_few_held_out_cells_like_the_querys_are_reported(monkeypatch):
    monkeypatch.setattr(_density_ratio, "INVERSE_PENALTY", 1.0)
    probabilities, depth, codes = simulated(1000, seed=0)
    held_out = conformal_scores(probabilities, depth, codes, np.arange(1000))
    # one in a hundred is deep, as all of the query are
    held_out = replace(held_out, depth=np.where(np.arange(1000) < 10, 1e5, 10).astype(np.float32))
    with pytest.warns(UserWarning, match="equivalent of 1. held-out cells, of 1,000 in all: few are similar"):
        sets = prediction_sets(
            held_out, probabilities, np.full(1000, 1e5), np.zeros(1000), coverage=0.9, reweight_to_query=True
        )
    assert sets.any(axis=1).mean() > 0.9


def test_a_query_without_counts_gets_all_labels():
    probabilities, depth, codes = simulated(100, seed=0)
    held_out = conformal_scores(probabilities, depth, codes, np.arange(100))
    nothing = np.zeros((3, 4))
    assert prediction_sets(held_out, nothing, np.zeros(3), np.zeros(3), coverage=0.9, reweight_to_query=True).all()


def test_at_most_2000_held_out_cells_are_kept():
    n = 3000
    probabilities, depth, codes = simulated(2 * n, seed=0)
    held_out = conformal_scores(probabilities, depth, codes, np.tile(np.arange(n), 2))
    assert {len(values) for values in held_out.to_dict().values()} == {4000}
    assert set(np.bincount(np.unique(held_out.cells, return_counts=True)[1])[1:]) == {0, 2000}


def test_scores_survive_a_dictionary_of_arrays():
    probabilities, depth, codes = simulated(50, seed=0)
    held_out = conformal_scores(probabilities, depth, codes, np.arange(50))
    arrays = held_out.to_dict()
    assert set(arrays) == {"scores", "depth", "codes", "cells", "probabilities"}
    assert all(type(values) is np.ndarray for values in arrays.values())
    restored = ConformalScores.from_dict(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(getattr(restored, name), values)
    assert restored.n_cells == 50


@pytest.fixture(scope="module")
def model():
    adata = synthetic(300)
    adata.obs["cell_type"] = adata.obs["cell_type"].str.replace(" ", "/")
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(10, pretrain_epochs=2, lr=1e-2, **QUIET)
    return model


def test_predict_writes_sets_and_their_sizes(model):
    query = synthetic(50, seed=5)
    counts = query.X.tolil()
    counts[4] = 0
    query.X = counts.tocsr()
    labels = model.predict(query, coverage=0.8)
    sets = query.obsm["hrca_set"]
    assert list(sets.columns) == list(query.obsm["hrca_probabilities"].columns) == ["type|0", "type|1", "type|2"]
    assert all(dtype.kind == "b" for dtype in sets.dtypes)
    assert sets.index.equals(query.obs_names)
    np.testing.assert_array_equal(query.obs["hrca_set_size"], sets.sum(axis=1))
    assert sets.iloc[4].all()
    assert labels[4] == "Unknown"
    assert query.uns["hrca"]["coverage"] == 0.8
    assert query.uns["hrca"]["class_conditional"] is query.uns["hrca"]["reweight_to_query"] is False
    # the order of the cells and the batches play no part
    other = query[np.random.default_rng(0).permutation(50)].copy()
    model.predict(other, coverage=0.8, batch_size=7)
    assert other.obsm["hrca_set"].loc[sets.index].equals(sets)
    model.predict(other, coverage=0.99, class_conditional=True)
    assert other.obs["hrca_set_size"].mean() > query.obs["hrca_set_size"].mean()
    model.predict(other, coverage=0.8, reweight_to_query=True)
    assert other.uns["hrca"]["reweight_to_query"] is True
    assert other.obsm["hrca_set"].loc[query.obs_names[4]].all()


def test_sets_of_an_earlier_prediction_are_removed(model):
    query = synthetic(20, seed=5)
    model.predict(query, coverage=0.8)
    model.predict(query)
    assert "hrca_set" not in query.obsm
    assert "hrca_set_size" not in query.obs


def test_sets_are_written_and_read_with_the_model_and_the_query(model, tmp_path):
    import anndata as ad

    query = synthetic(20, seed=5)
    model.predict(query, coverage=0.8)
    model.save(tmp_path / "model")
    again = synthetic(20, seed=5)
    hrca.HRCA.load(tmp_path / "model").predict(again, coverage=0.8)
    assert again.obsm["hrca_set"].equals(query.obsm["hrca_set"])
    query.write_h5ad(tmp_path / "query.h5ad")
    assert ad.read_h5ad(tmp_path / "query.h5ad").obsm["hrca_set"].equals(query.obsm["hrca_set"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"coverage": 1}, "between 0 and 1, got 1"),
        ({"coverage": 0.9, "key_added": None}, "needs a `key_added`"),
        ({"class_conditional": True}, "`class_conditional` is .* needs a `coverage`, got None"),
        ({"reweight_to_query": True}, "`reweight_to_query` is .* needs a `coverage`, got None"),
        ({"coverage": 0.9, "reweight_to_query": True, "class_conditional": True}, "got both"),
    ],
)
def test_impossible_options_of_sets_raise(model, settings, words):
    with pytest.raises(ValueError, match=words):
        model.predict(synthetic(5), **settings)


def test_without_held_out_cells_there_are_no_sets(reference):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, train_size=1.0, **QUIET)
    with pytest.raises(ValueError, match="a smaller `train_size`"):
        model.predict(reference, coverage=0.9)
    model.predict(reference)
