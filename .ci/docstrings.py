"""Check the docstrings of the public API by numpydoc's rules; pyproject.toml, tool.numpydoc_validation, chooses them.

numpydoc's own command reads the source, where shared parameters stand as placeholders. This reads what `help` shows.
"""

import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hrca
from numpydoc.validate import validate

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def public_names(owner: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted names of the functions, classes and methods below `owner` that are HRCA's own."""
    names = getattr(owner, "__all__", None) or [name for name in vars(owner) if not name.startswith("_")]
    if inspect.isclass(owner):  # mixins as well
        names = [name for name in dir(owner) if not name.startswith("_")]
    for name in names:
        value = inspect.getattr_static(owner, name)
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        value = value.fget if isinstance(value, property) else value
        if isinstance(value, ModuleType):
            if value.__name__.startswith("hrca"):
                yield from public_names(value, f"{prefix}.{name}")
        elif getattr(value, "__module__", "").startswith("hrca") and callable(value):
            yield f"{prefix}.{name}"
            if inspect.isclass(value):
                yield from public_names(value, f"{prefix}.{name}")


def main() -> int:
    """Print each complaint on a line, and return 1 if there is one."""
    checks = set(tomllib.loads(PYPROJECT.read_text())["tool"]["numpydoc_validation"]["checks"])
    names = sorted(set(public_names(hrca, "hrca")))
    complaints = [
        f"{name}: {code} {message}"
        for name in names
        for code, message in validate(name)["errors"]
        if code in checks
    ]
    print(*complaints, sep="\n", end="\n" if complaints else "")
    print(f"{len(names)} docstrings of the public API, {len(complaints)} complaints")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
