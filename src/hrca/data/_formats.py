"""Recognise the formats that cells come in on disk."""

from pathlib import Path
from typing import Literal

from ._sources import open_root

Format = Literal["h5ad", "zarr", "spatialdata", "mudata", "10x_h5", "xenium", "visium_hd"]

# The formats that results can be written into.
WRITABLE_FORMATS: tuple[Format, ...] = ("h5ad", "zarr", "spatialdata")

# Files of a folder by which it is known: that of Xenium's onboard analysis (its file of settings, which every version
# has), and that of Space Ranger for Visium HD (its bins, or the file of all barcodes).
XENIUM_FILES = ("experiment.xenium",)
VISIUM_HD_FILES = ("binned_outputs", "*feature_slice.h5")


def file_format(path: Path) -> Format:
    """Return the format of a file or folder, by its content.

    Parameters
    ----------
    path
        The file or folder.

    Raises
    ------
    ValueError
        If it has none of these formats.
    FileNotFoundError
        If there is no such file.
    OSError
        If it is damaged, or open for writing in another program.
    """
    if path.is_dir():
        if _has_one(path, XENIUM_FILES):
            return "xenium"
        if _has_one(path, VISIUM_HD_FILES):
            return "visium_hd"
    names = _root_names(path)
    if "mod" in names:
        return "mudata"
    if "tables" in names and "obs" not in names:
        return "spatialdata"
    if "matrix" in names and "obs" not in names:
        return "10x_h5"
    return "zarr" if path.is_dir() else "h5ad"


def _root_names(path: Path) -> set[str]:
    root = open_root(path)
    try:
        return set(root)
    finally:
        if path.is_file():
            root.close()


def _has_one(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def table_path(store: Path, table: str | None) -> Path:
    """Return the path of a table in a SpatialData store.

    Parameters
    ----------
    store
        The folder of the store.
    table
        Name of the table; None: the only one.

    Raises
    ------
    ValueError
        If there is no such table; or more than one, and `table` is None.
    """
    names = sorted(open_root(store)["tables"])
    if table is None and len(names) != 1:
        raise ValueError(f"A SpatialData with {len(names)} tables needs the name of one: `table` is one of {names}.")
    if table is not None and table not in names:
        raise ValueError(f"`table` must be a table of {str(store)!r}, got {table!r}; it has {names}.")
    return store / "tables" / (table or names[0])
