"""The space on the disk that results take, and its reservation.

HDF5 cannot recover from a full disk: it keeps the file open, and a later call ends the process. The space is therefore
counted before the prediction, and reserved before HDF5 opens the copy.
"""

import os
import shutil
from pathlib import Path

import pandas as pd

from ._result import AnnDataEntries

# Bytes of a string in HDF5 beside its text: a reference of 16, a header of 16 in the heap, and up to 7 for alignment.
STRING_BYTES = 40

# Bytes of a number in obs or obsm: float32, or the code of a category; and of a number of any type.
TABLE_VALUE_BYTES, OBS_VALUE_BYTES = 4, 8

# Bytes of a column beside its values. In HDF5 its header and attributes take 1 kB (h5py 3.16).
COLUMN_BYTES = 2_048

# Columns of obs that a prediction writes at most, and entries of uns.
N_OBS_COLUMNS, N_UNS_ENTRIES = 8, 40

# Bytes of the warnings in uns, and of the groups of a new file.
OTHER_BYTES = 1_000_000

# Relative margin for HDF5's heaps and trees.
MARGIN = 1.1

# Bytes that are written at once where the system cannot reserve space.
BLOCK_BYTES = 1_000_000


def expected_bytes(obs_names: pd.Index, labels: list[str], n_tables: int) -> int:
    """Return an upper bound of the bytes that the results of a prediction take.

    Parameters
    ----------
    obs_names
        Names of the cells.
    labels
        The labels that the model can return.
    n_tables
        Number of tables in obsm: probabilities, and sets.
    """
    return _upper_bound(obs_names, labels, N_OBS_COLUMNS, [len(labels)] * n_tables)


def entries_bytes(entries: AnnDataEntries) -> int:
    """Return an upper bound of the bytes that entries take in a file."""
    categories = [
        str(category)
        for _, column in entries.obs.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
        for category in column.cat.categories
    ]
    labels = [str(name) for table in entries.obsm.values() for name in table.columns]
    widths = [table.shape[1] for table in entries.obsm.values()]
    return _upper_bound(entries.obs.index, [*categories, *labels], entries.obs.shape[1], widths)


def _upper_bound(obs_names: pd.Index, labels: list[str], n_obs_columns: int, widths: list[int]) -> int:
    n_obs = len(obs_names)
    values = n_obs * (n_obs_columns * OBS_VALUE_BYTES + sum(widths) * TABLE_VALUE_BYTES)
    names = len(widths) * (n_obs * STRING_BYTES + _text_bytes(obs_names))
    # each categorical column and uns hold the labels
    label_names = (n_obs_columns + 2) * (len(labels) * STRING_BYTES + _text_bytes(labels))
    columns = (n_obs_columns + N_UNS_ENTRIES + sum(widths)) * COLUMN_BYTES
    return int((values + names + label_names + columns) * MARGIN) + OTHER_BYTES


def _text_bytes(names: pd.Index | list[str]) -> int:
    return sum(len(str(name).encode(errors="replace")) for name in names)


def check_disk_space(folder: Path, needed: int) -> None:
    """Raise an error if a folder's disk lacks space for a copy with results.

    Parameters
    ----------
    folder
        The folder of the file.
    needed
        Bytes of the copy.

    Raises
    ------
    OSError
        If fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"The results are written into a copy beside the file, which needs {_size(needed)} in "
            f"{str(folder)!r}, but {_size(free)} are free. `key_added=None` writes nothing, and returns the "
            "labels."
        )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def reserve(path: Path, n_bytes: int) -> None:
    """Reserve space at the end of a file, in which HDF5 can write. HDF5 gives back what it did not need.

    Parameters
    ----------
    path
        The file.
    n_bytes
        Number of bytes.

    Raises
    ------
    OSError
        If the disk or a quota lacks this space, or the file would exceed a limit of its size.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if hasattr(os, "posix_fallocate"):
            # from the first byte: HDF5 may also write into holes of the file
            os.posix_fallocate(file.fileno(), 0, size + n_bytes)
            return
        for start in range(0, n_bytes, BLOCK_BYTES):  # macOS and Windows
            file.write(bytes(min(BLOCK_BYTES, n_bytes - start)))
