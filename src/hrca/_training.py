"""One training phase: its cells, its length, its run."""

import logging
import numbers
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning.pytorch.callbacks import Callback
from scvi import settings
from scvi.model.base import BaseModelClass
from torch import nn

from . import _scvi
from ._callbacks import EpochHistory, KeepBest
from ._checkpoints import Checkpoints, adopt, carried_by, check_unused, newest_checkpoint
from ._sizes import estimate_epoch_seconds
from ._trainingplan import LR_SCHEDULES, FinetunePlan, PretrainPlan
from ._transforms import CORRUPTIONS

logger = logging.getLogger(__name__)

# A run that is expected to take longer than this on a CPU is announced before it starts.
LONG_RUN_HOURS = 1.0
# A training for which no epochs are named has at least these, so that every cell of a large reference is seen often.
FEWEST_EPOCHS = 10
# Beginnings of the names of Trainer arguments that a training of both phases has for fine-tuning alone.
FINETUNING_ONLY = ("logger", "early_stopping")


def check_sizes(n_latent: int, n_heads: int, classifier_widths: tuple[int, ...], *others: int) -> None:
    """Refuse sizes that make no network.

    Raises
    ------
    ValueError
        If a size is below 1, the classifier has no stage, or `n_latent` is not a multiple of `n_heads`.
    """
    if len(classifier_widths) == 0:
        raise ValueError("`classifier_widths` must name at least one stage, got none; the Document has three.")
    sizes = (n_latent, n_heads, *classifier_widths, *others)
    if min(sizes) < 1:
        raise ValueError(f"Sizes must be at least 1, got {sizes}.")
    if n_latent % n_heads:
        raise ValueError(
            f"`n_latent` must be a multiple of `n_heads`, got {n_latent} and {n_heads}; "
            f"{n_latent - n_latent % n_heads or n_heads} would do."
        )


def split_cells(model: BaseModelClass, codes: np.ndarray | None, train_size: float) -> dict:
    """Return the split of the reference that both phases share; drawn at the first call.

    Parameters
    ----------
    model
        The model; ``split_`` is its split, or None.
    codes
        Class of each cell, shape (n_obs,); None without labels.
    train_size
        Share of the training cells of each class, in (0, 1].

    Returns
    -------
    ``train_size``, and the indices of the ``train`` and ``validation`` cells.

    Raises
    ------
    ValueError
        If `train_size` is not in (0, 1], or not the one of the split that there is.
    """
    if not 0 < train_size <= 1:
        raise ValueError(f"`train_size` must be above 0 and at most 1, got {train_size}.")
    if model.split_ is None:
        codes = np.zeros(model.summary_stats.n_cells, dtype=int) if codes is None else codes
        train, validation = _scvi.stratified_split(codes, train_size, settings.seed)
        return {"train_size": train_size, "train": train, "validation": validation}
    if model.split_["train_size"] != train_size:
        raise ValueError(
            "Both phases must train on the same cells, but the first was split with "
            f"`train_size={model.split_['train_size']}` and this one asks for {train_size}. "
            "Give the same, or make a new model."
        )
    return model.split_


def default_epochs(plan_cls: type[PretrainPlan] | type[FinetunePlan], n_obs: int, batch_size: int) -> int:
    """Return the epochs of a training for which none are named: minutes for a laptop size, on any number of cells.

    Parameters
    ----------
    plan_cls
        The phase's plan, which has the Document's number of epochs and the steps that suffice.
    n_obs
        Number of cells.
    batch_size
        Cells in a batch.

    Returns
    -------
    As many as make the plan's number of optimiser steps, at least 10, at most the Document's number.
    """
    epochs = round(plan_cls.default_steps * batch_size / n_obs)
    return min(max(epochs, FEWEST_EPOCHS), plan_cls.document_epochs)


def check_epochs(**epochs: int | None) -> None:
    """Refuse what is no number of epochs, such as cells in its place.

    Raises
    ------
    TypeError
        If one is neither a whole number nor None.
    """
    for name, n_epochs in epochs.items():
        if n_epochs is not None and not isinstance(n_epochs, numbers.Integral):
            raise TypeError(
                f"`{name}` must be a whole number or None, got "
                f"{n_epochs if isinstance(n_epochs, (str, numbers.Number)) else type(n_epochs).__name__}. Cells of a "
                "query are given by name: `train(query=adata)`."
            )


def scaled_schedule(plan_cls: type[PretrainPlan] | type[FinetunePlan], max_epochs: int) -> dict[str, int]:
    """Scale the Document's schedule of the learning rate to a number of epochs.

    Parameters
    ----------
    plan_cls
        The phase's plan, which has the Document's numbers.
    max_epochs
        Number of epochs.

    Returns
    -------
    ``lr_hold_epochs`` and ``lr_patience``; the Document's at the Document's number of epochs.
    """
    share = max_epochs / plan_cls.document_epochs
    return {
        "lr_hold_epochs": round(share * plan_cls.document_hold_epochs),
        "lr_patience": max(1, round(share * plan_cls.document_patience)),
    }


def without(trainer_kwargs: dict, beginnings: str | tuple[str, ...]) -> dict:
    """Return the arguments for a Trainer whose names do not begin so.

    Examples
    --------
    >>> without({"early_stopping": True, "early_stopping_patience": 3, "devices": 1}, "early_stopping")
    {'devices': 1}
    """
    return {name: value for name, value in trainer_kwargs.items() if not name.startswith(beginnings)}


@dataclass(frozen=True)
class Phase:
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


def fit(model: BaseModelClass, phase: Phase, takes_part: np.ndarray) -> None:
    """Train one phase, and leave the model with the weights of its best epoch, or of the last of a cycle.

    Parameters
    ----------
    model
        The model, with its split drawn.
    phase
        How to run it.
    takes_part
        Which cells of the reference take part, shape (n_obs,).

    Raises
    ------
    ValueError
        If a setting is out of its range, there are not two cells for a batch, a checkpoint is of another model, the
        folder for new checkpoints has old ones, or the loss was NaN in every epoch.
    OSError
        If a checkpoint cannot be written.
    """
    _check_phase(phase)
    state = newest_checkpoint(phase.checkpoint_dir) if phase.resume else None
    lr_schedule, max_epochs = phase.plan_kwargs["lr_schedule"], _choose_epochs(phase, int(takes_part.sum()))
    if state is not None and adopt(
        model, phase.name, lr_schedule=lr_schedule, max_epochs=max_epochs, state=state, folder=phase.checkpoint_dir
    ):
        if state["phase"] == phase.name and (phase.max_epochs or 0) > state["epoch"]:
            warnings.warn(
                f"{phase.name} in {phase.checkpoint_dir} ended after {state['epoch']} epochs; the {phase.max_epochs} "
                f"asked for are not trained. `model.{phase.name}({phase.max_epochs - state['epoch']})` adds the rest; "
                "another `checkpoint_dir` begins anew.",
                stacklevel=5,  # the user's line
            )
        for callback in phase.callbacks:
            if callback.state_key in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][callback.state_key])
        return
    if phase.checkpoint_dir is not None and not phase.resume:
        check_unused(phase.checkpoint_dir, phase.name)
    train, validation = (cells[takes_part[cells]] for cells in (model.split_["train"], model.split_["validation"]))
    if min(len(train), phase.batch_size) < 2:
        raise ValueError(
            f"A batch must have at least 2 cells, but there are {len(train)} to train on and `batch_size` is "
            f"{phase.batch_size}. Give more cells of known type, or a larger `batch_size` or `train_size`."
        )
    splitter = model._data_splitter_cls(
        model.adata_manager,
        train_indices=train,
        validation_indices=validation,
        batch_size=phase.batch_size,
        strategy=phase.trainer_kwargs.get("strategy", "auto"),
        num_workers=phase.num_workers,
    )
    monitor = "validation_loss" if len(validation) else "train_loss"
    plan = phase.plan_cls(model.module, monitor=monitor, **phase.plan_kwargs)
    best = KeepBest(monitor, last=lr_schedule == "one_cycle")
    callbacks = [best, *phase.callbacks]
    if phase.trainer_kwargs.get("enable_progress_bar", True):
        callbacks.append(_scvi.PhaseProgress(phase.title))
    if phase.checkpoint_dir is not None:
        callbacks.append(_checkpoints(model, phase, state))
    _announce(phase, model.module, len(train), max_epochs)
    model.module.forget()
    _scvi.run_phase(
        model,
        phase.name,
        plan,
        splitter,
        history=phase.history,
        callbacks=callbacks,
        max_epochs=max_epochs,
        **_trainer_defaults(phase, len(validation)),
    )
    chosen = "the last" if best.last else f"the lowest {monitor}"
    logger.info("%s: kept the weights of epoch %s, %s.", phase.name, best.best_epoch, chosen)


def _check_phase(phase: Phase) -> None:
    corruption = phase.plan_kwargs["corruption"]
    if corruption not in CORRUPTIONS:
        raise ValueError(f"`corruption` must be one of {list(CORRUPTIONS)}, got {corruption!r}.")
    if phase.plan_kwargs["lr_schedule"] not in LR_SCHEDULES:
        raise ValueError(
            f"`lr_schedule` must be one of {list(LR_SCHEDULES)}, got {phase.plan_kwargs['lr_schedule']!r}."
        )
    check_epochs(max_epochs=phase.max_epochs)
    if phase.max_epochs is not None and phase.max_epochs < 1:
        raise ValueError(f"`max_epochs` must be at least 1, got {phase.max_epochs}.")
    strategy = str(phase.trainer_kwargs.get("strategy", "auto"))
    if phase.plan_kwargs.get("freeze_encoder_epochs") and "ddp" in strategy and "unused" not in strategy:
        raise ValueError(
            "A frozen encoder leaves parameters without gradients, which `strategy` must allow, got "
            f"{strategy!r}: `strategy='ddp_find_unused_parameters_true'` does."
        )
    if phase.checkpoint_interval < 1:
        raise ValueError(f"`checkpoint_interval` must be at least 1, got {phase.checkpoint_interval}.")
    if phase.resume and phase.checkpoint_dir is None:
        raise ValueError("`resume=True` needs the `checkpoint_dir` of the training that it goes on from, got None.")


def _choose_epochs(phase: Phase, n_obs: int) -> int:
    if phase.max_epochs is not None:
        # torch's schedules refuse numpy's integers
        return int(phase.max_epochs)
    max_epochs = _scvi.scaled_epochs(phase.plan_cls.document_epochs, max(n_obs, 1))
    why = "the Training Document's number"
    if max_epochs < phase.plan_cls.document_epochs:
        why += f", {phase.plan_cls.document_epochs}, scaled down by scvi-tools' rule for {n_obs} cells"
    logger.info("%s: %d epochs, %s.", phase.name, max_epochs, why)
    return max_epochs


def _trainer_defaults(phase: Phase, n_validation: int) -> dict:
    defaults = {
        # nothing is logged within an epoch, and Lightning warns where an interval is longer than an epoch
        "log_every_n_steps": 1,
        "simple_progress_bar": False,
    }
    if n_validation:
        # the schedule and the choice of weights need the validation loss of every epoch
        defaults["check_val_every_n_epoch"] = 1
    if phase.trainer_kwargs.get("early_stopping"):
        defaults["early_stopping_monitor"] = "validation_loss" if n_validation else "train_loss"
    return {**defaults, **phase.trainer_kwargs}


def _checkpoints(model: BaseModelClass, phase: Phase, state: dict | None) -> Checkpoints:
    phase.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    resumes = state is not None and state["phase"] == phase.name
    return Checkpoints(
        phase.checkpoint_dir,
        phase.name,
        interval=phase.checkpoint_interval,
        carried=state["carried"] if resumes else carried_by(model),
        resume_from=state if resumes else None,
    )


def _announce(phase: Phase, module: nn.Module, n_obs: int, max_epochs: int) -> None:
    if _scvi.uses_accelerator(phase.trainer_kwargs["accelerator"]):
        return
    hours = max_epochs * estimate_epoch_seconds(module, n_obs=n_obs, batch_size=phase.batch_size) / 3600
    logger.info("%s: %d epochs of %d cells, about %.2g h on this CPU.", phase.name, max_epochs, n_obs, hours)
    if hours > LONG_RUN_HOURS:
        warnings.warn(
            f"{phase.name} of {max_epochs} epochs on {n_obs} cells will take about {hours:.2g} h on this CPU. "
            'A smaller size (`HRCA(adata, **hrca.SIZES["laptop"])`), fewer genes or epochs, or a GPU '
            "(`accelerator='gpu'`) shorten it.",
            stacklevel=6,
        )
