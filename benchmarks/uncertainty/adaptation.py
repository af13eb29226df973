"""Adaptation to a query: never, always, and by the choice of ``adapt``.

    python -m benchmarks.uncertainty.adaptation --data DATA --models FOLDER [--pairs BZ9 ...] [--seeds 3] [--out FOLDER]

The queries are the closed pairs of :mod:`benchmarks.uncertainty.open_set` at its depths, with its models.

It writes ``benchmarks/results/uncertainty/adaptation.csv``, a row for each query and each of ``hrca``, ``hrca_adapted``
(``adapt(query, select=False)``) and ``hrca_selected`` (``adapt(query)``): ``macro_f1`` of the cells whose type the
reference has, and ``is_adapted``, whether the model that predicted is the adapted one. Rows in the file are not
measured again. ``--summary`` prints the means.
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
from sklearn.metrics import f1_score

import hrca
from benchmarks.common.results import RESULTS, Table, read_rows

from .open_set import KEY, VARIANTS, XENIUM, OpenCase, cases, load_or_train
from .splits import thin_by_name

# Options of `adapt`; None: the model is not adapted.
METHODS: dict[str, dict[str, bool] | None] = {"hrca": None, "hrca_adapted": {"select": False}, "hrca_selected": {}}


def closed_cases(name_parts: list[str], n_seeds: int) -> Iterator[OpenCase]:
    """Yield the cases in which no type is left out."""
    for case in cases(name_parts, n_seeds):
        if case.left_out == VARIANTS[0] and case.spec is not XENIUM:
            yield case


def measure(case: OpenCase, data: Path, models: Path) -> Iterator[dict[str, Any]]:
    """Score a model at each depth by each method."""
    pair = case.read(data)
    model = load_or_train(case, pair, models)
    for depth in case.depths:
        query = thin_by_name(pair.query, depth, case.seed, case.spec.name)
        types = query.obs[pair.labels_key].to_numpy().astype(str)
        where = {"pair": case.spec.name, "left_out": case.left_out, "depth": depth, "seed": case.seed}
        for method, options in METHODS.items():
            yield {**where, "method": method, **score(model, query, types, options, case.seed)}


def score(
    model: hrca.HRCA, query: ad.AnnData, types: np.ndarray, options: dict[str, bool] | None, seed: int
) -> dict[str, float | bool]:
    """Adapt, predict and score.

    Parameters
    ----------
    model
        A fine-tuned model with its reference.
    query
        The query.
    types
        True type of each cell, shape (n_obs,).
    options
        Options of `adapt`; None: the model is not adapted.
    seed
        Seed of the adaptation.
    """
    scvi.settings.seed = seed
    with warnings.catch_warnings():
        # that a model was not adapted is a column
        warnings.simplefilter("ignore", UserWarning)
        if options is not None:
            model = model.adapt(query, enable_progress_bar=False, **options)
        predicted = np.asarray(model.predict(query, key_added=None, enable_progress_bar=False), dtype=str)
    covered = np.isin(types, model.labels)
    names = np.unique(types[covered])
    macro_f1 = f1_score(types[covered], predicted[covered], labels=names, average="macro", zero_division=0)
    return {"macro_f1": macro_f1, "is_adapted": bool(model.module.is_adapted)}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of each method, and return the extremes of the change of macro-F1 by adaptation."""
    query = ["pair", "left_out", "depth", "seed"]
    unadapted = rows[rows["method"] == "hrca"].set_index(query)["macro_f1"]
    change = rows["macro_f1"] - rows.set_index(query).index.map(unadapted)
    groups = rows.assign(change=change).groupby("method")
    return groups.agg(
        macro_f1=("macro_f1", "mean"),
        adapted=("is_adapted", "mean"),
        lowest_change=("change", "min"),
        highest_change=("change", "max"),
    )


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--models", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--pairs", nargs="+", default=[], help="only pairs whose name contains one of these")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    parser.add_argument("--summary", action="store_true", help="print the means of the rows")
    arguments = parser.parse_args()
    table = Table(arguments.out / "adaptation.csv", KEY)
    for case in closed_cases(arguments.pairs, arguments.seeds):
        keys = {
            (case.spec.name, case.left_out, str(depth), str(case.seed), method)
            for depth in case.depths
            for method in METHODS
        }
        if not keys <= table.keys:
            table.append(list(measure(case, arguments.data, arguments.models)))
            print(f"{case.spec.name}, seed {case.seed}: measured", flush=True)
    if arguments.summary:
        print(summary(read_rows(table.path)).round(3).to_string())


if __name__ == "__main__":
    main()
