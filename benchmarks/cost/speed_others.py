"""The operations of the published methods and of the count likelihood, in their own environments."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import anndata as ad

from benchmarks.common.baselines.task import Task

from .speed_cells import LABELS_KEY

VARIANTS = {"likelihood": "multinomial_platform"}


def operations(method: str, reference_path: str, query_path: str, size: str) -> dict[str, Callable[[], None]]:
    """Return the operations of a method by name; `size` has no meaning here."""
    del size
    task = Task(ad.read_h5ad(reference_path), LABELS_KEY, 0, {}, VARIANTS.get(method))
    task.reference.obs[LABELS_KEY] = task.reference.obs[LABELS_KEY].astype(str)
    query = ad.read_h5ad(query_path)
    query.obs = query.obs[[]]
    if method == "scanvi":
        return _scanvi_operations(task, query)
    module = import_module(f"benchmarks.common.baselines.{method}")
    models: list[Any] = []
    return {
        "train": lambda: models.append(module.train(task)),
        "predict": lambda: _discard(module.predict(models[-1], query)),
    }


def _scanvi_operations(task: Task, query: ad.AnnData) -> dict[str, Callable[[], None]]:
    # the time of a prediction does not depend on the weights, and a whole training takes many minutes
    from benchmarks.common.baselines import scanvi
    from benchmarks.common.expression import variable_genes

    models: list[Any] = []

    def prepare() -> None:
        genes = variable_genes(task.reference)
        reference = scanvi._cells(task.reference, genes)
        reference.obs[scanvi.LABELS_KEY] = task.reference.obs[task.labels_key].to_numpy()
        reference.obs[scanvi.BATCH_KEY] = "reference"
        scanvi.scvi.model.SCVI.setup_anndata(reference, batch_key=scanvi.BATCH_KEY)
        pretrained = scanvi.scvi.model.SCVI(reference, **scanvi.ARCHITECTURE)
        pretrained.train(max_epochs=1, enable_progress_bar=False)
        model = scanvi.scvi.model.SCANVI.from_scvi_model(
            pretrained, unlabeled_category=scanvi.UNLABELLED, labels_key=scanvi.LABELS_KEY
        )
        model.train(max_epochs=1, n_samples_per_label=scanvi.N_SAMPLES_PER_LABEL, enable_progress_bar=False)
        models.append(scanvi.Model(model, genes))

    def predict() -> None:
        cells = scanvi._cells(query, models[-1].genes)
        cells.obs[scanvi.BATCH_KEY], cells.obs[scanvi.LABELS_KEY] = "query", scanvi.UNLABELLED
        model = scanvi.scvi.model.SCANVI.load_query_data(cells, models[-1].scanvi)
        model.is_trained_ = True
        model.predict(soft=True)

    return {"prepare": prepare, "predict": predict}


def _discard(result: object) -> None:
    del result
