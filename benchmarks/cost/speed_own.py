"""The operations of HRCA, and of the plain model in the published style."""

import time
from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import scvi
from anndata import AnnData
from lightning.pytorch.callbacks import Callback

import hrca

from .published_style import BATCH_SIZE, CellDataset, PublishedStyle, training_steps
from .speed_cells import LABELS_KEY
from .speed_worker import Operation

# Steps that are timed, after one that is not.
N_STEPS = 4
MASK_RATE = 0.7


class StepTimes(Callback):
    """The seconds and the CPU seconds of each training step, the batch and the optimiser included."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the time."""
        self.ends.append((time.perf_counter(), time.process_time()))

    def steps(self) -> list[tuple[float, float]]:
        """Return the time of each step but the first."""
        return [(seconds, cpu_s) for seconds, cpu_s in np.diff(self.ends, axis=0)]


def operations(method: str, reference_path: str, query_path: str, size: str) -> dict[str, Operation]:
    """Return the operations of a method by name."""
    reference, query = ad.read_h5ad(reference_path), ad.read_h5ad(query_path)
    query.obs = query.obs[[]]
    return {"hrca": _hrca, "published": _published}[method](reference, query, size)


def _hrca(reference: AnnData, query: AnnData, size: str) -> dict[str, Operation]:
    scvi.settings.seed = 0
    models: list[hrca.HRCA] = []
    quiet = {"enable_progress_bar": False, "accelerator": "cpu"}

    def train(**epochs: int) -> None:
        cells = reference.copy()
        hrca.HRCA.setup_anndata(cells, labels_key=LABELS_KEY)
        model = hrca.HRCA(cells, size=size)
        model.train(**epochs, **quiet)
        models.append(model)

    def step(phase: str) -> list[tuple[float, float]]:
        cells, times = _step_cells(reference), StepTimes()
        hrca.HRCA.setup_anndata(cells, labels_key=LABELS_KEY)
        getattr(hrca.HRCA(cells, size=size), phase)(1, train_size=1.0, callbacks=[times], **quiet)
        return times.steps()

    def predict(**options: Any) -> Callable[[], None]:
        return lambda: _discard(models[-1].predict(query.copy(), **options, enable_progress_bar=False))

    return {
        "train": train,
        "prepare": lambda: train(max_epochs=2, pretrain_epochs=1),
        "adapt": lambda: _discard(models[-1].adapt(query, select=False, **quiet)),
        "predict": predict(),
        "predict without novelty": predict(key_added=None, open_set=False),
        "pre-training step": lambda: step("pretrain"),
        "fine-tuning step": lambda: step("finetune"),
    }


def _published(reference: AnnData, query: AnnData, size: str) -> dict[str, Operation]:
    reference.obs[LABELS_KEY] = reference.obs[LABELS_KEY].astype("category")
    n_labels = reference.obs[LABELS_KEY].nunique()
    step_cells = _step_cells(reference)
    cells = CellDataset(step_cells, step_cells.obs[LABELS_KEY].cat.codes.to_numpy(), MASK_RATE)
    models: list[PublishedStyle] = []

    def prepare() -> None:
        models.append(PublishedStyle(reference.n_vars, n_labels, hrca.SIZES[size]))

    return {
        "prepare": prepare,
        "predict": lambda: _discard(models[-1].predict(query)),
        "pre-training step": lambda: list(training_steps(models[-1], "pretrain", cells)),
        "fine-tuning step": lambda: list(training_steps(models[-1], "finetune", cells)),
    }


def _step_cells(reference: AnnData) -> AnnData:
    # HRCA's first step is not in its times, and the first that is counts as a start
    rows = np.arange((N_STEPS + 2) * BATCH_SIZE) % reference.n_obs
    obs = reference.obs.iloc[rows].reset_index(drop=True).set_axis([f"cell {row}" for row in range(len(rows))])
    return AnnData(reference.X[rows], obs=obs, var=reference.var)


def _discard(result: object) -> None:
    del result
