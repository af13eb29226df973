"""Train in child processes that are killed at random moments, again and again, until one ends; a script of the tests.

    python tests/killed_training.py FOLDER KILLS

prints, as JSON, what an uninterrupted training left, what the killed one left, and how often it was killed in which
phase. The children are forked, so that a try costs no new import of torch; nothing runs in torch before the fork.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import scvi
import torch
from conftest import QUIET, TINY, synthetic
from lightning.pytorch.callbacks import Callback

import hrca

EPOCHS = 50
# Epochs that a child may add before it is killed, and how long after the last of them it may be.
EPOCHS_SURVIVED = (0, 1, 2, 3)
SECONDS_OF_AN_EPOCH = 0.1


class Slowly(Callback):
    """Make an epoch long enough to be killed in."""

    def on_train_batch_end(self, *_):
        time.sleep(0.01)


def train(folder: Path | None, result: Path) -> None:
    """Train to the end, going on from what is there, and note what comes out."""
    torch.set_num_threads(1)
    scvi.settings.seed = 0
    reference = synthetic(100)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    survive = {"checkpoint_dir": folder, "checkpoint_interval": 1, "resume": True} if folder else {}
    schedule = {"lr_patience": 1, "lr_factor": 0.5, "lr_hold_epochs": 3}
    options = {"batch_size": 32, "callbacks": [Slowly()] if folder else [], **QUIET, **survive, **schedule}
    model.pretrain(EPOCHS, **options)
    model.finetune(EPOCHS, **options)
    history = {name: frame.iloc[:, 0].tolist() for name, frame in model.history.items()}
    labels = list(model.predict(synthetic(20, seed=9), key_added=None))
    unfinished = result.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"model_id": model.model_id_, "history": history, "labels": labels}))
    unfinished.rename(result)


def forked(folder: Path | None, result: Path) -> int:
    """Train in a child; return its process id."""
    child = os.fork()
    if child == 0:
        try:
            train(folder, result)
        finally:
            if not result.exists():
                traceback.print_exc()
            os._exit(0 if result.exists() else 1)  # never back into the parent's code
    return child


def reached(checkpoints: Path) -> tuple[str, int]:
    """The phase that is being trained, and how many of its epochs are safe."""
    names = sorted(path.stem for path in checkpoints.glob("finetune-*.ckpt"))
    phase = "finetune" if names else "pretrain"
    names = names or sorted(path.stem for path in checkpoints.glob("pretrain-*.ckpt"))
    return phase, int(names[-1].split("-")[1]) if names else 0


def main() -> None:
    """Train once in peace, once not."""
    folder, n_kills = Path(sys.argv[1]), int(sys.argv[2])
    if os.waitpid(forked(None, folder / "peace.json"), 0)[1]:
        sys.exit("the uninterrupted training failed")
    checkpoints, moments = folder / "checkpoints", random.Random(0)
    kills = {"pretrain": 0, "finetune": 0}
    while not (folder / "killed.json").exists():
        child = forked(checkpoints, folder / "killed.json")
        # some epochs on from where it started, so that a slow machine gets as far as a fast one; then at any moment
        phase, epoch = reached(checkpoints)
        further = moments.choice(EPOCHS_SURVIVED)
        ended = code = 0
        while not ended:
            now, progress = reached(checkpoints)
            if kills[now] < n_kills // 2 and (now != phase or progress >= epoch + further):
                time.sleep(moments.uniform(0, SECONDS_OF_AN_EPOCH))
                os.kill(child, signal.SIGKILL)
                ended, code = os.waitpid(child, 0)
                kills[reached(checkpoints)[0]] += os.WIFSIGNALED(code)
                break
            time.sleep(0.005)
            ended, code = os.waitpid(child, os.WNOHANG)
        if os.WIFEXITED(code) and code:
            sys.exit("a resumed training failed")
    results = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("peace", "killed")}
    sys.stdout.write(json.dumps({**results, "kills": kills}))


if __name__ == "__main__":
    main()
