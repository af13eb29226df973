"""XGBoost: boosted trees on the log-normalized counts of the most variable genes.

The method is :cite:t:`chen2016xgboost`.
"""

from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from anndata import AnnData
from xgboost import XGBClassifier

from benchmarks.common.expression import log_normalized, variable_genes

from .task import Task, run


class Model(NamedTuple):
    """A classifier, its genes, and the labels of its classes."""

    classifier: XGBClassifier
    genes: list[str]
    labels: np.ndarray


def train(task: Task) -> Model:
    """Train with the defaults, on one thread."""
    genes = variable_genes(task.reference)
    labels, codes = np.unique(task.reference.obs[task.labels_key].to_numpy(str), return_inverse=True)
    classifier = XGBClassifier(tree_method="hist", random_state=task.seed, n_jobs=1)
    classifier.fit(log_normalized(task.reference)[:, genes].X, codes)
    return Model(classifier, genes, labels)


def predict(model: Model, query: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable label and its probability."""
    probabilities = model.classifier.predict_proba(log_normalized(query)[:, model.genes].X)
    return model.labels[probabilities.argmax(axis=1)], probabilities.max(axis=1)


if __name__ == "__main__":
    run(train, predict, f"xgboost {version('xgboost-cpu')}")
