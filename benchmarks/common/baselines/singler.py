"""SingleR: rank correlation with the reference cells of each label, on the markers of each pair of labels.

The method is :cite:t:`aran2019reference`.
"""

from importlib.metadata import version

import numpy as np
import singler
from anndata import AnnData

from benchmarks.common.expression import log_normalized

from .task import Task, run


def train(task: Task) -> singler.TrainedSingleReference:
    """Find markers by effect size, as advised for single cells: the default compares medians, which are often zero."""
    reference = log_normalized(task.reference)
    return singler.train_single(
        ref_data=reference.X.T,
        ref_labels=reference.obs[task.labels_key].tolist(),
        ref_features=reference.var_names.tolist(),
        marker_method="cohens_d",
    )


def predict(model: singler.TrainedSingleReference, query: AnnData) -> tuple[np.ndarray, None]:
    """Return the best label after fine-tuning; no confidence, because its scores are correlations."""
    result = singler.classify_single(log_normalized(query).X.T, ref_prebuilt=model)
    return np.array(result["best"]), None


if __name__ == "__main__":
    run(train, predict, f"singler {version('singler')}")
