"""SingleR: rank correlation with the reference cells of each type, on the markers of each pair of types."""

import sys
from importlib.metadata import version

# the package of this script's name, not this script
sys.path.append(sys.path.pop(0))

import numpy as np
import singler
from anndata import AnnData
from common import Task, run
from expression import log_normalized


def train(task: Task) -> singler.TrainedSingleReference:
    """Find markers by effect size, as is advised for single cells: the default compares medians, often zero."""
    reference = log_normalized(task.reference)
    return singler.train_single(
        ref_data=reference.X.T,
        ref_labels=reference.obs[task.labels_key].tolist(),
        ref_features=reference.var_names.tolist(),
        marker_method="cohens_d",
    )


def predict(model: singler.TrainedSingleReference, query: AnnData) -> tuple[np.ndarray, None]:
    """Label with the best type after fine-tuning; its scores are correlations, no probabilities."""
    result = singler.classify_single(log_normalized(query).X.T, ref_prebuilt=model)
    return np.array(result["best"]), None


if __name__ == "__main__":
    run(train, predict, f"singler {version('singler')}")
