"""RCTD: Poisson-lognormal mixtures of the labels' mean profiles, after fitting platform effects.

The method is :cite:t:`cable2022robust`.
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from anndata import AnnData
from rctd import RCTDConfig, Reference, run_rctd

from .task import UNKNOWN, Task, run

# environments/rctd_tables.py makes them; without them the package fetches them.
TABLES = Path(sys.prefix) / "q_matrices.npz"


def train(task: Task) -> Reference:
    """Average the profile of each label over all its cells, without lower limits of counts or cells."""
    if TABLES.exists():
        os.environ.setdefault("RCTD_Q_MATRICES", str(TABLES))
    return Reference(task.reference, cell_type_col=task.labels_key, cell_min=1, min_UMI=1)


def predict(model: Reference, query: AnnData) -> tuple[np.ndarray, None]:
    """Return the label of the largest weight; no confidence, because weights are proportions."""
    totals = np.asarray(query.X.sum(axis=1)).ravel()
    defaults = RCTDConfig()
    config = RCTDConfig(
        UMI_min=1,
        counts_MIN=1,
        # cells with more counts than this give the estimate of the variance; the default may leave none
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
