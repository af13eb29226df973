"""TACCO: optimal transport between the cells and the types' mean profiles, after platform normalization."""

import sys
from importlib.metadata import version

# the package of this script's name, not this script
sys.path.append(sys.path.pop(0))

import numpy as np
import tacco
from anndata import AnnData
from common import UNKNOWN, Task, run


def train(task: Task) -> tuple[AnnData, str]:
    """Keep the reference: TACCO has no step of training without a query."""
    task.reference.obs[task.labels_key] = task.reference.obs[task.labels_key].astype("category")
    return task.reference, task.labels_key


def predict(model: tuple[AnnData, str], query: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Label with the type that most of the cell's counts are ascribed to; that share is the confidence."""
    reference, labels_key = model
    shares = tacco.tl.annotate(query, reference, annotation_key=labels_key, result_key="tacco").obsm["tacco"]
    # cells whose genes all vary in one of the two data sets only get no shares
    known = shares.notna().all(axis=1).to_numpy()
    labels, confidence = np.full(query.n_obs, UNKNOWN, dtype=object), np.zeros(query.n_obs)
    labels[known] = shares[known].idxmax(axis=1).astype(str)
    confidence[known] = shares[known].max(axis=1)
    return labels, confidence


if __name__ == "__main__":
    run(train, predict, f"tacco {version('tacco')}")
