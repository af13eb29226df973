"""Do the genes that `explain` names matter? Their counts are deleted, and the cells are predicted again.

    python -m benchmarks.explain.deletion --data DATA --models FOLDER [--pairs BZ9 ...] [--seeds 3] [--out FOLDER]

FOLDER has the models of the open-set benchmark; those that know all types are used, on the same queries. Of each query,
100 cells with at least ten expressed genes are explained and changed, and the whole query is predicted each time.

It writes ``benchmarks/results/explain/deletion.csv``, a row for each query and seed:

- ``top_drop``: the mean loss of the label's probability when the five genes with the largest contributions are deleted;
- ``counts_drop``: the same by the count likelihood's contributions alone;
- ``random_drop``: the same for five random expressed genes, the mean of three draws;
- ``ratio``: ``top_drop`` over ``random_drop``;
- ``error_median`` and ``error_p95``: the difference between the sum of the contributions and the difference of the two
  scores, relative to that difference, and ``within_5_percent``, the fraction of cells with at most 5 %;
- ``error_nats``: its 95 % quantile in nats;
- ``flipped``: the fraction of cells that have genes whose deletion changes the label, and ``n_flips``, the median
  number of these genes;
- ``cpu_s``: CPU time of the explanation of a cell.

Rows in the file are not measured again. ``--summary`` makes the table of docs/explain.md from the file, and measures
nothing.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi
from scipy import sparse

import hrca
from benchmarks.common.data import PAIRS, seeded_generator
from benchmarks.common.results import DOCS, RESULTS, Table, read_rows
from benchmarks.uncertainty.open_set import OpenCase
from hrca.explain._label_scores import fit_and_score
from hrca.prediction._probabilities import PredictionSettings

KEY = ("pair", "seed")
N_CELLS, N_DELETED, N_DRAWS, MIN_EXPRESSED = 100, 5, 3, 10

# Largest ratio that the docs print.
MAX_SHOWN_RATIO = 100


def choose_cells(query: ad.AnnData, is_labelled: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw cells that have a label and enough expressed genes, as positions in ascending order."""
    n_expressed = np.diff(sparse.csr_matrix(query.X).indptr)
    possible = np.flatnonzero((n_expressed >= MIN_EXPRESSED) & is_labelled)
    return np.sort(rng.choice(possible, min(N_CELLS, len(possible)), replace=False))


def delete_genes(query: ad.AnnData, cells: np.ndarray, genes: list[np.ndarray]) -> ad.AnnData:
    """Return a copy of the query in which some cells have no counts on some genes, given by their positions."""
    changed = query.copy()
    counts = sparse.lil_matrix(query.X)
    for cell, deleted in zip(cells, genes, strict=True):
        counts[cell, deleted] = 0
    changed.X = counts.tocsr()
    changed.X.eliminate_zeros()
    return changed


def top_genes(table: pd.DataFrame, query: ad.AnnData, cells: np.ndarray) -> list[np.ndarray]:
    """Return the positions of the genes of each cell with the largest positive contributions, summed over branches."""
    by_gene = table[table["gene"].isin(query.var_names)].groupby(["cells", "gene"])["contribution"].sum()
    tops = []
    for name in query.obs_names[cells]:
        largest = by_gene[name].nlargest(N_DELETED)
        tops.append(query.var_names.get_indexer(largest[largest > 0].index))
    return tops


def measure(model: hrca.HRCA, query: ad.AnnData, seed: int) -> dict[str, Any]:
    """Return the scores of one query."""
    rng = seeded_generator(seed, "deleted genes")

    def probabilities(cells: ad.AnnData) -> pd.DataFrame:
        return model.predict(cells, soft=True, key_added=None, enable_progress_bar=False)

    before = probabilities(query)
    cells = choose_cells(query, (before.sum(axis=1) > 0).to_numpy(), rng)
    start = time.process_time()
    table = model.explain(query, cells, n_genes=None)
    cpu_s = (time.process_time() - start) / len(cells)
    units = table.drop_duplicates("cells").set_index("cells").loc[query.obs_names[cells]]
    codes = before.columns.get_indexer(units["label"])

    def drop(genes: list[np.ndarray]) -> float:
        after = probabilities(delete_genes(query, cells, genes))
        return float(np.mean(before.to_numpy()[cells, codes] - after.to_numpy()[cells, codes]))

    expressed = [query.X[cell].indices for cell in cells]
    random = [drop([rng.choice(genes, N_DELETED, replace=False) for genes in expressed]) for _ in range(N_DRAWS)]
    top_drop, random_drop = drop(top_genes(table, query, cells)), float(np.mean(random))
    counts_drop = drop(top_genes(table[table["branch"] == "counts"], query, cells))
    flips = table[table["flips"]].groupby("cells")["gene"].nunique()
    return {
        "n_cells": len(cells),
        "top_drop": top_drop,
        "counts_drop": counts_drop,
        "random_drop": random_drop,
        "ratio": top_drop / random_drop,
        **additivity(model, query, cells, table),
        "flipped": len(flips) / len(cells),
        "n_flips": float(flips.median()),
        "cpu_s": cpu_s,
    }


def additivity(model: hrca.HRCA, query: ad.AnnData, cells: np.ndarray, table: pd.DataFrame) -> dict[str, float]:
    """Compare the sums of the contributions with the differences of the scores that a prediction uses."""
    opened = model._open_query(query, None)
    settings = PredictionSettings(platform_correction=True, open_set=True, calibrated=False)
    sums = model.novelty_reference_.sums
    scores = fit_and_score(model.module, opened, np.arange(query.n_obs), sums, settings, batch_size=512).scores.total
    names = query.obs_names[cells]
    units = table.drop_duplicates("cells").set_index("cells").loc[names]
    codes, against = (pd.Index(model.labels).get_indexer(units[column]) for column in ("label", "against"))
    difference = scores[cells, codes] - scores[cells, against]
    error = np.abs(table.groupby("cells")["contribution"].sum().loc[names].to_numpy() - difference)
    relative = error / np.abs(difference)
    return {
        "error_median": float(np.median(relative)),
        "error_p95": float(np.quantile(relative, 0.95)),
        "within_5_percent": float(np.mean(relative <= 0.05)),
        "error_nats": float(np.quantile(error, 0.95)),
    }


def summarize(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table of docs/explain.md: the means over the seeds of each pair."""
    means = rows.groupby("pair", sort=False).mean(numeric_only=True)
    return pd.DataFrame(
        {
            "query": means.index,
            "top five": means["top_drop"].map("{:.3f}".format),
            "counts alone": means["counts_drop"].map("{:.3f}".format),
            "random five": means["random_drop"].map("{:.3f}".format),
            "ratio": (means["top_drop"] / means["random_drop"]).map(_ratio),
            "within 5 %": means["within_5_percent"].map("{:.0%}".format),
            "label changes": means["flipped"].map("{:.0%}".format),
        }
    )


def _ratio(ratio: float) -> str:
    # random genes that change nothing, or that raise the probability, give any large or a negative ratio
    return f"{ratio:.1f}" if 0 < ratio <= MAX_SHOWN_RATIO else f"above {MAX_SHOWN_RATIO}"


def main() -> None:
    """Measure what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--models", type=Path, help="folder of the models")
    parser.add_argument("--pairs", nargs="*", default=[], help="parts of the pairs' names")
    parser.add_argument("--seeds", type=int, default=3, help="number of models of a pair")
    parser.add_argument("--out", type=Path, default=RESULTS / "explain", help="folder of the table")
    parser.add_argument("--summary", action="store_true", help="make the table of the docs")
    arguments = parser.parse_args()
    if arguments.summary:
        summarize(read_rows(arguments.out / "deletion.csv")).to_csv(DOCS / "benchmarks" / "deletion.csv", index=False)
        return
    if arguments.data is None or arguments.models is None:
        parser.error("--data and --models are required, unless --summary is given.")
    table = Table(arguments.out / "deletion.csv", KEY)
    specs = [spec for spec in PAIRS if not arguments.pairs or any(part in spec.name for part in arguments.pairs)]
    for spec in specs:
        for seed in range(arguments.seeds):
            case = OpenCase(spec, "none", seed)
            folder = arguments.models / case.model_name
            if (spec.name, str(seed)) in table.keys or not folder.is_dir():
                continue
            scvi.settings.seed = seed
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = measure(hrca.HRCA.load(folder), case.read(arguments.data).query, seed)
            table.append([{"pair": spec.name, "seed": seed, **row}])
            print(f"{spec.name}, seed {seed}: top {row['top_drop']:.3f}, random {row['random_drop']:.3f}")


if __name__ == "__main__":
    main()
