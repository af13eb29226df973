"""Tables and figure of the speed benchmark for the docs.

    python -m benchmarks.cost.speed_report [--results FOLDER] [--docs FOLDER]

It reads ``benchmarks/results/cost/speed.csv``. It writes ``speed_prediction.csv``, ``speed_hrca.csv``,
``speed_published.csv``, ``speed_threads.csv`` and ``speed_start.csv`` to ``docs/benchmarks``, and
``docs/_static/benchmarks/speed.png``.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.common.results import DOCS, RESULTS, read_rows

from .speed_figure import draw
from .speed_plan import BASE

NAMES = {
    ("hrca", "predict"): "HRCA",
    ("hrca", "predict without novelty"): "HRCA, without novelty",
    ("celltypist", "predict"): "CellTypist",
    ("scanvi", "predict"): "scANVI",
    ("singler", "predict"): "SingleR",
    ("likelihood", "predict"): "count likelihood",
}
BASE_NAME = "base"
FACTOR_NAMES = {
    "n_genes": "genes",
    "n_labels": "labels",
    "depth": "query",
    "n_obs": "cells",
    "size": "size",
    "n_reference": "reference cells",
}
NOT_MEASURED = "not measured"


def split_starts(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the starts, which have no cells, and the others."""
    is_start = rows["part"] == "start"
    # the empty cells of the starts made floats of the numbers
    numbers = {name: int for name, value in BASE.items() if isinstance(value, int)}
    return rows[is_start], rows[~is_start].astype(numbers)


def name_points(rows: pd.DataFrame) -> pd.Series:
    """Name the point of each row by what differs from the base point, such as ``300 genes``."""

    def name(row: pd.Series) -> str:
        changed = [factor for factor in FACTOR_NAMES if row[factor] != BASE[factor]]
        return ", ".join(_describe(factor, row[factor]) for factor in changed) or BASE_NAME

    return rows.apply(name, axis=1) if len(rows) else pd.Series(dtype=str)


def _describe(factor: str, value: object) -> str:
    shown = f"{value:,}" if isinstance(value, int) else str(value)
    # "deep query", "300 genes", "specification size"
    return f"{shown} {FACTOR_NAMES[factor]}"


def prediction_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the cells per second of each method (columns) at each point (rows)."""
    names = pd.Series([NAMES.get(pair) for pair in zip(rows["method"], rows["operation"], strict=True)], rows.index)
    grid = rows.assign(name=names)[rows["part"].eq("grid") & names.notna()]
    grid["point"] = name_points(grid)
    grid["shown"] = [
        _rate(rate, error) for rate, error in zip(grid["cells_per_s"], grid["error"].fillna(""), strict=True)
    ]
    table = grid.pivot_table("shown", "point", "name", aggfunc="first", sort=False)
    order = [name for name in NAMES.values() if name in table]
    return table[order].fillna("").rename_axis(columns=None).reset_index()


def _rate(cells_per_s: float, error: str) -> str:
    return f"{cells_per_s:,.0f}" if not error else "timed out" if error.startswith("timed out") else "failed"


def hrca_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return time, memory and share of the roofline of each operation of HRCA at each point."""
    grid = rows[rows["part"].eq("grid") & rows["method"].eq("hrca") & rows["error"].isna()]
    return pd.DataFrame(
        {
            "point": name_points(grid),
            "operation": grid["operation"],
            "seconds": grid["seconds"].map("{:.3g}".format),
            "cells per second": grid["cells_per_s"].map(lambda rate: "" if pd.isna(rate) else f"{rate:,.0f}"),
            "GB above the start": grid["peak_gb"].map("{:.2f}".format),
            "floor (s)": grid["floor_s"].map(_seconds),
            "dense floor (s)": grid["dense_floor_s"].map(_seconds),
            "share of the floor": grid["share"].map(lambda share: "" if pd.isna(share) else f"{share:.0%}"),
        }
    )


def _seconds(seconds: float) -> str:
    return "" if pd.isna(seconds) else f"{seconds:.2g}"


def published_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds of HRCA and of the plain model in the published style, and their ratio."""
    part = rows[rows["part"].eq("published") & rows["error"].isna()]
    keys = ["size", "n_genes", "operation"]
    seconds = part.pivot_table("seconds", keys, "method", sort=False).reindex(columns=["hrca", "published"])
    # the plain model has no novelty: both kinds of HRCA's prediction have the same counterpart
    plain = seconds["published"].unstack("operation")
    for operation in plain.columns.intersection(["predict"]):
        plain["predict without novelty"] = plain[operation]
    seconds["published"] = plain.stack().reindex(seconds.index)
    table = seconds.dropna().reset_index().rename_axis(columns=None)
    table["ratio"] = (table["published"] / table["hrca"]).map("{:.1f}".format)
    names = {"n_genes": "genes", "hrca": "HRCA (s)", "published": "published style (s)"}
    return table.round({"hrca": 3, "published": 3}).rename(columns=names)


def threads_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds of each operation with one and two threads, on idle and on shared CPUs."""
    part = rows[rows["part"].eq("threads") & rows["error"].isna()]
    ways = [
        f"{n} thread{'s' if n > 1 else ''}{', passive' if policy == 'PASSIVE' else ''}, {'shared' if busy else 'idle'}"
        for n, policy, busy in zip(part["threads"], part["wait_policy"], part["busy"], strict=True)
    ]
    table = part.assign(way=ways).pivot_table("seconds", "operation", "way", aggfunc="first", sort=False)
    return table.round(3).rename_axis(columns=None).reset_index()


def start_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the time of an import and of the command's help."""
    part = rows[rows["error"].isna()]
    # as code, in which "--" stays
    commands = "`" + part["operation"] + "`"
    return pd.DataFrame(
        {"command": commands, "seconds": part["seconds"].round(2), "CPU seconds": part["cpu_s"].round(2)}
    )


TABLES = {
    "speed_prediction": prediction_table,
    "speed_hrca": hrca_table,
    "speed_published": published_table,
    "speed_threads": threads_table,
}


def write_report(results: Path, docs: Path) -> None:
    """Write all tables, and the figure.

    Parameters
    ----------
    results
        Folder of ``speed.csv``.
    docs
        Folder of the docs.
    """
    starts, rows = split_starts(read_rows(results / "speed.csv"))
    tables = {"speed_start": start_table(starts)} | {name: make(rows) for name, make in TABLES.items()}
    for name, table in tables.items():
        if table.empty:
            # Sphinx refuses a table without rows
            table = pd.DataFrame({"result": [NOT_MEASURED]})
        table.to_csv(docs / "benchmarks" / f"{name}.csv", index=False)
    grid = rows[rows["part"].eq("grid") & rows["error"].isna()].copy()
    draw(grid, NAMES, docs / "_static" / "benchmarks" / "speed.png")


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS / "cost", help="folder of the results")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the docs")
    arguments = parser.parse_args()
    write_report(arguments.results, arguments.docs)


if __name__ == "__main__":
    main()
