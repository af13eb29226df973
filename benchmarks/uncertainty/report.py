"""Tables of calibration, prediction sets and back-off for the docs.

    python -m benchmarks.uncertainty.report [--results FOLDER] [--accuracy FOLDER] [--docs FOLDER]

It reads ``benchmarks/results/uncertainty``, and scANVI's rows of the accuracy benchmark. It writes ``calibration.csv``,
``calibration_sets.csv``, ``calibration_labels.csv``, ``calibration_across.csv`` and ``backoff.csv`` to
``docs/benchmarks``. A table whose results do not exist is skipped.

The calibration error within data sets is that of the cells of all splits together, in the same 15 bins, because half of
the error of a single split of a thousand cells is due to chance. scANVI was run on one split and has its error.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.results import DOCS, RESULTS, read_rows

from .sets import COVERAGE, coverage_table, label_coverage_table

QUERY = ["data", "depth"]
METHOD = [*QUERY, "method"]
NAMES = {
    "hrca_folds": "HRCA, n_folds=5",
    "hrca": "HRCA",
    "hrca_raw": "HRCA, uncalibrated",
    "hrca_adapted": "HRCA, adapted",
    "logistic_regression": "logistic regression",
    "multinomial": "multinomial",
    "scanvi": "scANVI",
}
SETS = {name: NAMES[name] for name in ("hrca_folds", "hrca")}
LABEL_SETS = {
    "hrca_folds_label": "HRCA, n_folds=5, class_conditional=True",
    "hrca_folds": "HRCA, n_folds=5",
    "hrca_label": "HRCA, class_conditional=True",
    "hrca": "HRCA",
}


def pool_splits(bins: pd.DataFrame) -> pd.DataFrame:
    """Pool the cells of all splits, bin by bin.

    Parameters
    ----------
    bins
        A row for each split and bin: the columns of :data:`METHOD`, ``bin``, ``n_obs``, ``confidence``, ``accuracy``,
        and ``variance``, the sum of p (1 - p) over the cells.

    Returns
    -------
    By data set, depth and method: ``n_obs``; ``error``, the calibration error; and ``chance``, its expectation if each
    confidence were correct, by the normal approximation of the number of correct cells in a bin.
    """
    cells = bins.assign(excess=(bins["confidence"] - bins["accuracy"]) * bins["n_obs"])
    sums = cells.groupby([*METHOD, "bin"])[["n_obs", "excess", "variance"]].sum()
    chance = np.sqrt(2 / np.pi * sums["variance"])
    parts = pd.DataFrame({"n_obs": sums["n_obs"], "error": sums["excess"].abs(), "chance": chance})
    parts = parts.groupby(METHOD).sum()
    return parts.assign(error=parts["error"] / parts["n_obs"], chance=parts["chance"] / parts["n_obs"])


def error_table(rows: pd.DataFrame, bins: pd.DataFrame) -> pd.DataFrame:
    """Return the calibration errors of each data set and depth, a column for chance and for each method, and means."""
    pooled = pool_splits(bins)
    single = rows[~rows["method"].isin(bins["method"])].groupby(METHOD)["calibration_error"].mean()
    table = pd.concat([pooled["error"], single]).unstack("method")
    smallest = pooled["chance"].groupby(QUERY).min()
    table.insert(0, "by chance", pooled["chance"].unstack("method").get("hrca_folds", smallest))
    return with_mean(table[["by chance", *(name for name in NAMES if name in table)]].rename(columns=NAMES))


def with_mean(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by data set and falling depth, and add the mean of all rows; NaN for a column that lacks a row."""
    table = table.sort_index(ascending=[True, False])
    table.loc[("mean", ""), :] = table.mean(skipna=False)
    return table


def with_decimals(table: pd.DataFrame) -> pd.DataFrame:
    """Write each fraction with three decimals, and nothing where there is none, so that a column can be compared."""
    fractions = table.select_dtypes(float).round(3)
    return table.assign(
        **{name: fractions[name].map("{:.3f}".format, na_action="ignore").fillna("") for name in fractions}
    )


def across_table(rows: pd.DataFrame, scanvi: pd.DataFrame) -> pd.DataFrame:
    """Return calibration errors and sets across data sets, and the commit of HRCA's rows.

    Parameters
    ----------
    rows
        ``calibration_across.csv``, a row for each query and method.
    scanvi
        Rows of the accuracy benchmark, which has the same cells.
    """
    whole = scanvi[(scanvi["genes"] == "all") & (scanvi["depth"] == "1") & (scanvi["seed"] == 0)]
    whole = whole.assign(data=whole["pair"], depth=1.0, method="scanvi", calibration_error=whole["ece"])
    both = pd.concat([rows, whole[[*METHOD, "calibration_error"]]])
    errors = both.pivot_table("calibration_error", QUERY, "method")
    errors = errors[[name for name in NAMES if name in errors]].rename(columns=NAMES)
    of_scanvi = errors[errors[NAMES["scanvi"]].notna()]
    table = with_mean(errors)
    table.loc[(f"mean of scANVI's {len(of_scanvi)}", ""), :] = of_scanvi.mean(skipna=False)
    table = with_decimals(table)
    for method, name in {"hrca": "sets", "hrca_weighted": "weighted sets"}.items():
        sets = rows[rows["method"] == method].set_index(QUERY)
        cells = [f"{coverage:.3f} ({size:.1f})" for coverage, size in sets[["coverage", "size"]].to_numpy()]
        table[name] = pd.Series(cells, index=sets.index)
        table.loc[("mean", ""), name] = f"{(sets['coverage'] - COVERAGE).abs().mean():.3f} off"
    table["commit"] = rows[rows["method"] == "hrca"].set_index(QUERY)["commit"].reindex(table.index)
    return table


def backoff_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean F1 (precision) of each method over the splits, and how often back-off has the highest F1.

    Parameters
    ----------
    rows
        ``backoff.csv``, a row for each split, depth, ``n_folds`` and ``min_confidence``.
    """
    is_first = (rows["backoff_f1"] > rows["threshold_f1"]) & (rows["backoff_f1"] > rows["flat_f1"])
    settings = ["data", "depth", "n_folds", "min_confidence"]
    splits = rows.assign(is_first=is_first).groupby(settings, dropna=False)
    means = splits.mean(numeric_only=True)
    table = pd.DataFrame({"answered": means["coverage"].map("{:.3f}".format)})
    for method, name in (("backoff", "back-off"), ("threshold", "threshold"), ("flat", "every cell")):
        pairs = zip(means[f"{method}_f1"], means[f"{method}_precision"], strict=True)
        table[name] = [f"{f1:.4f} ({precision:.3f})" for f1, precision in pairs]
    n_first = zip(splits["is_first"].sum(), splits.size(), strict=True)
    table["back-off first"] = [f"{n} of {n_splits}" for n, n_splits in n_first]
    return table.sort_index(ascending=[True, False, False, True], na_position="last")


def main() -> None:
    """Write the tables whose results exist."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    parser.add_argument("--accuracy", type=Path, default=RESULTS / "accuracy", help="results of the accuracy benchmark")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder whose benchmarks are written")
    arguments = parser.parse_args()
    folder = arguments.docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)

    def read(name: str) -> pd.DataFrame:
        return read_rows(arguments.results / f"{name}.csv", n_folds="Int64")

    def read_scanvi() -> pd.DataFrame:
        return read_rows(arguments.accuracy / "scanvi.csv", depth=str)

    tables: dict[str, Callable[[], pd.DataFrame]] = {
        "calibration": lambda: with_decimals(error_table(read("calibration"), read("calibration_bins"))),
        "calibration_sets": lambda: coverage_table(read("calibration"), SETS),
        "calibration_labels": lambda: with_decimals(label_coverage_table(read("calibration_by_label"), LABEL_SETS)),
        "calibration_across": lambda: across_table(read("calibration_across"), read_scanvi()),
        "backoff": lambda: backoff_table(read("backoff")),
    }
    for name, make in tables.items():
        try:
            make().to_csv(folder / f"{name}.csv", lineterminator="\n")
        except FileNotFoundError as error:
            print(f"{name} is skipped: {error.filename} does not exist")


if __name__ == "__main__":
    main()
