"""False alarms where the reference fits: halves of one data set, in which no cell is of a new type.

    python -m benchmarks.uncertainty.halves --data DATA [--datasets pbmc3k ...] [--seeds 3] [--out RESULTS] [--summary]

Half of the cells of a data set are the reference, and the other half the query, on all genes and on the 300 most
variable ones of the reference, at all counts and a tenth of them. Every cell that HRCA calls novel is an error. The
networks are trained for one epoch, since they have no part in the novel probability.

``benchmarks/results/uncertainty/halves.csv`` has the fraction of cells with a novel probability of at least .5, the
label with the most of them, and the number of all warnings. Rows in the file are not measured again.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi

import hrca
from benchmarks.common.data import PAIRS
from benchmarks.common.results import RESULTS, Table, read_rows
from hrca._records import MIN_NOVEL_PROBABILITY

from .splits import LABELS_KEY, split_in_halves, thin_by_name

KEY = ("data", "genes", "depth", "seed")
DATA_SETS = tuple(sorted({name for pair in PAIRS for name in (pair.reference, pair.query)} | {"xenium_breast"}))
N_VARIABLE_GENES = 300
DEPTHS = (1.0, 0.1)


def panels(name: str, data: Path) -> list[int | None]:
    """Return the numbers of variable genes to keep; None for all."""
    n_genes = hrca.datasets.local(name, data).n_vars
    return [None, N_VARIABLE_GENES] if n_genes > N_VARIABLE_GENES else [None]


def measure(name: str, seed: int, n_genes: int | None, data: Path) -> Iterator[dict[str, Any]]:
    """Predict half of a data set by a model of the other half, at each depth."""
    reference, query = split_in_halves(name, data, seed, n_genes)
    scvi.settings.seed = seed
    hrca.HRCA.setup_anndata(reference, labels_key=LABELS_KEY)
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.finetune(1, enable_progress_bar=False)
    # a label with all of its cells in this half is new
    query = query[query.obs[LABELS_KEY].isin(model.labels)].copy()
    for depth in DEPTHS:
        thinned = thin_by_name(query, depth, seed, name)
        with warnings.catch_warnings():
            # counted from uns: other libraries also warn
            warnings.simplefilter("ignore", UserWarning)
            model.predict(thinned, enable_progress_bar=False)
        yield {"data": name, "genes": n_genes or "all", "depth": depth, "seed": seed, **score(thinned)}


def score(query: ad.AnnData) -> dict[str, Any]:
    """Return the novel cells of a query without novel cells; all empty if it is too small for an answer."""
    probability = query.obs["hrca_novel_probability"].to_numpy(dtype=float)
    if np.isnan(probability).all():
        return {"n_obs": query.n_obs, "novel_fraction": np.nan, "label": "", "label_fraction": np.nan, "n_warnings": 0}
    by_label = pd.Series(probability >= MIN_NOVEL_PROBABILITY).groupby(query.obs[LABELS_KEY].to_numpy()).mean()
    return {
        "n_obs": query.n_obs,
        "novel_fraction": float(np.mean(probability >= MIN_NOVEL_PROBABILITY)),
        "label": by_label.idxmax() if by_label.max() else "",
        "label_fraction": float(by_label.max()),
        "n_warnings": len(query.uns["hrca"]["warnings"]),
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, for each panel and depth, the number of queries, of those with novel cells, and the largest fractions."""
    groups = rows.dropna(subset="novel_fraction").groupby(["genes", "depth"])
    return groups.agg(
        queries=("novel_fraction", "size"),
        above_1_percent=("novel_fraction", lambda fractions: int((fractions > 0.01).sum())),
        mean=("novel_fraction", "mean"),
        highest=("novel_fraction", "max"),
        with_warnings=("n_warnings", lambda numbers: int((numbers > 0).sum())),
    )


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--datasets", nargs="+", default=DATA_SETS, choices=DATA_SETS)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    parser.add_argument("--summary", action="store_true", help="print the rows by panel and depth")
    arguments = parser.parse_args()
    table = Table(arguments.out / "halves.csv", KEY)
    for name in arguments.datasets:
        for n_genes in panels(name, arguments.data):
            for seed in range(arguments.seeds):
                first = {"data": name, "genes": n_genes or "all", "depth": DEPTHS[0], "seed": seed}
                if table.key_of(first) not in table.keys:
                    table.append(list(measure(name, seed, n_genes, arguments.data)))
    if arguments.summary:
        print(summary(read_rows(table.path, genes=str)).round(3).to_string())


if __name__ == "__main__":
    main()
