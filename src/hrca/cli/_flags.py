"""Flags that stand for parameters of Python, and functions that take groups of them.

A command with the options of training and prediction has some fifty flags. Each is described once, as a row of a table,
with the parameter that it stands for. Nothing here imports torch, so that help answers at once.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

import typer

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Flag:
    """A flag that stands for a parameter of a Python function.

    Attributes
    ----------
    parameter
        Name of the parameter.
    kind
        Type of the flag's value.
    default
        Value without the flag.
    help
        Text of the help.
    panel
        Heading above the flag in the help.
    name
        Name of the flag with underscores where it is not that of the parameter; "": that of the parameter.
    convert
        Function from the flag's value to the parameter's; None: they are the same.
    """

    parameter: str
    kind: Any
    default: Any
    help: str
    panel: str
    name: str = ""
    convert: Callable[[Any], Any] | None = None

    @property
    def key(self) -> str:
        """Name of the flag with underscores."""
        return self.name or self.parameter

    @property
    def text(self) -> str:
        """The flag as a user writes it."""
        return "--" + self.key.replace("_", "-")

    def option(self) -> inspect.Parameter:
        """Return the flag as a parameter that typer reads."""
        # named, since typer would add --no-resume to --resume
        shows_default = self.default not in (None, False)
        annotated: Any = Annotated  # a type checker would read the subscript as a type
        info = typer.Option(self.text, help=self.help, rich_help_panel=self.panel, show_default=shows_default)
        annotation = annotated[self.kind, info]
        return inspect.Parameter(self.key, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=annotation)


def add_flags(*groups: tuple[Flag, ...]) -> Callable[[F], F]:
    """Return a decorator that gives a command the flags of groups, in the place of its ``**flags``.

    Parameters
    ----------
    groups
        Groups of flags. A flag that several groups have is taken once. A parameter of the command's own replaces the
        flag of its name.
    """

    def decorate(command: F) -> F:
        signature = inspect.signature(command)
        named = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        flags = {flag.key: flag for group in groups for flag in group}
        options = [flag.option() for flag in flags.values() if flag.key not in signature.parameters]
        command.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
        command.flags = flags  # type: ignore[attr-defined]
        return command

    return decorate


def arguments_of(group: tuple[Flag, ...], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a Python function that flags stand for.

    Parameters
    ----------
    group
        The flags of the function.
    flags
        Values by the names of the flags, also of other groups.

    Raises
    ------
    ValueError
        If a value cannot be read, such as a file that is not JSON.
    FileNotFoundError
        If a value names a file that does not exist.
    """
    arguments = {}
    for flag in group:
        value = flags[flag.key]
        arguments[flag.parameter] = _converted(flag, value) if flag.convert and value is not None else value
    return arguments


def _converted(flag: Flag, value: Any) -> Any:
    """Return the argument that a value of a flag stands for; an error names the flag."""
    convert = cast(Callable[[Any], Any], flag.convert)
    try:
        return convert(value)
    except (ValueError, FileNotFoundError) as error:
        between = " " if str(error).startswith("must ") else ": "
        raise type(error)(f"`{flag.text}`{between}{error}") from error


def changed_flags(group: tuple[Flag, ...], flags: Mapping[str, Any]) -> list[str]:
    """Return the flags of a group that have another value than their default, as a user writes them."""
    return [flag.text for flag in group if flags[flag.key] != flag.default]


def flag_names(command: Callable[..., Any]) -> dict[str, list[str]]:
    """Return the flags of a command by the parameter that they stand for, as a user writes them.

    Parameters
    ----------
    command
        The function of the command.
    """
    names: dict[str, list[str]] = {}
    flags: Mapping[str, Flag] = getattr(command, "flags", {})
    for flag in flags.values():
        names.setdefault(flag.parameter, []).append(flag.text)
    for name, parameter in inspect.signature(command).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in flags:
            names.setdefault(name, ["--" + name.replace("_", "-")])
    return names
