"""The command ``hrca``: parse arguments, call a function, print its result, exit with a code."""

import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer

from . import annotate, check, demo, evaluate, info, report, train
from ._errors import ExitCode, exit_code, report_error
from ._flags import flag_names
from ._shell_words import speak_flags

# Modules of the commands in the order of the help. Each has a function of its name, and its examples.
COMMANDS: dict[str, Any] = {
    "annotate": annotate,
    "train": train,
    "check": check,
    "evaluate": evaluate,
    "report": report,
    "info": info,
    "demo": demo,
}

app = typer.Typer(
    help="HRCA: cell types and their confidence for sparse spatial transcriptomics.",
    epilog="hrca annotate --help has examples. Exit codes: 0 done, 1 a fault of HRCA, 2 wrong options, 3 an input that "
    "is missing or not valid, 4 a file that cannot be read or written, 5 a missing package, 130 interrupted.",
    add_completion=False,
    no_args_is_help=True,
    # a fault shows Python's own traceback, and main() shows everything else
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"hrca {version('hrca')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the name of a command."""
    del show_version  # its callback has printed it


def _add(name: str) -> None:
    command: Callable[..., None] = getattr(COMMANDS[name], name)
    examples = "\n\n".join(f"`{line}`" for line in COMMANDS[name].EXAMPLES.strip().split("\n\n"))
    help_text = f"{inspect.getdoc(command)}\n\n**Examples**\n\n{examples}"
    app.command(name, help=help_text, no_args_is_help=name != "demo")(command)


for _name in COMMANDS:
    _add(_name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code.

    Parameters
    ----------
    arguments
        What follows ``hrca`` in the shell; None: that of the process.

    Returns
    -------
    The exit code, see :class:`hrca.cli._errors.ExitCode`.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    name = next((word for word in given if word in COMMANDS), "")
    flags = flag_names(getattr(COMMANDS[name], name)) if name else {}
    try:
        with speak_flags(flags):
            code = app(given, prog_name="hrca", standalone_mode=False) or ExitCode.DONE
        if code == ExitCode.INTERRUPTED:  # typer has caught the error, without a word
            raise KeyboardInterrupt
        return code
    except (Exception, KeyboardInterrupt) as error:  # what HRCA did not foresee is raised again
        code = exit_code(error)
        if code is ExitCode.FAULT:
            raise
        report_error(error, flags)
        return code
