"""Warnings that name the line of the user, and the sample."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

# The separator excludes files beside the package whose path begins alike.
PACKAGE_DIR = f"{Path(__file__).parent}{os.sep}"


class HRCAWarning(UserWarning):
    """A warning of HRCA, which filters can tell from those of other packages."""


class DoubtfulPredictionWarning(HRCAWarning):
    """A warning about a reason to doubt predictions. The model or the prediction records its text."""


# Texts of such warnings, where they are recorded.
_RECORDED: ContextVar[list[str] | None] = ContextVar("_RECORDED", default=None)

# Name of the sample that the warnings are about; None: there is only one.
_SAMPLE: ContextVar[object] = ContextVar("_SAMPLE", default=None)


@contextmanager
def annotate_sample_warnings(name: object) -> Iterator[None]:
    """Add the name of a sample to the warnings of :func:`warn_user`.

    Parameters
    ----------
    name
        Name of the sample; None: there is only one.
    """
    token = _SAMPLE.set(name)
    try:
        yield
    finally:
        _SAMPLE.reset(token)


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Record the texts of the warnings of the class :class:`DoubtfulPredictionWarning` in a list."""
    recorded: list[str] = []
    token = _RECORDED.set(recorded)
    try:
        yield recorded
    finally:
        _RECORDED.reset(token)


def warn_user(message: str, category: type[Warning] = HRCAWarning) -> None:
    """Warn, and attribute the warning to the line outside HRCA that called into it.

    Parameters
    ----------
    message
        The text of the warning.
    category
        Its class.

    Notes
    -----
    The line is the caller of the outermost frame of HRCA: callbacks are called by Lightning, which HRCA calls itself.
    """
    if issubclass(category, DoubtfulPredictionWarning) and (recorded := _RECORDED.get()) is not None:
        recorded.append(message)
    sample = _SAMPLE.get()
    if sample is not None:
        message = f"In sample {sample!r}: {message}"
    # stacklevel 1 is this function, 2 its caller
    frame: FrameType | None = sys._getframe(1)
    level = user_level = 2
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE_DIR):
            user_level = level + 1
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=user_level)
