"""The benchmark of queries with fewer cells."""

import sys

import numpy as np
import pytest

from benchmarks.common.results import RESULTS, read_rows
from benchmarks.uncertainty import fewer_cells


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_the_smallest_run_measures_each_draw_once(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(fewer_cells, "NUMBERS_LEFT_OUT", (1,))
    monkeypatch.setattr(fewer_cells, "N_DRAWS", 2)
    arguments = ["--data", str(data_dir), "--pairs", "mpfc -> BZ9", "--out", str(tmp_path), "--summary"]
    monkeypatch.setattr(sys, "argv", ["fewer_cells", *arguments])
    fewer_cells.main()
    first = (tmp_path / "fewer_cells.csv").read_bytes()
    fewer_cells.main()
    assert (tmp_path / "fewer_cells.csv").read_bytes() == first
    rows = read_rows(tmp_path / "fewer_cells.csv")
    assert list(rows) == list(read_rows(RESULTS / "uncertainty" / "fewer_cells.csv"))
    assert rows[["n_left_out", "draw"]].to_numpy().tolist() == [[1, 0], [1, 1]]
    assert (rows["mean_change"] < 0.05).all()


def test_changes_are_counted():
    whole, part = np.array([0.1, 0.48, 0.9, np.nan]), np.array([0.1, 0.52, 0.8, np.nan])
    found = fewer_cells.changes(whole, part)
    assert (found["n_changed"], found["n_passed"]) == (1, 1)
    assert found["mean_change"] == pytest.approx(0.14 / 3)
