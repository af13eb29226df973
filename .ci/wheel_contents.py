"""Check the files of a wheel and of an sdist: the whole package, the licence, and nothing else of the repository.

python .ci/wheel_contents.py hrca-0.1.0-py3-none-any.whl hrca-0.1.0.tar.gz
"""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Files of an sdist other than the package. hatchling adds .gitignore, which says what a build leaves out.
BESIDE = {".gitignore", "CHANGELOG.md", "CITATION.cff", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
# A link to a file of the repository, which PyPI does not have.
RELATIVE_LINK = re.compile(r"\]\((?!https?:)[^)]*\)")


def package_files() -> set[str]:
    """Return the files of the package in the repository, from its folder `hrca`."""
    folder = ROOT / "src"
    paths = (path for path in (folder / "hrca").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder).as_posix() for path in paths}


def complaints(kind: str, found: set[str], expected: set[str]) -> list[str]:
    """Return a line for each file that lacks or that should not be there."""
    return [
        *(f"the {kind} lacks {name}" for name in sorted(expected - found)),
        *(f"the {kind} has {name}" for name in sorted(found - expected)),
    ]


def check_wheel(path: Path) -> list[str]:
    """Return a complaint for each fault of a wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        [info] = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
        description = wheel.read(f"{info}/METADATA").decode()
    expected = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    links = [f"PyPI would not find the link {link[1:]}" for link in RELATIVE_LINK.findall(description)]
    return complaints("wheel", names, package_files() | expected) + links


def check_sdist(path: Path) -> list[str]:
    """Return a complaint for each fault of an sdist."""
    with tarfile.open(path) as sdist:
        names = {member.name.split("/", 1)[1] for member in sdist.getmembers() if member.isfile()}
    return complaints("sdist", names, {f"src/{name}" for name in package_files()} | BESIDE)


def main(wheel: Path, sdist: Path) -> int:
    """Print each complaint on a line, and return 1 if there is one."""
    found = check_wheel(wheel) + check_sdist(sdist)
    for complaint in found:
        print(complaint)
    print(f"{wheel.name} and {sdist.name}: {len(found)} complaints")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
