"""Voting in clusters, spatial smoothing and clusters of novel cells, against loops."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic
from scipy import sparse
from scipy.stats import ttest_ind
from sklearn.neighbors import kneighbors_graph

from hrca import tl
from hrca.tl import _clusters, explain


@pytest.fixture
def layers() -> ad.AnnData:
    """1,200 cells in a square: left A, right B, uncertain calls; every 70th a scattered C, called C and surrounded."""
    rng = np.random.default_rng(0)
    place = rng.random((1200, 2))
    codes = (place[:, 0] > 0.5).astype(int)
    codes[::70] = 2
    logits = rng.normal(size=(1200, 3)) + 1.2 * np.eye(3)[codes] - [0, 0, 5]
    logits[codes == 2] += [0, 0, 7]
    table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = np.array(["A", "B", "C/c"])
    predicted = pd.Categorical(names[table.argmax(axis=1)])
    obs = pd.DataFrame({"known": names[codes], "hrca": predicted, "hrca_confidence": table.max(axis=1)})
    adata = ad.AnnData(rng.random((1200, 4)), obs=obs.set_index(obs.index.astype(str)))
    adata.obsm["hrca_probabilities"] = pd.DataFrame(table, adata.obs_names, ["A", "B", "C|c"])
    adata.uns["hrca"] = {"labels": names}
    adata.obsp["spatial_connectivities"] = kneighbors_graph(place, 6)
    return adata


def accuracy(adata, column):
    return (adata.obs[column].astype(str) == adata.obs["known"]).mean()


def test_smoothing_improves_layers_and_keeps_scattered_cells(layers):
    raw = layers.obs[["hrca", "hrca_confidence"]].copy()
    tl.smooth(layers)
    assert accuracy(layers, "hrca_smooth") > accuracy(layers, "hrca") + 0.01
    rare = (raw["hrca"] == "C/c").to_numpy()
    assert 0 < rare.mean() < 0.02
    assert (layers.obs["hrca_smooth"][rare] == "C/c").all()
    pd.testing.assert_frame_equal(layers.obs[["hrca", "hrca_confidence"]], raw)
    assert layers.obs["hrca_smooth_confidence"].between(0, 1).all()


def test_without_strength_nothing_changes(layers):
    np.testing.assert_array_equal(tl.smooth(layers, strength=0), layers.obs["hrca"])


def test_one_update_is_a_loop(layers, monkeypatch):
    monkeypatch.setattr("hrca.tl._smooth.N_UPDATES", 1)
    small = layers[:40].copy()
    table = small.obsm["hrca_probabilities"].to_numpy()
    links = kneighbors_graph(np.random.default_rng(1).random((40, 2)), 4).toarray()
    smoothed = tl.mean_field_smoothing(table, sparse.csr_array(links / links.sum(axis=1, keepdims=True)), 0.7)
    weighted = table * table.max(axis=1)[:, None]
    pairs = np.zeros((3, 3))
    for i, j in zip(*links.nonzero(), strict=True):
        pairs += np.outer(weighted[i], weighted[j]) + np.outer(weighted[j], weighted[i])
    fractions = weighted.sum(axis=0) / weighted.sum()
    independent = np.outer(fractions, fractions)
    log_odds = np.log((pairs + 90 * independent) / (pairs.sum() * independent + 90 * independent))
    for i in range(40):
        around = sum(weighted[j] for j in np.flatnonzero(links[i])) / 4
        logits = np.log(table[i]) + 0.7 * log_odds @ around
        np.testing.assert_allclose(smoothed[i], np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)


def test_more_updates_change_no_label(layers, monkeypatch):
    labels = tl.smooth(layers)
    monkeypatch.setattr("hrca.tl._smooth.N_UPDATES", 50)
    np.testing.assert_array_equal(tl.smooth(layers), labels)


def test_cells_of_none_of_the_labels_keep_their_low_probabilities_and_hardly_vote(layers):
    table = layers.obsm["hrca_probabilities"].to_numpy()
    links = layers.obsp["spatial_connectivities"]
    neighbours = sparse.csr_array(links / links.sum(axis=1))
    is_novel = np.arange(1200) % 3 == 0
    known = np.where(is_novel, 0.1, 1.0)[:, None] * table
    smoothed = tl.mean_field_smoothing(known, neighbours, 0.5)
    np.testing.assert_allclose(smoothed.sum(axis=1), np.where(is_novel, 0.1, 1.0))
    # a weight of .01 is nearly that of a cell without a label
    without = tl.mean_field_smoothing(np.where(is_novel[:, None], 0, table), neighbours, 0.5)
    whole = tl.mean_field_smoothing(table, neighbours, 0.5)
    assert np.abs(smoothed - without)[~is_novel].max() < 0.2 * np.abs(whole - without)[~is_novel].max()
    layers.obsm["hrca_probabilities"].iloc[:] = known
    tl.smooth(layers)
    assert (layers.obs["hrca_smooth_confidence"][is_novel & (layers.obs["hrca"] != "C/c")] <= 0.1).all()


def test_cells_without_a_label_stay_so(layers):
    labels = layers.obs["hrca"].astype(str)
    labels.iloc[:5] = "Unknown"
    layers.obs["hrca"] = labels.astype("category")
    layers.obsm["hrca_probabilities"].iloc[:2] = 0
    assert list(tl.smooth(layers)[:5]) == ["Unknown"] * 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"key": "other"}, "obsm must have 'other_probabilities'"),
        ({"graph": "near"}, "must name an entry of obsp, got 'near'"),
        ({"graph": sparse.eye_array(3)}, "must be 1200 x 1200"),
        ({"strength": -1}, "0 or more, got -1"),
    ],
)
def test_impossible_arguments_of_smooth_raise(layers, arguments, words):
    with pytest.raises(ValueError, match=words):
        tl.smooth(layers, **arguments)


def test_a_cluster_gets_its_most_frequent_label(layers):
    layers.obs["cluster"] = np.arange(1200) // 30
    raw = layers.obs["hrca"].copy()
    voted = np.asarray(tl.majority_vote(layers, clusters="cluster"))
    for _, members in layers.obs.groupby("cluster").indices.items():
        counts = raw.iloc[members].value_counts()
        assert (voted[members] == voted[members][0]).all()
        assert counts[voted[members][0]] == counts.max()
    tl.majority_vote(layers, clusters="cluster", min_fraction=1, key_added="all")
    np.testing.assert_array_equal(layers.obs["all"], raw)
    pd.testing.assert_series_equal(layers.obs["hrca"], raw)


def test_over_clusters_come_from_leiden(layers):
    graph = kneighbors_graph(layers.X, 5)
    layers.obsp["connectivities"] = graph.maximum(graph.T)
    tl.majority_vote(layers)
    assert layers.obs["hrca_overclusters"].nunique() > 5
    majority = layers.obs["hrca_majority"]
    # in the order of the labels, without those that no cell has
    assert list(majority.cat.categories) == [
        name for name in layers.obs["hrca"].cat.categories if name in set(majority)
    ]


def test_without_igraph_the_extra_is_named(layers, monkeypatch):
    layers.obsp["connectivities"] = kneighbors_graph(layers.X, 5)
    monkeypatch.setattr(_clusters, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"hrca\[leiden\].*`clusters=` names a column"):
        tl.majority_vote(layers)


def test_impossible_arguments_of_majority_vote_raise(layers):
    with pytest.raises(ValueError, match="obsp must have 'connectivities'"):
        tl.majority_vote(layers)
    with pytest.raises(ValueError, match="got 'leiden'"):
        tl.majority_vote(layers, clusters="leiden")
    with pytest.raises(ValueError, match="obs must have the labels 'other'"):
        tl.majority_vote(layers, key="other")
    with pytest.raises(ValueError, match="`min_fraction` must be from 0 to 1"):
        tl.majority_vote(layers, clusters="known", min_fraction=2)


@pytest.mark.parametrize("matrix", [np.asarray, sparse.csr_matrix])
def test_novel_cells_are_described_by_cluster(layers, matrix):
    rng = np.random.default_rng(0)
    novelty = rng.random(1200) * 0.9
    novelty[:100] = 0.99
    layers.obs["hrca_novelty"] = novelty
    layers.obs["cluster"] = np.where(np.arange(1200) < 120, "new", "old")
    x = rng.random((1200, 4))
    x[:100, 2] += 1
    layers.X = matrix(x)
    table = tl.rejected_clusters(layers, "cluster", n_top=2)
    assert list(table.index) == ["new"]
    assert table.loc["new", "n_obs"] == 120
    assert table.loc["new", "rejected_fraction"] == pytest.approx(100 / 120)
    t = ttest_ind(x[:100], x[100:], equal_var=False).statistic
    assert table.loc["new", "genes"] == [f"{i}" for i in np.argsort(-t)[:2]]
    layers.obsm["hrca_probabilities"].columns = [f"{name}|x" for name in layers.obsm["hrca_probabilities"]]
    labels = [f"{name}/x" for name in table.loc["new", "nearest"]]
    layers.uns["hrca"] = {"labels": [name.replace("|", "/") for name in layers.obsm["hrca_probabilities"]]}
    assert tl.rejected_clusters(layers, "cluster", n_top=2).loc["new", "nearest"] == labels
    with pytest.raises(ValueError, match="obs must have 'leiden'"):
        tl.rejected_clusters(layers, "leiden")


def test_clusters_have_the_rejected_cells_of_predict(tiny_model):
    cells = synthetic(60, seed=4)
    tiny_model.predict(cells, novelty_fpr=0.05, enable_progress_bar=False)
    cells.obs["hrca_novelty"] = [0.96, *[0.5] * 59]
    cells.obs["hrca_novel_probability"] = [0.0, 0.5, 0.49, np.nan, *[0.1] * 56]
    cells.obs["cluster"] = "all"
    assert tl.rejected_clusters(cells, "cluster").loc["all", "rejected_fraction"] == pytest.approx(2 / 60)
    del cells.obs["hrca_novel_probability"]
    assert tl.rejected_clusters(cells, "cluster").loc["all", "rejected_fraction"] == pytest.approx(1 / 60)


def test_explain_keeps_the_table_of_the_groups_in_the_object(tiny_model, tmp_path):
    adata = synthetic(30, seed=9)
    table = explain(tiny_model, adata, "cell_type", network_genes=False, key_added="why")
    pd.testing.assert_frame_equal(
        table, tiny_model.explain(adata, groupby="cell_type", n_genes=10, network_genes=False)
    )
    assert list(table["cells"].unique()) == ["type 0", "type 1", "type 2"]
    adata.write_h5ad(tmp_path / "explained.h5ad")
    read = ad.read_h5ad(tmp_path / "explained.h5ad").uns["why"]
    pd.testing.assert_frame_equal(read.reset_index(drop=True), table, check_dtype=False, check_categorical=False)
