"""Rows of results: each with the commit, the machine and the versions that it was measured on."""

import csv
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent


def provenance() -> dict[str, str]:
    """What a row needs to be understood later."""
    commit = _git("rev-parse", "--short", "HEAD")
    # results change as rows are written; a method's own script counts as much as src
    changed = _git("status", "--porcelain", "--", "../src", ".", ":(exclude)results")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit + ("+" if changed else ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": version("torch"),
        "scvi_tools": version("scvi-tools"),
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(HERE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write(name: str, rows: list[dict]) -> Path:
    """Write rows, with their provenance, to ``results/<name>.csv``, replacing what it held."""
    path = HERE / "results" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    rows = [{**row, **provenance()} for row in rows]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
