"""Running the accuracy benchmark: resuming, and a baseline from end to end."""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.accuracy import grid, run
from benchmarks.common.data import PAIRS, ReferenceQueryPair
from benchmarks.common.methods import method_command


def _run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    run.main()


def test_rows_that_are_there_are_not_run_again(tmp_path, monkeypatch):
    measured = []

    def measure(job, missing_depths, *_):
        measured.extend(job.key(depth) for depth in missing_depths)
        scores = {"macro_f1": 0.5, "train_s": 1.0}
        return [dict(zip(grid.KEY, job.key(depth), strict=True)) | scores for depth in missing_depths]

    monkeypatch.setattr(run, "measure", measure)
    arguments = ["--data", "nowhere", "--quick", "--methods", "multinomial", "--out", str(tmp_path)]
    _run(monkeypatch, *arguments)
    assert measured and len(measured) == len(set(measured))
    n_rows = len(measured)
    path = tmp_path / "multinomial.csv"
    # killed in the middle of the last line
    path.write_text(path.read_text()[:-10])
    _run(monkeypatch, *arguments)
    assert measured[n_rows:] == [measured[n_rows - 1]]
    assert len(pd.read_csv(path)) == n_rows


def test_a_baseline_runs_from_end_to_end(reference, query, monkeypatch):
    cells = query[:, query.var_names.isin(reference.var_names)].copy()
    cells.obs["cell_type"] = "type 0"
    pair = ReferenceQueryPair(reference[:, cells.var_names].copy(), cells, "cell_type")
    monkeypatch.setattr(run, "read_pair", lambda *_: pair)
    job = grid.Job("multinomial", replace(PAIRS[0], labels_key="cell_type"), "all", 0, ("1", "0.3"))
    rows = run.measure(job, ["1", "0.3"], Path(), method_command("multinomial", None), 120)
    assert [row["depth"] for row in rows] == ["1", "0.3"]
    assert not any("error" in row for row in rows)
    assert set(rows[0]) <= set(grid.COLUMNS)
    # the query's cells are all called type 0, a third of them are, and one is empty
    assert rows[0]["accuracy"] == pytest.approx(1 / 3, abs=0.1)
    assert rows[0]["peak_gb"] > 0


def test_a_method_that_fails_gives_rows_with_its_error(reference, monkeypatch):
    monkeypatch.setattr(run, "read_pair", lambda *_: ReferenceQueryPair(reference, reference, "cell_type"))
    job = grid.Job("multinomial", PAIRS[0], "all", 0, ("1",))
    (row,) = run.measure(job, ["1"], Path(), [sys.executable, "-c", "raise ValueError('on purpose')"], 120)
    assert row["error"] == "ValueError: on purpose"
    assert row["n_genes"] == reference.n_vars


def test_the_smallest_run_gives_the_published_row(data_dir, tmp_path, monkeypatch):
    _run(
        monkeypatch,
        *("--data", str(data_dir), "--out", str(tmp_path), "--quick"),
        *("--methods", "multinomial", "celltypist", "--pairs", "poa"),
    )
    (row,) = pd.read_csv(tmp_path / "multinomial.csv", dtype={"depth": str}).to_dict("records")
    published = pd.read_csv(run.RESULTS / "accuracy" / "multinomial.csv", dtype={"depth": str})
    (published_row,) = published.merge(pd.DataFrame([row])[list(grid.KEY)]).to_dict("records")
    for name in ("n_genes", "median_counts", "n_cells", "n_unseen", *grid.SCORES):
        assert row[name] == pytest.approx(published_row[name], abs=1e-9), name
    assert not (tmp_path / "celltypist.csv").exists()
