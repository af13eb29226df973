"""HRCA, as its README says: a laptop size, ``train()`` with nothing else said, ``adapt(query)``, ``predict(query)``.

Variants: ``hrca``; ``hrca_unadapted``, without ``adapt``; ``hrca_alone``, unadapted and each cell by itself, without
platform factors; ``hrca_networks``, unadapted and without the count branch; ``hrca_matched``, trained anew for each
query, with ``train(query=...)``, then adapted.
"""

from importlib.metadata import version

import common
import numpy as np
import scvi
from anndata import AnnData

import hrca


def fit(task: common.Task, query: AnnData | None = None) -> hrca.HRCA:
    """Train a model on the task's reference."""
    scvi.settings.seed = task.seed
    reference = task.reference.copy()
    hrca.HRCA.setup_anndata(reference, labels_key=task.labels_key)
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"], count_likelihood=task.variant != "hrca_networks")
    model.train(query=query, enable_progress_bar=False)
    return model


def train(task: common.Task) -> tuple[common.Task, hrca.HRCA | None]:
    """Train once, unless the variant trains for each query."""
    return task, None if task.variant == "hrca_matched" else fit(task)


def predict(trained: tuple[common.Task, hrca.HRCA | None], query: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Label the cells of a query."""
    task, model = trained
    model = model or fit(task, query)
    # adaptation must not depend on which queries were labelled before
    scvi.settings.seed = task.seed
    if task.variant in ("hrca", "hrca_matched"):
        model = model.adapt(query, enable_progress_bar=False)
    probabilities = model.predict(query, soft=True, key_added=None, platform_correction=task.variant != "hrca_alone")
    # a cell whose counts are all on genes that the reference lacks cannot be judged
    judged = probabilities.to_numpy().any(axis=1)
    return np.where(judged, probabilities.idxmax(axis=1), common.UNKNOWN), probabilities.max(axis=1).to_numpy()


if __name__ == "__main__":
    common.run(train, predict, f"hrca {version('hrca')}")
