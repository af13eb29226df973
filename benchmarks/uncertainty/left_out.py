"""Whether HRCA knows which types it would notice if the reference lacked them.

    python -m benchmarks.uncertainty.left_out --data DATA --models FOLDER [--pairs BZ9 ...] [--seeds 3] [--summary]

A model that knows all types predicts the query and says for each label which novel probability its cells would have
without the label (``uns["hrca"]["left_out_labels"]``). Models of references that lack some of these types predict the
same query. References, queries and models are those of :mod:`benchmarks.uncertainty.open_set`, with its FOLDER.

It writes ``benchmarks/results/uncertainty/left_out.csv``, a row for each type that a reference lacks:

- ``expected``, the novel probability that the model which knows the type expects, and ``novel_probability``, the mean
  of the type's cells under the model that lacks it;
- ``n_left_out``, the number of types that the reference lacks: ``expected`` is for one alone;
- ``confident``, the fraction of the type's cells with a confidence of at least 0.9.

Rows in the file are not measured again. ``--summary`` prints how often expectation and result agree.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

import hrca
from benchmarks.common.results import RESULTS, Table, read_rows
from hrca._records import MIN_NOVEL_PROBABILITY

from .open_set import HIGH_CONFIDENCE, VARIANTS, XENIUM, cases, load_or_train
from .splits import thin_by_name

KEY = ("pair", "left_out", "depth", "seed", "type")


def measure(pair: str, name_parts: list[str], seed: int, data: Path, models: Path) -> Iterator[dict[str, Any]]:
    """Compare the expectations for a pair with the results of the references that lack types."""
    expected: dict[tuple[float, str], float] = {}
    all_labels: list[str] = []
    of_pair = [case for case in cases(name_parts, seed + 1) if case.spec.name == pair and case.seed == seed]
    for case in sorted(of_pair, key=lambda case: VARIANTS.index(case.left_out)):
        cells = case.read(data)
        model = load_or_train(case, cells, models)
        for depth in case.depths:
            query = thin_by_name(cells.query, depth, seed, pair)
            predict(model, query)
            if case.left_out == "none":
                all_labels = model.labels
                table = query.uns["hrca"].get("left_out_labels", {"label": [], "novel_probability": []})
                rows = zip(table["label"], table["novel_probability"], strict=True)
                expected |= {(depth, str(label)): float(probability) for label, probability in rows}
                continue
            where = {"pair": pair, "left_out": case.left_out, "depth": depth, "seed": seed}
            missing = sorted(set(all_labels) - set(model.labels))
            where["n_left_out"] = len(missing)
            types = query.obs[cells.labels_key].to_numpy().astype(str)
            for name in missing:
                if (depth, name) in expected and (types == name).any():
                    yield where | {"type": name, "expected": expected[depth, name], **score(query[types == name])}


def predict(model: hrca.HRCA, query: ad.AnnData) -> None:
    """Predict a query. Warnings of types that the reference lacks are expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.predict(query, enable_progress_bar=False)


def score(cells: ad.AnnData) -> dict[str, float]:
    """Return the scores of the cells of a type that the reference lacks, after ``predict``."""
    return {
        "n_cells": cells.n_obs,
        "novel_probability": float(np.nanmean(cells.obs["hrca_novel_probability"])),
        "confident": float(np.mean(cells.obs["hrca_confidence"] >= HIGH_CONFIDENCE)),
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, for one and for several missing types, how often they are noticed, as expected and in fact."""
    alone = np.where(rows["n_left_out"] == 1, "one", "several")
    found = pd.DataFrame(
        {
            "missing": alone,
            "types": 1,
            "expected": rows["expected"] >= MIN_NOVEL_PROBABILITY,
            "noticed": rows["novel_probability"] >= MIN_NOVEL_PROBABILITY,
        }
    )
    found["agree"] = found["expected"] == found["noticed"]
    found["noticed_if_expected"] = found["noticed"].where(found["expected"])
    found["noticed_if_not"] = found["noticed"].where(~found["expected"])
    table = found.groupby("missing").agg({"types": "sum"} | dict.fromkeys(found.columns[2:], "mean"))
    correlation = rows.groupby(alone)[["expected", "novel_probability"]].corr().iloc[::2, 1].droplevel(1)
    return table.astype(float).assign(correlation=correlation)


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--models", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--pairs", nargs="+", default=[], help="only pairs whose name contains one of these")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    parser.add_argument("--summary", action="store_true", help="print how often expectation and result agree")
    arguments = parser.parse_args()
    table = Table(arguments.out / "left_out.csv", KEY)
    measured = {(key[0], key[3]) for key in table.keys}
    pairs = {
        (case.spec.name, case.seed): None for case in cases(arguments.pairs, arguments.seeds) if case.spec is not XENIUM
    }
    for pair, seed in pairs:
        if (pair, str(seed)) not in measured:
            table.append(list(measure(pair, arguments.pairs, seed, arguments.data, arguments.models)))
    if arguments.summary:
        print(summary(read_rows(table.path)).T.round(3).to_string())


if __name__ == "__main__":
    main()
