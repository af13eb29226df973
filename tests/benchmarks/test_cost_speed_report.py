"""Tables and figure of the speed benchmark."""

import pandas as pd
import pytest

from benchmarks.cost import speed_plan
from benchmarks.cost.speed_report import TABLES, name_points, split_starts, start_table, write_report

TIMED_OUT = "timed out after 400 s"


def _row(point: speed_plan.Point, method: str, operation: str, seconds: float, error: str | None = None) -> dict:
    n_obs = point.cells["n_obs"]
    measured = {"rounds": 3, "seconds": seconds, "cpu_s": seconds, "peak_gb": 0.2, "process_gb": 0.7, "share": 0.25}
    floors = {"floor_s": seconds / 4, "dense_floor_s": seconds / 2}
    rate = n_obs / seconds if n_obs else None
    return point.key(method, operation) | measured | floors | {"cells_per_s": rate, "error": error}


@pytest.fixture
def rows() -> pd.DataFrame:
    start = speed_plan.Point("start", {}, cells=dict.fromkeys(speed_plan.BASE, ""))
    published = speed_plan.published_points((1_000,), "specification", n_obs=512)[0]
    one, *_, passive_busy = speed_plan.thread_points(5_000)
    measured = [_row(start, "hrca", "import hrca", 0.5)]
    for point in speed_plan.points(quick=False):
        if point.part == "grid":
            names = [(method, name) for method, names in point.operations.items() for name in names]
            measured += [_row(point, method, name, 2.0 if method == "hrca" else 0.5) for method, name in names]
    measured[-1] |= {"error": TIMED_OUT}
    measured += [_row(published, "hrca", name, 0.1) for name in published.operations["hrca"]]
    measured += [_row(published, "published", name, 0.35) for name in published.operations["published"]]
    measured += [_row(one, "hrca", "predict", 1.0), _row(passive_busy, "hrca", "predict", 3.0)]
    return pd.DataFrame(measured)


def test_points_are_named_by_what_they_change(rows):
    _, others = split_starts(rows)
    names = name_points(others[others["part"] == "grid"]).unique().tolist()
    assert names[:3] == ["base", "300 genes", "20,000 genes"]
    assert {"deep query", "500 labels", "20,000 cells", "300 genes, 50,000 reference cells"} <= set(names)


def test_rates_stand_side_by_side_and_errors_in_words(rows):
    is_slow = rows["method"].eq("celltypist") & rows["n_labels"].eq(500)
    rows.loc[is_slow, ["error", "cells_per_s"]] = [TIMED_OUT, None]
    table = TABLES["speed_prediction"](split_starts(rows)[1]).set_index("point")
    assert table.loc["base", ["HRCA", "count likelihood"]].tolist() == ["2,500", "10,000"]
    assert table.loc["500 labels", "CellTypist"] == "timed out"
    assert table.loc["1,000 cells", "CellTypist"] == ""


def test_the_published_style_is_compared_with_both_predictions(rows):
    table = TABLES["speed_published"](split_starts(rows)[1]).set_index("operation")
    assert table["ratio"].tolist() == ["3.5"] * 4
    assert set(table.index) == {*speed_plan.STEPS, *speed_plan.PREDICTIONS}
    assert table["genes"].unique().tolist() == [1_000]


def test_threads_and_starts_have_their_tables(rows):
    starts, others = split_starts(rows)
    table = TABLES["speed_threads"](others)
    assert table.to_dict("records") == [{"operation": "predict", "1 thread, idle": 1, "2 threads, passive, shared": 3}]
    assert start_table(starts)["seconds"].tolist() == [0.5]
    # plain text would have a dash in place of two hyphens on the site
    assert start_table(starts)["command"].str.fullmatch("`[^`]+`").all()


def test_the_report_has_all_files_also_of_few_rows(rows, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    for measured in (rows, rows[:1]):
        measured.to_csv(tmp_path / "speed.csv", index=False)
        write_report(tmp_path, tmp_path)
        tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "benchmarks").iterdir()}
        assert tables.keys() == {*TABLES, "speed_start"}
        assert all(len(table) for table in tables.values())
        assert (tmp_path / "_static" / "benchmarks" / "speed.png").stat().st_size > 10_000
    assert tables["speed_hrca"].iloc[0, 0] == "not measured"
