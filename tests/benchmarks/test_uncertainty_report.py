"""The tables of calibration, sets and back-off for the docs."""

import sys

import numpy as np
import pandas as pd
import pytest

import hrca
from benchmarks.common.results import DOCS
from benchmarks.uncertainty import calibration, report
from benchmarks.uncertainty.predictors import CellPredictions

TABLES = ("calibration", "calibration_sets", "calibration_labels", "calibration_across", "backoff")


def _main(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    report.main()


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_docs_are_those_of_the_results(tmp_path, monkeypatch, name):
    _main(monkeypatch, "--docs", str(tmp_path))
    path = f"benchmarks/{name}.csv"
    assert (tmp_path / path).read_bytes() == (DOCS / path).read_bytes()


def test_a_table_without_results_is_skipped(tmp_path, monkeypatch, capsys):
    _main(monkeypatch, "--docs", str(tmp_path), "--results", str(tmp_path))
    assert not list(tmp_path.rglob("*.csv"))
    assert capsys.readouterr().out.count("is skipped") == len(TABLES)


def test_splits_are_pooled_like_their_cells():
    rng = np.random.default_rng(0)
    labels, confidence = np.full(900, "right"), rng.random(900)
    predicted = np.where(rng.random(900) < confidence * 0.9, "right", "wrong")
    parts = []
    for cells in np.array_split(rng.permutation(900), 3):
        predictions = CellPredictions(predicted[cells], confidence[cells], None)
        bins = calibration.confidence_bins(predictions, labels[cells])
        parts.append(bins.assign(data="cells", depth=1.0, method="one"))
    (row,) = report.pool_splits(pd.concat(parts)).to_dict("records")
    assert row["n_obs"] == 900
    assert row["error"] == pytest.approx(hrca.metrics.calibration_error(labels, predicted, confidence))
    drawn = [np.where(rng.random(900) < confidence, "right", "wrong") for _ in range(200)]
    expected = np.mean([hrca.metrics.calibration_error(labels, draw, confidence) for draw in drawn])
    assert row["chance"] == pytest.approx(expected, rel=0.06)


def test_a_mean_is_of_all_rows_or_there_is_none():
    index = pd.MultiIndex.from_product([["cells"], [0.3, 1.0]], names=["data", "depth"])
    table = report.with_mean(pd.DataFrame({"all": [0.1, 0.3], "one": [0.1, np.nan]}, index=index))
    assert table.index.tolist() == [("cells", 1.0), ("cells", 0.3), ("mean", "")]
    assert table.loc[("mean", ""), "all"] == pytest.approx(0.2)
    assert np.isnan(table.loc[("mean", ""), "one"])


def test_back_off_is_first_where_it_is_above_both_others():
    rows = pd.DataFrame({"data": "blood", "seed": range(3), "depth": 1.0, "n_folds": pd.array([None] * 3, "Int64")})
    rows = rows.assign(min_confidence=0.5, coverage=[1, 0.5, 0.9], backoff_f1=[0.6, 0.8, 0.7])
    rows = rows.assign(threshold_f1=[0.5, 0.8, 0.6], flat_f1=[0.5, 0.7, 0.6])
    rows = rows.assign(backoff_precision=0.9, threshold_precision=0.8, flat_precision=0.7)
    (row,) = report.backoff_table(rows).to_dict("records")
    assert row == {
        "answered": "0.800",
        "back-off": "0.7000 (0.900)",
        "threshold": "0.6333 (0.800)",
        "every cell": "0.6000 (0.700)",
        "back-off first": "2 of 3",
    }
