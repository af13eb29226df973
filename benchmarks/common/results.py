"""The table of results: a CSV file that a benchmark can continue after an interruption."""

import csv
import io
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .processes import ROOT

RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"
# Columns that follow the measured ones, unless a table names others.
PROVENANCE = ("date", "commit", "machine", "python", "torch", "scvi_tools")
DECIMALS = 4

Key = tuple[str, ...]


def provenance() -> dict[str, str | int]:
    """Return date, commit, machine and versions of a measurement; a ``+`` marks a commit with local changes."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", "src", "benchmarks", ":(exclude)benchmarks/results")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit + ("+" if changed else ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": version("torch"),
        "scvi_tools": version("scvi-tools"),
    }


def read_rows(path: Path, **dtypes: Any) -> pd.DataFrame:
    """Read a table of results; `dtypes` are the types of columns that pandas would guess wrong."""
    # an abbreviated commit can look like a number: 4803e21
    return pd.read_csv(path, dtype={"commit": str, **dtypes})


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Table:
    """Rows of results in a CSV file, each with its provenance.

    Parameters
    ----------
    path
        The file. It is made with the first row. A last line that was cut off is removed.
    key
        Columns that identify a measurement. Several rows may have the same key if they are appended together.
    columns
        All columns, in order. If None, they are those of the file, or of the first row and of `provenance_columns`.
    provenance_columns
        Names of :func:`provenance` to add to each row.
    decimals
        Decimals that numbers are rounded to; None keeps them as they are.
    retry_errors
        Remove the rows with an ``error``, so that they are measured again.

    Attributes
    ----------
    keys
        Keys of the rows in the file, as strings.
    """

    def __init__(
        self,
        path: Path,
        key: Sequence[str],
        *,
        columns: Sequence[str] | None = None,
        provenance_columns: Sequence[str] = PROVENANCE,
        decimals: int | None = DECIMALS,
        retry_errors: bool = False,
    ):
        self.path, self.key = path, tuple(key)
        self._provenance_columns, self._decimals = tuple(provenance_columns), decimals
        text = path.read_text() if path.exists() else ""
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
        rows = [row for row in reader if not (retry_errors and row["error"])]
        self._columns = tuple(columns or reader.fieldnames or ())
        self.keys = {self.key_of(row) for row in rows}
        if not self._columns:
            path.unlink(missing_ok=True)
        elif text and self._lines(rows, header=True) != text:
            self._replace(rows)

    def key_of(self, row: Mapping[str, Any]) -> Key:
        """Return the key of a row, as the file has it."""
        return tuple(str(self._cell(row[column])) for column in self.key)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to the end of the file, with their provenance, in a single write.

        Raises
        ------
        ValueError
            If a row has a column that the file does not have.
        """
        everything = provenance()
        whole = [{**row, **{name: everything[name] for name in self._provenance_columns}} for row in rows]
        if not whole:
            return
        self._columns = self._columns or tuple(whole[0])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists() or not self.path.stat().st_size
        # unbuffered, so that a kill leaves all of the lines or none
        with self.path.open("ab", buffering=0) as file:
            file.write(self._lines(whole, header=is_new).encode())
        self.keys |= {self.key_of(row) for row in whole}

    def keep_only(self, keys: set[Key]) -> None:
        """Remove the rows with other keys: an interrupted run left them without the rows of the main table."""
        if self.keys - keys:
            with self.path.open(newline="") as file:
                self._replace([row for row in csv.DictReader(file) if self.key_of(row) in keys])
            self.keys &= keys

    def _replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        # replacing is one step: a kill leaves either file
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(self._lines(rows, header=True))
        temporary.replace(self.path)

    def _lines(self, rows: Iterable[Mapping[str, Any]], *, header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=self._columns, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows({name: self._cell(value) for name, value in row.items()} for row in rows)
        return text.getvalue()

    def _cell(self, value: Any) -> Any:
        if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
            return ""
        if isinstance(value, float | np.floating) and self._decimals is not None:
            return round(float(value), self._decimals)
        return value
