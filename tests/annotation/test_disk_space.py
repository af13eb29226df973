"""The space for results is counted and reserved, and a full disk leaves the file and the process whole."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, synthetic

from hrca.annotation._disk_space import check_disk_space, entries_bytes, expected_bytes, full_disk_errors, reserve
from hrca.annotation._result import AnnDataEntries, PredictionResult, cellxgene_columns, to_entries
from hrca.annotation._write_file import _write_entries, write_to_file


def entries(obs_names: pd.Index, labels: list[str]) -> AnnDataEntries:
    """Entries of all kinds: labels, ranks, sets, ontology terms."""
    n_obs = len(obs_names)
    ranks = np.linspace(0, 1, n_obs, dtype=np.float32)
    table = pd.DataFrame(np.ones((n_obs, len(labels)), dtype=np.float32), index=obs_names, columns=labels)
    predicted = pd.Categorical.from_codes(np.arange(n_obs) % len(labels), categories=[*labels, "Unknown"])
    uns = {"labels": np.array(labels), "warnings": np.array(["many words " * 30] * 3)} | {f"n{i}": i for i in range(20)}
    made = to_entries("hrca", PredictionResult(predicted, ranks, table, ranks, table > 0, ranks), uns)
    return made.with_cellxgene_columns(cellxgene_columns(predicted, dict.fromkeys(labels, "CL:0000236")))


@pytest.mark.parametrize(
    ("n_obs", "n_labels", "label_length", "name_length"),
    [(10, 2, 5, 8), (0, 3, 3, 3), (3_000, 30, 20, 40), (20_000, 2, 300, 1), (50, 1_500, 60, 200), (2, 4_200, 60, 20)],
)
def test_the_bound_covers_what_hdf5_takes(tmp_path, n_obs, n_labels, label_length, name_length):
    obs_names = pd.Index([str(i).zfill(name_length) for i in range(n_obs)], dtype=object)
    labels = [f"{i}".ljust(label_length, "\N{GREEK SMALL LETTER ALPHA}") for i in range(n_labels)]
    made, path = entries(obs_names, labels), tmp_path / "cells.h5ad"
    ad.AnnData(np.ones((n_obs, 2), dtype=np.float32), obs=pd.DataFrame(index=obs_names)).write_h5ad(path)
    before = path.stat().st_size
    with h5py.File(path, "r+") as file:
        _write_entries(file, made)
    grown = path.stat().st_size - before
    assert grown < entries_bytes(made)
    assert grown < expected_bytes(obs_names, [*labels, "Unknown"], 2)


def test_hdf5_gives_back_what_it_does_not_need(tmp_path):
    path = tmp_path / "cells.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(10)
    before = path.stat().st_size
    reserve(path, 5_000_000)
    assert path.stat().st_size == before + 5_000_000
    with h5py.File(path, "r+") as file:
        file["b"] = np.arange(1_000)
    assert before + 8_000 < path.stat().st_size < before + 50_000
    with h5py.File(path) as file:
        assert file["b"][-1] == 999


def test_space_is_reserved_by_zeros_where_the_system_cannot(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path = tmp_path / "file"
    path.write_bytes(b"content")
    reserve(path, 2_500_000)
    assert path.stat().st_size == 7 + 2_500_000
    assert path.read_bytes()[:8] == b"content\0"


def full_disk(code: int):
    """Return a function of the system that always fails."""

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("code", "available"),
    [
        (errno.ENOSPC, r"[\d.]+ .B are free"),
        (errno.EDQUOT, f"the system allows less: {os.strerror(errno.EDQUOT)}"),
        (errno.EFBIG, f"the system allows less: {os.strerror(errno.EFBIG)}"),
    ],
)
def test_a_full_disk_raises_one_error_with_the_space_that_is_needed(tmp_path, monkeypatch, code, available):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    monkeypatch.setattr(os, "posix_fallocate", full_disk(code), raising=False)
    with pytest.raises(OSError, match=rf"needs 2.5 MB in .*, but {available}. Free") as raised:
        reserve(path, 2_500_000)
    assert raised.value.errno == errno.ENOSPC


def test_a_full_disk_is_named_also_among_the_errors_of_a_folder(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "file").write_bytes(b"content")
    copy = {"copy_function": full_disk(errno.EDQUOT)}
    with pytest.raises(OSError, match="needs 2.5 MB") as raised, full_disk_errors(tmp_path, 2_500_000):
        shutil.copytree(tmp_path / "store", tmp_path / "copy", **copy)
    assert raised.value.errno == errno.ENOSPC


def test_other_errors_of_the_system_stay_as_they_are(tmp_path):
    with pytest.raises(PermissionError, match="not yours"), full_disk_errors(tmp_path, 10):
        raise PermissionError(errno.EACCES, "not yours")


def test_a_file_without_space_for_copy_and_results_raises(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000_000))
    check_disk_space(tmp_path, 2_000_000_000)
    with pytest.raises(OSError, match=r"needs 2.1 GB in .*, but 2.0 GB are free. Free space, or use `key_added=None`"):
        check_disk_space(tmp_path, 2_100_000_000)


def test_predict_counts_the_results_before_any_work(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    path = tmp_path / "cells.h5ad"
    synthetic(200).write_h5ad(path)
    # space for the copy, not for the results
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=path.stat().st_size + 1_000))
    with pytest.raises(OSError, match=r"needs \d\.\d MB in .* `key_added=None`"):
        tiny_model.predict(path)


# The process gets an error, and then goes on to use HDF5: there, one that had closed a file on a full disk dies.
WRITES = """
import errno, resource, sys
from pathlib import Path
import anndata as ad
from test_disk_space import entries
from hrca.annotation._write_file import write_to_file

path, limit = Path(sys.argv[1]), int(sys.argv[2])
made = entries(ad.read_h5ad(path).obs_names, [f"label {i}" for i in range(20)])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_to_file(path, made)
except OSError as error:
    print("no space:", error.errno == errno.ENOSPC and error)
print("reads", ad.read_h5ad(path).n_obs, "cells")
"""


def write_in_a_process(path: Path, limit: int = 0) -> subprocess.CompletedProcess:
    folders = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "annotation"), str(ROOT / "src")])
    return subprocess.run(
        [sys.executable, "-c", WRITES, str(path), str(limit)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": folders},
        timeout=300,
    )


def assert_no_space(done: subprocess.CompletedProcess, path: Path, digest: str) -> None:
    assert done.returncode == 0, done.stderr[-4_000:]
    assert re.search(r"no space: .* needs \d\.\d MB in .*, but the system allows less: File too large", done.stdout)
    assert "reads 4000 cells" in done.stdout
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of file sizes")
def test_a_limit_in_the_middle_of_a_write_leaves_file_and_process_whole(tmp_path):
    path = tmp_path / "cells.h5ad"
    synthetic(4_000).write_h5ad(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # space for the copy and a part of the results; space for a part of the copy
    for limit in (path.stat().st_size + 200_000, path.stat().st_size // 2):
        assert_no_space(write_in_a_process(path, limit), path, digest)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MB; needs the permission to mount it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]).returncode:
        pytest.skip("a file system cannot be mounted")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_full_disk_leaves_the_file_whole(small_disk, format):
    path = small_disk / f"cells.{format}"
    adata = synthetic(4_000)
    getattr(adata, f"write_{format}")(path)
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - path.stat().st_size - 300_000))
    made = entries(adata.obs_names, [f"label {i}" for i in range(60)])
    rng = np.random.default_rng(0)
    made.obsm["hrca_probabilities"][:] = rng.random((4_000, 60), dtype=np.float32)  # which no compression makes small
    with pytest.raises(OSError, match=r"needs \d\.\d MB in .* are free. .*`key_added=None`") as raised:
        write_to_file(path, made)
    assert raised.value.errno == errno.ENOSPC
    assert set(os.listdir(small_disk)) == {path.name, "other"}
    after = getattr(ad, f"read_{format}")(path)
    assert list(after.obs) == ["cell_type"]
    assert (after.X != adata.X).nnz == 0


@pytest.mark.parametrize("n_runs", [2])
def test_a_full_disk_leaves_the_process_whole(small_disk, n_runs):
    path = small_disk / "cells.h5ad"
    synthetic(4_000).write_h5ad(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    filler = small_disk / "other"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - path.stat().st_size - 300_000))
    for _ in range(n_runs):
        done = write_in_a_process(path)
        assert done.returncode == 0, done.stderr[-4_000:]
        assert "no space: " in done.stdout
        assert " are free. " in done.stdout
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
