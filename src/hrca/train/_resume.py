"""Continue from a checkpoint: check that it belongs to the model, and restore the state that it holds."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hrca._messages import counted
from hrca.module._module import HRCAModule

from ._callbacks import EpochHistory
from ._config import PhaseConfig
from ._history import PlainHistory, extended_history
from ._splitting import Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumedState:
    """The state of a model after its newest checkpoint was read.

    Attributes
    ----------
    split
        The split that the checkpoint was trained with.
    is_complete
        Whether the phase has ended, so that nothing of it is left to train.
    history
        The history up to the checkpoint; None: unchanged.
    weights
        State dict of the module at the end of this phase or of an earlier one; None: unchanged.
    random_states
        States of the random generators at that moment; None: unchanged.
    """

    split: Split
    is_complete: bool
    history: PlainHistory | None = None
    weights: dict[str, Any] | None = None
    random_states: dict[str, Any] | None = None


def network_sizes(module: HRCAModule) -> dict[str, Any]:
    """Return the sizes of both networks, by the names of :class:`hrca.HRCA`."""
    classifier = module.se_classifier
    return {**module.gene_ae.sizes, **(classifier.sizes if classifier is not None else {})}


def model_identity(
    module: HRCAModule, gene_names: pd.Index, labels: list[str], reference_digest: str
) -> dict[str, Any]:
    """Return the properties that a model must share with its checkpoints, by the names that an error gives them."""
    depths = module.query_depth_quantiles
    return {
        "labels": labels,
        "genes": list(gene_names),
        "counts or labels of the cells": reference_digest,
        "sizes": network_sizes(module),
        "count likelihood": module.count_likelihood is not None,
        "matched genes": np.flatnonzero(module.gene_mask.cpu()).tolist(),
        "matched depths": None if depths is None else depths.tolist(),
    }


def model_state(
    split: Split, history: PlainHistory, identity: Mapping[str, Any], config: PhaseConfig
) -> dict[str, Any]:
    """Return the state of a model beside its weights, and the settings of the phase, for a checkpoint."""
    return {"split": split.to_dict(), "history": history, "settings": config.step_settings, **identity}


def resume_phase(
    checkpoint: Mapping[str, Any],
    config: PhaseConfig,
    identity: Mapping[str, Any],
    *,
    split: Split,
    max_epochs: int,
) -> ResumedState:
    """Return the state from which a phase continues.

    Parameters
    ----------
    checkpoint
        The newest checkpoint of the folder.
    config
        The settings of the phase.
    identity
        Properties of the model, see :func:`model_identity`.
    split
        The model's split.
    max_epochs
        Number of epochs of the phase.

    Raises
    ------
    ValueError
        If the checkpoint belongs to another reference, matched query, size, split, seed or schedule; or pre-training
        has not ended when fine-tuning is to start.
    """
    folder, state = config.checkpoint_dir, checkpoint["model_state"]
    continues = checkpoint["phase"] == config.name and not checkpoint["complete"]
    _check_identity(state, identity, split, folder)
    if checkpoint["phase"] == config.name:
        _check_settings(checkpoint, config)
    if continues and config.lr_schedule == "one_cycle" and checkpoint["max_epochs"] != max_epochs:
        raise ValueError(
            f"The checkpoints in {folder} are of a cycle of {counted(checkpoint['max_epochs'], 'epoch')}, which "
            f"cannot end after {max_epochs}. Give the same number to continue."
        )
    split = Split.from_dict(state["split"])
    if continues:
        logger.info("%s: continues after epoch %d.", config.name, checkpoint["epoch"])
        return ResumedState(split, is_complete=False, history=state["history"])
    if config.name == "pretrain" and checkpoint["phase"] == "finetune":
        logger.info("pretrain: ended before, and fine-tuning had begun.")
        return ResumedState(split, is_complete=True)
    if not checkpoint["complete"]:
        raise ValueError(
            "Fine-tuning must follow pre-training, which has not ended: `train(resume=True)` or "
            "`pretrain(resume=True)` continues it."
        )
    is_complete = checkpoint["phase"] == config.name
    if is_complete:
        n_epochs = counted(checkpoint["epoch"], "epoch")
        logger.info("%s: ended before, after %s; it is not trained further.", config.name, n_epochs)
    epochs = checkpoint["callbacks"][EpochHistory().state_key]["epochs"]
    history = extended_history(state["history"], checkpoint["phase"], epochs)
    return ResumedState(split, is_complete, history, checkpoint["module"], checkpoint["random_states"])


def _check_identity(state: Mapping[str, Any], identity: Mapping[str, Any], split: Split, folder: Path | None) -> None:
    differing = [name for name, value in identity.items() if state.get(name) != value]
    if differing:
        raise ValueError(
            f"The checkpoints in {folder} are of a model with other {' and '.join(differing)}. Give the reference, the "
            "query to match and the sizes that they were trained with, or another `checkpoint_dir`."
        )
    trained = Split.from_dict(state["split"]).fractions
    if trained != split.fractions:
        raise ValueError(
            f"The checkpoints in {folder} were trained with `{trained}`, got `{split.fractions}`. Give the same to "
            "continue."
        )


def _check_settings(checkpoint: Mapping[str, Any], config: PhaseConfig) -> None:
    earlier, settings = checkpoint["model_state"]["settings"], config.step_settings
    differing = [name for name in settings if settings[name] != earlier.get(name)]
    if differing == ["max_cells_per_epoch"]:
        raise ValueError(
            f"The checkpoints in {config.checkpoint_dir} are of a training "
            f"{'without' if earlier.get('max_cells_per_epoch') else 'with'} `max_epochs` or `pretrain_epochs`, which "
            "decides how many cells an epoch draws. Give the same to continue."
        )
    if differing:
        name = differing[0]
        raise ValueError(
            f"The checkpoints in {config.checkpoint_dir} were trained with `{name}={earlier.get(name)!r}`, got "
            f"{settings[name]!r}. Give the same to continue, or another `checkpoint_dir` to start anew."
        )
