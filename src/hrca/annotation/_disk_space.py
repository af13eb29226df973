"""The space on the disk that results take, and its reservation.

HDF5 cannot recover from a full disk: it keeps the file open, and a later call ends the process. The space is therefore
counted before the prediction, and reserved before HDF5 opens the copy.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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

# Errors of a system that has no more space for a file: on the disk, in a quota, or below a limit of the size of a file.
FULL_DISK_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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
        raise _no_space(folder, needed, f"{_size(free)} are free")


@contextmanager
def full_disk_errors(folder: Path, needed: int) -> Iterator[None]:
    """Name the space that a copy with results needs if the system has too little.

    Parameters
    ----------
    folder
        The folder of the copy.
    needed
        Bytes of the copy.

    Raises
    ------
    OSError
        ENOSPC, if the disk or a quota lacks the space, or the copy would exceed a limit of the size of a file.
    """
    free = shutil.disk_usage(folder).free
    try:
        yield
    except OSError as error:
        code = _full_disk_code(error)
        if code is None:
            raise
        available = (
            f"{_size(free)} are free" if code == errno.ENOSPC else f"the system allows less: {os.strerror(code)}"
        )
        raise _no_space(folder, needed, available) from error


def _full_disk_code(error: OSError) -> int | None:
    if isinstance(error, shutil.Error):  # of a folder: the errors of its files, as texts
        reasons = str(error)
        return next((code for code in FULL_DISK_CODES if f"[Errno {code}]" in reasons), None)
    return error.errno if error.errno in FULL_DISK_CODES else None


def _no_space(folder: Path, needed: int, available: str) -> OSError:
    return OSError(
        errno.ENOSPC,
        f"The results are written into a copy beside the file, which needs {_size(needed)} in {str(folder)!r}, but "
        f"{available}. Free space, or use `key_added=None`, which writes nothing and returns the labels.",
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def copy_with_space(path: Path, copy: Path, n_bytes: int) -> None:
    """Copy a file, and reserve space at the end of the copy.

    Parameters
    ----------
    path
        The file.
    copy
        The copy.
    n_bytes
        Number of bytes to reserve.

    Raises
    ------
    OSError
        ENOSPC, if there is too little space for both; any other, if the file cannot be copied.
    """
    with full_disk_errors(copy.parent, path.stat().st_size + n_bytes):
        shutil.copyfile(path, copy)
    reserve(copy, n_bytes)


def reserve(path: Path, n_bytes: int) -> None:
    """Reserve space at the end of a file, in which HDF5 can write. HDF5 gives back the space that it did not need.

    Parameters
    ----------
    path
        The file.
    n_bytes
        Number of bytes.

    Raises
    ------
    OSError
        ENOSPC, if the disk or a quota lacks this space, or the file would exceed a limit of its size.
    """
    size = path.stat().st_size
    with full_disk_errors(path.parent, size + n_bytes), path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            # from the first byte: HDF5 may also write into holes of the file
            os.posix_fallocate(file.fileno(), 0, size + n_bytes)
            return
        file.seek(0, os.SEEK_END)
        for start in range(0, n_bytes, BLOCK_BYTES):  # macOS and Windows
            file.write(bytes(min(BLOCK_BYTES, n_bytes - start)))
