"""Entries are written into a file completely or not at all, also when the process is killed."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

from hrca.annotation._result import AnnDataEntries, PredictionResult, to_entries
from hrca.annotation._write_file import check_file, write_to_file

pytestmark = [
    pytest.mark.filterwarnings("ignore:Consolidated metadata"),
    # anndata 0.13 warns of the setting that chooses zarr's format 2
    pytest.mark.filterwarnings("ignore:This setting will be removed in 0.14"),
    pytest.mark.filterwarnings("ignore:zarr v3 will become the only option"),
    # the forked child only writes files, and is killed
    pytest.mark.filterwarnings("ignore:This process.*multi-threaded, use of fork:DeprecationWarning"),
]
FORMATS = ["h5ad", "zarr", "zarr 3"]


def write(adata: ad.AnnData, folder: Path, format: str) -> Path:
    path = folder / f"cells.{format[:4]}"
    if format == "h5ad":
        adata.write_h5ad(path)
    else:
        with ad.settings.override(zarr_write_format=3 if format == "zarr 3" else 2):
            adata.write_zarr(path)
    return path


def read(path: Path) -> ad.AnnData:
    return ad.read_h5ad(path) if path.suffix == ".h5ad" else ad.read_zarr(path)


def cells(n_obs: int = 200) -> ad.AnnData:
    adata = synthetic(n_obs)
    adata.obsm["spatial"] = np.arange(2.0 * n_obs).reshape(-1, 2)
    adata.uns["source"] = {"title": "synthetic"}
    adata.layers["more"] = adata.X.toarray()
    return adata


def entries(obs_names: pd.Index, label: str = "a") -> AnnDataEntries:
    n_obs = len(obs_names)
    labels = pd.Categorical([label] * n_obs, categories=["a", "b", "Unknown"])
    probabilities = pd.DataFrame({"a": np.linspace(0, 1, n_obs), "b/c": 0}, index=obs_names, dtype=np.float32)
    result = PredictionResult(labels, probabilities.to_numpy().max(axis=1), probabilities)
    return to_entries("hrca", result, {"seed": 1, "labels": np.array(["a", "b/c"])})


def content(path: Path) -> dict[str, str]:
    """Digest of each file below a path, by its name."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def assert_only_annotated(path: Path, before: ad.AnnData, label: str = "a") -> None:
    after = read(path)
    assert (after.obs["hrca"] == label).all()
    np.testing.assert_allclose(after.obsm["hrca_probabilities"]["a"], np.linspace(0, 1, after.n_obs), rtol=1e-6)
    assert after.uns["hrca"]["seed"] == 1
    for name in ("hrca", "hrca_confidence"):
        del after.obs[name]
    del after.obsm["hrca_probabilities"], after.uns["hrca"]
    pd.testing.assert_frame_equal(after.obs, before.obs)
    pd.testing.assert_frame_equal(after.var, before.var)
    assert (after.X != before.X).nnz == 0
    np.testing.assert_array_equal(after.layers["more"], before.layers["more"])
    np.testing.assert_array_equal(after.obsm["spatial"], before.obsm["spatial"])
    assert after.uns == before.uns


@pytest.mark.parametrize("format", FORMATS)
def test_entries_are_added_and_all_else_stays(tmp_path, format):
    path = write(cells(), tmp_path, format)
    before = read(path)
    write_to_file(path, entries(before.obs_names))
    assert_only_annotated(path, before)
    write_to_file(path, entries(before.obs_names, "b"))
    assert_only_annotated(path, before, "b")
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("format", FORMATS)
def test_the_format_and_the_permissions_stay(tmp_path, format):
    path = write(cells(), tmp_path, format)
    os.chmod(path, 0o750)
    write_to_file(path, entries(read(path).obs_names))
    assert path.stat().st_mode & 0o777 == 0o750
    if format != "h5ad":
        assert (path / "obs" / "hrca" / "zarr.json").exists() == (format == "zarr 3")


def test_matrices_of_a_store_are_not_copied(tmp_path):
    path = write(cells(), tmp_path, "zarr")
    matrix = next(file for file in (path / "X").rglob("*") if file.is_file() and not file.name.startswith(".z"))
    inode = matrix.stat().st_ino
    write_to_file(path, entries(read(path).obs_names))
    assert matrix.stat().st_ino == inode


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_has_changed_raises_and_stays(tmp_path, format):
    path = write(cells(), tmp_path, format)
    before = content(path)
    with pytest.raises(ValueError, match=r"obs has changed since: 200 cells.*and not 3,.*Predict again"):
        write_to_file(path, entries(pd.Index(["x", "y", "z"])))
    assert content(path) == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("format", FORMATS)
def test_too_little_space_or_no_permission_raises_before_any_work(tmp_path, format, tiny_model, monkeypatch):
    path = write(cells(), tmp_path, format)
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    if format == "h5ad":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000))
        with pytest.raises(OSError, match=r"needs \d+\.\d MB in .* but 0.0 MB are free. .* `key_added=None`"):
            tiny_model.predict(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="cannot be written to. `key_added=None`"):
        tiny_model.predict(path)


@pytest.mark.parametrize("format", FORMATS)
def test_a_link_stays_a_link(tmp_path, format, tiny_model):
    (tmp_path / "data").mkdir()
    path = write(cells(), tmp_path / "data", format)
    link = tmp_path / f"link{path.suffix}"
    link.symlink_to(path)
    tiny_model.predict(link)
    assert link.is_symlink()
    assert "hrca" in read(path).obs


@pytest.mark.parametrize("format", ["zarr", "zarr 3"])
def test_folders_are_renamed_where_the_system_cannot_exchange_them(tmp_path, format, monkeypatch):
    path = write(cells(), tmp_path, format)
    monkeypatch.setattr(sys, "platform", "an old one")
    before = read(path)
    write_to_file(path, entries(before.obs_names))
    assert_only_annotated(path, before)


def test_files_are_copied_where_there_are_no_hard_links(tmp_path, monkeypatch):
    path = write(cells(), tmp_path, "zarr")
    before, link, unlinked = read(path), os.link, []

    def no_link(source, target, **kwargs):
        if not Path(source).is_relative_to(path):
            return link(source, target, **kwargs)  # zarr's own
        unlinked.append(source)
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", no_link)
    write_to_file(path, entries(before.obs_names))
    assert_only_annotated(path, before)
    assert unlinked


def test_a_store_is_put_back_if_the_new_one_cannot_replace_it(tmp_path, monkeypatch):
    path = write(cells(), tmp_path, "zarr")
    before, rename, calls = content(path), os.rename, []

    def second_fails(*names):
        calls.append(names)
        if len(calls) == 2:
            raise OSError("the disk is gone")
        rename(*names)

    monkeypatch.setattr(sys, "platform", "an old one")
    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OSError, match="the disk is gone"):
        write_to_file(path, entries(read(path).obs_names))
    assert content(path) == before


def killed_at(step: int, path: Path, obs_names: pd.Index) -> bool:
    """Write in a child that kills itself at its n-th system call; return whether it reached that call."""
    child = os.fork()
    if child == 0:
        steps = iter(range(step))

        def kill(event, _):
            is_call = event.startswith(("open", "os.", "shutil.", "tempfile.", "ctypes.")) and event != "os.kill"
            if is_call and next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            made = entries(obs_names, "b")
            sys.addaudithook(kill)
            write_to_file(path, made)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "format", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow), pytest.param("zarr 3", marks=pytest.mark.slow)]
)
def test_a_kill_at_any_step_leaves_the_file_unchanged_or_complete(tmp_path, format):
    path = write(cells(), tmp_path, format)
    original = read(path)
    before, was_killed, n_complete = content(path), True, 0
    step = 0
    while was_killed:
        was_killed = killed_at(step, path, original.obs_names)
        if content(path) == before:
            assert was_killed
        else:
            assert_only_annotated(path, original, "b")
            n_complete += 1
        step += 1 if format == "h5ad" else 41  # a prime number: writing a store takes some hundred calls
    assert step > 8
    assert n_complete >= 1
    # the next writer removes the copies that the killed processes left
    write_to_file(path, entries(original.obs_names))
    assert_only_annotated(path, original)
    assert os.listdir(tmp_path) == [path.name]


PREDICTS = """
import sys
import hrca
model = hrca.HRCA.load(sys.argv[1])
model.predict(sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_a_killed_prediction_leaves_a_readable_file(tmp_path, tiny_model, format):
    tiny_model.save(tmp_path / "model")
    folder = tmp_path / "data"
    folder.mkdir()
    path = write(cells(20_000), folder, format)
    original = read(path)
    command = [sys.executable, "-c", PREDICTS, str(tmp_path / "model"), str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        until = time.monotonic() + 120
        while child.poll() is None and time.monotonic() < until:
            if any(name.endswith(".tmp") for name in os.listdir(folder)):
                break
            time.sleep(0.001)
        child.kill()
    assert any(name.endswith(".tmp") for name in os.listdir(folder)), "the process must be killed while it writes"
    after = read(path)
    assert list(after.obs) == list(original.obs)
    assert (after.X != original.X).nnz == 0


@pytest.mark.parametrize(("n_columns", "fits"), [(3_992, True), (4_080, False), (5_001, True)])
def test_columns_that_do_not_fit_into_obs_raise_before_any_work(tmp_path, n_columns, fits):
    adata = ad.AnnData(np.ones((2, 2), dtype=np.float32), obs=pd.DataFrame(index=["x", "y"]))
    adata.obs = pd.DataFrame(np.ones((2, n_columns)), index=["x", "y"], columns=[f"c{i}" for i in range(n_columns)])
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    if not fits:
        with pytest.raises(ValueError, match=r"at most 4,000 columns of obs, but .* has 4,080"):
            check_file(path, 1_000, n_columns)
        return
    check_file(path, 1_000, n_columns)
    write_to_file(path, entries(adata.obs_names))
    assert read(path).obs.shape == (2, n_columns + 2)
