"""What surrounds the work of a command: threads, messages, and stdout for results alone."""

import contextlib
import importlib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

import typer

from hrca._warnings import HRCAWarning

from ._progress import SparseProgress
from ._shell_words import message_text

# Variables that libraries of linear algebra read when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

# Loggers of libraries whose messages do not concern a user of the command.
LIBRARIES = ("lightning", "lightning.pytorch", "lightning.fabric", "scvi", "scanpy", "numba", "jax", "matplotlib")


class ShellFormatter(logging.Formatter):
    """Write messages in the words of the shell."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a message."""
        return message_text(super().format(record))


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads of libraries that are not yet loaded.

    Parameters
    ----------
    threads
        The number; None: theirs.

    Raises
    ------
    ValueError
        If it is below 1.
    """
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    # numba reads it at each compilation, and raises an error if its threads have been started with another number
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)


@contextlib.contextmanager
def redirect_output(flags: Mapping[str, Any]) -> Iterator[None]:
    """Send what is printed meanwhile to stderr, and hide the messages of other libraries.

    Parameters
    ----------
    flags
        Values of the flags; ``threads`` and ``quiet`` are used.
    """
    use_threads(flags.get("threads"))
    loggers = [logging.getLogger(name) for name in ("hrca", *LIBRARIES)]
    levels = [logger.level for logger in loggers]
    formatters = [(handler, handler.formatter) for handler in loggers[0].handlers]
    for handler, _ in formatters:
        handler.setFormatter(ShellFormatter())
    if flags.get("quiet"):
        loggers[0].setLevel(logging.WARNING)
    stderr = sys.stderr if sys.stderr.isatty() else cast(TextIO, SparseProgress(sys.stderr))
    try:
        with contextlib.redirect_stdout(stderr), contextlib.redirect_stderr(stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", HRCAWarning)
            warnings.showwarning = show_warning
            importlib.import_module("hrca.model")
            # Lightning sets the level of its loggers when it is loaded
            for logger in loggers[1:]:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for handler, formatter in formatters:
            handler.setFormatter(formatter)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Write a warning of HRCA to stderr in one line, without the place in the source; those of others nowhere."""
    del filename, lineno, file, line
    if issubclass(category, HRCAWarning):
        sys.stderr.write(f"hrca: warning: {' '.join(message_text(str(message)).split())}\n")


def show(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Write a result to stdout.

    Parameters
    ----------
    result
        The result in plain values, paths and numbers of numpy. JSON has null for a number that is not finite.
    text
        The same for a reader.
    as_json
        Whether JSON is written in place of the text.
    """
    typer.echo(json.dumps(_plain(result), indent=2, allow_nan=False, ensure_ascii=False) if as_json else text)


def _plain(value: Any) -> Any:
    """Return a result in values that JSON has."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
