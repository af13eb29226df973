"""scANVI: a semi-supervised variational autoencoder; scArches' surgery adapts it to each query.

The methods are :cite:t:`xu2021probabilistic` and :cite:t:`lotfollahi2022mapping`.
"""

from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import scvi
from anndata import AnnData

from benchmarks.common.expression import variable_genes

from .task import Task, run

BATCH_KEY = "scanvi_batch"
LABELS_KEY = "scanvi_label"
UNLABELLED = "Unknown"
# Settings that the tutorial of reference mapping changes for scArches.
ARCHITECTURE = {
    "use_layer_norm": "both",
    "use_batch_norm": "none",
    "encode_covariates": True,
    "dropout_rate": 0.2,
    "n_layers": 2,
}
# Epochs of scANVI, cells of a label in each epoch, and maximum epochs of surgery: the tutorial's.
N_EPOCHS, N_SAMPLES_PER_LABEL, MAX_SURGERY_EPOCHS = 20, 100, 100
# Training stops after this many epochs without a lower validation loss: scArches' own tutorial's.
PATIENCE = {"early_stopping": True, "early_stopping_patience": 10, "check_val_every_n_epoch": 1}


class Model(NamedTuple):
    """A trained scANVI and its genes."""

    scanvi: scvi.model.SCANVI
    genes: list[str]


def train(task: Task) -> Model:
    """Train scVI, then scANVI from it, as in the tutorial."""
    scvi.settings.seed = task.seed
    genes = variable_genes(task.reference)
    reference = _cells(task.reference, genes)
    reference.obs[LABELS_KEY] = task.reference.obs[task.labels_key].to_numpy()
    reference.obs[BATCH_KEY] = task.reference.obs["batch"].astype(str) if "batch" in task.reference.obs else "reference"
    scvi.model.SCVI.setup_anndata(reference, batch_key=BATCH_KEY)
    pretrained = scvi.model.SCVI(reference, **ARCHITECTURE)
    pretrained.train(**PATIENCE, enable_progress_bar=False)
    scanvi = scvi.model.SCANVI.from_scvi_model(pretrained, unlabeled_category=UNLABELLED, labels_key=LABELS_KEY)
    scanvi.train(max_epochs=N_EPOCHS, n_samples_per_label=N_SAMPLES_PER_LABEL, enable_progress_bar=False)
    return Model(scanvi, genes)


def predict(model: Model, query: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Add the query as a new batch, train its new weights, and return the most probable label of each cell."""
    query = _cells(query, model.genes)
    query.obs[BATCH_KEY], query.obs[LABELS_KEY] = "query", UNLABELLED
    scanvi = scvi.model.SCANVI.load_query_data(query, model.scanvi)
    plan = {"weight_decay": 0.0}
    scanvi.train(max_epochs=MAX_SURGERY_EPOCHS, plan_kwargs=plan, **PATIENCE, enable_progress_bar=False)
    probabilities = scanvi.predict(soft=True)
    return probabilities.idxmax(axis=1).to_numpy(str), probabilities.max(axis=1).to_numpy()


def _cells(adata: AnnData, genes: list[str]) -> AnnData:
    adata = adata[:, genes]
    return AnnData(adata.X.copy(), obs=adata.obs[[]].copy(), var=adata.var[[]].copy())


if __name__ == "__main__":
    run(train, predict, f"scvi-tools {version('scvi-tools')}")
