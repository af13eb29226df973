"""Tables and figures of the accuracy benchmark, from whatever results are there.

    python benchmarks/report.py

reads results/accuracy and writes docs/benchmarks/*.csv and docs/_static/benchmarks/*.png.
"""

import argparse
from pathlib import Path

import figures
import grid
import pandas as pd
from table import KEY

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
# At most this share of the counts, or this many genes, is sparse: so says issue 4.
SPARSE_DEPTH = 0.1
SPARSE_GENES = 300
# A method with less than this share of the rows does not take them from the means of the others.
SHARE_TO_DECIDE = 0.8
QUERY = ["pair", "genes", "depth"]
# With another seed, random panels have other genes, and thinned cells other counts.
ROW = [*QUERY, "seed"]
NAMES = {
    "hrca": "HRCA",
    "hrca_unadapted": "HRCA, unadapted",
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
    """Read the rows of all methods; of a key that was run twice, the last."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise SystemExit(f"{folder} has no results yet: run benchmarks/accuracy.py")
    table = pd.concat([pd.read_csv(file, dtype={"depth": str, "genes": str, "error": str}) for file in files])
    table = table.drop_duplicates(list(KEY), keep="last")
    return table.assign(method=table["method"].map(lambda name: NAMES.get(name, name))).reset_index(drop=True)


def depth_share(table: pd.DataFrame) -> pd.Series:
    """Share of its counts that each row's query keeps; NaN where a median was asked for instead."""
    return pd.to_numeric(table["depth"], errors="coerce")


def is_sparse(table: pd.DataFrame) -> pd.Series:
    """Whether each row's query is sparse: at most 0.1 of its counts, or at most 300 genes."""
    return (depth_share(table) <= SPARSE_DEPTH) | (table["n_genes"] <= SPARSE_GENES)


def is_full(table: pd.DataFrame) -> pd.Series:
    """Whether each row is a whole scRNA-seq query."""
    return (depth_share(table) == 1) & (table["genes"] == "all") & ~is_sparse(table)


def is_spatial(table: pd.DataFrame) -> pd.Series:
    """Whether each row's query is a spatial one, which is sparse as it is."""
    return table["pair"].isin([source.name for source in grid.SOURCES if source.spatial])


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows, of query and seed, that all methods have, but for methods that have less than four fifths.

    Means over what each method happens to have would not compare: the sparsest queries come last.
    """
    n_rows = table.groupby("method").size()
    deciding = n_rows.index[n_rows >= SHARE_TO_DECIDE * len(table[ROW].drop_duplicates())]
    n_deciding = table[table["method"].isin(deciding)].groupby(ROW)["method"].transform("size")
    common = table.loc[n_deciding.index[n_deciding == len(deciding)], ROW].drop_duplicates()
    return table.merge(common, on=ROW)


def ahead(table: pd.DataFrame) -> pd.DataFrame:
    """Macro-F1 of HRCA less that of each other method, row by row; our own variants are no competitors."""
    wide = table.pivot_table(index=ROW, columns="method", values="macro_f1", sort=False)
    others = [name for name in wide if not name.startswith(figures.OURS)]
    return -wide[others].sub(wide[figures.OURS], axis=0)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means of each method over comparable rows, best first, and how many of these it has."""
    done = table[table["error"].isna()]
    rows = comparable(done)
    made = pd.DataFrame(index=pd.Index(rows["method"].unique(), name="method"))
    for name, part in {"sparse": rows[is_sparse(rows)], "full": rows[is_full(rows)]}.items():
        # the seeds of a query first: a method may have more of them for one query than for another
        means = part.groupby(["method", *QUERY]).mean(numeric_only=True).groupby("method")
        made[f"macro-F1, {name}"] = means["macro_f1"].mean()
        made[f"spread, {name}"] = spread(part)
        made[f"HRCA ahead, {name}"] = ahead(part).groupby(QUERY).mean().mean()
        made[f"accuracy, {name}"] = means["accuracy"].mean()
        made[f"calibration error, {name}"] = means["ece"].mean()
    spatial = rows[is_spatial(rows)].groupby(["method", *QUERY])["macro_f1"].mean()
    made.insert(3, "macro-F1, spatial", spatial.groupby("method").mean())
    # one training serves several depths
    trainings = done.drop_duplicates(["method", "pair", "genes", "seed"])
    made["train, s"] = trainings.groupby("method")["train_s"].median()
    made["predict, s"] = done.groupby("method")["predict_s"].median()
    made["memory, GB"] = done.groupby("method")["peak_gb"].max()
    made["rows"] = rows.groupby("method").size()
    made["seeds"] = rows.groupby("method")["seed"].nunique()
    return made.sort_values("macro-F1, sparse", ascending=False)


def spread(table: pd.DataFrame) -> pd.Series:
    """Standard deviation over the seeds of each method's mean macro-F1, of the seeds with all of its queries."""
    by_seed = table.groupby(["method", "seed"])["macro_f1"].agg(["mean", "size"])
    whole = by_seed["size"] == by_seed.groupby("method")["size"].transform("max")
    return by_seed.loc[whole, "mean"].groupby("method").std()


def missing(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of each method that failed, or that are not there although another method has them."""
    everything = table[[*QUERY, "seed"]].drop_duplicates()
    lines = []
    for name in NAMES.values():
        own = table[table["method"] == name]
        errors = own["error"].dropna()
        line = {"method": name, "rows": len(own) - len(errors), "failed": len(errors)}
        line["not run"] = len(everything) - len(own)
        line["first error"] = errors.iloc[0] if len(errors) else ""
        lines.append(line)
    return pd.DataFrame(lines).set_index("method")


def by_query(table: pd.DataFrame) -> pd.DataFrame:
    """Macro-F1 of each method on each query, mean over the seeds."""
    wide = table.pivot_table(index=QUERY, columns="method", values="macro_f1", sort=False)
    return wide.reindex(columns=[name for name in NAMES.values() if name in wide])


def best(table: pd.DataFrame) -> pd.DataFrame:
    """Give, for each query, the method that HRCA is least ahead of or furthest behind, and by how much.

    HRCA's own score is the mean over its seeds, the difference that over the seeds that both have.
    """
    by_method = ahead(table).groupby(QUERY, sort=False).mean().dropna(how="all")
    of_query = table.groupby([*QUERY, "method"])["macro_f1"].mean().unstack().reindex(by_method.index)
    counts = table.groupby(QUERY)["median_counts"].mean().reindex(by_method.index)
    made = pd.DataFrame({"median counts": counts.round().astype(int), "HRCA": of_query[figures.OURS]})
    made["best other"], made["HRCA ahead"] = by_method.idxmin(axis=1), by_method.min(axis=1)
    return made.sort_values("HRCA ahead", kind="stable")


def write(table: pd.DataFrame, name: str) -> None:
    """Write a table for the docs."""
    path = DOCS / "benchmarks" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = table.reset_index().map(lambda value: f"{value:.3f}" if isinstance(value, float) else value)
    text.replace("nan", "").to_csv(path, index=False, lineterminator="\n")


def main() -> None:
    """Write all tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "accuracy")
    table = read(parser.parse_args().results)
    done = table[table["error"].isna()]
    write(summary(table), "summary")
    write(missing(table), "missing")
    write(best(done), "best")
    native = done[(depth_share(done) == 1) & (done["genes"] == "all")]
    write(by_query(native).droplevel(["genes", "depth"]).T, "native")
    folder = DOCS / "_static" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    order = [name for name in NAMES.values() if name in set(done["method"])]
    figures.depths(done, order, folder / "depths.png")
    figures.panels(done, order, folder / "panels.png")
    figures.summary(summary(table), folder / "summary.png")
    print(summary(table).round(3).to_string(), missing(table).to_string(), sep="\n\n")


if __name__ == "__main__":
    main()
