"""The novelty benchmark: its models, its splits, and its scores."""

import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

from benchmarks.common.results import RESULTS, Table
from benchmarks.uncertainty import novelty


def test_a_query_without_one_type_has_all_its_cells_and_the_reference_none(data_dir):
    spec = novelty.ModelSpec("starmap_mpfc", "Endo", 0, 100)
    reference, query = novelty.split(spec, data_dir)
    whole = novelty.read("starmap_mpfc", data_dir)
    assert "Endo" not in set(reference.obs["type"])
    assert (query.obs["type"] == "Endo").sum() == (whole.obs["type"] == "Endo").sum()
    assert not set(reference.obs_names) & set(query.obs_names)
    assert reference.n_vars == 100


def test_every_type_with_30_cells_is_left_out_once(data_dir):
    specs = list(novelty.model_specs(["pbmc3k", "starmap_mpfc"], data_dir, 0, 2000))
    assert len({(spec.data, spec.left_out) for spec in specs}) == len(specs)
    for name in ("pbmc3k", "starmap_mpfc"):
        counts = novelty.read(name, data_dir).obs["type"].value_counts()
        left_out = {spec.left_out for spec in specs if spec.data == name}
        assert left_out == {novelty.ALL_TYPES, *counts.index[counts >= 30]}


def test_the_published_rows_are_those_of_the_models(data_dir):
    specs = novelty.model_specs(list(novelty.LABELS_KEYS), data_dir, 0, 2000)
    keys = {("0", spec.data, spec.left_out) for spec in specs} | {("0", *novelty.ACROSS)}
    assert Table(RESULTS / "uncertainty" / "novelty.csv", novelty.KEY).keys == keys


def test_a_row_has_the_columns_of_the_results(tiny_model):
    reference, query = synthetic(100), synthetic(40, seed=1)
    for adata in (reference, query):
        adata.obs["type"] = adata.obs["cell_type"]
    query.obs.loc[query.obs_names[:10], "type"] = "novel"
    row = novelty.score(tiny_model, reference, query, 0.5, None)
    published = list(pd.read_csv(RESULTS / "uncertainty" / "novelty.csv", nrows=0))
    assert ["seed", "data", "left_out", "depth", *row] == published[: 4 + len(row)]
    assert row["n_cells"] == 10
    assert all(0 <= row[name] <= 1 for name in ("novelty", "entropy", "mahalanobis", "false_rejection", "rejected"))
    query.obs["type"] = query.obs["cell_type"]
    assert np.isnan(novelty.score(tiny_model, reference, query, 1.0, None)["novelty"])


def test_the_baseline_scores_are_those_of_their_definitions(tiny_model):
    reference, query = synthetic(100), synthetic(20, seed=1)
    reference.obs["type"] = reference.obs["cell_type"]
    scores = novelty.baseline_scores(tiny_model, reference, query, 1.0)
    probabilities = tiny_model.predict(query, soft=True, key_added=None).to_numpy(float)
    assert scores["max_probability"] == pytest.approx(1 - probabilities.max(axis=1))
    z = tiny_model.get_latent_representation(query)[0]
    training_z = tiny_model.get_latent_representation(reference[tiny_model.split_.train].copy())
    nearest = np.sort(np.linalg.norm(training_z - z, axis=1))[: novelty.N_NEIGHBOURS]
    assert scores["neighbours"][0] == pytest.approx(nearest.mean(), rel=1e-4)
