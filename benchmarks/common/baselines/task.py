"""What the scripts of all methods share: they read a task, time training and prediction, and write labels.

    PYTHON METHOD.py --reference R.h5ad --labels-key KEY --seed S --out DIR [--variant NAME] Q1.h5ad [Q2.h5ad ...]

A script imports this file, defines ``train(task)`` and ``predict(model, query)`` and ends with ``run(train, predict,
"package 1.0")``. It runs in the method's own environment, so it needs only numpy, scipy, pandas and anndata here.
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

# Label of a cell without any count: there is nothing to predict from, and no method is asked.
UNKNOWN = "Unknown"
GB = 1e9
KB = 1024


@dataclass(frozen=True)
class Task:
    """One training and the queries to label with it.

    Attributes
    ----------
    reference
        Raw counts in X (CSR, float32), no empty cells; labels, as strings, in ``obs[labels_key]``; batches, where it
        has them, in ``obs["batch"]``.
    labels_key
        Column of the reference's obs.
    seed
        Of whatever is random in the method.
    queries
        By name: raw counts of the same genes in the same order, no labels; cells may be empty.
    variant
        Which of the methods in this script, None where it has one.
    """

    reference: ad.AnnData
    labels_key: str
    seed: int
    queries: dict[str, ad.AnnData]
    variant: str | None = None


def read_task() -> tuple[Task, Path]:
    """Read what the command line names; also the folder to write to."""
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


def run(
    train: Callable[[Task], Any],
    predict: Callable[[Any, ad.AnnData], tuple[np.ndarray, np.ndarray | None]],
    version: str,
) -> None:
    """Train once, label each query, and write ``<query>.csv`` and ``run.json``.

    Parameters
    ----------
    train
        Makes a model from the task's reference.
    predict
        Gets the model and the cells of a query that have counts; returns their labels and the method's probability
        of each, None where it gives no probabilities that sum to one.
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


def _label(model: Any, query: ad.AnnData, predict: Callable) -> pd.DataFrame:
    filled = np.asarray(query.X.sum(axis=1)).ravel() > 0
    labels = np.full(query.n_obs, UNKNOWN, dtype=object)
    confidence = np.zeros(query.n_obs)
    if filled.any():
        labels[filled], found = predict(model, query[filled].copy())
        if found is None:
            confidence[:] = np.nan
        else:
            confidence[filled] = found
    return pd.DataFrame({"cell": query.obs_names, "label": labels, "confidence": confidence})


def peak_gb() -> float:
    """Most memory that this process ever held.

    Linux reports it by address space. ``ru_maxrss``, for other systems, would count the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * KB / GB
    unit = 1 if sys.platform == "darwin" else KB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GB
