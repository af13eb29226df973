"""One training phase: its cells, its length, its run."""

import hashlib
import logging
import warnings

import numpy as np
from scvi import settings
from scvi.model.base import BaseModelClass
from torch import nn

from . import _scvi
from ._callbacks import KeepBest
from ._sizes import estimate_epoch_seconds
from ._trainingplan import FinetunePlan, PretrainPlan
from ._transforms import CORRUPTIONS

logger = logging.getLogger(__name__)

# A run that is expected to take longer than this on a CPU is announced before it starts.
LONG_RUN_HOURS = 1.0


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


# Nine parameters: the phase's own four settings stay apart from what is only handed on to scvi.
def fit(
    model: BaseModelClass,
    phase: str,
    plan_cls: type[PretrainPlan] | type[FinetunePlan],
    takes_part: np.ndarray,
    *,
    max_epochs: int,
    batch_size: int,
    corruption: str,
    schedule: dict,
    runner_kwargs: dict,
) -> None:
    """Train one phase, and leave the model with the weights of its best epoch.

    Parameters
    ----------
    model
        The model, with its split drawn.
    phase
        "pretrain" or "finetune".
    plan_cls
        The phase's training plan.
    takes_part
        Which cells of the reference take part, shape (n_obs,).
    max_epochs
        Number of epochs.
    batch_size
        Cells in a batch.
    corruption
        How training cells are made sparser.
    schedule
        ``lr``, ``lr_factor``, ``lr_patience`` and ``lr_hold_epochs`` of the plan.
    runner_kwargs
        For scvi's TrainRunner and Trainer.

    Raises
    ------
    ValueError
        If `corruption` is unknown, or there are not two cells for a batch.
    """
    if corruption not in CORRUPTIONS:
        raise ValueError(f"`corruption` must be one of {list(CORRUPTIONS)}, got {corruption!r}.")
    train, validation = (cells[takes_part[cells]] for cells in (model.split_["train"], model.split_["validation"]))
    if min(len(train), batch_size) < 2:
        raise ValueError(
            f"A batch must have at least 2 cells, but there are {len(train)} to train on and `batch_size` is "
            f"{batch_size}. Give more cells of known type, or a larger `batch_size` or `train_size`."
        )
    splitter = model._data_splitter_cls(
        model.adata_manager, train_indices=train, validation_indices=validation, batch_size=batch_size
    )
    monitor = "validation_loss" if len(validation) else "train_loss"
    plan = plan_cls(model.module, corruption=corruption, monitor=monitor, **schedule)
    if len(validation):
        # the schedule and the choice of weights need the validation loss of every epoch
        runner_kwargs = {"check_val_every_n_epoch": 1, **runner_kwargs}
    # nothing is logged within an epoch, and Lightning warns where an interval is longer than an epoch
    runner_kwargs = {"log_every_n_steps": 1, **runner_kwargs}
    callbacks = [KeepBest(monitor), *runner_kwargs.pop("callbacks", [])]
    _announce(phase, model.module, len(train), max_epochs, batch_size, runner_kwargs["accelerator"])
    _scvi.run_phase(model, phase, plan, splitter, callbacks=callbacks, max_epochs=max_epochs, **runner_kwargs)
    logger.info("%s: kept the weights of epoch %s, the lowest %s.", phase, callbacks[0].best_epoch, monitor)


def _announce(phase: str, module: nn.Module, n_obs: int, max_epochs: int, batch_size: int, accelerator: str) -> None:
    if _scvi.uses_accelerator(accelerator):
        return
    hours = max_epochs * estimate_epoch_seconds(module, n_obs=n_obs, batch_size=batch_size) / 3600
    logger.info("%s: %d epochs of %d cells, about %.2g h on this CPU.", phase, max_epochs, n_obs, hours)
    if hours > LONG_RUN_HOURS:
        warnings.warn(
            f"{phase} of {max_epochs} epochs on {n_obs} cells will take about {hours:.2g} h on this CPU. "
            'A smaller size (`HRCA(adata, **hrca.SIZES["laptop"])`), fewer genes or epochs, or a GPU '
            "(`accelerator='gpu'`) shorten it.",
            stacklevel=5,
        )


def digest(module: nn.Module) -> str:
    """Return twelve hexadecimal digits that identify the weights."""
    sha = hashlib.sha256()
    for name, value in module.state_dict().items():
        sha.update(name.encode())
        sha.update(value.cpu().numpy().tobytes())
    return sha.hexdigest()[:12]
