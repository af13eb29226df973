"""A file with results keeps its owner and permissions; read-only files and changes of other programs are noticed."""

import os
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

from hrca.annotation import _write_file
from hrca.annotation._file_attributes import check_not_read_only, file_state, keep_attributes
from hrca.annotation._result import PredictionResult, to_entries
from hrca.annotation._write_file import write_to_file

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata")
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs the administrator")
FORMATS = ["h5ad", "zarr"]
# Ids of no user and no group of this machine.
OWNER, GROUP = 54_321, 54_322


def write(folder, format: str):
    path = folder / f"cells.{format}"
    getattr(synthetic(20), f"write_{format}")(path)
    return path


def entries(obs_names: pd.Index, key: str):
    labels = pd.Categorical(["a"] * len(obs_names), categories=["a", "Unknown"])
    probabilities = pd.DataFrame(1, index=obs_names, columns=["a"], dtype=np.float32)
    return to_entries(key, PredictionResult(labels, np.ones(len(obs_names)), probabilities), {"seed": 1})


def read(path):
    return getattr(ad, f"read_{path.suffix[1:]}")(path)


@pytest.mark.parametrize("format", FORMATS)
def test_predict_names_a_read_only_file_before_any_work(tmp_path, format, tiny_model, monkeypatch):
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    path = write(tmp_path, format)
    read_only = path if format == "h5ad" else path / "obs"
    mode = read_only.stat().st_mode
    read_only.chmod(0o555)
    with pytest.raises(PermissionError, match=r"read-only.*`chmod u\+w`.*`key_added=None`"):
        tiny_model.predict(path)
    read_only.chmod(mode)
    check_not_read_only([path, read_only])


@needs_root
@pytest.mark.parametrize("format", FORMATS)
def test_owner_and_permissions_stay(tmp_path, format):
    path = write(tmp_path, format)
    files = [path, *path.rglob("*")]
    for file in files:
        os.chown(file, OWNER, GROUP)
        file.chmod(0o770 if file.is_dir() else 0o660)
    write_to_file(path, entries(read(path).obs_names, "key"))
    for file in [path, *path.rglob("*")]:
        found = file.stat()
        assert (found.st_uid, found.st_gid) == (OWNER, GROUP)
        if file in files:
            assert found.st_mode & 0o777 == (0o770 if file.is_dir() else 0o660)
    assert "key" in read(path).obs


@needs_root
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded, use of fork:DeprecationWarning")
def test_a_user_who_cannot_keep_the_owner_is_told(tmp_path):
    path, copy = write(tmp_path, "h5ad"), tmp_path / "copy"
    shutil.copyfile(path, copy)
    os.chown(copy, OWNER, GROUP)
    for folder in (tmp_path, *tmp_path.parents):
        # one folder more with several processes of pytest
        if folder.name.startswith(("test_", "popen-", "pytest-")):
            folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(GROUP)
            os.setuid(OWNER)
            with pytest.warns(UserWarning, match="belongs to another user. The file with the results belongs to you"):
                keep_attributes(path, copy)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("format", FORMATS)
def test_a_change_by_another_program_is_not_lost(tmp_path, format, monkeypatch):
    path = write(tmp_path, format)
    write_entries, changes = _write_file._write_entries, []

    def change_meanwhile(*arguments):
        write_entries(*arguments)
        if not changes:
            changes.append("cluster")
            adata = read(path)
            adata.obs["cluster"] = "0"
            new = path.with_name("new")
            getattr(adata, f"write_{format}")(new)
            if format == "zarr":
                shutil.rmtree(path)
            new.rename(path)

    monkeypatch.setattr(_write_file, "_write_entries", change_meanwhile)
    write_to_file(path, entries(read(path).obs_names, "key"))
    assert {"cluster", "key"} <= set(read(path).obs)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_always_changes_raises_and_stays(tmp_path, format, monkeypatch):
    path = write(tmp_path, format)
    write_entries = _write_file._write_entries

    def change_meanwhile(*arguments):
        write_entries(*arguments)
        changed = path if format == "h5ad" else path / "obs" / ".zattrs"
        if not changed.exists():
            changed = path / "obs" / "zarr.json"
        os.utime(changed)

    monkeypatch.setattr(_write_file, "_write_entries", change_meanwhile)
    with pytest.raises(ValueError, match=r"was changed 3 times. Predict again"):
        write_to_file(path, entries(read(path).obs_names, "key"))
    assert "key" not in read(path).obs
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("format", FORMATS)
def test_the_state_changes_with_each_write(tmp_path, format):
    path = write(tmp_path, format)
    before = file_state(path)
    assert file_state(path) == before
    (path if format == "h5ad" else path / "more").touch()
    assert file_state(path) != before
