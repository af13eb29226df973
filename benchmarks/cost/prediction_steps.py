"""Share of each step in the time of a prediction.

    OMP_NUM_THREADS=1 python -m benchmarks.cost.prediction_steps [--out FOLDER] [--docs FOLDER]

It predicts queries of :mod:`benchmarks.cost.speed` with a laptop-size model of 15, 100 or 500 labels, under Python's
profiler. Rows go to ``benchmarks/results/cost/prediction_steps.csv``; a row in the file is not measured again. The
table goes to ``docs/benchmarks/speed_steps.csv``.
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from anndata import AnnData

import hrca
from benchmarks.common.results import DOCS, RESULTS, Table, read_rows
from hrca.annotation._prediction_warnings import prediction_warnings
from hrca.module._branch_scorer import BranchScorer
from hrca.module._thinning import thin_to_depth
from hrca.prediction import _open_set, _platform_factors, _query_clusters
from hrca.prediction._cluster_novelty import left_out_novel_probability
from hrca.prediction._forward import ScoreCompletion

from .speed_cells import LABELS_KEY, reference_depth, simulated_cells, simulated_profiles, simulated_query
from .speed_plan import BASE
from .speed_report import name_points

# Functions whose time is that of a step. None calls another one of them.
STEPS: dict[str, tuple[Callable[..., Any], ...]] = {
    "network": (BranchScorer._log_probabilities,),
    "thinned draws": (thin_to_depth,),
    "count likelihood": (BranchScorer._count_scores, ScoreCompletion.__call__),
    "novelty of cells": (_open_set.QueryFit.score_cells,),
    "clusters": (_query_clusters.cluster_cells,),
    "platform factors": (_platform_factors.fit_platform,),
    "misfits": (_open_set._fit_clusters,),
    "labels left out": (left_out_novel_probability,),
    "warnings": (prediction_warnings,),
}
OTHER = "other"
KEY = tuple(BASE)
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"n_genes": 300},
    {"n_genes": 20_000},
    {"depth": "deep"},
    {"n_obs": 20_000},
    {"n_labels": 100},
    {"n_labels": 500},
)


def simulate(cells: dict[str, Any]) -> tuple[AnnData, AnnData]:
    """Simulate the reference and the query of a point."""
    profiles = simulated_profiles(cells["n_labels"], cells["n_genes"])
    reference = simulated_cells(cells["n_reference"], profiles, reference_depth(cells["n_genes"]), 0)
    return reference, simulated_query(cells["n_obs"], profiles, cells["depth"], 0)


def hardly_trained(reference: AnnData, size: str) -> hrca.HRCA:
    """Train a model for three epochs: the time of a prediction does not depend on the weights."""
    hrca.HRCA.setup_anndata(reference, labels_key=LABELS_KEY)
    model = hrca.HRCA(reference, size=size)
    model.train(max_epochs=2, pretrain_epochs=1, enable_progress_bar=False, accelerator="cpu")
    return model


def profile_prediction(model: hrca.HRCA, query: AnnData) -> dict[str, float]:
    """Return the seconds of processor time of a prediction, and of each of its steps.

    torch must have one thread: the profiler sees the calling thread alone.
    """
    # without the true labels; the first prediction loads libraries
    first, cells = (AnnData(query.X, var=query.var) for _ in range(2))
    model.predict(first, enable_progress_bar=False)
    # processor time, which other programs change least
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    model.predict(cells, enable_progress_bar=False)
    profiler.disable()
    stats = pstats.Stats(profiler)
    seconds = {step: sum(_cumulated(stats, function) for function in functions) for step, functions in STEPS.items()}
    total = _cumulated(stats, hrca.HRCA.predict)
    return {"seconds": total, **seconds, OTHER: total - sum(seconds.values())}


def _cumulated(stats: pstats.Stats, function: Callable[..., Any]) -> float:
    """Return the seconds of a function and of what it calls; 0 if it was not called."""
    function = getattr(function, "__wrapped__", function)
    code = function.__code__
    return stats.stats.get((code.co_filename, code.co_firstlineno, code.co_name), (0, 0, 0, 0.0))[3]  # type: ignore[attr-defined]


def shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table of the docs: a row for each step, a column for each point, and the seconds."""
    steps = [*STEPS, OTHER]
    of_point = rows.set_index(name_points(rows))
    table = of_point[steps].div(of_point["seconds"], axis=0).T.map("{:.0%}".format)
    table.loc["seconds"] = of_point["seconds"].map("{:.3g}".format)
    return table.rename_axis(index="step").reset_index()


def measure(table: Table) -> Iterator[dict[str, Any]]:
    """Profile the points that the table lacks."""
    for changes in CHANGES:
        row = BASE | changes
        if table.key_of(row) in table.keys:
            continue
        reference, query = simulate(row)
        yield row | profile_prediction(hardly_trained(reference, row["size"]), query)


def main() -> None:
    """Measure what the results lack, and write the table of the docs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "cost", help="folder of the results")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the docs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(arguments.out / "prediction_steps.csv", KEY)
    for row in measure(table):
        table.append([row])
        print(row, flush=True)
    shares(read_rows(table.path)).to_csv(arguments.docs / "benchmarks" / "speed_steps.csv", index=False)


if __name__ == "__main__":
    main()
