"""Run a phase through scvi's TrainRunner."""

import pandas as pd
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from scvi.model._utils import parse_device_args
from scvi.model.base import BaseModelClass
from scvi.train import TrainRunner

from ._callbacks import EpochHistory
from ._splitting import FixedIndexSplitter


def run_phase(
    model: BaseModelClass,
    phase: str,
    plan: LightningModule,
    splitter: FixedIndexSplitter,
    *,
    history: EpochHistory,
    callbacks: list[Callback],
    **runner_kwargs,
) -> None:
    """Run one phase through scvi's TrainRunner, and add its history to the model's under the phase's name.

    scvi keeps, of a second run, only what a first run had logged too, and replaces the rest; of another logger than
    its own, nothing (scvi-tools 1.4.2, ``TrainRunner._update_history``): so the history is HRCA's own. The list of
    callbacks is scvi's to change.

    Parameters
    ----------
    model
        The model that is trained.
    phase
        "pretrain" or "finetune".
    plan
        The phase's training plan.
    splitter
        The phase's cells.
    history
        Notes the epochs of this run.
    callbacks
        The other Lightning callbacks of this run, called after it.
    runner_kwargs
        For :class:`scvi.train.TrainRunner`: `max_epochs`, `accelerator`, `devices`, and what goes to the Trainer.
    """
    earlier, was_trained = plain_history(model.history_) or {}, model.is_trained_
    model.history_, model.is_trained_ = None, False
    # whatever becomes of the run, the weights are no longer those that were fine-tuned
    model.is_finetuned_, model.model_id_ = False, ""
    try:
        runner = TrainRunner(model, plan, splitter, callbacks=[history, *callbacks], **runner_kwargs)
        runner()
        was_trained = True
    finally:
        now = {f"{phase}_{name}": values for name, values in history.epochs.items()}
        model.history_ = framed_history({**earlier, **{name: earlier.get(name, []) + now[name] for name in now}})
        model.is_trained_ = was_trained


def uses_accelerator(accelerator: str) -> bool:
    """Whether training would run on something faster than the CPU."""
    return parse_device_args(accelerator=accelerator, devices="auto", return_device="torch")[0] != "cpu"


def plain_history(history: dict[str, pd.DataFrame] | None) -> dict[str, list[float]] | None:
    """Turn frames into lists: a frame that pandas 3 has pickled cannot be read by pandas 2."""
    return None if history is None else {name: frame.iloc[:, 0].tolist() for name, frame in history.items()}


def framed_history(history: dict[str, list[float]] | None) -> dict[str, pd.DataFrame] | None:
    """Turn what :func:`plain_history` made into frames again."""
    if history is None:
        return None
    return {
        name: pd.DataFrame({name: values}, index=pd.RangeIndex(len(values), name="epoch"))
        for name, values in history.items()
    }
