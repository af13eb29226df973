"""The training plans: loss, optimiser and learning-rate schedule of each phase."""

from typing import Any, ClassVar, Literal, get_args

import torch
from scvi.module.base import BaseModuleClass, LossOutput
from scvi.train import TrainingPlan
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

LRSchedule = Literal["one_cycle", "plateau"]
LR_SCHEDULES: tuple[str, ...] = get_args(LRSchedule)

# Validation cells are corrupted alike in every epoch, so that their losses can be compared. Any fixed number serves.
VALIDATION_SEED = 0


class EpochSums:
    """The sums of each part of the loss over the cells of an epoch, on the device: no step waits for their values."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._n_obs = 0

    def add(self, output: LossOutput) -> None:
        """Add the means of a batch."""
        n_obs = output.n_obs_minibatch
        self._n_obs += n_obs
        for name, value in {"loss": output.loss.detach(), **output.extra_metrics}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * n_obs

    def pop(self) -> tuple[dict[str, torch.Tensor], int]:
        """Return the means over the cells and their number, and start anew."""
        means = {name: total / self._n_obs for name, total in self._sums.items()}
        n_obs, self._sums, self._n_obs = self._n_obs, {}, 0
        return means, n_obs


class BasePlan(TrainingPlan):
    """The part that all plans share; abstract.

    scvi-tools' plan brings an ELBO, Adam with ``eps=0.01`` and weight decay, and a plateau on absolute differences
    (scvi-tools 1.4.2 and 1.5.1, ``TrainingPlan``). Each of these is replaced here by torch's own default.

    Parameters
    ----------
    module
        The networks.
    corruption
        Corruption of the training cells, see :func:`hrca.module._transforms.corrupt`.
    lr
        Learning rate of Adam; the maximum of a cycle.
    lr_schedule
        "plateau": the schedule of the specification, with the next three parameters. "one_cycle": the learning rate
        rises and falls once over all steps :cite:p:`smith2018disciplined`.
    lr_factor
        Factor of the learning rate when the monitored loss stops falling.
    lr_patience
        Number of epochs without a lower loss before that.
    lr_hold_epochs
        Number of epochs at the start with a constant learning rate.
    freeze_encoder_epochs
        Number of epochs at the start in which the encoder does not train.
    encoder_lr
        Learning rate of the encoder; None: `lr`.
    monitor
        The loss that the schedule follows, by the name under which it is logged.
    """

    classify: ClassVar[bool]
    loss_weights: ClassVar[dict[str, float]]

    def __init__(
        self,
        module: BaseModuleClass,
        *,
        corruption: str,
        lr: float,
        monitor: str,
        lr_schedule: LRSchedule = "plateau",
        lr_factor: float = 0.1,
        lr_patience: int = 0,
        lr_hold_epochs: int = 0,
        freeze_encoder_epochs: int = 0,
        encoder_lr: float | None = None,
    ):
        super().__init__(
            module,
            lr=lr,
            lr_factor=lr_factor,
            lr_patience=lr_patience,
            lr_scheduler_metric=monitor,
            # scvi-tools' MLflow logger reports these two: torch's defaults, which configure_optimizers uses
            eps=1e-8,
            weight_decay=0.0,
            **self.loss_weights,
        )
        self.corruption = corruption
        self.lr_schedule = lr_schedule
        self.lr_hold_epochs = lr_hold_epochs
        self.freeze_encoder_epochs = freeze_encoder_epochs
        self.encoder_lr = encoder_lr

    def initialize_train_metrics(self) -> None:
        """Create no ELBO metrics."""

    initialize_val_metrics = initialize_train_metrics

    train_metrics = None
    val_metrics = None

    def setup(self, stage: str) -> None:
        """Enable gradients for the networks of this phase only, in training mode.

        This happens here, because Lightning creates the optimiser before it calls ``on_fit_start``. scvi-tools leaves
        the networks in eval mode after a phase, and Lightning leaves modes as it finds them.
        """
        self.module.train()
        if self.module.se_classifier is not None:
            self.module.se_classifier.requires_grad_(self.classify)

    def on_train_epoch_start(self) -> None:
        """Enable the encoder's gradients after its frozen epochs."""
        self._train_sums = EpochSums()
        for parameter in self.module.gene_ae.encoder_parameters():
            parameter.requires_grad_(self.current_epoch >= self.freeze_encoder_epochs)

    def on_validation_epoch_start(self) -> None:
        """Restart the random corruption of the validation cells."""
        self._validation_sums = EpochSums()
        self._validation_generator = torch.Generator(device=self.device).manual_seed(VALIDATION_SEED)

    def forward(self, batch: dict[str, Any], loss_kwargs: dict[str, Any]) -> tuple:
        """Run the module on a batch from the data loader."""
        generator = None if self.module.training else self._validation_generator
        return self.module(
            batch,
            inference_kwargs={"corruption": self.corruption, "generator": generator},
            generative_kwargs={"classify": self.classify},
            loss_kwargs=loss_kwargs,
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch."""
        _, _, output = self.forward(batch, loss_kwargs=self.loss_kwargs)
        self._train_sums.add(output)
        return output.loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Evaluate a batch of validation cells."""
        _, _, output = self.forward(batch, loss_kwargs=self.loss_kwargs)
        self._validation_sums.add(output)

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        """Log after the last batch of an epoch. It may be cut short: at the last step, or where a callback stops."""
        trainer = self.trainer
        if trainer.is_last_batch or trainer.should_stop or trainer.global_step == trainer.max_steps:
            self._log_means("train", self._train_sums)

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation cells."""
        self._log_means("validation", self._validation_sums)

    def _log_means(self, mode: str, sums: EpochSums) -> None:
        """Log each part of the loss as its mean over the epoch's cells."""
        # Lightning's running means would take a tenth of the time of a step at laptop size
        means, n_obs = sums.pop()
        for name, value in means.items():
            self.log(
                f"{mode}_{name}",
                value,
                on_step=False,
                on_epoch=True,
                prog_bar=(mode, name) == ("train", "loss"),
                batch_size=n_obs,
                sync_dist=self.use_sync_dist,
            )

    def make_optimizer(self) -> torch.optim.Adam:
        """Return torch's Adam, with the encoder at its own learning rate."""
        # The fused kernel is the same Adam in one pass over the parameters (docs/published_code.md, row 14). torch
        # rejects it together with clipping under mixed precision, and has it for CPU and CUDA only.
        fused = self.trainer.gradient_clip_val is None and self.device.type in ("cpu", "cuda")
        encoder = list(self.module.gene_ae.encoder_parameters())
        ids = {id(parameter) for parameter in encoder}
        others = [p for p in self.module.parameters() if p.requires_grad and id(p) not in ids]
        groups: list[dict[str, Any]] = [
            {"params": encoder, "lr": self.lr if self.encoder_lr is None else self.encoder_lr},
            {"params": others},
        ]
        return torch.optim.Adam(groups, lr=self.lr, fused=fused)

    def configure_optimizers(self) -> dict[str, Any]:
        """Return Adam with one cycle, or with the schedule of the specification."""
        optimizer = self.make_optimizer()
        if self.lr_schedule == "one_cycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            cycle = OneCycleLR(optimizer, max_lr=rates, total_steps=self.trainer.estimated_stepping_batches)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}
        interval = 1
        if self.lr_scheduler_metric.startswith("validation"):
            # the schedule advances by epochs that have a validation; its patience is in epochs all the same
            interval = self.trainer.check_val_every_n_epoch or 1
        patience = -(-self.lr_patience // interval)
        scheduler = ReduceLROnPlateau(optimizer, factor=self.lr_factor, patience=patience)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": self.lr_scheduler_metric, "frequency": interval},
        }

    def lr_scheduler_step(self, scheduler: LRScheduler, metric: torch.Tensor | None) -> None:
        """Advance the schedule; a plateau starts after `lr_hold_epochs` epochs."""
        if isinstance(scheduler, OneCycleLR):
            # torch would step once more after the last batch, past the end of the cycle
            if scheduler.last_epoch < scheduler.total_steps - 1:
                scheduler.step()
        elif self.current_epoch >= self.lr_hold_epochs:
            scheduler.step(metric)  # type: ignore[arg-type]  # a plateau takes the metric


class SpecifiedPlan(BasePlan):
    """A phase of the HRCA specification (the HRCA Training Document); abstract.

    Attributes
    ----------
    specified_epochs
        Number of epochs in the specification.
    specified_hold_epochs
        Number of epochs with a constant learning rate in the specification.
    specified_patience
        Patience of the learning rate in the specification, in epochs.
    default_steps
        Number of optimiser steps that suffice (docs/decisions/0003).
    """

    specified_epochs: ClassVar[int]
    specified_hold_epochs: ClassVar[int]
    specified_patience: ClassVar[int]
    default_steps: ClassVar[int]


class PretrainPlan(SpecifiedPlan):
    """Pre-training: Gene-AE alone, on the reconstruction of the uncorrupted cells.

    Specification, "Pre-training": l_r = MSE(I, O), Adam. The classifier neither runs nor changes.
    """

    specified_epochs = 1000
    specified_hold_epochs = 200
    specified_patience = 50
    default_steps = 400
    classify = False
    loss_weights = {"reconstruction_weight": 1.0, "classification_weight": 0.0, "label_smoothing": 0.0}


class FinetunePlan(SpecifiedPlan):
    """Fine-tuning: both networks, on labels and reconstruction together.

    The loss weights and the label smoothing are those of the published code. The specification gives none
    (docs/published_code.md, row 11).
    """

    specified_epochs = 200
    specified_hold_epochs = 20
    specified_patience = 10
    default_steps = 700
    classify = True
    loss_weights = {"reconstruction_weight": 0.1, "classification_weight": 0.9, "label_smoothing": 0.1}


class AdaptPlan(BasePlan):
    """Adaptation to a query: the loss of fine-tuning, on cells of both sides. Not part of the specification."""

    classify = True
    loss_weights = FinetunePlan.loss_weights
