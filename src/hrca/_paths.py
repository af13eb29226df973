"""Paths that a user gives."""

import os
from pathlib import Path


def user_path(path: str | Path) -> Path:
    """Return a path with ``~`` at its start replaced by the home directory.

    Parameters
    ----------
    path
        The path. One that begins with a ``~`` that is no one's home stays as it is, which ``Path.expanduser`` refuses.

    Examples
    --------
    >>> user_path("~/hub") == Path.home() / "hub"
    True
    >>> user_path("models/~1").as_posix()
    'models/~1'
    """
    return Path(os.path.expanduser(path))
