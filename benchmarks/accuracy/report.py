"""Tables and figures of the accuracy benchmark, from all results that exist.

    python -m benchmarks.accuracy.report [--results FOLDER] [--docs FOLDER]

It reads ``benchmarks/results/accuracy`` and writes ``docs/benchmarks/*.csv`` and ``docs/_static/benchmarks/*.png``.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.common.data import PAIRS
from benchmarks.common.results import DOCS, RESULTS, read_rows

from . import figures
from .grid import KEY

# A query with at most this fraction of its counts, or this number of genes, is sparse.
MAX_SPARSE_DEPTH = 0.1
MAX_SPARSE_GENES = 300
# A method with a smaller fraction of the rows does not remove rows from the means of the others.
MIN_ROW_FRACTION = 0.8
QUERY = ["pair", "genes", "depth"]
# With another seed, random panels have other genes, and thinned cells other counts.
ROW = [*QUERY, "seed"]
SPATIAL = [pair.name for pair in PAIRS if pair.is_spatial]
NAMES = {
    "hrca": "HRCA",
    "hrca_adapted": "HRCA, adapted",
    "hrca_networks": "HRCA, networks only",
    "hrca_alone": "HRCA, each cell alone",
    "hrca_matched": "HRCA, trained for the query",
    "celltypist": "CellTypist",
    "scanvi": "scANVI",
    "singler": "SingleR",
    "tacco": "TACCO",
    "rctd": "RCTD",
    "xgboost": "XGBoost",
    "logistic_regression": "Logistic regression",
    "logistic_regression_thinned": "Logistic regression, thinned",
    "linear_svm": "Linear SVM",
    "knn_pca": "kNN on PCA",
    "multinomial": "Multinomial",
    "multinomial_platform": "Multinomial, platform",
    "negative_binomial": "Neg. binomial",
    "negative_binomial_platform": "Neg. binomial, platform",
}


def read(folder: Path) -> pd.DataFrame:
    """Read the rows of all methods; the last of several rows with the same key."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise SystemExit(f"{folder} has no results; run python -m benchmarks.accuracy.run")
    table = pd.concat([read_rows(file, depth=str, genes=str, error=str) for file in files])
    table = table.drop_duplicates(list(KEY), keep="last")
    return table.assign(method=table["method"].map(lambda name: NAMES.get(name, name))).reset_index(drop=True)


def depth_fraction(table: pd.DataFrame) -> pd.Series:
    """Return the fraction of its counts that each row's query keeps; NaN for a query that was thinned to a median."""
    return pd.to_numeric(table["depth"], errors="coerce")


def is_sparse(table: pd.DataFrame) -> pd.Series:
    """Find the rows whose query has at most a tenth of its counts, or at most 300 genes."""
    return (depth_fraction(table) <= MAX_SPARSE_DEPTH) | (table["n_genes"] <= MAX_SPARSE_GENES)


def is_full(table: pd.DataFrame) -> pd.Series:
    """Find the rows whose query is scRNA-seq with all its counts and genes."""
    return (depth_fraction(table) == 1) & (table["genes"] == "all") & ~is_sparse(table)


def is_spatial(table: pd.DataFrame) -> pd.Series:
    """Find the rows whose query is spatial."""
    return table["pair"].isin(SPATIAL)


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows, of query and seed, that all methods have, except methods that have less than four fifths of them.

    Means over each method's own rows would not compare: the sparsest queries come last.
    """
    n_rows = table.groupby("method").size()
    deciding = n_rows.index[n_rows >= MIN_ROW_FRACTION * len(table[ROW].drop_duplicates())]
    n_deciding = table[table["method"].isin(deciding)].groupby(ROW)["method"].transform("size")
    common = table.loc[n_deciding.index[n_deciding == len(deciding)], ROW].drop_duplicates()
    return table.merge(common, on=ROW)


def hrca_lead(table: pd.DataFrame) -> pd.DataFrame:
    """Subtract the macro-F1 of each other method from HRCA's, row by row; variants of HRCA are left out."""
    wide = table.pivot_table(index=ROW, columns="method", values="macro_f1", sort=False)
    others = [name for name in wide if not name.startswith(figures.HRCA)]
    return -wide[others].sub(wide[figures.HRCA], axis=0)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Average each method over comparable rows, and count these rows; the best method on sparse queries comes first."""
    done = table[table["error"].isna()]
    rows = comparable(done)
    means = pd.DataFrame(index=pd.Index(rows["method"].unique(), name="method"))
    for name, part in {"sparse": rows[is_sparse(rows)], "full": rows[is_full(rows)]}.items():
        # the seeds of a query first: a method may have more seeds for one query than for another
        by_query = part.groupby(["method", *QUERY]).mean(numeric_only=True).groupby("method")
        means[f"macro-F1, {name}"] = by_query["macro_f1"].mean()
        means[f"spread, {name}"] = spread(part)
        means[f"HRCA ahead, {name}"] = hrca_lead(part).groupby(QUERY).mean().mean()
        means[f"accuracy, {name}"] = by_query["accuracy"].mean()
        means[f"calibration error, {name}"] = by_query["ece"].mean()
    spatial = rows[is_spatial(rows)].groupby(["method", *QUERY])["macro_f1"].mean()
    means.insert(3, "macro-F1, spatial", spatial.groupby("method").mean())
    # one training serves several depths
    trainings = done.drop_duplicates(["method", "pair", "genes", "seed"])
    means["train, s"] = trainings.groupby("method")["train_s"].median()
    means["predict, s"] = done.groupby("method")["predict_s"].median()
    means["memory, GB"] = done.groupby("method")["peak_gb"].max()
    means["rows"] = rows.groupby("method").size()
    means["seeds"] = rows.groupby("method")["seed"].nunique()
    return means.sort_values("macro-F1, sparse", ascending=False)


def spread(table: pd.DataFrame) -> pd.Series:
    """Return the standard deviation over the seeds of each method's mean macro-F1, of seeds with all its queries."""
    by_seed = table.groupby(["method", "seed"])["macro_f1"].agg(["mean", "size"])
    whole = by_seed["size"] == by_seed.groupby("method")["size"].transform("max")
    return by_seed.loc[whole, "mean"].groupby("method").std()


def missing(table: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of each method that failed, and those that only other methods have."""
    everything = table[[*QUERY, "seed"]].drop_duplicates()
    lines = []
    for name in NAMES.values():
        rows = table[table["method"] == name]
        errors = rows["error"].dropna()
        line = {"method": name, "rows": len(rows) - len(errors), "failed": len(errors)}
        line["not run"] = len(everything) - len(rows)
        line["first error"] = errors.iloc[0] if len(errors) else ""
        lines.append(line)
    return pd.DataFrame(lines).set_index("method")


def by_query(table: pd.DataFrame) -> pd.DataFrame:
    """Average the macro-F1 of each method on each query over the seeds."""
    wide = table.pivot_table(index=QUERY, columns="method", values="macro_f1", sort=False)
    return wide.reindex(columns=[name for name in NAMES.values() if name in wide])


def with_mean(scores: pd.DataFrame) -> pd.DataFrame:
    """Put the mean of each method in front of its scores, and the method with the highest mean first."""
    means = scores.mean(axis=1, skipna=False).rename("mean")
    return pd.concat([means, scores], axis=1).rename_axis("method").sort_values("mean", ascending=False, kind="stable")


def best(table: pd.DataFrame) -> pd.DataFrame:
    """Find, for each query, the method with the highest macro-F1 relative to HRCA's, and the difference.

    HRCA's own score is the mean over its seeds. The difference is the mean over the seeds that both have.
    """
    lead = hrca_lead(table).groupby(QUERY, sort=False).mean().dropna(how="all")
    macro_f1 = table.groupby([*QUERY, "method"])["macro_f1"].mean().unstack().reindex(lead.index)
    counts = table.groupby(QUERY)["median_counts"].mean().reindex(lead.index)
    rows = pd.DataFrame({"median counts": counts.round().astype(int), "HRCA": macro_f1[figures.HRCA]})
    rows["best other"], rows["HRCA ahead"] = lead.idxmin(axis=1), lead.min(axis=1)
    return rows.sort_values("HRCA ahead", kind="stable")


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table for the docs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = table.reset_index().map(lambda value: f"{value:.3f}" if isinstance(value, float) else value)
    text.replace("nan", "").to_csv(path, index=False, lineterminator="\n")


def main() -> None:
    """Write all tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS / "accuracy", help="folder of the results")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder whose benchmarks and _static are written")
    arguments = parser.parse_args()
    table = read(arguments.results)
    done = table[table["error"].isna()]
    native = done[(depth_fraction(done) == 1) & (done["genes"] == "all")]
    tables, means = arguments.docs / "benchmarks", summary(table)
    write(means, tables / "summary.csv")
    write(missing(table), tables / "missing.csv")
    write(best(done), tables / "best.csv")
    scores = by_query(native).droplevel(["genes", "depth"]).T
    spatial_scores = with_mean(scores[[pair for pair in scores if pair in SPATIAL]])
    write(spatial_scores, tables / "spatial.csv")
    write(with_mean(scores[[pair for pair in scores if pair not in SPATIAL]]), tables / "native.csv")
    folder = arguments.docs / "_static" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    order = [name for name in NAMES.values() if name in set(done["method"])]
    figures.spatial(spatial_scores, folder / "spatial.png")
    figures.depths(done, order, folder / "depths.png")
    figures.panels(done, order, folder / "panels.png")
    figures.summary(means, folder / "summary.png")
    print(means.round(3).to_string(), missing(table).to_string(), sep="\n\n")


if __name__ == "__main__":
    main()
