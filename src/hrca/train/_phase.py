"""One training phase: its cells, its length, its run."""

import logging
import warnings

import numpy as np
from scvi.model.base import BaseModelClass
from torch import nn

from hrca.module._transforms import CORRUPTIONS

from ._callbacks import KeepWeights, PhaseProgress
from ._checkpoints import Checkpoints, check_unused, model_state, newest_checkpoint, restore
from ._config import PhaseConfig
from ._runner import run_phase, uses_accelerator
from ._runtime_estimate import estimate_epoch_seconds
from ._schedule import _choose_epochs, check_epochs
from ._trainingplans import LR_SCHEDULES

logger = logging.getLogger(__name__)

# A run that is expected to take longer than this on a CPU is announced before it starts.
LONG_RUN_HOURS = 1.0


def fit(model: BaseModelClass, phase: PhaseConfig, cell_mask: np.ndarray) -> None:
    """Train one phase, and leave the model with the weights of its best epoch, or of the last of a cycle.

    Parameters
    ----------
    model
        The model, with its split drawn.
    phase
        How to run it.
    cell_mask
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
    lr_schedule, max_epochs = phase.plan_kwargs["lr_schedule"], _choose_epochs(phase, int(cell_mask.sum()))
    if state is not None and restore(
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
    train, validation = (cells[cell_mask[cells]] for cells in (model.split_["train"], model.split_["validation"]))
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
    best = KeepWeights(monitor, last=lr_schedule == "one_cycle")
    callbacks = [best, *phase.callbacks]
    if phase.trainer_kwargs.get("enable_progress_bar", True):
        callbacks.append(PhaseProgress(phase.title))
    if phase.checkpoint_dir is not None:
        callbacks.append(_checkpoints(model, phase, state))
    _warn_if_long(phase, model.module, len(train), max_epochs)
    model.module.reset_posthoc()
    run_phase(
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


def _check_phase(phase: PhaseConfig) -> None:
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


def _trainer_defaults(phase: PhaseConfig, n_validation: int) -> dict:
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


def _checkpoints(model: BaseModelClass, phase: PhaseConfig, state: dict | None) -> Checkpoints:
    phase.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    resumes = state is not None and state["phase"] == phase.name
    return Checkpoints(
        phase.checkpoint_dir,
        phase.name,
        interval=phase.checkpoint_interval,
        model_state=state["model_state"] if resumes else model_state(model),
        resume_from=state if resumes else None,
    )


def _warn_if_long(phase: PhaseConfig, module: nn.Module, n_obs: int, max_epochs: int) -> None:
    if uses_accelerator(phase.trainer_kwargs["accelerator"]):
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
