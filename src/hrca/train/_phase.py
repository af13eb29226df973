"""Prepare one training phase: its cells, its length, its plan and its callbacks."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback
from scvi.data import AnnDataManager
from scvi.dataloaders import DataSplitter

from hrca._messages import agreeing, counted
from hrca._warnings import DoubtfulPredictionWarning, warn_user
from hrca.module._module import HRCAModule

from ._callbacks import EpochHistory, KeepPolicy, KeepWeights, PhaseProgress
from ._checkpoints import Checkpoints, restore_callbacks
from ._config import PhaseConfig
from ._runtime_estimate import estimate_epoch_seconds, uses_accelerator
from ._sampling import sample_stratified
from ._schedule import specified_epochs
from ._splitting import FixedIndexSplitter, Split
from ._trainingplans import BasePlan, SpecifiedPlan

logger = logging.getLogger(__name__)

# A phase with an estimated time above this on a CPU warns before it starts.
LONG_RUN_HOURS = 1.0

# Minimum ratio of the classifier's loss to that of guesses at which the training diverged. It is at most 1.2 in a
# normal first epoch, and 30 to 3,000 with a learning rate of 1 or 10 (1,500 cells of pbmc_facs_zheng, 10 labels).
MIN_DIVERGED_LOSS_RATIO = 5.0

# After fewer steps, the running averages of batch normalisation, of torch's momentum 0.1, are not settled, and the
# validation loss can be large for that reason alone.
MIN_STEPS_TO_COMPARE = 20

# Names of the loss of the classifier, the preferred one first.
CLASSIFIER_LOSSES = ("validation_classification_loss", "train_classification_loss")


@dataclass(frozen=True)
class PhaseRun:
    """Everything that scvi-tools' TrainRunner needs to train a phase, except the model.

    Attributes
    ----------
    name
        "pretrain", "finetune" or "adapt".
    title
        Name of the run in messages: that of the phase, after the name of the fold if there is one.
    length
        The length of the run in words.
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
    title: str
    length: str
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
            f"{config.name} in {config.checkpoint_dir} ended after {counted(checkpoint['epoch'], 'epoch')}; it is not "
            f"trained for {config.max_epochs}. Another `checkpoint_dir` starts anew; "
            f"`model.{config.name}({n_missing})` adds the rest."
        )
    restore_callbacks(config.callbacks, checkpoint)


def prepare_batches(
    config: PhaseConfig,
    adata_manager: AnnDataManager,
    split: Split,
    *,
    splitter_cls: type[FixedIndexSplitter],
    codes: np.ndarray,
) -> FixedIndexSplitter:
    """Make the batches of a phase.

    Parameters
    ----------
    config
        The settings of the phase.
    adata_manager
        scvi-tools' manager of the reference.
    split
        Training and validation cells of this phase.
    splitter_cls
        Class of the data splitter.
    codes
        Label code of each cell of the reference, shape (n_obs,).

    Raises
    ------
    ValueError
        If fewer than two cells are left for a batch.
    """
    n_available = len(split.train)
    split = _limit_cells(split, codes, config)
    n_train = len(split.train)
    if n_train < 2:
        raise ValueError(
            f"A batch must have at least 2 cells, but there {agreeing(n_train, 'is', 'are')} {n_train} to train on. "
            "Give more cells of known type, or a larger `train_size`."
        )
    if n_train < n_available:
        used = f"{n_train:,} of {n_available:,} cells, at most {config.max_cells_per_label:,} of a label"
        logger.info("%s: %s (`max_cells_per_label`), train the networks.", config.title, used)
    return splitter_cls(
        adata_manager,
        train_indices=split.train,
        validation_indices=split.validation,
        batch_size=config.batch_size,
        strategy=config.trainer_kwargs.get("strategy", "auto"),
        codes=codes,
        n_samples_per_label=config.n_samples_per_label,
        max_cells_per_epoch=None if config.has_processes else config.max_cells_per_epoch,
        num_workers=config.num_workers,
        **config.loader_kwargs,
    )


def prepare_phase(
    config: PhaseConfig,
    module: HRCAModule,
    cells: FixedIndexSplitter,
    *,
    plan_cls: type[SpecifiedPlan],
    max_epochs: int,
    history: EpochHistory,
    model_state: dict[str, Any],
    checkpoint: dict[str, Any] | None,
) -> PhaseRun:
    """Make the plan and the callbacks of a phase.

    Parameters
    ----------
    config
        The settings of the phase.
    module
        The module that trains.
    cells
        The batches, from :func:`prepare_batches`.
    plan_cls
        Class of the training plan.
    max_epochs
        Number of epochs.
    history
        Records the epochs.
    model_state
        State of the model for the checkpoints, see :func:`hrca.train._resume.model_state`.
    checkpoint
        The checkpoint of this phase to continue from; None: start anew.
    """
    monitor = "validation_loss" if cells.n_val else "train_loss"
    return PhaseRun(
        name=config.name,
        title=config.title,
        length=_estimate_length(config, module, cells.n_drawn, max_epochs),
        plan=plan_cls(module, monitor=monitor, **config.plan_kwargs),
        cells=cells,
        history=history,
        callbacks=_callbacks(config, monitor, model_state, checkpoint),
        max_epochs=max_epochs,
        trainer_kwargs=_trainer_defaults(config, cells.n_val, monitor),
    )


def restrict(split: Split, cell_mask: np.ndarray) -> Split:
    """Return the split without the cells outside the mask, shape (n_obs,)."""
    train, validation = (part[cell_mask[part]] for part in (split.train, split.validation))
    return replace(split, train=train, validation=validation)


def warn_if_diverged(run: PhaseRun, label_counts: np.ndarray, *, n_steps: int) -> None:
    """Warn if the loss of the classifier has diverged, and is in the end no better than that of guesses.

    The count likelihood labels cells without the networks, so the labels do not show it.

    Parameters
    ----------
    run
        The run of a fine-tuning, after its end.
    label_counts
        Number of labelled cells of each label, shape (n_labels,).
    n_steps
        Number of optimiser steps.
    """
    frequencies = label_counts[label_counts > 0] / label_counts.sum()
    frequency_loss = float(-(frequencies * np.log(frequencies)).sum())
    name = next((name for name in CLASSIFIER_LOSSES if name in run.history.epochs), None)
    if name is None:
        return
    losses = pd.Series(run.history.epochs[name], dtype=float)
    kept = max((callback.kept_epoch or 0 for callback in run.callbacks if isinstance(callback, KeepWeights)), default=0)
    # epochs without a validation have the loss of the last one that had
    loss = losses.ffill().get(kept, np.nan)
    if n_steps >= MIN_STEPS_TO_COMPARE and loss > frequency_loss < losses.max() / MIN_DIVERGED_LOSS_RATIO:
        has_counts = run.plan.module.count_likelihood is not None
        cause = "Labels then come from the count likelihood alone" if has_counts else "Its labels are guesses"
        warn_user(
            f"The classifier has learned nothing in {run.title}: its loss rose to {losses.max():.3g} and is "
            f"{loss:.3g} in the end, where guesses by the frequency of the labels have {frequency_loss:.3g}. {cause}: "
            "train a new model with a lower `lr`.",
            DoubtfulPredictionWarning,
        )


def _limit_cells(split: Split, codes: np.ndarray, config: PhaseConfig) -> Split:
    """Return the cells of a phase: some of each label, and validation cells in proportion to those of an epoch."""
    train, validation = split.train, split.validation
    n_validation = None
    if config.max_cells_per_epoch is not None and len(train) > config.max_cells_per_epoch:
        n_validation = max(round(config.max_cells_per_epoch * len(validation) / len(train)), 1)
    if config.max_cells_per_label is not None:
        train = sample_stratified(train, codes[train], max_per_label=config.max_cells_per_label)
    if n_validation is not None:
        validation = sample_stratified(validation, codes[validation], n_drawn=n_validation)
    return replace(split, train=train, validation=validation)


def log_end(run: PhaseRun, seconds: float) -> None:
    """Log that a run has ended, with its length and the epoch whose weights it has kept."""
    n_epochs = max(map(len, run.history.epochs.values()), default=0)
    kept = [
        f", kept the weights of epoch {(callback.kept_epoch or 0) + 1}, {callback.reason}"
        for callback in run.callbacks
        if isinstance(callback, KeepWeights)
    ]
    logger.info("%s: ended after %s in %s%s.", run.title, counted(n_epochs, "epoch"), _duration(seconds), "".join(kept))


def _callbacks(
    config: PhaseConfig, monitor: str, model_state: dict[str, Any], checkpoint: dict[str, Any] | None
) -> list[Callback]:
    kwargs = config.trainer_kwargs
    stops_early = bool(kwargs.get("early_stopping"))
    # a cycle that is cut short has no last epoch to wait for
    policy: KeepPolicy = "last" if config.lr_schedule == "one_cycle" and not stops_early else "best"
    mode = kwargs.get("early_stopping_mode", "min")
    if stops_early:
        monitor = kwargs.get("early_stopping_monitor", monitor)
    kept = KeepWeights(monitor, policy=policy, mode=mode if stops_early else "min")
    callbacks: list[Callback] = [kept, *config.callbacks, *progress_bar(config.title, kwargs)]
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
    # nothing is logged within an epoch, and Lightning warns where an interval is longer than an epoch
    defaults: dict[str, Any] = {"log_every_n_steps": 1}
    if n_validation:
        # the schedule and the kept weights need the validation loss of every epoch
        defaults["check_val_every_n_epoch"] = 1
    if config.max_cells_per_epoch is not None and config.has_processes:
        # each process has its own sampler of cells; an epoch ends after as many steps as in one process
        defaults["limit_train_batches"] = -(-config.max_cells_per_epoch // config.batch_size)
    if config.trainer_kwargs.get("early_stopping"):
        defaults["early_stopping_monitor"] = monitor
    given = {k: v for k, v in config.trainer_kwargs.items() if (k, v) != ("check_val_every_n_epoch", None)}
    # HRCA's own bar stands in for scvi-tools'
    return {**defaults, **given, "simple_progress_bar": False}


def progress_bar(title: str, trainer_kwargs: Mapping[str, Any]) -> list[Callback]:
    """Return HRCA's progress bar; none without a bar, or where Lightning's own, of the batches, is wanted.

    Parameters
    ----------
    title
        Text before the bar.
    trainer_kwargs
        Arguments of the Trainer: ``enable_progress_bar`` and ``simple_progress_bar``.
    """
    is_wanted = trainer_kwargs.get("enable_progress_bar", True) and trainer_kwargs.get("simple_progress_bar", True)
    return [PhaseProgress(title)] if is_wanted else []


def _estimate_length(config: PhaseConfig, module: HRCAModule, n_obs: int, max_epochs: int) -> str:
    """Return the length of a phase in words; warn if it takes hours."""
    length = f"{counted(max_epochs, 'epoch')} of {counted(n_obs, 'cell')}"
    if uses_accelerator(config.trainer_kwargs["accelerator"]):
        return length
    seconds = max_epochs * estimate_epoch_seconds(module, n_obs=n_obs, batch_size=config.batch_size)
    hours = seconds / 3600
    if hours > LONG_RUN_HOURS:
        warn_user(
            f"{config.name} of {length} will take about {hours:.2g} h on this CPU. "
            'A smaller size (`HRCA(adata, size="laptop")`), fewer genes or epochs, or a GPU '
            "(`accelerator='gpu'`) shorten it."
        )
    return f"{length}, about {_duration(seconds)} on this CPU"


def _duration(seconds: float) -> str:
    """Return a duration in words, in its natural unit.

    Examples
    --------
    >>> [_duration(seconds) for seconds in (0.01, 7, 300, 20_000)]
    ['1 s', '7 s', '5 min', '5.6 h']
    """
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.2g} h"
