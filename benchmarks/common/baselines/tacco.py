"""TACCO: optimal transport between the cells and the labels' mean profiles, after platform normalization.

The method is :cite:t:`mages2023tacco`.
"""

from importlib.metadata import version

import numpy as np
import tacco
from anndata import AnnData

from .task import UNKNOWN, Task, run


def train(task: Task) -> tuple[AnnData, str]:
    """Keep the reference, because TACCO has no training step without a query."""
    task.reference.obs[task.labels_key] = task.reference.obs[task.labels_key].astype("category")
    return task.reference, task.labels_key


def predict(model: tuple[AnnData, str], query: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return the label that the largest fraction of a cell's counts is assigned to, and that fraction."""
    reference, labels_key = model
    fractions = tacco.tl.annotate(query, reference, annotation_key=labels_key, result_key="tacco").obsm["tacco"]
    # a cell gets no fractions if each of its genes varies in one of the two data sets only
    has_fractions = fractions.notna().all(axis=1).to_numpy()
    labels, confidence = np.full(query.n_obs, UNKNOWN, dtype=object), np.zeros(query.n_obs)
    labels[has_fractions] = fractions[has_fractions].idxmax(axis=1).astype(str)
    confidence[has_fractions] = fractions[has_fractions].max(axis=1)
    return labels, confidence


if __name__ == "__main__":
    run(train, predict, f"tacco {version('tacco')}")
