"""One writer at a time for a file; copies that killed writers left; other programs that have the file open."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from hrca._warnings import warn_user

try:
    import fcntl
except ImportError:  # Windows, which does not replace an open file
    fcntl = None  # type: ignore[assignment]

# Seconds to wait for other writers of a file: long enough for several copies of some hundred gigabytes.
LOCK_TIMEOUT_S = 3_600.0

# Any user may lock a file that they may replace.
LOCK_MODE = 0o666


@contextmanager
def write_lock(path: Path, timeout: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Exclude other writers of HRCA from a file, and remove the copies that killed writers left.

    Parameters
    ----------
    path
        The file, or the outermost folder of a store.
    timeout
        Seconds to wait for another writer.

    Raises
    ------
    TimeoutError
        If another writer does not finish in this time.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), mode=LOCK_MODE)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise TimeoutError(
            f"Results are written into a file by one process at a time, but another process has been writing into "
            f"{str(path)!r} for {timeout:.0f} seconds. Predict again when it has finished."
        ) from error
    try:
        _remove_leftovers(path)
        yield
    finally:
        # A process that waits notices that its lock file is gone, and makes a new one (filelock 4). Where the system
        # has no locks, the file is the lock, and filelock removes it.
        if not isinstance(lock, SoftFileLock):
            with suppress(OSError):  # Windows does not remove an open file
                os.unlink(lock.lock_file)
        lock.release()


def remove_leftovers(path: Path) -> None:
    """Remove the copies that killed writers left beside a file, unless a process is writing.

    Parameters
    ----------
    path
        The file, or the outermost folder of a store.
    """
    with suppress(TimeoutError), write_lock(path, timeout=0):
        pass


def _remove_leftovers(path: Path) -> None:
    copy_name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.tmp")  # as `tempfile` makes them
    for copy in path.parent.iterdir():
        if not copy_name.fullmatch(copy.name):
            continue
        if (copy / path.name).exists() and (copy / f"{path.name}.old").exists():
            continue  # killed between two renames: this folder had the only copy of the user's store
        if copy.is_dir():
            shutil.rmtree(copy, ignore_errors=True)
        else:
            copy.unlink(missing_ok=True)


@contextmanager
def no_other_writer(path: Path) -> Iterator[None]:
    """Exclude other programs that write an HDF5 file, by HDF5's own lock. Warn if a program reads it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OSError
        If the file is open for writing.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        is_alone = _try_lock(handle, fcntl.LOCK_EX)
        if not _try_lock(handle, fcntl.LOCK_SH):
            raise _open_for_writing(path)
        if not is_alone:
            warn_user(
                f"{str(path)!r} is open for reading in another program or variable. It reads the file as it was before "
                "the results were written. Open it again to read them."
            )
        yield
    finally:
        os.close(handle)


def check_no_writer(path: Path) -> None:
    """Raise an error if an HDF5 file is open for writing, see :func:`no_other_writer`.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OSError
        If the file is open for writing.
    """
    if fcntl is None:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        is_free = _try_lock(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)
    if not is_free:
        raise _open_for_writing(path)


def _open_for_writing(path: Path) -> OSError:
    return OSError(
        f"Results are written into a file that no other program writes to, but {str(path)!r} is open for writing. "
        "Close it there, e.g. `adata.file.close()` for an AnnData with `backed='r+'`, and predict again."
    )


def _try_lock(handle: int, kind: int) -> bool:
    """Return whether a lock was free. Where the file system has no locks, it is."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
