"""The benchmarks of confidence: calibration, sets, novelty, back-off."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

# at the end: some scripts have the name of the package that they run
sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import backoff
import calibration
import calibration_report
import grid
import novelty
from conftest import QUIET, TINY, synthetic

import hrca


def test_sets_of_the_likeliest_labels_reach_their_probability():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), size=50)
    sets = calibration.until(pd.DataFrame(probabilities), 0.9)
    for row, chosen in zip(probabilities, sets.to_numpy(), strict=True):
        total, expected = 0.0, set()
        for label in sorted(range(4), key=lambda label: -row[label]):
            if total < 0.9:
                expected.add(label)
            total += row[label]
        assert set(np.flatnonzero(chosen)) == expected


def test_the_calibration_error_by_chance_falls_with_the_cells():
    confidence = np.random.default_rng(1).uniform(0.3, 1, 20_000)
    few, many = calibration.chance(confidence[:300]), calibration.chance(confidence)
    assert few > 0.04 > 0.015 > many > 0
    assert calibration.chance(np.ones(10)) == 0


def test_the_halves_of_a_data_set_share_no_cell(data_dir):
    reference, query = calibration.halves("starmap_mpfc", data_dir, 0, 50)
    assert not set(reference.obs_names) & set(query.obs_names)
    assert reference.n_obs + query.n_obs == 3190
    assert reference.n_vars == query.n_vars == 50


def test_a_query_without_one_type_has_all_its_cells_and_the_reference_none(data_dir):
    run = novelty.Run("starmap_mpfc", "Endo", 0, 100)
    reference, query = novelty.split(run, data_dir)
    whole = novelty.read("starmap_mpfc", data_dir)
    assert "Endo" not in set(reference.obs["type"])
    assert (query.obs["type"] == "Endo").sum() == (whole.obs["type"] == "Endo").sum()
    assert not set(reference.obs_names) & set(query.obs_names)
    assert reference.n_vars == 100


def test_every_type_with_30_cells_is_left_out_once(data_dir):
    runs = list(novelty.runs(["pbmc3k", "starmap_mpfc"], data_dir, 0, 2000))
    assert len({(run.data, run.left_out) for run in runs}) == len(runs)
    for name in ("pbmc3k", "starmap_mpfc"):
        counts = novelty.read(name, data_dir).obs["type"].value_counts()
        left_out = {run.left_out for run in runs if run.data == name}
        assert left_out == {novelty.ALL_TYPES, *counts.index[counts >= 30]}


def test_the_hierarchies_of_back_off_are_those_of_the_data(data_dir):
    for name, parents in backoff.PARENTS.items():
        labels = set(hrca.datasets.local(name, data_dir).obs["cell_type"].astype(str))
        assert set(parents) - set(parents.values()) <= labels


def test_a_threshold_answers_as_many_cells_as_back_off(monkeypatch):
    cells, parents = synthetic(200), {"type 0": "low", "type 1": "low"}
    hrca.HRCA.setup_anndata(cells, labels_key="cell_type", labels_hierarchy=parents)
    model = hrca.HRCA(cells, **TINY)
    model.train(1, 1, **QUIET)
    query = grid.thin(synthetic(50, seed=1), 0.03, np.random.default_rng(0))
    query = query[grid.totals(query) > 0].copy()
    scored, ways = backoff.answered, []
    monkeypatch.setattr(backoff, "answered", lambda known, said, tree: ways.append(said) or scored(known, said, tree))
    rows = list(backoff.score(model, query, parents))
    table = model.predict(query, soft=True, key_added=None)
    labels, sure = model.predict(query, key_added=None), table.max(axis=1).to_numpy()
    n_unanswered = []
    for row, least, said in zip(rows, backoff.LEAST, ways, strict=True):
        assert row["min_confidence"] == least
        np.testing.assert_array_equal(said["backoff"], model.predict(query, min_confidence=least, key_added=None))
        np.testing.assert_array_equal(said["flat"], labels)
        answered = said["threshold"] != "Unknown"
        assert answered.sum() == (said["backoff"] != "Unknown").sum() == round(row["coverage"] * len(labels))
        np.testing.assert_array_equal(said["threshold"][answered], labels[answered])
        assert sure[answered].min() >= sure[~answered].max(initial=0)
        expected = hrca.metrics.hierarchical_scores(query.obs["cell_type"], said["backoff"], parents)
        assert row["backoff_f1"] == expected["hierarchical_f1"]
        n_unanswered.append((~answered).sum())
    assert 0 < n_unanswered[-1] < len(labels)


def test_back_off_is_first_where_it_is_above_both_others():
    rows = pd.DataFrame({"data": "blood", "seed": range(3), "depth": 1.0, "n_folds": pd.array([None] * 3, "Int64")})
    rows = rows.assign(min_confidence=0.5, coverage=[1, 0.5, 0.9], backoff_f1=[0.6, 0.8, 0.7])
    rows = rows.assign(threshold_f1=[0.5, 0.8, 0.6], flat_f1=[0.5, 0.7, 0.6])
    rows = rows.assign(backoff_precision=0.9, threshold_precision=0.8, flat_precision=0.7)
    (row,) = backoff.summary(rows).to_dict("records")
    assert row == {
        "answered": "0.800",
        "back-off": "0.7000 (0.900)",
        "threshold": "0.6333 (0.800)",
        "every cell": "0.6000 (0.700)",
        "back-off first": "2 of 3",
    }


def test_the_pairs_of_calibration_have_only_seen_types_and_cells_with_counts(data_dir):
    ((name, seed, make),) = calibration.across(["poa"], 1, data_dir)
    case = make()
    assert (name, seed, case.depths) == ("poa_scrna_moffitt -> poa_merfish_b0.06", 0, (1.0,))
    key = case.pair.labels_key
    assert set(case.pair.query.obs[key]) <= set(case.pair.reference.obs[key])
    (query,) = case.queries().values()
    assert (grid.totals(query) > 0).all()
    case = replace(case, depths=(0.001,))
    assert 0 < case.queries()[0.001].n_obs < query.n_obs


def test_a_method_without_sets_is_scored_by_its_confidence():
    known, said = np.array(["a", "b"] * 50), np.array(["a", "a"] * 50)
    row, by_label = calibration.score(calibration.Answer(said, np.full(100, 0.5), None), known)
    assert (row["accuracy"], row["calibration_error"]) == (0.5, 0)
    assert np.isnan(row["coverage"])
    assert by_label.empty


def test_an_answer_is_scored_by_label_where_it_has_100_cells():
    known = np.array(["a"] * 120 + ["b"] * 20)
    table = pd.DataFrame({"a": np.full(140, 0.8), "b": np.full(140, 0.2)})
    row, by_label = calibration.score(calibration.of_table(table, table > 0.5), known)
    assert row["accuracy"] == row["coverage"] == pytest.approx(120 / 140)
    assert row["calibration_error"] == pytest.approx(120 / 140 - 0.8)
    assert (row["size"], row["empty"]) == (1, 0)
    assert by_label["coverage"].to_dict() == {"a": 1}


def test_splits_are_taken_together_as_if_their_cells_were():
    rng = np.random.default_rng(0)
    known, confidence = np.full(900, "right"), rng.random(900)
    labels = np.where(rng.random(900) < confidence * 0.9, "right", "wrong")
    parts = []
    for cells in np.array_split(rng.permutation(900), 3):
        answer = calibration.Answer(labels[cells], confidence[cells], None)
        parts.append(calibration.bins(answer, known[cells]).assign(data="cells", depth=1.0, method="one"))
    (row,) = calibration_report.together(pd.concat(parts)).to_dict("records")
    assert row["n_obs"] == 900
    assert row["error"] == pytest.approx(hrca.metrics.calibration_error(known, labels, confidence))
    drawn = [np.where(rng.random(900) < confidence, "right", "wrong") for _ in range(200)]
    expected = np.mean([hrca.metrics.calibration_error(known, said, confidence) for said in drawn])
    assert row["chance"] == pytest.approx(expected, rel=0.06)


def test_a_mean_is_of_all_rows_or_there_is_none():
    index = pd.MultiIndex.from_product([["cells"], [0.3, 1.0]], names=["data", "depth"])
    table = calibration_report.with_mean(pd.DataFrame({"all": [0.1, 0.3], "one": [0.1, np.nan]}, index=index))
    assert table.index.tolist() == [("cells", 1.0), ("cells", 0.3), ("mean", "")]
    assert table.loc[("mean", ""), "all"] == pytest.approx(0.2)
    assert np.isnan(table.loc[("mean", ""), "one"])


def test_coverage_of_labels_over_splits():
    classes = pd.DataFrame(
        {"data": "cells", "depth": 1.0, "label": ["a", "a", "b"], "n_obs": [100, 300, 100], "method": "one"}
    ).assign(coverage=[0.84, 0.92, 0.90])
    table = calibration_report.by_label(classes, {"one": "One"}).reset_index().set_index("cells of")
    assert table.loc["each split", ["labels", "least"]].tolist() == [3, 0.84]
    assert table.loc["each split", "within 2 points"] == pytest.approx(2 / 3)
    assert table.loc["all splits", ["labels", "within 2 points", "least"]].tolist() == [2, 1.0, 0.9]
    # a beta-binomial: 91 of the 101 places that a new cell can have among 100 held-out ones
    exact = stats.betabinom.cdf(92, 100, 91, 10) - stats.betabinom.cdf(87, 100, 91, 10)
    assert calibration_report.within_if_exact(np.full(50, 100)) == pytest.approx(exact, abs=0.01)
    assert calibration_report.within_if_exact(np.full(50, 300), 3) > exact + 0.1
