"""Where scvi-tools needs a careful hand: its splits, its history, its files, and what differs between 1.4 and 1.5."""

import math
from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from scvi.train._progress import ProgressBar


class PhaseProgress(ProgressBar):
    """scvi's progress bar, with the phase in front, loss and learning rate behind; time left is tqdm's.

    Parameters
    ----------
    phase
        "pretrain", "finetune" or "adapt", after the fold that it is of.
    """

    def __init__(self, phase: str):
        super().__init__()
        self.phase = phase

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, at the epoch that a resumed training starts with."""
        super().on_train_start(trainer, pl_module)
        self.main_progress_bar.update(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which epoch of which phase this is."""
        super().on_train_epoch_start(trainer, pl_module)
        self.main_progress_bar.set_description(f"{self.phase} {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, str]:
        """Return loss and learning rate."""
        loss, rate = trainer.callback_metrics["train_loss"], trainer.optimizers[0].param_groups[-1]["lr"]
        return {"loss": f"{float(loss):.4g}", "lr": f"{rate:.1g}"}


class KeepWeights(Callback):
    """Keep the weights of the epoch with the lowest monitored loss, and put them back when training ends.

    Training Document, "Pre-training": "The model at the point where the loss no longer decrease is selected". The
    copy stays in memory: scvi's own checkpoint writes the whole model at each improvement.

    Parameters
    ----------
    monitor
        The loss, by the name under which it is logged.
    last
        Keep the last epoch whose loss is finite, not the best: where the learning rate falls to nothing, the lowest
        loss comes before the weights have settled.

    Attributes
    ----------
    best_epoch
        Index of the epoch whose weights are kept, None before the first.
    """

    def __init__(self, monitor: str, *, last: bool = False):
        self.monitor = monitor
        self.last = last
        self.best_epoch: int | None = None
        self._best_loss = float("inf")
        self._best_state: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights if this epoch's loss is the lowest so far, or the last."""
        loss = float(trainer.callback_metrics[self.monitor])
        if loss < self._best_loss or (self.last and math.isfinite(loss)):
            self._best_loss = loss
            self.best_epoch = trainer.current_epoch
            self._best_state = {
                name: value.detach().to("cpu", copy=True) for name, value in pl_module.module.state_dict().items()
            }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the kept weights back; of several processes, the first one's, whose batch statistics are its own.

        Raises
        ------
        ValueError
            If the loss was NaN or infinite in every epoch.
        """
        if trainer.world_size > 1:
            self._best_state = trainer.strategy.broadcast(self._best_state)
        if not self._best_state:
            raise ValueError(
                f"The loss must be finite, but `{self.monitor}` was not in any epoch. Lower `lr`, and look for cells "
                "with extraordinary counts."
            )
        pl_module.module.load_state_dict(self._best_state)
        self._best_state = {}

    def state_dict(self) -> dict:
        """What a resumed training needs: the best epoch so far, its loss and its weights."""
        return {"epoch": self.best_epoch, "loss": self._best_loss, "weights": self._best_state}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.best_epoch, self._best_loss = state_dict["epoch"], state_dict["loss"]
        self._best_state = state_dict["weights"]


class EpochHistory(Callback):
    """Note every logged number of every epoch, and the learning rate.

    scvi reads its history from one kind of logger, which starts anew when training is resumed; this one goes on, and
    works beside any logger.

    Attributes
    ----------
    epochs
        Name of a number -> its value in each epoch; NaN in epochs that did not log it.
    """

    def __init__(self):
        self.epochs: dict[str, list[float]] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note this epoch's numbers."""
        rate = trainer.optimizers[0].param_groups[-1]["lr"]
        for name, value in {**trainer.callback_metrics, "lr": rate}.items():
            values = self.epochs.setdefault(name, [])
            values += [float("nan")] * (trainer.current_epoch - len(values))
            values.append(float(value))

    def state_dict(self) -> dict:
        """What a resumed training needs: all epochs so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.epochs = state_dict["epochs"]


class EveryEpochs(Callback):
    """Call a function every few epochs, in the first of several processes only.

    Parameters
    ----------
    interval
        Number of epochs between two calls.
    action
        Function that is called with the number of epochs that are done.
    """

    def __init__(self, interval: int, action: Callable[[int], None]):
        self.interval = interval
        self.action = action

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call the function if the number of epochs is a multiple of the interval."""
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero and epoch % self.interval == 0:
            self.action(epoch)
