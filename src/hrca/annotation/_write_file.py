"""Write the entries of a prediction into an h5ad file or a zarr store, completely or not at all.

The entries are written into a copy beside the file, which then replaces the file in one step (docs/decisions/0006). The
count matrices are never read.
"""

import ctypes
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import anndata as ad
import h5py
import pandas as pd
import zarr

from ._result import AnnDataEntries, column_values

# Groups that entries are written into. All other groups of a zarr store are hard-linked and not copied.
WRITTEN_GROUPS = ("obs", "obsm", "uns")

# Files of metadata in a zarr group, of format 3 and format 2.
ZARR_METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")

# Flags that make a rename exchange two folders: linux/fs.h, sys/stdio.h of macOS.
RENAME_EXCHANGE, RENAME_SWAP = 2, 2

# Directory argument of Linux' renameat2 that means the working directory: linux/fcntl.h.
AT_FDCWD = -100


def check_disk_space(path: Path) -> None:
    """Raise an error if the copy that replaces a file could not be written beside it.

    Parameters
    ----------
    path
        An h5ad file, or the folder of an AnnData in zarr.

    Raises
    ------
    OSError
        If the folder of the file is not writable, or an h5ad file is larger than the free space.
    """
    folder = _store_root(path).parent if path.is_dir() else path.parent
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"The results are written into a copy beside the file, but the folder {str(folder)!r} cannot be written "
            "to. `key_added=None` writes nothing, and returns the labels."
        )
    needed, free = 0 if path.is_dir() else path.stat().st_size, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"The results are written into a copy beside the file, which needs {needed / 1e9:.1f} GB in "
            f"{str(folder)!r}, but {free / 1e9:.1f} GB are free. `key_added=None` writes nothing, and returns the "
            "labels."
        )


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
        If the cells in the file are not those of the entries.
    OSError
        If the copy cannot be written, e.g. on a full disk.
    """
    if path.is_dir():
        _write_zarr(path, entries)
    else:
        _write_h5ad(path, entries)


def _write_h5ad(path: Path, entries: AnnDataEntries) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    copy = Path(name)
    try:
        shutil.copyfile(path, copy)
        shutil.copymode(path, copy)
        with h5py.File(copy, "r+") as file:
            _write_entries(file, entries)
        _sync_to_disk(copy)
        os.replace(copy, path)
    finally:
        copy.unlink(missing_ok=True)
    _sync_to_disk(path.parent)


def _write_zarr(path: Path, entries: AnnDataEntries) -> None:
    store = _store_root(path)
    folder = Path(tempfile.mkdtemp(dir=store.parent, prefix=f".{store.name}.", suffix=".tmp"))
    copy = folder / store.name
    try:
        shutil.copytree(store, copy, copy_function=_link_or_copy(path))
        with warnings.catch_warnings():
            # anndata announces its next version, and zarr the limits of its format 3
            warnings.filterwarnings("ignore", "zarr v3 autosharding|Consolidated metadata", UserWarning)
            group = zarr.open_group(copy / path.relative_to(store), mode="r+", use_consolidated=False)
            _write_entries(group, entries)
            for parent in _consolidated_groups(store, path):
                zarr.consolidate_metadata(str(copy / parent.relative_to(store)))
        for file in copy.rglob("*"):
            if file.is_file() and file.stat().st_nlink == 1:  # a hard link is on the disk already
                _sync_to_disk(file)
        _swap_folders(copy, store)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _sync_to_disk(store.parent)


def _write_entries(root: h5py.File | zarr.Group, entries: AnnDataEntries) -> None:
    obs = cast(h5py.Group | zarr.Group, root["obs"])
    _check_same_cells(obs, entries)
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
    for name, table in entries.obsm.items():
        ad.io.write_elem(obsm, name, table)
    for name, provenance in entries.uns.items():
        ad.io.write_elem(uns, name, provenance)


def _check_same_cells(obs: h5py.Group | zarr.Group, entries: AnnDataEntries) -> None:
    stored = pd.Index(ad.io.read_elem(obs[str(obs.attrs["_index"])]))
    expected = entries.obs.index
    if not stored.astype(str).equals(expected.astype(str)):
        raise ValueError(
            "The file must hold the cells that were predicted, but its obs has changed since: "
            f"{len(stored):,} cells, {list(stored[:3])}, and not {len(expected):,}, {list(expected[:3])}. "
            "Predict again."
        )


def _store_root(path: Path) -> Path:
    """Return the outermost folder of a zarr store, e.g. that of the SpatialData of which `path` is a table."""
    while any((path.parent / name).exists() for name in ZARR_METADATA):
        path = path.parent
    return path


def _consolidated_groups(store: Path, path: Path) -> list[Path]:
    """List the groups from the AnnData up to the store that hold consolidated metadata."""
    groups = [path, *(parent for parent in path.parents if parent.is_relative_to(store))]
    return [group for group in groups if zarr.open_group(group, mode="r").metadata.consolidated_metadata is not None]


def _link_or_copy(path: Path) -> Callable[[str, str], object]:
    """Return a function that copies files that will be written to, and hard-links all others."""
    written = [path / name for name in WRITTEN_GROUPS]

    def copy(source: str, target: str) -> None:
        file = Path(source)
        if file.name in ZARR_METADATA or any(file.is_relative_to(folder) for folder in written):
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
