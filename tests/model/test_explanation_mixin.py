"""`explain`: sums, labels, groups, the genes that flip a label, and errors."""

import copy

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import synthetic

from hrca.explain import _network
from hrca.prediction import _probabilities
from hrca.prediction._forward import score_cells
from hrca.prediction._probabilities import PredictionSettings, fit_sampled_cells


def scores_of(model, query) -> np.ndarray:
    """Pooled log-scores of the whole query, by the functions of a prediction."""
    opened = model._open_query(query, None)
    settings = PredictionSettings(platform_correction=True, open_set=True, calibrated=True)
    gene_mask = model.module.gene_mask.numpy() * opened.alignment.present
    query_fit = fit_sampled_cells(
        model.module,
        lambda _: opened.batches(64),
        list(query.obs_names),
        gene_mask,
        model.novelty_reference_.sums,
        settings,
    )
    scores = score_cells(model.module, opened.batches(64), gene_mask if query_fit is None else query_fit.factors)
    likelihood = model.module.count_likelihood
    return scores.pool(None if likelihood is None else likelihood.pool_weights).numpy()


def without(query, row: int, genes) -> ad.AnnData:
    """A copy in which one cell has no counts on some genes."""
    changed, counts = query.copy(), query.X.tolil()
    counts[row, query.var_names.get_indexer(genes)] = 0
    changed.X = counts.tocsr()
    changed.X.eliminate_zeros()
    return changed


@pytest.fixture
def full_query():
    """60 cells of other draws, all genes."""
    adata = synthetic(60, seed=7)
    adata.obs["cluster"] = adata.obs.pop("cell_type").str[-1]
    return adata


@pytest.mark.parametrize("name", ["tiny_model", "tiny_networks"])
@pytest.mark.parametrize("n_genes", [None, 3])
@pytest.mark.parametrize("network_genes", [True, False])
def test_contributions_sum_to_the_difference_of_the_scores(request, full_query, name, n_genes, network_genes):
    model = request.getfixturevalue(name)
    table = model.explain(full_query, n_genes=n_genes, network_genes=network_genes)
    scores = scores_of(model, full_query)
    names = full_query.obs_names
    units = table.drop_duplicates("cells").set_index("cells").loc[names]
    order = np.argsort(-scores, axis=1)
    assert list(units["label"]) == [model.labels[i] for i in order[:, 0]]
    assert list(units["against"]) == [model.labels[i] for i in order[:, 1]]
    rows = np.arange(len(names))
    expected = scores[rows, order[:, 0]] - scores[rows, order[:, 1]]
    found = table.groupby("cells")["contribution"].sum().loc[names].to_numpy()
    tolerance = np.maximum(0.03 * expected, 0.02) if network_genes else 1e-4
    assert (np.abs(found - expected) < tolerance).all()


def test_labels_are_those_of_a_prediction_and_chosen_cells_have_the_factors_of_all(tiny_model, full_query):
    predicted = tiny_model.predict(full_query, key_added=None)
    everything = tiny_model.explain(full_query, network_genes=False)
    chosen = tiny_model.explain(full_query, [41, 3], network_genes=False)
    assert list(chosen["cells"].unique()) == ["cell41", "cell3"]
    for row in (41, 3):
        name = f"cell{row}"
        alone, together = (table[table["cells"] == name].reset_index(drop=True) for table in (chosen, everything))
        pd.testing.assert_frame_equal(alone, together, rtol=1e-6)
        assert alone["label"][0] == predicted[row]


def test_the_factors_are_fitted_to_the_same_sample_as_in_a_prediction(tiny_model, full_query, monkeypatch):
    monkeypatch.setattr(_probabilities, "MAX_SAMPLED_CELLS", 35)
    scores = scores_of(tiny_model, full_query)
    table = tiny_model.explain(full_query, np.arange(10), network_genes=False)
    expected = np.sort(scores[:10], axis=1)
    found = table.groupby("cells", sort=False)["contribution"].sum()
    np.testing.assert_allclose(found, expected[:, -1] - expected[:, -2], atol=1e-4)


def test_the_high_genes_of_a_label_are_its_top_genes(tiny_model, full_query):
    table = tiny_model.explain(full_query, groupby="cluster", n_genes=5)
    assert list(table["cells"].unique()) == ["0", "1", "2"]
    for code in range(3):
        group = table[table["cells"] == str(code)]
        assert set(group["label"]) == {f"type {code}"}
        assert set(group["n_cells"]) == {20}
        total = group[group["count"].notna()].groupby("gene")["contribution"].sum().drop("(other genes)")
        assert total.idxmax() in {f"gene{g}" for g in range(code * 10, code * 10 + 10)}


def test_a_group_is_the_mean_of_its_cells(tiny_model, full_query):
    rows = np.flatnonzero(full_query.obs["cluster"] == "1")
    options = {"label": "type 1", "against": "type 2", "n_genes": None}
    group = tiny_model.explain(full_query, rows, groupby="cluster", **options)
    cells = tiny_model.explain(full_query, rows, **options)
    keys = ["gene", "branch"]
    mean = cells.groupby(keys)["contribution"].sum() / len(rows)
    found = group.set_index(keys)["contribution"]
    # the number of steps of the integration is chosen by cell in both
    pd.testing.assert_series_equal(found.sort_index(), mean.sort_index(), rtol=1e-5, atol=1e-7)


def test_without_the_flipping_genes_the_other_label_wins_and_no_fewer_suffice(tiny_model, full_query):
    table = tiny_model.explain(full_query, n_genes=None)
    n_found = 0
    for row, name in enumerate(full_query.obs_names[:12]):
        cell = table[table["cells"] == name]
        codes = [tiny_model.labels.index(cell[column].iloc[0]) for column in ("label", "against")]
        genes = cell[cell["flips"]].groupby("gene")["contribution"].sum().sort_values(ascending=False).index
        if not len(genes):
            continue
        n_found += 1
        for n_deleted, changes in ((len(genes), True), (len(genes) - 1, False)):
            scores = scores_of(tiny_model, without(full_query, row, genes[:n_deleted]))[row]
            assert (scores[codes[0]] < scores[codes[1]]) == changes
    assert n_found > 5


def test_deleting_the_top_genes_lowers_the_probability_more_than_random_ones(tiny_model, full_query):
    table = tiny_model.explain(full_query, n_genes=None)
    by_gene = table[table["gene"].str.startswith("gene")].groupby(["cells", "gene"])["contribution"].sum()
    before = tiny_model.predict(full_query, soft=True, key_added=None)
    rng, drops = np.random.default_rng(0), {"top": [], "random": []}
    for row, name in enumerate(full_query.obs_names[:20]):
        expressed = full_query.var_names[full_query.X[row].indices]
        genes = {"top": by_gene[name].nlargest(5).index, "random": rng.choice(expressed, 5, replace=False)}
        label = before.loc[name].idxmax()
        for which, deleted in genes.items():
            after = tiny_model.predict(without(full_query, row, deleted), soft=True, key_added=None)
            drops[which].append(before.loc[name, label] - after.loc[name, label])
    assert np.mean(drops["top"]) > 3 * np.mean(drops["random"])


def test_offsets_of_a_calibration_by_label_are_a_row(tiny_model, full_query):
    model = copy.copy(tiny_model)
    model.module = copy.deepcopy(tiny_model.module)
    model.module.calibration.dirichlet_bias[0] = torch.tensor([0.0, 1000.0, 0.0])
    predicted = model.predict(full_query, key_added=None)
    table = model.explain(full_query, network_genes=False)
    assert set(predicted) == {"type 1"}
    assert set(table["label"]) == {"type 1"}
    assert (table.loc[table["branch"] == "calibration", "contribution"] > 0).all()
    assert (table.groupby("cells")["contribution"].sum() > 0).all()
    # without a fit by label there is no such row
    assert "calibration" not in set(tiny_model.explain(full_query, network_genes=False)["branch"])


def test_a_cell_without_counts_has_no_rows(tiny_model, query):
    with pytest.warns(UserWarning, match="1 of 37 cells has no counts on the model's genes and no explanation: cell5"):
        table = tiny_model.explain(query, network_genes=False)
    assert len(table["cells"].unique()) == 36
    with pytest.warns(UserWarning, match="1 of 1 cell has"):
        nothing = tiny_model.explain(query, [5], network_genes=False)
    assert len(nothing) == 0
    assert list(nothing.columns) == list(table.columns)


def test_genes_that_the_query_lacks_have_no_contribution(tiny_model, query):
    table = tiny_model.explain(query, np.arange(5), n_genes=None)
    genes = table["gene"][~table["gene"].str.startswith("(")]
    assert set(genes) <= set(query.var_names) & set(tiny_model.gene_names)


def test_a_cell_called_unknown_is_explained_by_its_most_likely_label(tiny_model, full_query):
    strict = tiny_model.predict(full_query, key_added=None, min_confidence=1.0)
    assert set(strict) == {"Unknown"}
    full_query.obs["call"] = np.asarray(strict)
    table = tiny_model.explain(full_query, groupby="call", network_genes=False)
    assert set(table["cells"]) == {"Unknown"}
    assert set(table["label"]) <= set(tiny_model.labels)


def test_nothing_is_written_and_the_module_is_unchanged(tiny_model, full_query):
    before = full_query.copy()
    state = {name: value.clone() for name, value in tiny_model.module.state_dict().items()}
    tiny_model.explain(full_query, [0])
    pd.testing.assert_frame_equal(full_query.obs, before.obs)
    assert not full_query.uns
    assert (full_query.X != before.X).nnz == 0
    assert all((value == state[name]).all() for name, value in tiny_model.module.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny_model.module.parameters())


def test_a_file_gives_the_same_table(tiny_model, full_query, tmp_path):
    full_query.write_h5ad(tmp_path / "query.h5ad")
    pd.testing.assert_frame_equal(
        tiny_model.explain(tmp_path / "query.h5ad", [7, 2], network_genes=False),
        tiny_model.explain(full_query, [7, 2], network_genes=False),
    )


def test_without_captum_the_counts_are_explained(tiny_model, full_query, monkeypatch):
    monkeypatch.setattr(_network, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"hrca\[explain\]"):
        tiny_model.explain(full_query, [0])
    table = tiny_model.explain(full_query, [0], network_genes=False)
    assert list(table.loc[table["branch"] == "network", "gene"]) == ["(network)"]
    assert (table["branch"] == "counts").sum() == 11


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "T"}, "`label` must be one of the model's 3 labels"),
        ({"against": "Unknown"}, "`against` must be one of the model's 3 labels"),
        ({"label": "type 1", "against": "type 1"}, "different labels"),
        ({"groupby": "leiden"}, "`groupby` must name a column of the query's obs, got 'leiden'"),
        ({"n_genes": 0}, "`n_genes` must be at least 1, got 0"),
        ({"n_cells": 0}, "`n_cells` must be at least 1, got 0"),
        ({"indices": [100]}, "`indices` must be positions"),
    ],
)
def test_wrong_arguments_raise(tiny_model, full_query, options, message):
    with pytest.raises(ValueError, match=message):
        tiny_model.explain(full_query, **options)


def test_a_column_without_groups_raises(tiny_model, full_query):
    full_query.obs["none"] = pd.Categorical([None] * 60, categories=["a"])
    with pytest.raises(ValueError, match="all cells have missing values in 'none'"):
        tiny_model.explain(full_query, groupby="none")
