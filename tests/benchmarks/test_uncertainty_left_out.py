"""The benchmark of types that would be noticed if the reference lacked them."""

import sys

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from conftest import TINY

from benchmarks.common.results import RESULTS, read_rows
from benchmarks.uncertainty import left_out


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_the_smallest_run_measures_each_missing_type_once(data_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(left_out.load_or_train.__globals__["hrca"].SIZES, "laptop", TINY)
    arguments = ["--data", str(data_dir), "--models", str(tmp_path / "models"), "--pairs", "BZ9", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["left_out", *arguments, "--out", str(tmp_path), "--summary"])
    left_out.main()
    first = (tmp_path / "left_out.csv").read_bytes()
    left_out.main()
    assert (tmp_path / "left_out.csv").read_bytes() == first
    rows = read_rows(tmp_path / "left_out.csv")
    assert list(rows) == list(pd.read_csv(RESULTS / "uncertainty" / "left_out.csv", nrows=0))
    assert rows["n_left_out"].groupby(rows["left_out"]).first()[["commonest", "two commonest"]].tolist() == [1, 2]


def test_scores_of_the_cells_of_a_missing_type():
    cells = AnnData(np.zeros((3, 1)))
    cells.obs["hrca_novel_probability"] = [0.5, 0.9, np.nan]
    cells.obs["hrca_confidence"] = [0.95, 0.2, 0.2]
    assert left_out.score(cells) == {"n_cells": 3, "novel_probability": 0.7, "confident": 1 / 3}


def test_the_summary_separates_one_missing_type_from_several():
    rows = pd.DataFrame(
        {
            "n_left_out": [1, 1, 1, 1, 3, 3],
            "expected": [0.9, 0.1, 0.6, 0.2, 0.9, 0.1],
            "novel_probability": [0.8, 0.2, 0.4, 0.0, 0.1, 0.9],
        }
    )
    table = left_out.summary(rows)
    names = ["types", "expected", "noticed", "agree", "noticed_if_expected", "noticed_if_not"]
    assert table.loc["one", names].tolist() == [4, 0.5, 0.25, 0.75, 0.5, 0]
    assert table.loc["several", names].tolist() == [2, 0.5, 0.5, 0, 0, 1]
    assert table.loc["several", "correlation"] == pytest.approx(-1)
