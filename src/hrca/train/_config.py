"""The settings of a training phase."""

from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.callbacks import Callback

from ._callbacks import EpochHistory
from ._trainingplans import FinetunePlan, PretrainPlan

# Beginnings of the names of Trainer arguments that a training of both phases has for fine-tuning alone.
FINETUNE_ONLY_KWARGS = ("logger", "early_stopping")


def drop_prefixed(trainer_kwargs: dict, beginnings: str | tuple[str, ...]) -> dict:
    """Return the arguments for a Trainer whose names do not begin so.

    Examples
    --------
    >>> without({"early_stopping": True, "early_stopping_patience": 3, "devices": 1}, "early_stopping")
    {'devices': 1}
    """
    return {name: value for name, value in trainer_kwargs.items() if not name.startswith(beginnings)}


@dataclass(frozen=True)
class PhaseConfig:
    """How a phase is run: everything but the model and its cells.

    Attributes
    ----------
    name
        "pretrain" or "finetune".
    plan_cls
        Its training plan.
    title
        What its progress bar is called.
    max_epochs
        Number of epochs; None: the Document's, or fewer for many cells.
    batch_size
        Cells in a batch.
    plan_kwargs
        For the plan: the corruption and the learning rates.
    checkpoint_dir
        Folder for checkpoints; None: none are written.
    checkpoint_interval
        Epochs between two checkpoints, and between two looks at the test cells.
    resume
        Whether to go on from the newest checkpoint.
    num_workers
        Processes that prepare batches.
    history
        Notes the epochs.
    callbacks
        Further Lightning callbacks.
    trainer_kwargs
        For scvi's TrainRunner and Trainer.
    """

    name: str
    plan_cls: type[PretrainPlan] | type[FinetunePlan]
    title: str
    max_epochs: int | None
    batch_size: int
    plan_kwargs: dict
    checkpoint_dir: Path | None
    checkpoint_interval: int
    resume: bool
    num_workers: int
    history: EpochHistory
    callbacks: list[Callback]
    trainer_kwargs: dict
