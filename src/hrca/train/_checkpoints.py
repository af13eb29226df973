"""Checkpoints that a killed training goes on from: what is in one, when it is written, how it is read.

Lightning's own are not used: it saves them before the plateau schedule has seen the epoch, and leaves that step out on
resuming, so that a resumed run trains at another learning rate.
"""

import logging
import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from scvi.model.base import BaseModelClass

from ._callbacks import EpochHistory
from ._random_states import get_random_states, set_random_states
from ._runner import framed_history, plain_history

logger = logging.getLogger(__name__)

# A file's name: phase and number of epochs that are done; sorted by name within a phase, the last is the newest.
CHECKPOINT_NAME = re.compile(r"(pretrain|finetune)-(\d{6})\.ckpt")

PHASES = ("pretrain", "finetune")

# The newest, and one before it should the newest turn out to be damaged.
N_KEPT_CHECKPOINTS = 2


class Checkpoints(Callback):
    """Write the state of a phase every few epochs, and take a phase up where a checkpoint left it.

    Parameters
    ----------
    folder
        Where the files go.
    phase
        "pretrain" or "finetune".
    interval
        Epochs between two files; the end of the phase is always one.
    carried
        What the file shall hold beside the state of the phase: of the model, not of the training.
    resume_from
        The state to go on from, None to begin.
    """

    def __init__(
        self,
        folder: Path,
        phase: str,
        *,
        interval: int,
        model_state: dict,
        resume_from: dict | None = None,
    ):
        self.folder, self.phase, self.interval = folder, phase, interval
        self.model_state, self.resume_from = model_state, resume_from
        self._first_epoch = resume_from["epoch"] if resume_from else 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put weights, epoch and the other callbacks where the checkpoint left them."""
        if self.resume_from is None:
            return
        pl_module.module.load_state_dict(self.resume_from["module"])
        for callback in trainer.callbacks:
            if callback.state_key in self.resume_from["callbacks"]:
                callback.load_state_dict(self.resume_from["callbacks"][callback.state_key])
        progress = trainer.fit_loop.epoch_progress.current
        progress.ready = progress.started = progress.processed = progress.completed = self._first_epoch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put optimiser and schedule where the checkpoint left them."""
        if self.resume_from is not None:
            trainer.optimizers[0].load_state_dict(self.resume_from["optimizer"])
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(self.resume_from["scheduler"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after every `interval` epochs: here, as only now the schedule has seen the last one."""
        epoch = trainer.current_epoch
        if self.resume_from is not None and epoch == self._first_epoch:
            # after Lightning has drawn the order of an epoch that is not trained, before it draws this one's
            set_random_states(self.resume_from["random_states"])
        elif epoch > 0 and epoch % self.interval == 0:
            self._write(trainer, pl_module, complete=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the end of the phase, with the weights that it leaves."""
        if not trainer.interrupted:
            self._write(trainer, pl_module, complete=True)

    def _write(self, trainer: Trainer, pl_module: LightningModule, *, complete: bool) -> None:
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch
        state = {
            "phase": self.phase,
            "epoch": epoch,
            "complete": complete,
            "module": pl_module.module.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "lr_schedule": pl_module.lr_schedule,
            "max_epochs": trainer.max_epochs,
            "scheduler": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "callbacks": _states(trainer.callbacks),
            "random_states": get_random_states(),
            "model_state": self.model_state,
        }
        write_atomically(state, self.folder / f"{self.phase}-{epoch:06d}.ckpt")
        for path in sorted(self.folder.glob(f"{self.phase}-*.ckpt"))[:-N_KEPT_CHECKPOINTS]:
            path.unlink()


def _states(callbacks: list[Callback]) -> dict[str, dict]:
    # a user's own callback may hold anything, also what cannot be read back without running code
    known = [
        callback for callback in callbacks if type(callback).__module__.split(".")[0] in ("hrca", "lightning", "scvi")
    ]
    return {callback.state_key: callback.state_dict() for callback in known if callback.state_dict()}


def write_atomically(state: dict, path: Path) -> None:
    """Write a file that is there whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; what was there before stays.
    """
    unfinished = path.with_suffix(".unfinished")
    try:
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its zip writer
        unfinished.unlink(missing_ok=True)
        raise OSError(
            f"A checkpoint must be written to {path}, but could not: {error}. Earlier checkpoints are as they were: "
            "make room or name another `checkpoint_dir`, and go on with `resume=True`."
        ) from error


def newest_checkpoint(folder: Path) -> dict | None:
    """Read the newest whole checkpoint of a folder.

    Parameters
    ----------
    folder
        The `checkpoint_dir` of a training.

    Returns
    -------
    Its state; None if there is none. A damaged file is passed over with a warning.
    """
    names = [match for path in folder.glob("*.ckpt") if (match := CHECKPOINT_NAME.fullmatch(path.name))]
    for match in sorted(names, key=lambda match: (PHASES.index(match[1]), int(match[2])), reverse=True):
        path = folder / match[0]
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
            # the line of the user who called pretrain, finetune or train
            warnings.warn(f"{path} is damaged and passed over: {str(error).splitlines()[0]}", stacklevel=5)
    return None


def model_state(model: BaseModelClass) -> dict:
    """Return what a checkpoint holds of the model beside its weights, in plain values."""
    split = {name: value if name == "train_size" else value.tolist() for name, value in model.split_.items()}
    return {"split": split, "history": plain_history(model.history_) or {}, **_identity(model)}


def _identity(model: BaseModelClass) -> dict:
    quantiles = model.module.query_depth_quantiles
    # by the names that an error gives them
    return {
        "labels": model.labels,
        "genes": list(model.gene_names),
        "sizes": sizes_of(model),
        "count evidence": model.module.count_likelihood is not None,
        "matched genes": np.flatnonzero(model.module.gene_mask.cpu()).tolist(),
        "matched depths": None if quantiles is None else quantiles.tolist(),
    }


def sizes_of(model: BaseModelClass) -> dict:
    """Return the sizes of both networks."""
    classifier = model.module.se_classifier
    return {**model.module.gene_ae.sizes, **(classifier.sizes if classifier is not None else {})}


def check_unused(folder: Path, phase: str) -> None:
    """Refuse a folder that a new training would mix its checkpoints into.

    Raises
    ------
    ValueError
        If it holds checkpoints of this phase or of a later one.
    """
    later = PHASES[PHASES.index(phase) :]
    there = sorted(path.name for path in folder.glob("*.ckpt") if path.name.startswith(later))
    if there:
        raise ValueError(
            f"A new training needs a `checkpoint_dir` without checkpoints of an earlier one, but {folder} has {there}. "
            "`resume=True` goes on with it; name another folder, or remove them, to begin anew."
        )


def restore(model: BaseModelClass, phase: str, *, lr_schedule: str, max_epochs: int, state: dict, folder: Path) -> bool:
    """Give a model what a checkpoint has of it, up to the beginning of what is still to be trained.

    Parameters
    ----------
    model
        The model, with its split drawn.
    phase
        The phase that is to run.
    lr_schedule
        The schedule of its learning rate.
    max_epochs
        Number of epochs asked for.
    state
        The newest checkpoint.
    folder
        Where it was found.

    Returns
    -------
    Whether the phase is done already.

    Raises
    ------
    ValueError
        If the checkpoint is of another reference, another query that was matched, other sizes, another split or another
        schedule, or pre-training has not ended when fine-tuning is to start.
    """
    model_state = state["model_state"]
    differing = [name for name, value in _identity(model).items() if model_state.get(name) != value]
    if differing:
        raise ValueError(
            f"The checkpoints in {folder} are of a model with other {' and '.join(differing)}. Give the reference, the "
            "query to match and the sizes that they were trained with, or another `checkpoint_dir`."
        )
    if model_state["split"]["train_size"] != model.split_["train_size"]:
        raise ValueError(
            f"The checkpoints in {folder} were trained with `train_size={model_state['split']['train_size']}`, got "
            f"{model.split_['train_size']}. Give the same to go on."
        )
    goes_on = state["phase"] == phase and not state["complete"]
    if goes_on and state["lr_schedule"] != lr_schedule:
        raise ValueError(
            f"The checkpoints in {folder} were trained with `lr_schedule={state['lr_schedule']!r}`, got "
            f"{lr_schedule!r}. Give the same to go on."
        )
    if goes_on and lr_schedule == "one_cycle" and state["max_epochs"] != max_epochs:
        raise ValueError(
            f"The checkpoints in {folder} are of a cycle of {state['max_epochs']} epochs, which cannot end after "
            f"{max_epochs}. Give the same number to go on."
        )
    model.split_ = {
        name: value if name == "train_size" else np.array(value, dtype=int)
        for name, value in model_state["split"].items()
    }
    if goes_on:
        model.history_ = framed_history(model_state["history"])
        logger.info("%s: goes on after epoch %d.", phase, state["epoch"])
        return False
    if phase == "pretrain" and state["phase"] == "finetune":
        logger.info("pretrain: done already, fine-tuning had begun.")
        model.module.eval()
        return True
    if not state["complete"]:
        raise ValueError(
            "Fine-tuning must follow pre-training, which has not ended: `train(resume=True)` or "
            "`pretrain(resume=True)` goes on with it."
        )
    model.module.load_state_dict(state["module"])
    model.module.eval()
    # whatever was fitted to the weights before is not fitted to these
    model.is_finetuned_, model.model_id_ = False, ""
    set_random_states(state["random_states"])
    epochs = state["callbacks"][EpochHistory().state_key]["epochs"]
    ended = {f"{state['phase']}_{name}": values for name, values in epochs.items()}
    earlier = model_state["history"]
    model.history_ = framed_history({**earlier, **{name: earlier.get(name, []) + ended[name] for name in ended}})
    model.is_trained_ = True
    if state["phase"] == phase:
        logger.info("%s: ended already, after %d epochs; it is not trained further.", phase, state["epoch"])
    return state["phase"] == phase
