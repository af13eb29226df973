"""The training plans: what is minimised, by which optimiser, on which learning-rate schedule."""

from typing import Literal, get_args

import torch
from scvi.module.base import BaseModuleClass, LossOutput
from scvi.train import TrainingPlan
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

LRSchedule = Literal["one_cycle", "plateau"]

LR_SCHEDULES: tuple[str, ...] = get_args(LRSchedule)

# Validation cells are corrupted alike at every epoch, so that their losses can be compared; any fixed number serves.
VALIDATION_SEED = 0


class _BasePlan(TrainingPlan):
    """What both phases share; abstract.

    scvi's plan brings an ELBO, Adam with ``eps=0.01`` and weight decay, and a plateau on absolute differences
    (scvi-tools 1.4.2 and 1.5.1, ``TrainingPlan``); each of these is replaced here by torch's own default.

    Parameters
    ----------
    module
        The networks.
    corruption
        How training cells are made sparser; see :func:`hrca.module._transforms.corrupt`.
    lr
        Learning rate of Adam; the highest of a cycle.
    lr_schedule
        "plateau": the Document's, see the next three. "one_cycle": it rises and falls once over all steps (Smith,
        arXiv:1803.09820).
    lr_factor
        What the learning rate is multiplied with when the monitored loss has stopped falling.
    lr_patience
        Epochs without a lower loss before that.
    lr_hold_epochs
        Epochs at the start in which the learning rate is left alone.
    freeze_encoder_epochs
        Epochs at the start in which the encoder is not trained.
    encoder_lr
        Learning rate of the encoder; None: `lr`.
    monitor
        The loss that the schedule follows, by the name under which it is logged.
    """

    document_epochs: int
    default_steps: int
    document_hold_epochs: int
    document_patience: int
    classify: bool
    loss_weights: dict[str, float]

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
            # the remaining two are what scvi's MLflow logger reports: torch's defaults, which configure_optimizers uses
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
        """Keep no ELBO."""

    initialize_val_metrics = initialize_train_metrics

    train_metrics = None
    val_metrics = None

    def setup(self, stage: str) -> None:
        """Let gradients reach only what this phase trains, in training mode.

        Here, since Lightning asks for the optimiser before it calls ``on_fit_start``. scvi leaves the networks in eval
        mode after a phase, and Lightning leaves modes as it finds them.
        """
        self.module.train()
        if self.module.se_classifier is not None:
            self.module.se_classifier.requires_grad_(self.classify)

    def on_train_epoch_start(self) -> None:
        """Let the encoder be trained once its frozen epochs are over."""
        for parameter in self.module.gene_ae.encoder_parameters():
            parameter.requires_grad_(self.current_epoch >= self.freeze_encoder_epochs)

    def on_validation_epoch_start(self) -> None:
        """Start the validation cells' corruption anew."""
        self._validation_generator = torch.Generator(device=self.device).manual_seed(VALIDATION_SEED)

    def forward(self, batch: dict, loss_kwargs: dict):
        """Run the module on a batch from the data loader."""
        generator = None if self.module.training else self._validation_generator
        return self.module(
            batch,
            inference_kwargs={"corruption": self.corruption, "generator": generator},
            generative_kwargs={"classify": self.classify},
            loss_kwargs=loss_kwargs,
        )

    @torch.no_grad()
    def compute_and_log_metrics(self, loss_output: LossOutput, metrics: None, mode: str) -> None:
        """Log each part of the loss as its mean over the epoch's cells."""
        self.log_dict(
            {f"{mode}_{name}": value for name, value in loss_output.extra_metrics.items()},
            on_step=False,
            on_epoch=True,
            batch_size=loss_output.n_obs_minibatch,
            sync_dist=self.use_sync_dist,
        )

    def make_optimizer(self) -> torch.optim.Adam:
        """Adam as torch has it, the encoder at its own learning rate."""
        # The fused kernel is the same Adam in one pass over the parameters (docs/published_code.md, row 14);
        # torch refuses it together with clipping under mixed precision, and has it for CPU and CUDA only.
        fused = self.trainer.gradient_clip_val is None and self.device.type in ("cpu", "cuda")
        encoder = list(self.module.gene_ae.encoder_parameters())
        ids = {id(parameter) for parameter in encoder}
        others = [p for p in self.module.parameters() if p.requires_grad and id(p) not in ids]
        groups = [
            {"params": encoder, "lr": self.lr if self.encoder_lr is None else self.encoder_lr},
            {"params": others},
        ]
        return torch.optim.Adam(groups, lr=self.lr, fused=fused)

    def configure_optimizers(self) -> dict:
        """Adam with one cycle, or with the Document's schedule: hold, then divide when the loss stops falling."""
        optimizer = self.make_optimizer()
        if self.lr_schedule == "one_cycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            cycle = OneCycleLR(optimizer, max_lr=rates, total_steps=self.trainer.estimated_stepping_batches)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}
        scheduler = ReduceLROnPlateau(optimizer, factor=self.lr_factor, patience=self.lr_patience)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": self.lr_scheduler_metric},
        }

    def lr_scheduler_step(self, scheduler: LRScheduler, metric: torch.Tensor | None) -> None:
        """Go on along the cycle, or leave the learning rate alone in the first `lr_hold_epochs` epochs."""
        if isinstance(scheduler, OneCycleLR):
            # torch would step once more after the last batch, past the end of the cycle
            if scheduler.last_epoch < scheduler.total_steps - 1:
                scheduler.step()
        elif self.current_epoch >= self.lr_hold_epochs:
            scheduler.step(metric)


class PretrainPlan(_BasePlan):
    """Pre-training: Gene-AE alone, on its reconstruction of the uncorrupted cells.

    Training Document, "Pre-training": l_r = MSE(I, O), Adam. The classifier neither runs nor changes.
    """

    document_epochs = 1000
    default_steps = 400
    document_hold_epochs = 200
    document_patience = 50
    classify = False
    loss_weights = {"reconstruction_weight": 1.0, "classification_weight": 0.0, "label_smoothing": 0.0}


class FinetunePlan(_BasePlan):
    """Fine-tuning: both networks, on labels and reconstruction together.

    The weights and the smoothing are the published code's; the Document names none
    (docs/published_code.md, row 11).
    """

    document_epochs = 200
    default_steps = 700
    document_hold_epochs = 20
    document_patience = 10
    classify = True
    loss_weights = {"reconstruction_weight": 0.1, "classification_weight": 0.9, "label_smoothing": 0.1}


class AdaptPlan(_BasePlan):
    """Adaptation to a query: as fine-tuning, on cells of both sides.

    Not of the Document.
    """

    classify = True
    loss_weights = FinetunePlan.loss_weights
