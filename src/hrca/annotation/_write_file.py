"""Write the entries of a prediction into an h5ad file or a zarr store, completely or not at all.

The entries are written into a copy beside the file, which then replaces the file in one step (docs/decisions/0006). One
process at a time does so, and a file that has meanwhile changed is copied again. The count matrices are never read.
"""

import ctypes
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import anndata as ad
import h5py
import pandas as pd
import zarr

from ._disk_space import N_OBS_COLUMNS, check_disk_space, copy_with_space, entries_bytes, full_disk_errors
from ._file_attributes import check_not_read_only, file_state, keep_attributes
from ._file_lock import check_no_writer, no_other_writer, remove_leftovers, write_lock
from ._result import AnnDataEntries, column_values
from ._tables import MAX_TABLE_COLUMNS, is_nullable, table_in_file

# Groups that entries are written into. All other groups of a zarr store are hard-linked and not copied.
WRITTEN_GROUPS = ("obs", "obsm", "uns")

# Files of metadata in a zarr group, of format 3 and format 2.
ZARR_METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")

# anndata stores the names of more columns than this in a form that HDF5 does not limit (anndata 0.12).
MAX_PLAIN_COLUMNS = 5_000

# Number of copies that are made of a file which other programs change meanwhile.
MAX_ATTEMPTS = 3

# Flags that make a rename exchange two folders: linux/fs.h, sys/stdio.h of macOS.
RENAME_EXCHANGE, RENAME_SWAP = 2, 2

# Directory argument of Linux' renameat2 that means the working directory: linux/fcntl.h.
AT_FDCWD = -100


def check_file(path: Path, result_bytes: int, n_obs_columns: int) -> None:
    """Raise an error if results could not be written into a file, and remove what killed writers left beside it.

    Parameters
    ----------
    path
        An h5ad file, or the folder of an AnnData in zarr.
    result_bytes
        Upper bound of the bytes that the results take.
    n_obs_columns
        Number of columns in obs.

    Raises
    ------
    ValueError
        If obs has so many columns that the results' columns do not fit.
    OSError
        If the file or its folder is read-only, the file is open for writing, or the disk has too little space.
    """
    target = _store_root(path) if path.is_dir() else path
    folder = target.parent
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"The results are written into a copy beside the file, but the folder {str(folder)!r} cannot be written "
            "to. `key_added=None` writes nothing, and returns the labels."
        )
    groups = [path / name for name in WRITTEN_GROUPS if (path / name).exists()] if path.is_dir() else []
    check_not_read_only([target, path, *groups])
    remove_leftovers(target)
    if path.is_dir():
        copied_bytes = _copied_bytes(path, target)
    else:
        check_no_writer(path)
        _check_obs_columns(path, n_obs_columns)
        copied_bytes = path.stat().st_size
    check_disk_space(folder, copied_bytes + result_bytes)


def _check_obs_columns(path: Path, n_columns: int) -> None:
    # beyond this number, anndata stores the names in another form, without a limit
    if MAX_TABLE_COLUMNS - N_OBS_COLUMNS < n_columns <= MAX_PLAIN_COLUMNS:
        raise ValueError(
            f"HDF5 holds the names of at most {MAX_TABLE_COLUMNS:,} columns of obs, but {str(path)!r} has "
            f"{n_columns:,}, and up to {N_OBS_COLUMNS} are added. Move columns to obsm, or write a zarr folder; or use "
            "`key_added=None`, which writes nothing and returns the labels."
        )


def _copied_bytes(path: Path, store: Path) -> int:
    """Return the bytes of the files of a store that are copied: those that change, or all without hard links."""
    files = [file for file in store.rglob("*") if file.is_file()]
    if _has_hard_links(store):
        files = [file for file in files if _is_written(file, path)]
    return sum(file.stat().st_size for file in files)


def _has_hard_links(store: Path) -> bool:
    file = next((file for file in store.iterdir() if file.is_file()), None)
    if file is None:
        return False
    with tempfile.TemporaryDirectory(dir=store.parent, prefix=f".{store.name}.", suffix=".tmp") as folder:
        try:
            os.link(file, Path(folder) / file.name)
        except OSError:
            return False
    return True


def write_to_file(path: Path, entries: AnnDataEntries) -> None:
    """Write entries into a copy of a file, which then replaces the file in one step.

    Parameters
    ----------
    path
        An h5ad file, or the folder of an AnnData in zarr.
    entries
        Entries of all cells, in the order of the file.

    Raises
    ------
    ValueError
        If the cells in the file are not those of the entries, or another program goes on writing into the file.
    OSError
        If the copy cannot be written; the file is open for writing; or another process of HRCA is still writing into
        it. On a full disk: ENOSPC.
    """
    target, write = (_store_root(path), _write_zarr) if path.is_dir() else (path, _write_h5ad)
    with write_lock(target):
        for _ in range(MAX_ATTEMPTS):
            if write(path, entries):
                return
    raise ValueError(
        f"The file must stay as it is while results are written, but {str(path)!r} was changed {MAX_ATTEMPTS} times. "
        "Predict again when no other program writes into it."
    )


def _write_h5ad(path: Path, entries: AnnDataEntries) -> bool:
    """Replace the file, and return True; or False, and leave it, if it has changed since it was copied."""
    with no_other_writer(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        copy = Path(name)
        try:
            state = file_state(path)
            copy_with_space(path, copy, entries_bytes(entries))
            with h5py.File(copy, "r+") as file:
                _write_entries(file, entries)
            keep_attributes(path, copy)
            _sync_to_disk(copy)
            if file_state(path) != state:
                return False
            os.replace(copy, path)
        finally:
            copy.unlink(missing_ok=True)
    _sync_to_disk(path.parent)
    return True


def _write_zarr(path: Path, entries: AnnDataEntries) -> bool:
    """Replace the store, and return True; or False, and leave it, if it has changed since it was copied."""
    store = _store_root(path)
    folder = Path(tempfile.mkdtemp(dir=store.parent, prefix=f".{store.name}.", suffix=".tmp"))
    copy = folder / store.name
    try:
        state = file_state(store)
        with full_disk_errors(store.parent, _copied_bytes(path, store) + entries_bytes(entries)):
            _write_store(copy, store, path, entries)
        if file_state(store) != state:
            return False
        _swap_folders(copy, store)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _sync_to_disk(store.parent)
    return True


def _write_store(copy: Path, store: Path, path: Path, entries: AnnDataEntries) -> None:
    """Make a copy of a store with the entries in the AnnData at `path`, and flush it to the disk."""
    shutil.copytree(store, copy, copy_function=_link_or_copy(path))
    with warnings.catch_warnings():
        # anndata announces its next version, and zarr the limits of its format 3
        warnings.filterwarnings("ignore", "zarr v3 autosharding|Consolidated metadata", UserWarning)
        group = zarr.open_group(copy / path.relative_to(store), mode="r+", use_consolidated=False)
        _write_entries(group, entries)
        for parent in _consolidated_groups(store, path):
            zarr.consolidate_metadata(str(copy / parent.relative_to(store)))
    keep_attributes(store, copy)
    for file in copy.rglob("*"):
        if file.is_file() and file.stat().st_nlink == 1:  # a hard link is on the disk already
            _sync_to_disk(file)


def _write_entries(root: h5py.File | zarr.Group, entries: AnnDataEntries) -> None:
    obs = cast(h5py.Group | zarr.Group, root["obs"])
    stored_names = _stored_names(obs, entries)
    for column in entries.obs:
        ad.io.write_elem(obs, str(column), column_values(entries.obs[column]))
    for name in ("obsm", "uns"):
        if name not in root:
            ad.io.write_elem(root, name, {})
    obsm, uns = root["obsm"], root["uns"]
    for name in entries.stale:
        for group in (obs, cast(h5py.Group | zarr.Group, obsm)):
            if name in group:
                del group[name]
    columns = [str(name) for name in cast(list, obs.attrs["column-order"]) if name not in entries.stale]
    obs.attrs["column-order"] = [*columns, *(str(name) for name in entries.obs if name not in columns)]
    with _nullable_strings() if is_nullable(stored_names) else nullcontext():
        for name, table in entries.obsm.items():
            ad.io.write_elem(obsm, name, table_in_file(table, stored_names))
    for name, provenance in entries.uns.items():
        ad.io.write_elem(uns, name, provenance)


def _nullable_strings() -> AbstractContextManager:
    """Let anndata 0.12 write names of cells as the file has them already."""
    return ad.settings.override(allow_write_nullable_strings=True)


def _stored_names(obs: h5py.Group | zarr.Group, entries: AnnDataEntries) -> pd.Index:
    """Return the names of the cells in the file, and raise an error if they are not those of the entries."""
    stored = pd.Index(ad.io.read_elem(obs[str(obs.attrs["_index"])]))
    expected = entries.obs.index
    if not stored.astype(str).equals(expected.astype(str)):
        raise ValueError(
            "The file must hold the cells that were predicted, but its obs has changed since: "
            f"{len(stored):,} cells, {list(stored[:3])}, and not {len(expected):,}, {list(expected[:3])}. "
            "Predict again."
        )
    return stored


def _store_root(path: Path) -> Path:
    """Return the outermost folder of a zarr store, e.g. that of the SpatialData of which `path` is a table."""
    while any((path.parent / name).exists() for name in ZARR_METADATA):
        path = path.parent
    return path


def _consolidated_groups(store: Path, path: Path) -> list[Path]:
    """List the groups from the AnnData up to the store that hold consolidated metadata."""
    groups = [path, *(parent for parent in path.parents if parent.is_relative_to(store))]
    return [group for group in groups if zarr.open_group(group, mode="r").metadata.consolidated_metadata is not None]


def _is_written(file: Path, path: Path) -> bool:
    """Return whether writing into an AnnData changes a file of its store."""
    return file.name in ZARR_METADATA or any(file.is_relative_to(path / name) for name in WRITTEN_GROUPS)


def _link_or_copy(path: Path) -> Callable[[str, str], object]:
    """Return a function that copies files that will be written to, and hard-links all others."""

    def copy(source: str, target: str) -> None:
        if _is_written(Path(source), path):
            shutil.copy2(source, target)
            return
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copy2(source, target)

    return copy


def _sync_to_disk(path: Path) -> None:
    """Flush a file or folder to the disk: the name of a file must not be stored before its content."""
    if os.name == "nt" and path.is_dir():
        return  # Windows does not open a folder
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap_folders(new: Path, old: Path) -> None:
    """Exchange two folders, in one step where the system can."""
    if _exchange_by_system(new, old):
        return
    aside = new.with_name(f"{new.name}.old")
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise


def _exchange_by_system(new: Path, old: Path) -> bool:
    """Exchange two folders in one step, and return whether the system did: NFS, Windows and others do not."""
    source, target = os.fsencode(new), os.fsencode(old)
    if sys.platform == "linux":
        name, arguments = "renameat2", (AT_FDCWD, source, AT_FDCWD, target, RENAME_EXCHANGE)
    elif sys.platform == "darwin":
        name, arguments = "renamex_np", (source, target, RENAME_SWAP)
    else:
        return False
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    return function is not None and function(*arguments) == 0
