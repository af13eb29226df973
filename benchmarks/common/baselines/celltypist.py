"""CellTypist: logistic regression of each label against the rest, on log-normalized and scaled counts.

The method is :cite:t:`dominguezconde2022cross`.
"""

from importlib.metadata import version

import celltypist
import numpy as np
from anndata import AnnData

from benchmarks.common.expression import N_TOP_GENES, log_normalized

from .task import Task, run


def train(task: Task) -> celltypist.Model:
    """Train with the defaults; with many genes in two passes, the second on the best genes of each label."""
    reference = log_normalized(task.reference)
    return celltypist.train(
        reference,
        labels=task.labels_key,
        feature_selection=reference.n_vars > N_TOP_GENES,
        # number of CellTypist's guide; the default of the function is 300
        top_genes=500,
        random_state=task.seed,
    )


def predict(model: celltypist.Model, query: AnnData) -> tuple[np.ndarray, None]:
    """Return the best match; no confidence, because the probabilities of the labels do not sum to one."""
    result = celltypist.annotate(log_normalized(query), model=model, mode="best match")
    return result.predicted_labels["predicted_labels"].astype(str).to_numpy(), None


if __name__ == "__main__":
    run(train, predict, f"celltypist {version('celltypist')}")
