"""The benchmark of false alarms in halves of a data set."""

import sys

import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

from benchmarks.common.results import RESULTS, read_rows
from benchmarks.uncertainty import halves


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_the_smallest_run_measures_each_query_once(tmp_path, monkeypatch):
    synthetic(900).write_h5ad(tmp_path / "pbmc3k.h5ad")
    arguments = ["--data", str(tmp_path), "--datasets", "pbmc3k", "--seeds", "1", "--out", str(tmp_path), "--summary"]
    monkeypatch.setattr(sys, "argv", ["halves", *arguments])
    halves.main()
    first = (tmp_path / "halves.csv").read_bytes()
    halves.main()
    assert (tmp_path / "halves.csv").read_bytes() == first
    rows = read_rows(tmp_path / "halves.csv")
    assert list(rows) == list(pd.read_csv(RESULTS / "uncertainty" / "halves.csv", nrows=0))
    assert rows[["genes", "depth", "n_obs"]].to_numpy().tolist() == [["all", 1.0, 450], ["all", 0.1, rows["n_obs"][1]]]
    assert rows["novel_fraction"][0] == 0


def test_the_label_with_most_novel_cells_is_named():
    query = synthetic(6)
    query.uns["hrca"] = {"warnings": ["one"]}
    query.obs["hrca_novel_probability"] = [0.1, 0.5, 0.9, 0.4, 0.9, 0.2]
    scores = halves.score(query)
    assert scores == {"n_obs": 6, "novel_fraction": 0.5, "label": "type 1", "label_fraction": 1, "n_warnings": 1}
    query.obs["hrca_novel_probability"] = np.nan
    assert np.isnan(halves.score(query)["novel_fraction"])


def test_the_summary_leaves_out_queries_without_an_answer():
    rows = pd.DataFrame(
        {"genes": "all", "depth": 1.0, "novel_fraction": [0, 0.02, np.nan], "n_warnings": [0, 1, 0], "seed": [0, 1, 2]}
    )
    assert halves.summary(rows).loc[("all", 1.0)].tolist() == [2, 1, 0.01, 0.02, 1]
