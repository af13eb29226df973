"""Convert what a user can write in a shell, text and names of files, into arguments of Python."""

import io
import json
from pathlib import Path
from typing import Any

from hrca._paths import user_path

# Spreadsheets begin a text file with a mark of the byte order, which this encoding skips.
ENCODING = "utf-8-sig"


def parse_widths(text: str) -> tuple[int, ...]:
    """Return numbers that are separated by commas.

    Examples
    --------
    >>> parse_widths("128,64")
    (128, 64)
    """
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise ValueError(f"Widths must be whole numbers between commas, such as 128,64, got {text!r}.") from error


def parse_json_object(text: str) -> dict[str, Any]:
    """Return a JSON object.

    Examples
    --------
    >>> parse_json_object('{"precision": "bf16-mixed"}')
    {'precision': 'bf16-mixed'}
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"""Arguments must be a JSON object, such as '{{"lr": 0.01}}', got {text!r}.""") from error
    if not isinstance(value, dict):
        raise ValueError(f"""Arguments must be a JSON object, such as '{{"lr": 0.01}}', got {text!r}.""")
    return value


def existing_file(path: Path) -> Path:
    """Return the path of a file that exists.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    return path


def read_text_table(path: Path) -> dict[str, str]:
    """Return a table of two columns of text from a JSON object, or a file whose columns a comma or a tab separates.

    Parameters
    ----------
    path
        The file, without headings of the columns.

    Raises
    ------
    ValueError
        If the file is not of this form.
    FileNotFoundError
        If there is no such file.
    """
    import pandas as pd  # help answers without it

    existing_file(path)
    try:
        text = path.read_text(encoding=ENCODING)
        if path.suffix == ".json":
            return {str(key): str(value) for key, value in json.loads(text).items()}
        separator = "\t" if "\t" in text else ","
        table = pd.read_csv(io.StringIO(text), sep=separator, header=None, dtype=str, keep_default_na=False)
    except (ValueError, AttributeError) as error:  # of the encoding, of JSON and of pandas
        form = "a JSON object of names" if path.suffix == ".json" else "a table"
        raise ValueError(f"{str(path)!r} must hold {form}, but does not: {error}.") from error
    if table.shape[1] != 2 or (table.isna() | (table == "")).any(axis=None):
        raise ValueError(f"{str(path)!r} must have two columns, with a comma or a tab between, in each row.")
    return dict(zip(table[0].str.strip(), table[1].str.strip(), strict=True))


def read_positions(path: Path) -> list[int]:
    """Return the whole numbers in a text file, one on each line.

    Raises
    ------
    ValueError
        If a line is no whole number.
    FileNotFoundError
        If there is no such file.
    """
    existing_file(path)
    try:
        return [int(line) for line in path.read_text(encoding=ENCODING).split()]
    except ValueError as error:
        raise ValueError(f"{str(path)!r} must have a whole number on each line, but does not: {error}.") from error


def parse_hierarchy(text: str) -> Any:
    """Return a hierarchy of labels: a table of parents, columns of obs, a file of an ontology, or a separator.

    Parameters
    ----------
    text
        The name of a file that ends with .json, .csv or .tsv and has child and parent, or with .obo; columns between
        commas; or a separator.

    Raises
    ------
    ValueError
        If a table is not of two columns, or has headings.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> parse_hierarchy("class,subclass,type"), parse_hierarchy("/")
    (['class', 'subclass', 'type'], '/')
    """
    path = user_path(text)
    if path.suffix in (".json", ".csv", ".tsv"):
        parents = read_text_table(path)
        if parents.get("child") == "parent":
            raise ValueError(f"{str(path)!r} must begin with a label and its parent, but has headings. Remove them.")
        return parents
    if path.suffix == ".obo":
        return existing_file(path)
    return text.split(",") if "," in text.strip(",") else text
