"""Check the docstrings of the public API by numpydoc's rules, which pyproject.toml chooses in tool.numpydoc_validation.

numpydoc's own hook reads the source, where a shared parameter is a placeholder. This checks what `help` shows.
"""

import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from numpydoc.validate import ERROR_MSGS, validate

import hrca

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def module_names(module: ModuleType) -> Iterator[str]:
    """Yield the public functions, classes and methods of a module, and of the modules that its ``__all__`` names."""
    names = getattr(module, "__all__", None)
    if names is None:  # all that the module defines itself
        names = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    for name in names:
        value = getattr(module, name)
        if inspect.ismodule(value):
            yield from module_names(value)
        elif callable(value) and not name.startswith("_"):
            yield f"{module.__name__}.{name}"
            if inspect.isclass(value):
                yield from (f"{module.__name__}.{name}.{member}" for member in class_members(value))


def class_members(cls: type) -> Iterator[str]:
    """Yield the public methods and properties that HRCA defines, in the class or a mixin, but none of scvi-tools."""
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if not name.startswith("_") and (getattr(function, "__module__", None) or "").startswith("hrca"):
            yield name


def chosen_checks() -> set[str]:
    """Return the checks of pyproject.toml: with "all" among them, the others are those left out, as numpydoc has it."""
    checks = set(tomllib.loads(PYPROJECT.read_text())["tool"]["numpydoc_validation"]["checks"])
    return set(ERROR_MSGS) - checks if "all" in checks else checks


def main() -> int:
    """Print each complaint on a line, and return 1 if there is one."""
    checks = chosen_checks()
    names = sorted(set(module_names(hrca)))
    complaints = [
        f"{name}: {code} {message}" for name in names for code, message in validate(name)["errors"] if code in checks
    ]
    for complaint in complaints:
        print(complaint)
    print(f"{len(names)} public docstrings, {len(complaints)} complaints")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
