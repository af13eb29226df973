"""Lightning callbacks: kept weights, history, progress bar, periodic actions."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from scvi.train._progress import ProgressBar

KeepPolicy = Literal["best", "last"]


class KeepWeights(Callback):
    """Keep the weights of one epoch, and load them when training ends.

    HRCA specification, "Pre-training": "The model at the point where the loss no longer decrease is selected". The copy
    stays in memory. scvi-tools' own checkpoint writes the whole model at each improvement.

    Parameters
    ----------
    monitor
        The loss, by the name under which it is logged.
    policy
        "best": the epoch with the lowest loss. "last": the last epoch with a finite loss. Where the learning rate falls
        to zero, the lowest loss comes before the weights have settled.

    Attributes
    ----------
    kept_epoch
        Index of the epoch whose weights are kept; None before the first.
    """

    def __init__(self, monitor: str, *, policy: KeepPolicy = "best"):
        self.monitor = monitor
        self.policy = policy
        self.kept_epoch: int | None = None
        self._kept_loss = float("inf")
        self._kept_state: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights if the policy selects this epoch."""
        loss = float(trainer.callback_metrics[self.monitor])
        if loss < self._kept_loss or (self.policy == "last" and math.isfinite(loss)):
            self._kept_loss = loss
            self.kept_epoch = trainer.current_epoch
            self._kept_state = {
                name: value.detach().to("cpu", copy=True)
                for name, value in pl_module.get_submodule("module").state_dict().items()
            }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the kept weights; with several processes those of the first, because batch statistics differ.

        Raises
        ------
        ValueError
            If the loss was NaN or infinite in every epoch.
        """
        if trainer.world_size > 1:
            self._kept_state = trainer.strategy.broadcast(self._kept_state)
        if not self._kept_state:
            raise ValueError(
                f"The loss must be finite, but `{self.monitor}` was not in any epoch. Lower `lr`, and look for cells "
                "with extraordinary counts."
            )
        pl_module.get_submodule("module").load_state_dict(self._kept_state)
        self._kept_state = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs: the kept epoch, its loss and its weights."""
        return {"epoch": self.kept_epoch, "loss": self._kept_loss, "weights": self._kept_state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned."""
        self.kept_epoch, self._kept_loss = state_dict["epoch"], state_dict["loss"]
        self._kept_state = state_dict["weights"]


class EpochHistory(Callback):
    """Record every logged number of every epoch, and the learning rate.

    scvi-tools reads its history from one kind of logger, which starts anew when training is resumed. This callback
    continues, and works with any logger.

    Attributes
    ----------
    epochs
        Name of a number -> its value in each epoch; NaN in epochs that did not log it.
    """

    def __init__(self) -> None:
        self.epochs: dict[str, list[float]] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the numbers of this epoch."""
        rate = trainer.optimizers[0].param_groups[-1]["lr"]
        for name, value in {**trainer.callback_metrics, "lr": rate}.items():
            values = self.epochs.setdefault(name, [])
            values += [float("nan")] * (trainer.current_epoch - len(values))
            values.append(float(value))

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs: all epochs so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned."""
        self.epochs = state_dict["epochs"]


class PhaseProgress(ProgressBar):
    """scvi-tools' progress bar, with the phase in front, loss and learning rate behind. tqdm estimates the time left.

    Parameters
    ----------
    title
        Text before the bar: "pretrain", "finetune" or "adapt", after the name of the fold if there is one.
    """

    def __init__(self, title: str):
        super().__init__()
        self.title = title

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, at the epoch with which a resumed training starts."""
        super().on_train_start(trainer, pl_module)
        self.main_progress_bar.update(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the number of the epoch."""
        super().on_train_epoch_start(trainer, pl_module)
        self.main_progress_bar.set_description(f"{self.title} {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, str]:
        """Return loss and learning rate as text."""
        loss, rate = trainer.callback_metrics["train_loss"], trainer.optimizers[0].param_groups[-1]["lr"]
        return {"loss": f"{float(loss):.4g}", "lr": f"{rate:.1g}"}


class EveryEpochs(Callback):
    """Call a function every few epochs, in the first process only.

    Parameters
    ----------
    interval
        Number of epochs between two calls.
    action
        The function; its argument is the number of epochs that have ended.
    """

    def __init__(self, interval: int, action: Callable[[int], None]):
        self.interval, self.action = interval, action

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call the function if this epoch ends an interval."""
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero and epoch % self.interval == 0:
            self.action(epoch)
