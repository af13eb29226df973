"""Watch a training from outside: scores on test cells, TensorBoard."""

import logging
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from hrca import pl
from hrca.metrics import annotation_scores, confusion_table

from ._callbacks import EpochHistory

logger = logging.getLogger(__name__)

# Pixels an inch of the confusions, enough to read the smallest label.
DPI = 150


class MonitorTestSet(Callback):
    """Annotate test cells every few epochs, and keep their scores and confusions.

    Parameters
    ----------
    annotate
        Labels the test cells with the networks as they are.
    known
        Their known labels, shape (n_obs,); cells where it is missing are left out.
    labels
        The labels that the model tells apart; cells of others are counted, not scored.
    interval
        Epochs between two looks; the last of `max_epochs` is always one.
    folder
        Where ``test_scores.csv`` and, for each look, ``confusion_<epoch>.csv`` and ``.png`` go; None: nowhere.

    Attributes
    ----------
    rows
        Scores of each look, with its epoch: of the weights at its end, not of those that the phase keeps.
    """

    # not a test of ours, whatever pytest makes of the name
    __test__ = False

    def __init__(
        self,
        annotate: Callable[[], pd.Categorical],
        known: pd.Series,
        labels: list[str],
        *,
        interval: int,
        folder: Path | None,
    ):
        self.annotate, self.interval, self.folder = annotate, interval, folder
        self.labelled = known.notna().to_numpy()
        self.known = known[self.labelled].to_numpy(dtype=str)
        self.seen = np.isin(self.known, labels)
        self.rows: list[dict] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Annotate and score, if it is time."""
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or (epoch % self.interval and epoch != trainer.max_epochs):
            return
        pl_module.module.eval()
        predicted = np.asarray(self.annotate())[self.labelled]
        pl_module.module.train()
        row = {"epoch": epoch, "n_unseen": int((~self.seen).sum())}
        if self.seen.any():
            row |= annotation_scores(self.known[self.seen], predicted[self.seen]).to_dict()
        self.rows.append(row)
        logger.info("finetune, epoch %d, test cells: %s", epoch, row)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(self.rows).to_csv(self.folder / "test_scores.csv", index=False)
            confusion_table(self.known, predicted).to_csv(self.folder / f"confusion_{epoch:06d}.csv")
            figure = self.draw(predicted)
            figure.savefig(self.folder / f"confusion_{epoch:06d}.png", dpi=DPI, bbox_inches="tight")
            plt.close(figure)
        self.predicted = predicted

    def draw(self, predicted: np.ndarray):
        """Return the confusion as a figure."""
        return pl.confusion(self.known, predicted).figure

    def state_dict(self) -> dict:
        """What a resumed training needs: the scores so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.rows = state_dict["rows"]


class TensorBoard(Callback):
    """Write every number of the history to TensorBoard, by epoch, and the test cells' scores and confusion.

    Parameters
    ----------
    folder
        Where TensorBoard will look.
    phase
        The group that the numbers stand under.
    history
        Notes the numbers; called before this one.
    monitor
        Looks at test cells; called before this one. None without test cells.
    """

    def __init__(self, folder: Path, phase: str, history: EpochHistory, monitor: MonitorTestSet | None):
        self.folder, self.phase, self.history, self.monitor = folder, phase, history, monitor
        self._writer = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the log; what an earlier try wrote of epochs that are trained again is dropped."""
        if trainer.is_global_zero:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder / self.phase), purge_step=trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write this epoch."""
        if self._writer is None:
            return
        epoch = trainer.current_epoch + 1
        for name, values in self.history.epochs.items():
            self._writer.add_scalar(f"{self.phase}/{name}", values[-1], epoch)
        if self.monitor is not None and self.monitor.rows and self.monitor.rows[-1]["epoch"] == epoch:
            for name, value in self.monitor.rows[-1].items():
                if name != "epoch":
                    self._writer.add_scalar(f"{self.phase}/test_{name}", value, epoch)
            self._writer.add_figure(f"{self.phase}/test_confusion", self.monitor.draw(self.monitor.predicted), epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()
