"""Callbacks that report on a training while it runs: scores of test cells, TensorBoard logs."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from hrca.metrics import annotation_scores, confusion_table
from hrca.pl import confusion_figure

from ._callbacks import EpochHistory

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

# Pixels per inch of the confusion plots, at which their smallest text, 7 points, is readable.
CONFUSION_DPI = 150


class MonitorTestSet(Callback):
    """Annotation and scoring of test cells every few epochs.

    Parameters
    ----------
    annotate
        Returns a label for each test cell, shape (n_obs,), by the current networks.
    true_labels
        Known label of each test cell, shape (n_obs,). Cells with a missing value are left out.
    labels
        Labels of the reference. Cells with other labels are counted, but not scored.
    interval
        Number of epochs between two evaluations. The last of `max_epochs` is always evaluated.
    folder
        Folder for ``test_scores.csv`` and, at each evaluation, ``confusion_<epoch>.csv`` and ``.png``. If None, no file
        is written.

    Attributes
    ----------
    evaluations
        Epoch and scores of each evaluation. They belong to the weights at the end of that epoch, not to those that the
        phase keeps.
    true_labels
        Known labels of the cells that have one.
    predicted
        Their labels at the last evaluation.
    """

    def __init__(
        self,
        annotate: Callable[[], pd.Categorical],
        true_labels: pd.Series,
        labels: list[str],
        *,
        interval: int,
        folder: Path | None,
    ):
        self.annotate, self.interval, self.folder = annotate, interval, folder
        self._has_label = true_labels.notna().to_numpy()
        self.true_labels = true_labels[self._has_label].to_numpy(dtype=str)
        self._is_known_label = np.isin(self.true_labels, labels)
        self.predicted = np.array([], dtype=object)
        self.evaluations: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the test cells if this epoch is due."""
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or (epoch % self.interval and epoch != trainer.max_epochs):
            return
        module = pl_module.get_submodule("module")
        module.eval()
        self.predicted = np.asarray(self.annotate())[self._has_label]
        module.train()
        scored = self._is_known_label
        scores: dict[str, float] = {"epoch": epoch, "n_unseen": int((~scored).sum())}
        if scored.any():
            scores |= annotation_scores(self.true_labels[scored], self.predicted[scored]).to_dict()
        self.evaluations.append(scores)
        logger.info("finetune, epoch %d, test cells: %s", epoch, scores)
        if self.folder is not None:
            self._write(self.folder, epoch)

    def _write(self, folder: Path, epoch: int) -> None:
        """Write all scores so far and the confusion of this epoch."""
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.evaluations).to_csv(folder / "test_scores.csv", index=False)
        confusion_table(self.true_labels, self.predicted).to_csv(folder / f"confusion_{epoch:06d}.csv")
        figure = confusion_figure(self.true_labels, self.predicted)
        figure.savefig(folder / f"confusion_{epoch:06d}.png", dpi=CONFUSION_DPI, bbox_inches="tight")

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs: the evaluations so far."""
        return {"evaluations": self.evaluations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned."""
        self.evaluations = state_dict["evaluations"]


class TensorBoard(Callback):
    """TensorBoard log of every number of the history and of the test cells' scores and confusion, by epoch.

    Parameters
    ----------
    folder
        Folder of the logs.
    phase
        Group of the numbers in the log, and subfolder.
    history
        Callback that records the numbers. It must run before this one.
    monitor
        Callback that evaluates test cells. It must run before this one. None without test cells.

    Raises
    ------
    ImportError
        If tensorboard is not installed.
    """

    def __init__(self, folder: Path, phase: str, history: EpochHistory, monitor: MonitorTestSet | None):
        check_tensorboard()
        self.folder, self.phase, self.history, self.monitor = folder, phase, history, monitor
        self._writer: SummaryWriter | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the log. A resumed training overwrites the entries of the epochs that it repeats."""
        if trainer.is_global_zero:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder / self.phase), purge_step=trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log this epoch."""
        if self._writer is None:
            return
        epoch = trainer.current_epoch + 1
        for name, values in self.history.epochs.items():
            self._writer.add_scalar(f"{self.phase}/{name}", values[-1], epoch)
        if self.monitor is not None and self.monitor.evaluations and self.monitor.evaluations[-1]["epoch"] == epoch:
            for name, value in self.monitor.evaluations[-1].items():
                if name != "epoch":
                    self._writer.add_scalar(f"{self.phase}/test_{name}", value, epoch)
            figure = confusion_figure(self.monitor.true_labels, self.monitor.predicted)
            self._writer.add_figure(f"{self.phase}/test_confusion", figure, epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()


def check_tensorboard() -> None:
    """Raise an ImportError that names the extra if TensorBoard logs cannot be written."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "`tensorboard=True` needs the package tensorboard, which cannot be imported. Install the extra: "
            'pip install "hrca[tensorboard]".'
        ) from error
