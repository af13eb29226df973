"""CellTypist: logistic regression of each type against the rest, on log-normalized and scaled counts."""

import sys
from importlib.metadata import version

# the package of this script's name, not this script
sys.path.append(sys.path.pop(0))

import celltypist
import numpy as np
from anndata import AnnData
from common import Task, run
from expression import N_TOP_GENES, log_normalized


def train(task: Task) -> celltypist.Model:
    """Train with the defaults; in two passes, the second on each type's best genes, if there are many genes."""
    reference = log_normalized(task.reference)
    return celltypist.train(
        reference,
        labels=task.labels_key,
        feature_selection=reference.n_vars > N_TOP_GENES,
        # its guide's number; the function's own default is 300
        top_genes=500,
        random_state=task.seed,
    )


def predict(model: celltypist.Model, query: AnnData) -> tuple[np.ndarray, None]:
    """Label with the best match; the types' probabilities are independent of one another and do not sum to one."""
    result = celltypist.annotate(log_normalized(query), model=model, mode="best match")
    return result.predicted_labels["predicted_labels"].astype(str).to_numpy(), None


if __name__ == "__main__":
    run(train, predict, f"celltypist {version('celltypist')}")
