"""HRCA: the laptop size, ``train()`` and ``predict(query)`` with their defaults.

The variants are:

- ``hrca``;
- ``hrca_adapted``, with ``adapt(query, select=False)`` before ``predict``;
- ``hrca_alone``, without all that depends on other cells of the query: platform factors and novel probabilities;
- ``hrca_networks``, without the count likelihood;
- ``hrca_matched``, trained anew for each query by ``train(query=...)``.
"""

from importlib.metadata import version

import numpy as np
import scvi
from anndata import AnnData

import hrca

from .task import UNKNOWN, Task, run


def fit(task: Task, query: AnnData | None = None) -> hrca.HRCA:
    """Train a model on the task's reference, and for `query` if there is one."""
    scvi.settings.seed = task.seed
    reference = task.reference.copy()
    hrca.HRCA.setup_anndata(reference, labels_key=task.labels_key)
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"], count_likelihood=task.variant != "hrca_networks")
    model.train(query=query, enable_progress_bar=False)
    return model


def train(task: Task) -> tuple[Task, hrca.HRCA | None]:
    """Train once, except the variant that trains for each query."""
    return task, None if task.variant == "hrca_matched" else fit(task)


def predict(trained: tuple[Task, hrca.HRCA | None], query: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable label of each cell and its probability."""
    task, model = trained
    model = model or fit(task, query)
    # adaptation must not depend on the queries before
    scvi.settings.seed = task.seed
    if task.variant == "hrca_adapted":
        model = model.adapt(query, select=False, enable_progress_bar=False)
    knows_others = task.variant != "hrca_alone"
    probabilities = model.predict(
        query, soft=True, key_added=None, platform_correction=knows_others, open_set=knows_others
    )
    # a cell has no probabilities if the reference lacks all genes of its counts
    has_probabilities = probabilities.to_numpy().any(axis=1)
    labels = np.where(has_probabilities, probabilities.idxmax(axis=1), UNKNOWN)
    return labels, probabilities.max(axis=1).to_numpy()


if __name__ == "__main__":
    run(train, predict, f"hrca {version('hrca')}")
