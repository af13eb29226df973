"""Write and read the checkpoints from which a killed training continues.

Lightning's own checkpoints cannot be used. Lightning saves before the plateau schedule has seen the epoch, and leaves
that step out when it resumes. The resumed training would continue with another learning rate.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from hrca._warnings import warn_user
from hrca.module._stored_state import (
    DamagedFileError,
    canonical_json,
    content_digest,
    decode_state,
    encode_state,
    read_tensors,
    unfinished,
    write_tensors,
)

from ._config import PHASES, PhaseName
from ._random_states import get_random_states, set_random_states

# Name of a file: phase and number of epochs that have ended. Sorted by name within a phase, the last is the newest.
CHECKPOINT_NAME = re.compile(r"(pretrain|finetune)-(\d{6})\.ckpt")
# The newest, and one before it in case the newest is damaged.
N_KEPT_CHECKPOINTS = 2
# Number of the file format. It rises when an earlier version cannot read what this version writes, or the reverse.
CHECKPOINT_FORMAT = 1


class Checkpoints(Callback):
    """Write the state of a phase every few epochs, and restore the state of a checkpoint.

    Parameters
    ----------
    folder
        Folder of the files.
    phase
        "pretrain" or "finetune".
    interval
        Number of epochs between two files. The end of the phase always gets one.
    model_state
        State of the model beside its weights, see :func:`hrca.train._resume.model_state`.
    resume_from
        The checkpoint to continue from; None: start anew.
    """

    def __init__(
        self,
        folder: Path,
        phase: str,
        *,
        interval: int,
        model_state: dict[str, Any],
        resume_from: dict[str, Any] | None = None,
    ):
        self.folder, self.phase, self.interval = folder, phase, interval
        self.model_state, self.resume_from = model_state, resume_from
        self._first_epoch = resume_from["epoch"] if resume_from else 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore weights, epoch and the other callbacks."""
        if self.resume_from is None:
            return
        pl_module.get_submodule("module").load_state_dict(self.resume_from["module"])
        restore_callbacks(_callbacks_of(trainer), self.resume_from)
        progress = trainer.fit_loop.epoch_progress.current
        for counter in ("ready", "started", "processed", "completed"):
            setattr(progress, counter, self._first_epoch)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore optimiser and schedule."""
        if self.resume_from is not None:
            trainer.optimizers[0].load_state_dict(self.resume_from["optimizer"])
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(self.resume_from["scheduler"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after every `interval` epochs. Only now has the schedule seen the last of them."""
        epoch = trainer.current_epoch
        if self.resume_from is not None and epoch == self._first_epoch:
            # Lightning has drawn the order of an epoch that is not trained, and draws that of this epoch next
            set_random_states(self.resume_from["random_states"])
        elif epoch > 0 and epoch % self.interval == 0:
            self._write(trainer, pl_module, complete=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the end of the phase, with its final weights."""
        if not trainer.interrupted:
            self._write(trainer, pl_module, complete=True)

    def _write(self, trainer: Trainer, pl_module: LightningModule, *, complete: bool) -> None:
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch
        checkpoint = {
            "phase": self.phase,
            "epoch": epoch,
            "complete": complete,
            "module": pl_module.get_submodule("module").state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "max_epochs": trainer.max_epochs,
            "scheduler": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "callbacks": _callback_states(_callbacks_of(trainer)),
            "random_states": get_random_states(),
            "model_state": self.model_state,
        }
        write_checkpoint(checkpoint, self.folder / f"{self.phase}-{epoch:06d}.ckpt")
        for path in sorted(self.folder.glob(f"{self.phase}-*.ckpt"))[:-N_KEPT_CHECKPOINTS]:
            path.unlink()


def _callbacks_of(trainer: Trainer) -> list[Callback]:
    return trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it in a connector


def _callback_states(callbacks: list[Callback]) -> dict[str, dict[str, Any]]:
    # a user's own callback may hold anything, including objects that cannot be read back without running code
    readable = [c for c in callbacks if type(c).__module__.split(".")[0] in ("hrca", "lightning", "scvi")]
    return {callback.state_key: callback.state_dict() for callback in readable if callback.state_dict()}


def restore_callbacks(callbacks: list[Callback] | tuple[Callback, ...], checkpoint: Mapping[str, Any]) -> None:
    """Give each callback the state that the checkpoint has of it."""
    for callback in callbacks:
        if callback.state_key in checkpoint["callbacks"]:
            callback.load_state_dict(checkpoint["callbacks"][callback.state_key])


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint completely or not at all, with a digest of its content.

    Parameters
    ----------
    checkpoint
        Its state, of plain values, arrays and tensors.
    path
        The file.

    Raises
    ------
    OSError
        If it cannot be written. An earlier file of that name stays.
    """
    tensors: dict[str, Tensor] = {}
    state = canonical_json(encode_state(checkpoint, "checkpoint", tensors))
    metadata = {"format": str(CHECKPOINT_FORMAT), "state": state, "digest": content_digest(state, tensors)}
    try:
        with unfinished(path) as temporary:
            write_tensors(tensors, temporary, metadata)
    except OSError as error:
        raise OSError(
            f"A checkpoint must be written to {path}, but could not: {error}. Earlier checkpoints are unchanged: "
            "free some space or name another `checkpoint_dir`, and continue with `resume=True`."
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint and verify its digest.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The state that :func:`write_checkpoint` was given.

    Raises
    ------
    DamagedFileError
        If the file is not a checkpoint, or its content is not what was written.
    ValueError
        If another version of HRCA wrote it in another format.
    """
    tensors, metadata = read_tensors(path)
    if "format" in metadata and metadata["format"] != str(CHECKPOINT_FORMAT):
        raise ValueError(
            f"A checkpoint must have format {CHECKPOINT_FORMAT}, but {path} has format {metadata['format']}: another "
            "version of HRCA wrote it. Continue with that version, or start anew in another `checkpoint_dir`."
        )
    state = metadata.get("state", "")
    if content_digest(state, tensors) != metadata.get("digest"):
        raise DamagedFileError("its content is not what was written")
    return decode_state(json.loads(state), tensors)


def newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read the newest undamaged checkpoint of a folder.

    Parameters
    ----------
    folder
        The `checkpoint_dir` of a training.

    Returns
    -------
    The checkpoint; None if there is none. A damaged file is skipped with a warning.

    Raises
    ------
    ValueError
        If another version of HRCA wrote the newest in another format.
    """
    names = [name for path in folder.glob("*.ckpt") if (name := CHECKPOINT_NAME.fullmatch(path.name))]
    for name in sorted(names, key=lambda name: (PHASES.index(name[1]), int(name[2])), reverse=True):
        path = folder / name[0]
        try:
            return read_checkpoint(path)
        except DamagedFileError as error:
            warn_user(f"{path} is damaged and skipped: {error}")
    return None


def warn_of_no_checkpoint(folder: Path) -> None:
    """Warn if a training that is to continue starts anew: its folder has no checkpoint of any phase or fold."""
    if next(folder.rglob("*.ckpt"), None) is None:
        warn_user(
            f"`resume=True` continues from a checkpoint, but the folder {str(folder)!r} has none: a new training "
            "starts."
        )


def check_unused(folder: Path, phase: PhaseName) -> None:
    """Check that a new training would not mix its checkpoints with those of an earlier one.

    Raises
    ------
    ValueError
        If the folder has checkpoints of this phase or of a later one.
    """
    later = PHASES[PHASES.index(phase) :]
    existing = sorted(path.name for path in folder.glob("*.ckpt") if path.name.startswith(later))
    if existing:
        raise ValueError(
            f"A new training needs a `checkpoint_dir` without checkpoints of an earlier one, but {folder} has "
            f"{existing}. `resume=True` continues the earlier training. To start anew, name another folder, or remove "
            "them."
        )
