"""Attacks on a model: odd queries, damaged files, kills, full disks, several writers. Each must end well.

    OMP_NUM_THREADS=1 python -m benchmarks.reliability.attacks [--fraction 1] [--out FOLDER]

The reference is the 700 blood cells that scanpy ships; the model is tiny. It writes
``benchmarks/results/reliability/attacks.csv``, a row for each attack, and ``docs/benchmarks/reliability.csv``:

- ``tried``, the number of attempts, and ``right``, those that ended as if nothing had happened: the same answers, all
  cells in order, a whole file;
- ``raised``, those that ended in an error of HRCA that names the problem, with the file as it was;
- ``faults``, all others. ``example`` has the first of them.

The limit of a full disk needs Linux or macOS.
"""

import argparse
import errno
import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scvi

import hrca
from benchmarks.common.results import DOCS, RESULTS, Table, read_rows

from .queries import CHANGES

TINY = {"n_hidden": 32, "n_latent": 16, "n_heads": 4, "n_layers": 1, "n_feedforward": 32, "classifier_widths": (16, 8)}
QUIET = {"enable_progress_bar": False}
RIGHT, RAISED = "right", "raised"
# Number of attempts of each attack.
N_QUERIES, N_DAMAGED, N_KILLS, N_LIMITS, N_WRITERS = 500, 150, 80, 40, 20
# Largest number of changes of one query.
MAX_CHANGES = 3
# Number of processes that write into one file at once.
WRITERS = 3
# The largest limit of a full disk, in sizes of the file: copy and results fit into it.
MAX_GROWTH = 4
# Exit status of a child that ended in the error of a full disk.
NO_SPACE_STATUS = 3
# Seconds after which a process that writes counts as one that does not end: it takes about one.
MAX_WRITE_S = 60
# Processes that write are forked from one that has imported the modules and computed nothing: a fork of this process
# could wait for its threads for ever.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["benchmarks.reliability.attacks", "hrca.model._model", "hrca.annotation._write_file"])

Attack = Callable[["Setting", int], str]


class Setting:
    """A trained model, its query and its answers, and a folder to work in."""

    def __init__(self, folder: Path):
        cells = hrca.datasets.pbmc68k()
        scvi.settings.seed = 0
        order = np.random.default_rng(0).permutation(cells.n_obs)
        reference, self.query = cells[order[:500]].copy(), cells[order[500:]].copy()
        # without the entries of earlier analyses, which the changes would have to keep
        self.query = ad.AnnData(self.query.X, obs=self.query.obs[[]], var=self.query.var[[]])
        hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
        self.model = hrca.HRCA(reference, **TINY)
        self.model.train(5, pretrain_epochs=2, **QUIET)
        self.folder = folder
        self.model.save(folder / "model", overwrite=True)
        self.query.write_h5ad(folder / "query.h5ad")
        self.answers = self.probabilities(self.model)
        self.write_seconds: list[float] = []

    def probabilities(self, model: hrca.HRCA) -> np.ndarray:
        """Return the probabilities of the query, shape (n_obs, n_labels)."""
        return model.predict(self.query, soft=True, key_added=None, **QUIET).to_numpy()


def odd_query(setting: Setting, seed: int) -> str:
    """Predict a query with one to three changes, in memory or from a file."""
    rng = np.random.default_rng(seed)
    query = setting.query.copy()
    try:
        for change in rng.choice(len(CHANGES), rng.integers(1, MAX_CHANGES + 1), replace=False):
            query = CHANGES[change](query, rng)
    except (ValueError, TypeError, IndexError, KeyError):
        # anndata does not hold such a query
        return odd_query(setting, seed + 10**6)
    # a copy of the AnnData would turn other names of cells into strings
    names, x = query.obs_names.copy(), None if query.X is None else query.X.copy()
    labels = setting.model.predict(query, **QUIET)
    if len(labels) != len(names) or not query.obs_names.equals(names) or labels.isna().any():
        return f"{len(labels)} labels for {len(names)} cells, or other names"
    if not _same(query.X, x):
        return "X has changed"
    return RIGHT


def _same(one: object, other: object) -> bool:
    if one is None or other is None:
        return one is other
    values = [x.toarray() if hasattr(x, "toarray") else np.asarray(x) for x in (one, other)]
    return values[0].dtype == values[1].dtype and bool(np.array_equal(*values, equal_nan=values[0].dtype.kind == "f"))


def damaged_model(setting: Setting, seed: int) -> str:
    """Load a model after one bit of one of its files was changed, or a part was cut off."""
    rng = np.random.default_rng(seed)
    folder = setting.folder / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(setting.folder / "model", folder)
    # not its card, which no model is read from
    path = sorted(folder.glob("model.*"))[rng.integers(2)]
    content = bytearray(path.read_bytes())
    position = int(rng.integers(len(content)))
    if rng.random() < 0.2:
        del content[position:]
    else:
        content[position] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    loaded = hrca.HRCA.load(folder)
    return RIGHT if np.array_equal(setting.probabilities(loaded), setting.answers) else "other answers"


def kill(setting: Setting, seed: int) -> str:
    """Kill a process that writes predictions into a file, at any moment."""
    seconds = float(np.random.default_rng(seed).uniform(0, _seconds_of_a_write(setting)))
    path = _new_file(setting)
    child = SERVER.Process(target=_predict_file, args=(setting.folder, path, "hrca"))
    child.start()
    time.sleep(seconds)
    child.kill()
    child.join()
    return _state_of(setting, path, {"hrca"})


def full_disk(setting: Setting, seed: int) -> str:
    """Write predictions where files cannot become larger than a limit."""
    path = _new_file(setting)
    size = path.stat().st_size
    limit = int(size * np.random.default_rng(seed).uniform(0.5, MAX_GROWTH))
    child = SERVER.Process(target=_predict_file, args=(setting.folder, path, "hrca", limit))
    child.start()
    _join([child])
    if child.exitcode not in (0, NO_SPACE_STATUS):
        return f"exit status {child.exitcode}"
    state = _state_of(setting, path, {"hrca"} if child.exitcode == 0 else set())
    return state if state != RIGHT or child.exitcode == 0 else RAISED


def several_writers(setting: Setting, seed: int) -> str:
    """Write three predictions into one file at once."""
    path = _new_file(setting)
    keys = {f"key{i}" for i in range(WRITERS)}
    children = [SERVER.Process(target=_predict_file, args=(setting.folder, path, key)) for key in sorted(keys)]
    for child in children:
        child.start()
    _join(children)
    if any(child.exitcode for child in children):
        return f"exit status {[child.exitcode for child in children]}"
    state = _state_of(setting, path, keys)
    return state if keys <= set(ad.read_h5ad(path).obs) else f"results are lost: {state}"


def _predict_file(folder: Path, path: Path, key: str, limit: int | None = None) -> None:
    warnings.simplefilter("ignore")
    # shows where a process waits that does not end
    faulthandler.dump_traceback_later(MAX_WRITE_S / 2)
    model = hrca.HRCA.load(folder / "model")
    if limit is not None:
        # a write beyond the limit is an error, in place of a signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        model.predict(path, key_added=key, **QUIET)
    except OSError as error:
        # HRCA's error of a full disk, which names the space that is needed; any other is a fault
        if error.errno != errno.ENOSPC or "The results are written into a copy" not in str(error):
            raise
        os._exit(NO_SPACE_STATUS)
    os._exit(0)


def _join(children: list[BaseProcess]) -> None:
    """Wait for processes. Kill those that do not end, whose exit status then is a fault."""
    for child in children:
        child.join(MAX_WRITE_S)
        child.kill()
        child.join()


def _new_file(setting: Setting) -> Path:
    folder = setting.folder / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return Path(shutil.copy(setting.folder / "query.h5ad", folder / "query.h5ad"))


def _state_of(setting: Setting, path: Path, keys: set[str]) -> str:
    """Return "right" for a file with the query's counts, and for each key all results or none."""
    written = ad.read_h5ad(path)
    if not _same(written.X, setting.query.X) or not written.obs_names.equals(setting.query.obs_names):
        return "the counts have changed"
    for key in {column.split("_")[0] for column in written.obs}:
        found = (f"{key}_confidence" in written.obs, f"{key}_probabilities" in written.obsm, key in written.uns)
        if key not in keys or not all(found) or written.obs[key].isna().any():
            return f"a part of the results of {key!r} is there"
        if not np.array_equal(written.obsm[f"{key}_probabilities"].to_numpy(), setting.answers):
            return "other answers"
    return RIGHT


def _seconds_of_a_write(setting: Setting) -> float:
    # the first write also starts the server
    while len(setting.write_seconds) < 2:
        path, start = _new_file(setting), time.perf_counter()
        child = SERVER.Process(target=_predict_file, args=(setting.folder, path, "hrca"))
        child.start()
        _join([child])
        if child.exitcode:
            raise RuntimeError(f"A write without an attack ended with the exit status {child.exitcode}.")
        setting.write_seconds.append(time.perf_counter() - start)
    return setting.write_seconds[-1]


def outcome(attack: Attack, setting: Setting, seed: int) -> str:
    """Return "right", "raised" for an error that HRCA raises on purpose, or what went wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return attack(setting, seed)
    except (ValueError, TypeError, OSError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        is_ours = Path(frames[-1].filename).is_relative_to(Path(hrca.__file__).parent)
        return RAISED if is_ours else f"{type(error).__name__} of {frames[-1].filename}: {error}"
    except Exception as error:  # noqa: BLE001  # any other error is a fault, which the row names
        return f"{type(error).__name__}: {error}"


ATTACKS: dict[str, tuple[Attack, int]] = {
    "odd query": (odd_query, N_QUERIES),
    "damaged model file": (damaged_model, N_DAMAGED),
    "kill while writing": (kill, N_KILLS),
    "full disk": (full_disk, N_LIMITS),
    "three writers of one file": (several_writers, N_WRITERS),
}


def main() -> None:
    """Run the attacks that the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=1.0, help="fraction of the attempts")
    parser.add_argument("--out", type=Path, default=RESULTS / "reliability", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "attacks.csv", ("attack",))
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder))
        for name, (attack, n_attempts) in ATTACKS.items():
            if (name,) in table.keys:
                continue
            n_tried = max(1, round(arguments.fraction * n_attempts))
            outcomes = pd.Series([outcome(attack, setting, seed) for seed in range(n_tried)])
            counts = outcomes.value_counts()
            faults = outcomes[~outcomes.isin([RIGHT, RAISED])]
            row = {"attack": name, "tried": n_tried, **{kind: int(counts.get(kind, 0)) for kind in (RIGHT, RAISED)}}
            row |= {"faults": len(faults), "example": "" if faults.empty else faults.iloc[0][:200]}
            table.append([row])
            print(row, flush=True)
            for seed, fault in faults.items():
                print(f"  seed {seed}: {fault[:300]}", flush=True)
    if arguments.out == RESULTS / "reliability":
        columns = ["attack", "tried", RIGHT, RAISED, "faults"]
        read_rows(table.path)[columns].to_csv(DOCS / "benchmarks" / "reliability.csv", index=False)


if __name__ == "__main__":
    main()
