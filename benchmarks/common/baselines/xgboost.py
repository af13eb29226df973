"""XGBoost: boosted trees on the log-normalized counts of the most variable genes."""

import sys
from importlib.metadata import version
from typing import NamedTuple

# the package of this script's name, not this script
sys.path.append(sys.path.pop(0))

import numpy as np
from anndata import AnnData
from common import Task, run
from expression import log_normalized, variable_genes
from xgboost import XGBClassifier


class Model(NamedTuple):
    """A classifier, the genes that it reads and the labels of its classes."""

    classifier: XGBClassifier
    genes: np.ndarray
    labels: np.ndarray


def train(task: Task) -> Model:
    """Train with the defaults, on one thread."""
    genes = variable_genes(task.reference)
    labels, classes = np.unique(task.reference.obs[task.labels_key].to_numpy(str), return_inverse=True)
    classifier = XGBClassifier(tree_method="hist", random_state=task.seed, n_jobs=1)
    classifier.fit(log_normalized(task.reference)[:, genes].X, classes)
    return Model(classifier, genes, labels)


def predict(model: Model, query: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Label with the most probable class."""
    probabilities = model.classifier.predict_proba(log_normalized(query)[:, model.genes].X)
    return model.labels[probabilities.argmax(axis=1)], probabilities.max(axis=1)


if __name__ == "__main__":
    run(train, predict, f"xgboost {version('xgboost-cpu')}")
