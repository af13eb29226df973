"""Writers wait for each other, remove what killed writers left, and notice other programs that have the file open."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

from hrca.annotation._file_lock import check_no_writer, no_other_writer, remove_leftovers, write_lock
from hrca.annotation._result import PredictionResult, to_entries
from hrca.annotation._write_file import write_to_file

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata"),
    # the forked children only write files
    pytest.mark.filterwarnings("ignore:This process.*multi-threaded, use of fork:DeprecationWarning"),
]
FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None


def entries(obs_names: pd.Index, key: str):
    n_obs = len(obs_names)
    probabilities = pd.DataFrame(np.ones((n_obs, 2), dtype=np.float32), index=obs_names, columns=["a", "b"])
    labels = pd.Categorical(["a"] * n_obs, categories=["a", "b", "Unknown"])
    return to_entries(key, PredictionResult(labels, np.ones(n_obs, dtype=np.float32), probabilities), {"key": key})


def hold(path: Path, is_held) -> None:
    with write_lock(path):
        is_held.set()
        time.sleep(600)


@pytest.fixture
def held(tmp_path):
    """A file, and a process that holds its lock."""
    path = tmp_path / "cells.h5ad"
    path.touch()
    is_held = FORK.Event()
    holder = FORK.Process(target=hold, args=(path, is_held))
    holder.start()
    assert is_held.wait(60)
    yield path, holder
    holder.kill()
    holder.join()


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_results_of_several_processes_are_all_in_the_file(tmp_path, format):
    path = tmp_path / f"cells.{format}"
    adata = synthetic(2_000)
    getattr(adata, f"write_{format}")(path)
    start = FORK.Barrier(4)

    def write(key: str) -> None:
        made = entries(adata.obs_names, key)
        start.wait()
        write_to_file(path, made)

    writers = [FORK.Process(target=write, args=(f"key{i}",)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    after = getattr(ad, f"read_{format}")(path)
    for i in range(4):
        assert (after.obs[f"key{i}"] == "a").all()
        assert after.uns[f"key{i}"]["key"] == f"key{i}"
        assert f"key{i}_probabilities" in after.obsm
    assert os.listdir(tmp_path) == [path.name]


def test_a_second_writer_waits_and_says_for_which_file(held):
    path, holder = held
    with pytest.raises(TimeoutError, match=r"by one process at a time.*cells.h5ad' for 0 seconds"), write_lock(path, 0):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with write_lock(path, timeout=60):
        assert set(os.listdir(path.parent)) == {path.name, f".{path.name}.lock"}
    assert os.listdir(path.parent) == [path.name]


def leftovers(path: Path) -> list[Path]:
    return [path.parent / f".{path.name}.{random}.tmp" for random in ("abcd1234", "x_y_z_0_")]


def test_copies_of_killed_writers_are_removed(tmp_path):
    path = tmp_path / "cells[1].h5ad"
    file, folder = leftovers(path)
    file.touch()
    (folder / path.name / "obs").mkdir(parents=True)
    others = [f".{path.name}.abcd1234", f".other{path.name}.abcd1234.tmp", f".{path.name}.more.abcd1234.tmp", path.name]
    for name in others:
        (tmp_path / name).touch()
    remove_leftovers(path)
    assert set(os.listdir(tmp_path)) == set(others)


def test_copies_stay_while_a_process_writes(held):
    path, _ = held
    copy, _ = leftovers(path)
    copy.touch()
    remove_leftovers(path)
    assert copy.exists()


def test_the_only_copy_of_a_store_stays(tmp_path):
    path = tmp_path / "cells.zarr"
    folder, _ = leftovers(path)
    for name in (path.name, f"{path.name}.old"):
        (folder / name).mkdir(parents=True)
    remove_leftovers(path)
    assert (folder / f"{path.name}.old").exists()
    (folder / path.name).rename(path)
    remove_leftovers(path)
    assert os.listdir(tmp_path) == [path.name]


def test_an_open_reader_is_named(tmp_path):
    path = tmp_path / "cells.h5ad"
    synthetic(10).write_h5ad(path)
    reader = ad.read_h5ad(path, backed="r")
    check_no_writer(path)
    with pytest.warns(UserWarning, match=r"cells.h5ad' is open for reading.*Open it again"):
        write_to_file(path, entries(reader.obs_names, "key"))
    assert reader.X[:].shape == (10, 60)
    reader.file.close()
    write_to_file(path, entries(reader.obs_names, "key"))


def test_an_open_writer_raises_and_keeps_its_file(tmp_path):
    path = tmp_path / "cells.h5ad"
    synthetic(10).write_h5ad(path)
    writer = ad.read_h5ad(path, backed="r+")
    for call in (lambda: check_no_writer(path), lambda: write_to_file(path, entries(writer.obs_names, "key"))):
        with pytest.raises(OSError, match=r"cells.h5ad' is open for writing.*`adata.file.close\(\)`"):
            call()
    inode = path.stat().st_ino
    writer.file.close()
    assert path.stat().st_ino == inode
    assert "key" not in ad.read_h5ad(path).obs


def test_predict_names_an_open_writer_before_any_work(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    path = tmp_path / "cells.h5ad"
    synthetic(10).write_h5ad(path)
    writer = ad.read_h5ad(path, backed="r+")
    with pytest.raises(OSError, match="is open for writing"):
        tiny_model.predict(path)
    writer.file.close()


def test_no_program_can_begin_to_write_meanwhile(tmp_path):
    path = tmp_path / "cells.h5ad"
    synthetic(10).write_h5ad(path)
    with no_other_writer(path):
        with pytest.raises(BlockingIOError):
            h5py.File(path, "r+")
        with h5py.File(path, "r") as file:
            assert "obs" in file
