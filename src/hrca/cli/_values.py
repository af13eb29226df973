"""Convert what a user can write in a shell, text and names of files, into arguments of Python."""

import csv
import json
from pathlib import Path
from typing import Any


def widths(text: str) -> tuple[int, ...]:
    """Return numbers that are separated by commas.

    Examples
    --------
    >>> widths("128,64")
    (128, 64)
    """
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise ValueError(f"Widths must be whole numbers between commas, such as 128,64, got {text!r}.") from error


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object.

    Examples
    --------
    >>> json_object('{"precision": "bf16-mixed"}')
    {'precision': 'bf16-mixed'}
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"""Arguments must be a JSON object, such as '{{"lr": 0.01}}', got {text!r}.""") from error
    if not isinstance(value, dict):
        raise ValueError(f"""Arguments must be a JSON object, such as '{{"lr": 0.01}}', got {text!r}.""")
    return value


def text_table(path: Path) -> dict[str, str]:
    """Return a table of two columns of text from a JSON object, or a file whose columns a comma or a tab separates.

    Parameters
    ----------
    path
        The file. A first row with the headings of the columns is not recognised as such.

    Raises
    ------
    ValueError
        If the file is not of this form.
    FileNotFoundError
        If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    text = path.read_text()
    if path.suffix == ".json":
        try:
            return {str(key): str(value) for key, value in json.loads(text).items()}
        except (json.JSONDecodeError, AttributeError) as error:
            raise ValueError(f"{str(path)!r} must hold a JSON object of names, but does not: {error}.") from error
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ","))
    if not rows or any(len(row) != 2 for row in rows):
        raise ValueError(f"{str(path)!r} must have two columns, with a comma or a tab between, in each row.")
    return {first.strip(): second.strip() for first, second in rows}


def positions(path: Path) -> list[int]:
    """Return the whole numbers in a text file, one on each line.

    Raises
    ------
    ValueError
        If a line is no whole number.
    FileNotFoundError
        If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        return [int(line) for line in path.read_text().split()]
    except ValueError as error:
        raise ValueError(f"{str(path)!r} must have a whole number on each line, but does not: {error}.") from error


def hierarchy(text: str) -> Any:
    """Return a hierarchy of labels: a table of parents, columns of obs, a file of an ontology, or a separator.

    Parameters
    ----------
    text
        The name of a file that ends with .json, .csv or .tsv and has child and parent, or with .obo; columns between
        commas; or a separator.

    Examples
    --------
    >>> hierarchy("class,subclass,type"), hierarchy("/")
    (['class', 'subclass', 'type'], '/')
    """
    path = Path(text).expanduser()
    if path.suffix in (".json", ".csv", ".tsv"):
        return text_table(path)
    if path.suffix == ".obo":
        return path
    return text.split(",") if "," in text.strip(",") else text
