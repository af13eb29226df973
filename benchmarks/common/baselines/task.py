"""The protocol between the benchmark and a method: read a task, time training and prediction, write labels.

    PYTHON -m benchmarks.common.baselines.METHOD --reference R.h5ad --labels-key KEY --seed S --out DIR
        [--variant NAME] Q1.h5ad [Q2.h5ad ...]

The module of a method imports this one, defines ``train(task)`` and ``predict(model, query)`` and ends with
``run(train, predict, "package 1.0")``. It runs in the method's own environment, so this module needs only numpy, scipy,
pandas and anndata.
"""

import argparse
import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

# Label of a cell without counts, which no method gets to see.
UNKNOWN = "Unknown"
BYTES_PER_GB = 1e9
BYTES_PER_KB = 1024

# From the cells of a query to their labels and their confidences; None from a method without probabilities.
Predict = Callable[[Any, ad.AnnData], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Task:
    """One training and the queries to label with it.

    Attributes
    ----------
    reference
        Raw counts in X (CSR, float32), no empty cells; labels, as strings, in ``obs[labels_key]``; batches, if there
        are any, in ``obs["batch"]``.
    labels_key
        Column of the reference's obs.
    seed
        Seed of every random step of the method.
    queries
        Queries by name: raw counts of the same genes in the same order, no labels. Cells may be empty.
    variant
        Name of the method among those of the module; None for a module with a single method.
    """

    reference: ad.AnnData
    labels_key: str
    seed: int
    queries: dict[str, ad.AnnData]
    variant: str | None = None


def read_task() -> tuple[Task, Path]:
    """Read the task of the command line, and the folder to write to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--labels-key", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variant")
    parser.add_argument("queries", type=Path, nargs="+")
    arguments = parser.parse_args()
    reference = ad.read_h5ad(arguments.reference)
    reference.obs[arguments.labels_key] = reference.obs[arguments.labels_key].astype(str)
    queries = {path.stem: ad.read_h5ad(path) for path in arguments.queries}
    arguments.out.mkdir(parents=True, exist_ok=True)
    return Task(reference, arguments.labels_key, arguments.seed, queries, arguments.variant), arguments.out


def run(train: Callable[[Task], Any], predict: Predict, version: str) -> None:
    """Train once, label each query, and write ``<query>.csv`` and ``run.json``.

    Parameters
    ----------
    train
        Function that makes a model from the task's reference.
    predict
        Function of the model and of the cells of a query that have counts. It returns their labels, and the method's
        probability of each; None in place of probabilities that do not sum to one.
    version
        Name and version of the package that does the work.
    """
    task, out = read_task()
    start = time.perf_counter()
    model = train(task)
    train_s = time.perf_counter() - start
    predict_s = {}
    for name, query in task.queries.items():
        start = time.perf_counter()
        table = _label(model, query, predict)
        predict_s[name] = time.perf_counter() - start
        table.to_csv(out / f"{name}.csv", index=False)
    report = {"train_s": train_s, "predict_s": predict_s, "peak_gb": peak_gb()}
    report |= {"version": version, "python": platform.python_version()}
    (out / "run.json").write_text(json.dumps(report))


def _label(model: Any, query: ad.AnnData, predict: Predict) -> pd.DataFrame:
    has_counts = np.asarray(query.X.sum(axis=1)).ravel() > 0
    labels = np.full(query.n_obs, UNKNOWN, dtype=object)
    confidence = np.zeros(query.n_obs)
    if has_counts.any():
        labels[has_counts], probabilities = predict(model, query[has_counts].copy())
        if probabilities is None:
            confidence[:] = np.nan
        else:
            confidence[has_counts] = probabilities
    return pd.DataFrame({"cell": query.obs_names, "label": labels, "confidence": confidence})


def peak_gb() -> float:
    """Return the maximum memory of this process so far, in GB.

    Linux reports it by address space. ``ru_maxrss``, for other systems, includes the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * BYTES_PER_KB / BYTES_PER_GB
    unit = 1 if sys.platform == "darwin" else BYTES_PER_KB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / BYTES_PER_GB
