"""Check the docstrings of the public API by numpydoc's rules, which pyproject.toml chooses in tool.numpydoc_validation.

numpydoc's own hook reads the source, where a shared parameter is a placeholder. This checks what `help` shows.
"""

import sys
import tomllib
from pathlib import Path

from numpydoc.validate import ERROR_MSGS, validate

import hrca

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from public_names import module_names  # noqa: E402


def chosen_checks() -> set[str]:
    """Return the checks of pyproject.toml: with "all" among them, the others are those left out, as numpydoc has it."""
    checks = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]["checks"])
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
