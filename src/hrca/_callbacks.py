"""What happens between epochs."""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class KeepBest(Callback):
    """Keep the weights of the epoch with the lowest monitored loss, and put them back when training ends.

    Training Document, "Pre-training": "The model at the point where the loss no longer decrease is selected". The
    copy stays in memory: scvi's own checkpoint writes the whole model at each improvement.

    Parameters
    ----------
    monitor
        The loss, by the name under which it is logged.

    Attributes
    ----------
    best_epoch
        Index of the epoch whose weights are kept, None before the first.
    """

    def __init__(self, monitor: str):
        self.monitor = monitor
        self.best_epoch: int | None = None
        self._best_loss = float("inf")
        self._best_state: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights if this epoch's loss is the lowest so far."""
        loss = float(trainer.callback_metrics[self.monitor])
        if loss < self._best_loss:
            self._best_loss = loss
            self.best_epoch = trainer.current_epoch
            self._best_state = {
                name: value.detach().to("cpu", copy=True) for name, value in pl_module.module.state_dict().items()
            }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the kept weights back."""
        if self._best_state:
            pl_module.module.load_state_dict(self._best_state)
            self._best_state = {}
