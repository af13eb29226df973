"""Say the errors and warnings of the Python functions in the words of the shell: flags, files and commands."""

import contextlib
import re
import shlex
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from ._flags import Flag

FORMATS = "an h5ad, h5mu or 10x h5 file, a zarr folder, or the folder of a Xenium or Visium HD"

# What a message says to a user of Python, as a pattern, and what it says to a user of the shell.
PHRASES = {
    r", or None to pre-train without labels": "",
    r"; None holds out a fraction of the cells instead": "; without it, a fraction of the cells is held out",
    r" or None, got": ", got",
    # a flag that is left out has no value that was given
    r", got None(?=\.)": "",
    r"Name the folder that `model\.save` wrote, and its `prefix` if it had one\.": (
        "Name a folder that `hrca train --out` or `hrca annotate --save-model` wrote."
    ),
    r"set up and train a new one on `reference\[:, reference\.var_names\.isin\(query\.var_names\)\]\.copy\(\)`\.": (
        "`hrca annotate --reference` or `hrca train --genes-of` trains one."
    ),
    r"`reference\[:, reference\.var_names\.isin\(query\.var_names\)\]\.copy\(\)`"
    r"(?:, then `HRCA\.setup_anndata` on that)?\.": ("`hrca annotate --reference`, or `hrca train --genes-of`."),
    r"as `model\.save` wrote": "as HRCA wrote",
    r"A file must be an h5ad file or a zarr folder, but (.+) is neither\. Read it with the function for its format, "
    r"e\.g\. .*, and pass the AnnData\.": rf"Cells must be {FORMATS}, but \1 is none of these. {{convert}}",
    r"; `model\.[^`]+` adds the rest": "",
    r" `HRCA\.load\(path, adata=reference\)` loads it with a reference of yours\.": "",
    r"`accelerator='(\w+)'`": r"`--device \1`",
    r"is not one\. Read it with the function for its format, and pass the AnnData": (
        "is not one. Make an h5ad file of it first"
    ),
    r"Put the counts into a layer, from the file that they came in: `adata\.layers\['counts'\] = \.\.\.`, before "
    r"normalising\.": "Give a file that has the raw counts, as they were before normalising.",
}

# Functions that read a table with a row for each cell, by the end of the file's name.
TABLE_READERS = {
    ".csv": "scanpy.read_csv({path!r})",
    ".tsv": "scanpy.read_text({path!r}, delimiter=chr(9))",
    ".loom": "scanpy.read_loom({path!r})",
}

READS_IT = re.compile(r"`(?P<module>\w+)\.(?P<name>\w+)\(path\)` reads (?:it|that); pass that")

# Statements that change cells: one, or several with "then" between. An ellipsis is not the user's value.
CHANGE = r"`adata[^`=]* = (?!\.\.\.)[^`]+`"
CHANGES = re.compile(rf"(?:{CHANGE}, then )*{CHANGE}")

# A table or matrix of the cells, which a file also has.
SLOT = re.compile(r"`adata\.(?P<slot>(?:X|layers|obs|obsm|raw|uns|var)(?:_names)?(?:\[[^`\]]+\])?)`")

# A call with one argument that matters. A message that a report repeats may also name its flag.
CALL = re.compile(r"`[\w.]+\((?:[^`()=]+, )?(?P<name>\w+)=(?P<value>[^`(),]+)\)`")
BOTH_WORDS = re.compile(r"`(?P<command>hrca annotate )?(?P<flag>--[^`]+)`, in the shell `hrca annotate (?P=flag)`,?")
PARAMETER = re.compile(r"`(?P<name>\w+)(?:=(?P<value>[^`]*))?`")


@dataclass(frozen=True)
class Subject:
    """What a message is about.

    Attributes
    ----------
    path
        The file, as the user named it; None: not known.
    opened
        The copy of it that was read; None: the file itself.
    flags
        Flags by parameter, where a command has two flags for one parameter and one of them is meant.
    """

    path: Path | None = None
    opened: Path | None = None
    flags: Mapping[str, list[str]] = field(default_factory=dict)


# The subject of the work in progress, for warnings, and the flags of the command.
_subject: ContextVar[Subject] = ContextVar("_subject", default=Subject())  # noqa: B039 - frozen
_flags: ContextVar[Mapping[str, list[str]] | None] = ContextVar("_flags", default=None)


@contextlib.contextmanager
def speak_flags(flags: Mapping[str, list[str]]) -> Iterator[None]:
    """Set the flags that warnings name, by the parameter that they stand for."""
    token = _flags.set(flags)
    try:
        yield
    finally:
        _flags.reset(token)


@contextlib.contextmanager
def naming_file(
    path: Path | None, group: tuple[Flag, ...] = (), opened: Path | None = None, *, command: str = ""
) -> Iterator[None]:
    """Let errors and warnings of a part of the work name the file that they are about.

    Parameters
    ----------
    path
        The file, as the user named it; None: several.
    group
        Flags that a parameter in a message stands for, where the command has others of the same parameter.
    opened
        The copy of the file that is read; None: the file itself.
    command
        The command that has these flags, such as "hrca annotate"; "": the one that runs.
    """
    subject = Subject(path, opened, {flag.parameter: [f"{command} {flag.text}".strip()] for flag in group})
    token = _subject.set(subject)
    try:
        yield
    except (ValueError, TypeError, LookupError, OSError) as error:
        vars(error).setdefault("subject", subject)
        raise
    finally:
        _subject.reset(token)


def message_text(text: str) -> str:
    """Return a warning, a note or a message of the work in progress in the words of the shell."""
    return _in_shell_words(text, _flags.get() or {}, _subject.get())


def error_lines(error: BaseException, text: str, flags: Mapping[str, list[str]]) -> list[str]:
    """Return an error in the words of the shell: a line, and others with its notes and its file.

    Parameters
    ----------
    error
        The error; :func:`naming_file` has given it its subject.
    text
        Its text.
    flags
        Flags of the command, as a user writes them, by the parameter that they stand for.
    """
    subject: Subject = vars(error).get("subject", Subject())
    lines = [_in_shell_words(text, flags, subject), *getattr(error, "__notes__", [])]
    # a missing file is named by its error, and may be another
    is_named = isinstance(error, FileNotFoundError) or any(str(subject.path) in line for line in lines)
    if subject.path is not None and not is_named:
        lines.append(f"The cells are those of {str(subject.path)!r}.")
    return lines


def _in_shell_words(text: str, flags: Mapping[str, list[str]], subject: Subject) -> str:
    path = subject.path
    if path is not None and subject.opened not in (None, path):
        for opened in (subject.opened.resolve(), subject.opened):
            text = text.replace(str(opened), str(path))
    elif path is not None:
        text = text.replace(repr(str(path.resolve())), repr(str(path)))
    own_flags = {name for names in (*flags.values(), *subject.flags.values()) for name in names}
    for pattern, phrase in PHRASES.items():
        # another command may have a flag that this one lacks
        if own_flags.issuperset(re.findall(r"`(--[a-z-]+)", phrase)):
            text = re.sub(pattern, phrase, text)
    text = text.replace("{convert}", _conversion(path))
    text = READS_IT.sub(
        lambda match: f"{_reading(match['module'], match['name'], path)} makes an h5ad file of it", text
    )
    text = CHANGES.sub(lambda match: _one_liner(match[0], path), text)
    text = SLOT.sub(lambda match: f"`{match['slot']}`", text)
    return in_shell_words(text, {**flags, **subject.flags})


def _one_liner(changes: str, path: Path | None) -> str:
    """Return a command that makes changes of Python to the cells of a file, and writes them to another."""
    given = Path("FILE.h5ad") if path is None else path
    steps = "; ".join(re.findall(r"`([^`]+)`", changes))
    modules = "hrca, numpy as np" if "np." in steps else "hrca"
    return _python(
        f"import {modules}; adata = hrca.io.read_cells({str(given)!r}); {steps}; "
        f"hrca.io.write_cells(adata, {str(_written(given, '_mended'))!r})"
    )


def _conversion(path: Path | None) -> str:
    reader = None if path is None else TABLE_READERS.get(path.suffix.lower())
    if path is None or reader is None:
        return "Make an h5ad file of it first, by the program that wrote it or by `scanpy`."
    call = reader.format(path=str(path))
    command = _python(f"import scanpy; {call}.write_h5ad({str(_written(path))!r})")
    return f"If it has a row for each cell and a column for each gene, {command} makes an h5ad file of it."


def _reading(module: str, name: str, path: Path | None) -> str:
    given = Path("FILE") if path is None else path
    part = "['rna']" if module == "mudata" else ""
    written = _written(given, "_new" if given.suffix == ".h5ad" else "")
    return _python(f"import {module}; {module}.{name}({str(given)!r}){part}.write_h5ad({str(written)!r})")


def _written(path: Path, ending: str = "") -> Path:
    return path.with_name(f"{path.stem}{ending}.h5ad")


def _python(code: str) -> str:
    """Return a command of the shell that runs code; in double quotes where the code has no sign that they expand."""
    quoted = shlex.quote(code) if re.search(r'["$`\\!]', code) else f'"{code}"'
    return f"`python -c {quoted}`"


def in_shell_words(text: str, flags: Mapping[str, list[str]]) -> str:
    """Replace the parameters of Python in a message by the flags of the command.

    Parameters
    ----------
    text
        The message.
    flags
        See :func:`error_lines`.

    Examples
    --------
    >>> flags = {"labels_key": ["--labels-key"], "resume": ["--resume"], "open_set": ["--no-open-set"]}
    >>> in_shell_words("`labels_key` must be a column, not `labels_key='x'`", flags)
    '`--labels-key` must be a column, not `--labels-key x`'
    >>> in_shell_words("`resume=True`, `open_set=False`, `adata.X`", flags)
    '`--resume`, `--no-open-set`, `adata.X`'
    >>> in_shell_words('a smaller size, `HRCA(adata, size="laptop")`', {"size": ["--size"]})
    'a smaller size, `--size laptop`'
    """

    def replace(match: re.Match[str]) -> str:
        names, value = flags.get(match["name"], []), match["value"]
        if value in ("True", "False"):
            names = [name for name in names if ("--no-" in name) == (value == "False")]
        if not names or value == "None":
            return match[0]
        shown = "" if value in (None, "True", "False") else " " + shlex.quote(value.strip("'\""))
        return " or ".join(f"`{name}{shown}`" for name in names)

    def argument(match: re.Match[str]) -> str:
        if match["name"] not in flags:
            return match[0]
        return f"`{match['name']}`" if match["value"] == "..." else f"`{match['name']}={match['value']}`"

    return BOTH_WORDS.sub(r"`\g<command>\g<flag>`", PARAMETER.sub(replace, CALL.sub(argument, text)))
