"""Novel probabilities of the other cells if some cells of the query are left out.

    python -m benchmarks.uncertainty.fewer_cells --data DATA [--pairs BZ9 ...] [--out RESULTS] [--summary]

The pairs are those of the open-set benchmark, with all types. One, ten and a hundred random cells are left out of the
query, five times each. The networks are trained for one epoch, since they have no part in the novel probability.

``benchmarks/results/uncertainty/fewer_cells.csv`` has the numbers of other cells whose novel probability changes by
more than .05, and passes .5, and the mean absolute change. Rows in the file are not measured again.
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
from benchmarks.common.data import PAIRS, PairSpec, seeded_generator
from benchmarks.common.results import RESULTS, Table, read_rows
from hrca._records import MIN_NOVEL_PROBABILITY

from .open_set import XENIUM, OpenCase

KEY = ("pair", "n_left_out", "draw")
NUMBERS_LEFT_OUT, N_DRAWS = (1, 10, 100), 5
LARGE_CHANGE = 0.05


def measure(spec: PairSpec, data: Path) -> Iterator[dict[str, Any]]:
    """Predict the query of a pair, and then parts of it."""
    pair = OpenCase(spec, "none", 0).read(data)
    scvi.settings.seed = 0
    hrca.HRCA.setup_anndata(pair.reference, labels_key=pair.labels_key)
    model = hrca.HRCA(pair.reference, **hrca.SIZES["laptop"])
    model.finetune(1, enable_progress_bar=False)
    whole = novel_probability(model, pair.query)
    for n_left_out in NUMBERS_LEFT_OUT:
        for draw in range(N_DRAWS):
            rng = seeded_generator(draw, f"{n_left_out} cells")
            is_kept = np.ones(pair.query.n_obs, dtype=bool)
            is_kept[rng.choice(pair.query.n_obs, n_left_out, replace=False)] = False
            part = novel_probability(model, pair.query[is_kept])
            where = {"pair": spec.name, "n_left_out": n_left_out, "draw": draw}
            yield {**where, "n_obs": pair.query.n_obs, **changes(whole[is_kept], part)}


def novel_probability(model: hrca.HRCA, query: ad.AnnData) -> np.ndarray:
    """Return the novel probability of each cell, NaN for cells without counts."""
    labelled = ad.AnnData(query.X, var=query.var[[]], obs=query.obs[[]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.predict(labelled, enable_progress_bar=False)
    return labelled.obs["hrca_novel_probability"].to_numpy(dtype=float)


def changes(whole: np.ndarray, part: np.ndarray) -> dict[str, Any]:
    """Compare novel probabilities of the same cells, in the whole query and in a part of it."""
    change = np.abs(part - whole)
    passed = (part >= MIN_NOVEL_PROBABILITY) != (whole >= MIN_NOVEL_PROBABILITY)
    return {
        "n_changed": int((change > LARGE_CHANGE).sum()),
        "n_passed": int(passed.sum()),
        "mean_change": float(np.nanmean(change)),
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the means of each pair and number of cells, and those of all pairs."""
    columns = ["n_changed", "n_passed", "mean_change"]
    by_pair = rows.groupby(["pair", "n_left_out"])[columns].mean().unstack()
    by_pair.loc["mean"] = by_pair.mean()
    return by_pair


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--pairs", nargs="+", default=[""], help="only pairs whose name contains one of these")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    parser.add_argument("--summary", action="store_true", help="print the means")
    arguments = parser.parse_args()
    table = Table(arguments.out / "fewer_cells.csv", KEY)
    for spec in (*PAIRS, XENIUM):
        first = {"pair": spec.name, "n_left_out": NUMBERS_LEFT_OUT[0], "draw": 0}
        if any(part in spec.name for part in arguments.pairs) and table.key_of(first) not in table.keys:
            table.append(list(measure(spec, arguments.data)))
    if arguments.summary:
        print(summary(read_rows(table.path)).round(4).to_string())


if __name__ == "__main__":
    main()
