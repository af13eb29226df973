"""Make the tables of calibration and sets of docs/benchmarks.md from what calibration.py wrote.

    python benchmarks/calibration_report.py

writes docs/benchmarks/calibration.csv, calibration_sets.csv, calibration_labels.csv and calibration_across.csv. The
calibration error is that of the cells of all splits together, in the same 15 bins: of one split's thousand cells,
chance alone makes half of it. scANVI, of which one split was run, has that split's.
"""

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
RESULTS, DOCS = HERE / "results", HERE.parent / "docs" / "benchmarks"
WHERE = ["data", "depth", "method"]
COVERAGE, NEAR = 0.9, 0.02
NAMES = {
    "hrca_folds": "HRCA, n_folds=5",
    "hrca": "HRCA",
    "hrca_raw": "HRCA, uncalibrated",
    "hrca_adapted": "HRCA, adapted",
    "logistic_regression": "logistic regression",
    "multinomial": "multinomial",
    "scanvi": "scANVI",
}


def together(bins: pd.DataFrame) -> pd.DataFrame:
    """Take the cells of all splits together, bin by bin.

    Parameters
    ----------
    bins
        A row for each split and bin: what :data:`WHERE` names, ``bin``, ``n_obs``, ``confidence``, ``accuracy``, and
        ``variance``, the sum of p (1 - p) over the cells.

    Returns
    -------
    By data set, depth and method: ``n_obs``, ``error``, the calibration error, and ``chance``, what it would be on
    average if each confidence were right, by the normal approximation of right and wrong in a bin.
    """
    cells = bins.assign(excess=(bins["confidence"] - bins["accuracy"]) * bins["n_obs"])
    summed = cells.groupby([*WHERE, "bin"])[["n_obs", "excess", "variance"]].sum()
    parts = pd.DataFrame(
        {
            "n_obs": summed["n_obs"],
            "error": summed["excess"].abs(),
            "chance": np.sqrt(2 / np.pi * summed["variance"]),
        }
    )
    parts = parts.groupby(WHERE).sum()
    return parts.assign(error=parts["error"] / parts["n_obs"], chance=parts["chance"] / parts["n_obs"])


def errors(rows: pd.DataFrame, bins: pd.DataFrame) -> pd.DataFrame:
    """Calibration errors: a row for each data set and depth, chance and a column for each method, and the mean."""
    pooled = together(bins)
    alone = rows[~rows["method"].isin(bins["method"])].groupby(WHERE)["calibration_error"].mean()
    table = pd.concat([pooled["error"], alone]).unstack("method")
    table.insert(
        0, "by chance", pooled["chance"].unstack("method").get("hrca_folds", pooled["chance"].groupby(WHERE[:2]).min())
    )
    return with_mean(table[["by chance", *(name for name in NAMES if name in table)]].rename(columns=NAMES))


def with_mean(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by data set and falling depth, and add the mean of all rows; a column that lacks one has none."""
    table = table.sort_index(ascending=[True, False])
    table.loc[("mean", ""), :] = table.mean(skipna=False)
    return table


def sets(rows: pd.DataFrame, methods: tuple[str, ...]) -> pd.DataFrame:
    """Coverage, mean over the splits and their range, and mean size of the sets of some methods."""
    columns = {}
    for method in methods:
        own = rows[rows["method"] == method].groupby(WHERE[:2])
        low, mean, high = own["coverage"].min(), own["coverage"].mean(), own["coverage"].max()
        name = NAMES.get(method, method)
        columns[f"{name}: coverage"] = [
            f"{m:.3f} ({a:.3f} to {b:.3f})" for m, a, b in zip(mean, low, high, strict=True)
        ]
        columns[f"{name}: size"] = own["size"].mean().round(1)
    index = rows.groupby(WHERE[:2]).size().index
    return pd.DataFrame(columns, index=index).sort_index(ascending=[True, False])


def by_label(classes: pd.DataFrame, methods: dict[str, str]) -> pd.DataFrame:
    """How far the coverage of single labels is from what was asked for: of each split, and of all splits together.

    Parameters
    ----------
    classes
        ``coverage`` of the ``n_obs`` cells of each ``label``, by split.
    methods
        Which, and what to call each.
    """
    made = []
    for method, name in methods.items():
        own = classes[classes["method"] == method]
        labels = own.assign(hit=own["coverage"] * own["n_obs"]).groupby(["data", "depth", "label"])
        hit, n_splits = labels[["hit", "n_obs"]].sum(), labels.size()
        for what, coverage, n_obs, n in (
            ("each split", own["coverage"], own["n_obs"], 1),
            ("all splits", hit["hit"] / hit["n_obs"], hit["n_obs"], n_splits),
        ):
            off = (coverage - COVERAGE).abs()
            made.append(
                {
                    "sets": name,
                    "cells of": what,
                    "labels": len(off),
                    "within 2 points": (off <= NEAR + 1e-9).mean(),
                    "exact sets would be": within_if_exact(n_obs.to_numpy(), n),
                    "mean coverage": coverage.mean(),
                    "mean distance": off.mean(),
                    "least": coverage.min(),
                }
            )
    return pd.DataFrame(made).set_index("sets")


def within_if_exact(n_obs: np.ndarray, n_splits: np.ndarray | int = 1) -> float:
    """Share of labels whose coverage would be within 2 points with exact split conformal sets.

    Given n held-out cells of a label, the probability that a set holds it is itself random, Beta distributed (Vovk,
    2012), and the share of n query cells is binomial around it. The halves of a data set have about as many of a label.

    Parameters
    ----------
    n_obs
        Query cells of each label, in all splits, shape (n_labels,).
    n_splits
        Number of splits, one or for each label.
    """
    rng = np.random.default_rng(0)
    drawn, splits = np.zeros((2000, len(n_obs))), np.broadcast_to(n_splits, len(n_obs))
    for split in range(splits.max()):
        n = np.where(split < splits, np.round(n_obs / splits), 0).astype(int)
        rank = np.ceil((n + 1) * COVERAGE)
        drawn += rng.binomial(n, rng.beta(rank, np.maximum(n + 1 - rank, 1), size=drawn.shape))
    share = drawn / (np.round(n_obs / splits) * splits)
    return float((np.abs(share - COVERAGE) <= NEAR + 1e-9).mean())


def across(rows: pd.DataFrame, scanvi: pd.DataFrame) -> pd.DataFrame:
    """Calibration errors and sets across data sets, and the commit that HRCA's were measured on.

    Parameters
    ----------
    rows
        Of calibration.py, a row for each query and method.
    scanvi
        Rows of the accuracy benchmark, whose cells are the same.
    """
    whole = scanvi[(scanvi["genes"] == "all") & (scanvi["depth"] == "1") & (scanvi["seed"] == 0)]
    whole = whole.assign(data=whole["pair"], depth=1.0, method="scanvi", calibration_error=whole["ece"])
    both = pd.concat([rows, whole[[*WHERE, "calibration_error"]]])
    table = both.pivot_table("calibration_error", WHERE[:2], "method")
    table = table[[name for name in NAMES if name in table]].rename(columns=NAMES)
    of_scanvi = table[table[NAMES["scanvi"]].notna()]
    table = with_mean(table)
    table.loc[(f"mean of scANVI's {len(of_scanvi)}", ""), :] = of_scanvi.mean(skipna=False)
    table = table.round(3)
    for method, name in {"hrca": "sets", "hrca_weighted": "weighted sets"}.items():
        own = rows[rows["method"] == method].set_index(WHERE[:2])
        table[name] = pd.Series(
            [f"{coverage:.3f} ({size:.1f})" for coverage, size in own[["coverage", "size"]].to_numpy()], index=own.index
        )
        table.loc[("mean", ""), name] = f"{(own['coverage'] - COVERAGE).abs().mean():.3f} off"
    table["commit"] = rows[rows["method"] == "hrca"].set_index(WHERE[:2])["commit"].reindex(table.index)
    return table


def read(name: str) -> pd.DataFrame:
    """Read a table of results."""
    return pd.read_csv(RESULTS / f"{name}.csv")


def main() -> None:
    """Write the tables of the docs."""
    rows = read("calibration")
    errors(rows, read("calibration_bins")).round(3).to_csv(DOCS / "calibration.csv", lineterminator="\n")
    sets(rows, ("hrca_folds", "hrca")).to_csv(DOCS / "calibration_sets.csv", lineterminator="\n")
    labels = {
        "hrca_folds_label": "HRCA, n_folds=5, class_conditional=True",
        "hrca_folds": "HRCA, n_folds=5",
        "hrca_label": "HRCA, class_conditional=True",
        "hrca": "HRCA",
    }
    by_label(read("calibration_classes"), labels).round(3).to_csv(DOCS / "calibration_labels.csv", lineterminator="\n")
    scanvi = pd.read_csv(RESULTS / "accuracy" / "scanvi.csv")
    across(read("calibration_across"), scanvi).to_csv(DOCS / "calibration_across.csv", lineterminator="\n")


if __name__ == "__main__":
    main()
