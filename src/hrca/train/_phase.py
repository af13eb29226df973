"""Prepare one training phase: its cells, its length, its plan and its callbacks."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback
from scvi.data import AnnDataManager
from scvi.dataloaders import DataSplitter

from hrca._warnings import warn_user
from hrca.module._module import HRCAModule

from ._callbacks import EpochHistory, KeepPolicy, KeepWeights, PhaseProgress
from ._checkpoints import Checkpoints, restore_callbacks
from ._config import PhaseConfig
from ._runtime_estimate import estimate_epoch_seconds, uses_accelerator
from ._schedule import specified_epochs
from ._splitting import FixedIndexSplitter, Split
from ._trainingplans import BasePlan, SpecifiedPlan

logger = logging.getLogger(__name__)

# A phase with an estimated time above this on a CPU warns before it starts.
LONG_RUN_HOURS = 1.0


@dataclass(frozen=True)
class PhaseRun:
    """Everything that scvi-tools' TrainRunner needs to train a phase, except the model.

    Attributes
    ----------
    name
        "pretrain", "finetune" or "adapt".
    plan
        The training plan.
    cells
        The batches.
    history
        Records the epochs of this run.
    callbacks
        The other Lightning callbacks, called after `history`.
    max_epochs
        Number of epochs.
    trainer_kwargs
        Arguments of scvi-tools' TrainRunner and Trainer.
    """

    name: str
    plan: BasePlan
    cells: DataSplitter | LightningDataModule
    history: EpochHistory
    callbacks: list[Callback]
    max_epochs: int
    trainer_kwargs: dict[str, Any]


def choose_epochs(config: PhaseConfig, plan_cls: type[SpecifiedPlan], n_obs: int) -> int:
    """Return the number of epochs of a phase on `n_obs` cells."""
    if config.max_epochs is not None:
        # torch's schedules reject numpy's integers
        return int(config.max_epochs)
    return specified_epochs(plan_cls, config.name, max(n_obs, 1))


def end_without_training(config: PhaseConfig, checkpoint: Mapping[str, Any]) -> None:
    """Restore the callbacks of a phase that has ended, and warn if more epochs were requested."""
    n_missing = (config.max_epochs or 0) - checkpoint["epoch"]
    if checkpoint["phase"] == config.name and n_missing > 0:
        warn_user(
            f"{config.name} in {config.checkpoint_dir} ended after {checkpoint['epoch']} epochs; it is not "
            f"trained for {config.max_epochs}. `model.{config.name}({n_missing})` adds the rest; "
            "another `checkpoint_dir` starts anew."
        )
    restore_callbacks(config.callbacks, checkpoint)


def prepare_phase(
    config: PhaseConfig,
    module: HRCAModule,
    adata_manager: AnnDataManager,
    split: Split,
    *,
    plan_cls: type[SpecifiedPlan],
    splitter_cls: type[FixedIndexSplitter],
    max_epochs: int,
    history: EpochHistory,
    model_state: dict[str, Any],
    checkpoint: dict[str, Any] | None,
) -> PhaseRun:
    """Make the plan, the batches and the callbacks of a phase.

    Parameters
    ----------
    config
        The settings of the phase.
    module
        The module that trains.
    adata_manager
        scvi-tools' manager of the reference.
    split
        Training and validation cells of this phase.
    plan_cls
        Class of the training plan.
    splitter_cls
        Class of the data splitter.
    max_epochs
        Number of epochs.
    history
        Records the epochs.
    model_state
        State of the model for the checkpoints, see :func:`hrca.train._resume.model_state`.
    checkpoint
        The checkpoint of this phase to continue from; None: start anew.

    Raises
    ------
    ValueError
        If fewer than two cells are left for a batch.
    """
    n_train, n_validation = len(split.train), len(split.validation)
    if min(n_train, config.batch_size) < 2:
        raise ValueError(
            f"A batch must have at least 2 cells, but there are {n_train} to train on and `batch_size` is "
            f"{config.batch_size}. Give more cells of known type, or a larger `batch_size` or `train_size`."
        )
    cells = splitter_cls(
        adata_manager,
        train_indices=split.train,
        validation_indices=split.validation,
        batch_size=config.batch_size,
        strategy=config.trainer_kwargs.get("strategy", "auto"),
        num_workers=config.num_workers,
    )
    monitor = "validation_loss" if n_validation else "train_loss"
    plan = plan_cls(module, monitor=monitor, **config.plan_kwargs)
    callbacks = _callbacks(config, monitor, model_state, checkpoint)
    _warn_if_long(config, module, n_train, max_epochs)
    return PhaseRun(
        config.name, plan, cells, history, callbacks, max_epochs, _trainer_defaults(config, n_validation, monitor)
    )


def restrict(split: Split, cell_mask: np.ndarray) -> Split:
    """Return the split without the cells outside the mask, shape (n_obs,)."""
    train, validation = (part[cell_mask[part]] for part in (split.train, split.validation))
    return replace(split, train=train, validation=validation)


def log_kept_weights(run: PhaseRun) -> None:
    """Log the epoch whose weights a run has kept."""
    for callback in run.callbacks:
        if isinstance(callback, KeepWeights):
            reason = "the last" if callback.policy == "last" else f"the lowest {callback.monitor}"
            logger.info("%s: kept the weights of epoch %s, %s.", run.name, callback.kept_epoch, reason)


def _callbacks(
    config: PhaseConfig, monitor: str, model_state: dict[str, Any], checkpoint: dict[str, Any] | None
) -> list[Callback]:
    policy: KeepPolicy = "last" if config.lr_schedule == "one_cycle" else "best"
    callbacks: list[Callback] = [KeepWeights(monitor, policy=policy), *config.callbacks]
    if config.trainer_kwargs.get("enable_progress_bar", True):
        callbacks.append(PhaseProgress(config.title))
    if config.checkpoint_dir is not None:
        config.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        callbacks.append(
            Checkpoints(
                config.checkpoint_dir,
                config.name,
                interval=config.checkpoint_interval,
                model_state=model_state,
                resume_from=checkpoint,
            )
        )
    return callbacks


def _trainer_defaults(config: PhaseConfig, n_validation: int, monitor: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        # nothing is logged within an epoch, and Lightning warns where an interval is longer than an epoch
        "log_every_n_steps": 1,
        "simple_progress_bar": False,
    }
    if n_validation:
        # the schedule and the kept weights need the validation loss of every epoch
        defaults["check_val_every_n_epoch"] = 1
    if config.trainer_kwargs.get("early_stopping"):
        defaults["early_stopping_monitor"] = monitor
    return {**defaults, **config.trainer_kwargs}


def _warn_if_long(config: PhaseConfig, module: HRCAModule, n_obs: int, max_epochs: int) -> None:
    if uses_accelerator(config.trainer_kwargs["accelerator"]):
        return
    hours = max_epochs * estimate_epoch_seconds(module, n_obs=n_obs, batch_size=config.batch_size) / 3600
    logger.info("%s: %d epochs of %d cells, about %.2g h on this CPU.", config.name, max_epochs, n_obs, hours)
    if hours > LONG_RUN_HOURS:
        warn_user(
            f"{config.name} of {max_epochs} epochs on {n_obs} cells will take about {hours:.2g} h on this CPU. "
            'A smaller size (`HRCA(adata, **hrca.SIZES["laptop"])`), fewer genes or epochs, or a GPU '
            "(`accelerator='gpu'`) shorten it."
        )
