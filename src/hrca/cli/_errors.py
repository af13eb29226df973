"""Exit codes, and errors in one or two lines: those of the input, and what the system does not allow."""

import dis
import sys
from collections.abc import Mapping
from enum import IntEnum

import typer

from ._shell_words import error_lines

# The class above all errors of the command line, which typer does not export; before typer 0.20 it is click's.
USAGE_ERROR: type[Exception] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


def usage_error(text: str) -> Exception:
    """Return an error of the command line: options that do not go together."""
    return USAGE_ERROR(text)


# Errors that HRCA raises for its input, where one of its own `raise` statements made them.
INPUT_ERRORS = (ValueError, TypeError, LookupError, ImportError)

RAISE, PACKAGE = dis.opmap["RAISE_VARARGS"], __name__.partition(".")[0]


class ExitCode(IntEnum):
    """Exit codes of the command, which docs/command_line.md lists."""

    DONE = 0
    FAULT = 1
    USAGE = 2
    INPUT = 3
    FILES = 4
    MISSING_PACKAGE = 5
    INTERRUPTED = 130


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code of an error; FAULT for one that HRCA did not foresee, which needs its traceback."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, USAGE_ERROR):
        return ExitCode.USAGE
    if isinstance(error, FileNotFoundError):
        return ExitCode.INPUT
    if isinstance(error, OSError):
        return ExitCode.FILES
    if isinstance(error, INPUT_ERRORS) and is_raised_by_hrca(error):
        return ExitCode.MISSING_PACKAGE if isinstance(error, ImportError) else ExitCode.INPUT
    return ExitCode.FAULT


def is_raised_by_hrca(error: BaseException) -> bool:
    """Return whether a `raise` statement of HRCA made an error, and not code that it called or a faulty expression."""
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    return package == PACKAGE and frame.f_code.co_code[traceback.tb_lasti] == RAISE


def report_error(error: BaseException, flags: Mapping[str, list[str]]) -> None:
    """Write an error to stderr: a line, and one for its notes.

    Parameters
    ----------
    error
        The error.
    flags
        Flags of the command, as a user writes them, by the parameter that they stand for.
    """
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        lines = ["interrupted"]
    else:
        text = error.format_message() if isinstance(error, USAGE_ERROR) else _text(error)  # type: ignore[attr-defined]
        first, *others = error_lines(error, text, flags)
        lines = [f"error: {first}", *others]
    sys.stderr.write("".join(f"hrca: {' '.join(line.split())}\n" for line in lines))


def _text(error: BaseException) -> str:
    # str() of a KeyError is the repr of its text
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
