"""Lightning callbacks: kept weights, history, progress bar, periodic actions."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from scvi.train._progress import ProgressBar

KeepPolicy = Literal["best", "last"]
KeepMode = Literal["min", "max"]


class FreshMetrics(Callback):
    """Know which of Lightning's numbers belong to this epoch; abstract.

    Lightning keeps the numbers of a validation until the next one, which ``check_val_every_n_epoch`` delays.
    """

    _validated_epoch: int | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has a validation."""
        self._validated_epoch = trainer.current_epoch

    def fresh_value(self, trainer: Trainer, name: str) -> float:
        """Return a number of this epoch; NaN if it has none."""
        is_stale = name.startswith("validation") and self._validated_epoch != trainer.current_epoch
        return float("nan") if is_stale else float(trainer.callback_metrics.get(name, float("nan")))


class KeepWeights(FreshMetrics):
    """Keep the weights of one epoch, and load them when training ends.

    HRCA specification, "Pre-training": "The model at the point where the loss no longer decrease is selected". The copy
    stays in memory. scvi-tools' own checkpoint writes the whole model at each improvement.

    Parameters
    ----------
    monitor
        The loss or score, by the name under which it is logged.
    policy
        "best": the epoch with the best value; until one is validated, the last. "last": the last epoch with a finite
        loss. Where the learning rate falls to zero, the lowest loss comes before the weights have settled.
    mode
        "min": a lower value is better. "max": a higher one.

    Attributes
    ----------
    kept_epoch
        Index of the epoch whose weights are kept; None before the first.
    """

    def __init__(self, monitor: str, *, policy: KeepPolicy = "best", mode: KeepMode = "min"):
        self.monitor = monitor
        self.policy = policy
        self.sign = -1.0 if mode == "max" else 1.0
        self.kept_epoch: int | None = None
        self._kept_loss = float("inf")
        self._kept_state: dict[str, torch.Tensor] = {}

    @property
    def reason(self) -> str:
        """The reason for the choice of the epoch, in words."""
        if self.policy == "last" or not math.isfinite(self._kept_loss):
            return "the last"
        return f"the {'lowest' if self.sign > 0 else 'highest'} {self.monitor}"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights if the policy selects this epoch."""
        loss = self.sign * self.fresh_value(trainer, self.monitor)
        # without a validation in this epoch, the training loss says whether the weights are numbers
        is_finite = math.isfinite(loss if not math.isnan(loss) else self.fresh_value(trainer, "train_loss"))
        has_best = self.policy == "best" and math.isfinite(self._kept_loss)
        is_stale = self._validated_epoch != trainer.current_epoch
        if loss < self._kept_loss or (is_finite and not has_best and (self.policy == "last" or is_stale)):
            self._kept_loss = float("inf") if math.isnan(loss) else loss
            self.kept_epoch = trainer.current_epoch
            self._kept_state = {
                name: value.detach().to("cpu", copy=True)
                for name, value in pl_module.get_submodule("module").state_dict().items()
            }

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Load the kept weights after an interruption: those within an epoch belong to no entry of the history."""
        if self._kept_state:
            pl_module.get_submodule("module").load_state_dict(self._kept_state)

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


class EpochHistory(FreshMetrics):
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
        numbers = {name: self.fresh_value(trainer, name) for name in trainer.callback_metrics}
        for name, value in {**numbers, "lr": float(trainer.optimizers[0].param_groups[-1]["lr"])}.items():
            values = self.epochs.setdefault(name, [])
            values += [float("nan")] * (trainer.current_epoch - len(values))
            values.append(value)

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
