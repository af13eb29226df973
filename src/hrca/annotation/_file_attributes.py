"""Owner, permissions and state of a file that a copy replaces."""

import hashlib
import os
import shutil
import stat
from pathlib import Path

from hrca._warnings import warn_user

WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def check_not_read_only(paths: list[Path]) -> None:
    """Raise an error if a file or folder is read-only, which a copy would replace nevertheless.

    Parameters
    ----------
    paths
        The file, or the folders of a store.

    Raises
    ------
    PermissionError
        If one of them has no permission to write, or not for this user.
    """
    for path in paths:
        # the administrator may write what has no write permission, but its owner did not mean that
        if not path.stat().st_mode & WRITE_BITS or not os.access(path, os.W_OK):
            raise PermissionError(
                f"Results are written into a file that may be changed, but {str(path)!r} is read-only. Allow it to be "
                "written (`chmod u+w`), predict a copy, or use `key_added=None`, which writes nothing and returns the "
                "labels."
            )


def file_state(path: Path) -> str:
    """Return a digest that changes when a program writes into a file, or into any file of a store.

    Parameters
    ----------
    path
        The file or folder. Files are not read: their identity, size and time of change are compared.
    """
    digest = hashlib.sha256()
    for file in (path, *sorted(path.rglob("*"))):
        try:
            found = file.stat()
        except FileNotFoundError:  # deleted since it was listed
            continue
        digest.update(repr((str(file), found.st_ino, found.st_size, found.st_mtime_ns)).encode(errors="replace"))
    return digest.hexdigest()


def keep_attributes(source: Path, copy: Path) -> None:
    """Give a copy the owner and the permissions of a file or folder, and all that it contains.

    Parameters
    ----------
    source
        The file, or the outermost folder of a store.
    copy
        Its copy. What was added to a store gets the owner of the folder that it is in.
    """
    n_others = sum(not _keep_attributes(source, copy, path) for path in (copy, *copy.rglob("*")))
    if source.is_file():
        shutil.copystat(source, copy)  # also lists of access rights
        os.utime(copy)
    if n_others:
        warn_user(
            f"{str(source)!r} belongs to another user. The file with the results belongs to you: only an administrator "
            "may give a file to another user."
        )


def _keep_attributes(source: Path, copy: Path, path: Path) -> bool:
    """Set the owner and the permissions of one file or folder, and return whether it has the owner of its origin."""
    origin = source / path.relative_to(copy)
    is_added = not origin.exists()
    while not origin.exists():
        origin = origin.parent
    found, now = origin.stat(), path.stat()
    has_owner = _set_owner(path, found, now)
    mode = stat.S_IMODE(now.st_mode if is_added else found.st_mode)
    if stat.S_IMODE(path.stat().st_mode) != mode:  # a change of the owner clears some permissions
        path.chmod(mode)
    return has_owner


def _set_owner(path: Path, found: os.stat_result, now: os.stat_result) -> bool:
    """Set owner and group, or only the group, and return whether the owner is the one that was found."""
    if not hasattr(os, "chown") or (now.st_uid, now.st_gid) == (found.st_uid, found.st_gid):
        return True
    for owner in (found.st_uid, -1):
        try:
            os.chown(path, owner, found.st_gid)
        except PermissionError:  # another user, or a group that the user is not in
            continue
        break
    return path.stat().st_uid == found.st_uid
