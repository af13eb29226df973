"""RCTD: Poisson-lognormal mixtures of the types' mean profiles, after fitting the platform's effects."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

# the package of this script's name, not this script
sys.path.append(sys.path.pop(0))

import numpy as np
from anndata import AnnData
from common import UNKNOWN, Task, run
from rctd import RCTDConfig, Reference, run_rctd

# Made by environments/rctd_tables.py; elsewhere the package fetches them.
TABLES = Path(sys.prefix) / "q_matrices.npz"


def train(task: Task) -> Reference:
    """Average the profile of each type, over all cells of all types however few counts or cells there are."""
    if TABLES.exists():
        os.environ.setdefault("RCTD_Q_MATRICES", str(TABLES))
    return Reference(task.reference, cell_type_col=task.labels_key, cell_min=1, min_UMI=1)


def predict(model: Reference, query: AnnData) -> tuple[np.ndarray, None]:
    """Label with the dominant type, which the package reports in every mode; weights are no probabilities."""
    totals = np.asarray(query.X.sum(axis=1)).ravel()
    defaults = RCTDConfig()
    config = RCTDConfig(
        UMI_min=1,
        counts_MIN=1,
        # the spread is estimated on cells with more counts than this; the default may leave none
        UMI_min_sigma=min(defaults.UMI_min_sigma, int(np.median(totals))),
        device="cpu",
        # compiling takes longer than the run
        compile=False,
    )
    result = run_rctd(query, model, mode="full", config=config)
    labels = np.full(query.n_obs, UNKNOWN, dtype=object)
    labels[result.pixel_mask] = np.array(result.cell_type_names)[result.weights.argmax(axis=1)]
    return labels, None


if __name__ == "__main__":
    run(train, predict, f"rctd-py {version('rctd-py')}")
