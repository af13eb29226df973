"""Write an annotation into an h5ad file or a zarr store: all of it or nothing, and without reading its matrices."""

import ctypes
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import pandas as pd
import zarr

from ._result import AnnDataEntries, column_values

# What an annotation is written into; in a zarr store, all else is linked and not copied.
WRITTEN_GROUPS = ("obs", "obsm", "uns")

ZARR_METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")

# linux/fs.h and sys/stdio.h; "as seen from the working directory" of each system
RENAME_EXCHANGE, RENAME_SWAP, AT_FDCWD = 2, 2, -100


def check_disk_space(path: Path) -> None:
    """Refuse a file beside which there is no room for a copy, or into whose folder nothing can be written.

    Raises
    ------
    OSError
        If so.
    """
    folder = _root(path).parent if path.is_dir() else path.parent
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"The results are written into a copy beside the file, but {str(folder)!r} cannot be written to. "
            "`key_added=None` writes nothing, and returns the labels."
        )
    needed, free = 0 if path.is_dir() else path.stat().st_size, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"The results are written into a copy beside the file, which needs {needed / 1e9:.1f} GB in "
            f"{str(folder)!r}, but {free / 1e9:.1f} GB are free. `key_added=None` writes nothing, and returns the "
            "labels."
        )


def write_to_file(path: Path, annotation: AnnDataEntries) -> None:
    """Write an annotation into a file: into a copy beside it, which then takes its place in one step.

    Parameters
    ----------
    path
        An h5ad file, or the folder of an AnnData in zarr.
    annotation
        What to write.

    Raises
    ------
    ValueError
        If the cells in the file are not those of the annotation.
    OSError
        If the copy cannot be written, e.g. on a full disk.
    """
    if path.is_dir():
        _write_zarr(path, annotation)
    else:
        _write_h5ad(path, annotation)


def _write_h5ad(path: Path, annotation: AnnDataEntries) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    copy = Path(name)
    try:
        shutil.copyfile(path, copy)
        shutil.copymode(path, copy)
        with h5py.File(copy, "r+") as file:
            _write(file, annotation)
        _flush(copy)
        os.replace(copy, path)
    finally:
        copy.unlink(missing_ok=True)
    _flush(path.parent)


def _write_zarr(path: Path, annotation: AnnDataEntries) -> None:
    store = _root(path)
    folder = Path(tempfile.mkdtemp(dir=store.parent, prefix=f".{store.name}.", suffix=".tmp"))
    copy = folder / store.name
    try:
        shutil.copytree(store, copy, copy_function=_link_or_copy(path))
        with warnings.catch_warnings():
            # of the next version of anndata, and of what zarr's format 3 does not yet promise
            warnings.filterwarnings("ignore", "zarr v3 autosharding|Consolidated metadata", UserWarning)
            _write(zarr.open_group(copy / path.relative_to(store), mode="r+", use_consolidated=False), annotation)
            for parent in _consolidated(store, path):
                zarr.consolidate_metadata(str(copy / parent.relative_to(store)))
        for file in copy.rglob("*"):
            if file.is_file() and file.stat().st_nlink == 1:  # not a link to what is on the disk already
                _flush(file)
        _exchange(copy, store)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _flush(store.parent)


def _write(root: h5py.File | zarr.Group, annotation: AnnDataEntries) -> None:
    obs = root["obs"]
    stored = pd.Index(ad.io.read_elem(obs[obs.attrs["_index"]]))
    if not stored.astype(str).equals(annotation.obs.index.astype(str)):
        raise ValueError(
            "The file must hold the cells that were annotated, but its obs has changed since: "
            f"{len(stored):,} cells, {list(stored[:3])}, and not {len(annotation.obs):,}, "
            f"{list(annotation.obs.index[:3])}. Predict again."
        )
    for name in annotation.obs:
        ad.io.write_elem(obs, name, column_values(annotation.obs[name]))
    for name in annotation.stale:
        for part in (obs, root.get("obsm", {})):
            if name in part:
                del part[name]
    columns = [str(name) for name in obs.attrs["column-order"] if name not in annotation.stale]
    obs.attrs["column-order"] = [*columns, *(name for name in annotation.obs if name not in columns)]
    for part, content in (("obsm", annotation.obsm), ("uns", annotation.uns)):
        if part not in root:
            ad.io.write_elem(root, part, {})
        for name, value in content.items():
            ad.io.write_elem(root[part], name, value)


def _root(path: Path) -> Path:
    """Return the outermost folder of a zarr store, e.g. that of the SpatialData of which `path` is a table."""
    while any((path.parent / name).exists() for name in ZARR_METADATA):
        path = path.parent
    return path


def _consolidated(store: Path, path: Path) -> list[Path]:
    """List the groups from the AnnData's to the store's that keep a copy of the metadata of all that they hold."""
    groups = [path, *(parent for parent in path.parents if parent.is_relative_to(store))]
    return [group for group in groups if zarr.open_group(group, mode="r").metadata.consolidated_metadata is not None]


def _link_or_copy(path: Path) -> Callable[[str, str], object]:
    written = [path / name for name in WRITTEN_GROUPS]

    def copy(source: str, target: str) -> object:
        file = Path(source)
        if file.name in ZARR_METADATA or any(file.is_relative_to(folder) for folder in written):
            return shutil.copy2(source, target)
        try:
            return os.link(source, target)
        except OSError:  # a file system without links
            return shutil.copy2(source, target)

    return copy


def _flush(path: Path) -> None:
    """Have the disk hold what was written: the name of a file must not arrive there before its content."""
    if os.name == "nt" and path.is_dir():
        return  # a folder cannot be opened there
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(new: Path, old: Path) -> None:
    """Let two folders change places: in one step where the system can, else in two."""
    if sys.platform == "linux":
        exchange, flags = "renameat2", (AT_FDCWD, RENAME_EXCHANGE)
    elif sys.platform == "darwin":
        exchange, flags = "renamex_np", (None, RENAME_SWAP)
    else:
        exchange, flags = "", (None, 0)
    function = getattr(ctypes.CDLL(None, use_errno=True), exchange, None) if exchange else None
    if function is not None:
        where, how = flags
        a, b = os.fsencode(new), os.fsencode(old)
        arguments = (a, b, how) if where is None else (where, a, where, b, how)
        if function(*arguments) == 0:
            return
    # NFS, Windows and others have no such step
    aside = new.with_name(f"{new.name}.old")
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise
