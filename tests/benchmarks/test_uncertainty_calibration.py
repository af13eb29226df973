"""The calibration benchmark: scores, and the smallest run."""

import functools

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, synthetic

import hrca
from benchmarks.common.data import ReferenceQueryPair
from benchmarks.uncertainty import calibration, predictors
from benchmarks.uncertainty.predictors import CellPredictions
from benchmarks.uncertainty.splits import Case, UnreadCase


def test_the_calibration_error_by_chance_falls_with_the_cells():
    confidence = np.random.default_rng(1).uniform(0.3, 1, 20_000)
    few, many = calibration.error_by_chance(confidence[:300]), calibration.error_by_chance(confidence)
    assert few > 0.04 > 0.015 > many > 0
    assert calibration.error_by_chance(np.ones(10)) == 0


def test_a_method_without_sets_is_scored_by_its_confidence():
    labels, predicted = np.array(["a", "b"] * 50), np.array(["a", "a"] * 50)
    row, by_label = calibration.score(CellPredictions(predicted, np.full(100, 0.5), None), labels)
    assert (row["accuracy"], row["calibration_error"]) == (0.5, 0)
    assert np.isnan(row["coverage"])
    assert by_label.empty


def test_sets_are_scored_by_label_where_it_has_100_cells():
    labels = np.array(["a"] * 120 + ["b"] * 20)
    table = pd.DataFrame({"a": np.full(140, 0.8), "b": np.full(140, 0.2)})
    row, by_label = calibration.score(predictors.from_probabilities(table, table > 0.5), labels)
    assert row["accuracy"] == row["coverage"] == pytest.approx(120 / 140)
    assert row["calibration_error"] == pytest.approx(120 / 140 - 0.8)
    assert (row["size"], row["empty"]) == (1, 0)
    assert by_label["coverage"].to_dict() == {"a": 1}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of reweighted sets with so few held-out cells
def test_the_smallest_run_measures_each_method_once(tmp_path, monkeypatch):
    monkeypatch.setitem(hrca.SIZES, "laptop", TINY)
    monkeypatch.setattr(predictors, "N_FOLDS", 2)
    monkeypatch.setattr(hrca.HRCA, "train", functools.partialmethod(hrca.HRCA.train, pretrain_epochs=1, max_epochs=2))
    monkeypatch.setattr(hrca.HRCA, "adapt", functools.partialmethod(hrca.HRCA.adapt, max_steps=2))
    monkeypatch.setattr(calibration, "MIN_LABEL_CELLS", 10)
    monkeypatch.setattr(calibration, "N_CHANCE_DRAWS", 2)
    case = Case("cells", 0, ReferenceQueryPair(synthetic(120), synthetic(60, seed=1), "cell_type"), (0.5,))
    n_read = []
    cases = [UnreadCase("cells", 0, lambda: n_read.append(1) or case)]
    names = set(predictors.METHODS)
    for wanted in ({"hrca", "multinomial"}, names, names):
        calibration.run(iter(cases), "all", wanted, None, tmp_path / "calibration")
    assert len(n_read) == 2
    rows = pd.read_csv(tmp_path / "calibration.csv")
    bins = pd.read_csv(tmp_path / "calibration_bins.csv")
    by_label = pd.read_csv(tmp_path / "calibration_by_label.csv")
    published = calibration.RESULTS / "uncertainty"
    assert list(rows) == list(pd.read_csv(published / "calibration.csv", nrows=0))
    assert list(bins) == list(pd.read_csv(published / "calibration_bins.csv", nrows=0))
    assert list(by_label) == list(pd.read_csv(published / "calibration_by_label.csv", nrows=0))
    assert sorted(rows["method"]) == sorted(names)
    assert set(bins["method"]) == set(by_label["method"]) == names
    assert (bins.groupby(["method", "depth"])["n_obs"].sum() == 60).all()
