"""The files that a release needs agree with each other."""

import importlib.util
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
RECIPE = yaml.safe_load((ROOT / ".ci" / "release" / "conda-forge" / "recipe.yaml").read_text())
SCVERSE = yaml.safe_load((ROOT / ".ci" / "release" / "scverse" / "meta.yaml").read_text())
PROJECT = PYPROJECT["project"]
# Names on conda-forge of what has another name on PyPI. matplotlib-base leaves out Qt.
CONDA_NAMES = {
    "huggingface-hub": "huggingface_hub",
    "igraph": "python-igraph",
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def newest_release() -> str:
    """The version of the first numbered section of the changelog."""
    return re.search(r"^## (\d+\.\d+\.\d+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]


def citation_version() -> str:
    return CITATION["version"]


def recipe_version() -> str:
    return RECIPE["context"]["version"]


def scverse_version() -> str:
    return SCVERSE["version"]


def version_without_tags() -> str:
    """What hatch-vcs takes where it finds no tag: before the release, so that the release replaces it."""
    return PYPROJECT["tool"]["hatch"]["version"]["raw-options"]["fallback_version"].removesuffix(".dev0")


@pytest.mark.parametrize("version", [citation_version, recipe_version, scverse_version, version_without_tags])
def test_the_files_that_name_the_version_agree(version):
    assert version() == newest_release()


def test_the_version_stands_in_the_tag_alone():
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert "version" not in PYPROJECT["project"]


def test_the_changelog_has_a_place_for_the_next_release():
    sections = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[:2] == ["Unreleased", newest_release()]


def test_links_of_the_readme_are_whole_on_pypi():
    text = (ROOT / "README.md").read_text()
    for step in PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(step["pattern"], step["replacement"], text)
    assert "https://github.com/hrca-tools/hrca/blob/main/docs/index.md" in text
    assert "https://raw.githubusercontent.com/hrca-tools/hrca/main/docs/_static/section.png" in text
    assert re.findall(r"\]\((?!https?:)[^)]*\)", text) == []


def bounds(requirements: list[str]) -> dict[str, SpecifierSet]:
    """Names on conda-forge and versions of requirements of PyPI, without those that some Pythons do not need."""
    parsed = [Requirement(line) for line in requirements]
    return {CONDA_NAMES.get(part.name, part.name): part.specifier for part in parsed if part.marker is None}


def conda_bounds(lines: list[str]) -> dict[str, SpecifierSet]:
    """Names and versions of a list of the recipe, without Python and pip."""
    pairs = [line.partition(" ")[::2] for line in lines]
    return {name: SpecifierSet(versions) for name, versions in pairs if name not in ("pip", "python")}


def test_the_recipe_has_the_dependencies_of_the_package():
    # the recipe has the same requirements on each Python
    assert all(Requirement(line).marker is None for line in PROJECT["dependencies"])
    assert conda_bounds(RECIPE["requirements"]["run"]) == bounds(PROJECT["dependencies"])
    assert conda_bounds(RECIPE["requirements"]["host"]) == bounds(PYPROJECT["build-system"]["requires"])


def test_the_recipe_bounds_what_the_extras_add():
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    added = {name: versions for name, versions in bounds(extras).items() if name not in bounds(PROJECT["dependencies"])}
    assert conda_bounds(RECIPE["requirements"]["run_constraints"]) == added


def test_a_bound_that_differs_is_found():
    assert (
        bounds(["torch>=2.6"]) == conda_bounds(["pytorch >=2.6", "python >=3.11"]) == {"pytorch": SpecifierSet(">=2.6")}
    )
    assert bounds(["torch>=2.6"]) != conda_bounds(["pytorch >=2.7"])
    assert bounds(["numpy>=2,<3; python_full_version>='3.12'"]) == {}


def test_the_recipe_describes_the_package():
    assert f">={RECIPE['context']['python_min']}" == PROJECT["requires-python"]
    entry_points = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert RECIPE["build"]["python"]["entry_points"] == entry_points
    about = RECIPE["about"]
    assert (about["license"], about["summary"]) == (PROJECT["license"], PROJECT["description"])
    assert [about["license_file"]] == PROJECT["license-files"]
    assert about["repository"] == PROJECT["urls"]["Source"]
    assert about["documentation"] == PROJECT["urls"]["Documentation"]


def test_the_entry_of_the_scverse_list_describes_the_package():
    assert SCVERSE["install"] == {"pypi": PROJECT["name"]}
    assert SCVERSE["license"] == PROJECT["license"]
    assert SCVERSE["project_home"] == PROJECT["urls"]["Source"]
    assert SCVERSE["documentation_home"] == PROJECT["urls"]["Documentation"]
    page = SCVERSE["tutorials_home"].removeprefix(f"{PROJECT['urls']['Documentation']}/en/latest/")
    assert (ROOT / "docs" / page).with_suffix(".md").is_file()
    # the fields that the list's schema.json requires
    required = "name description project_home documentation_home install license tags version category contact"
    assert {name for name in required.split() if not SCVERSE.get(name)} == set()
    assert SCVERSE["category"] == "ecosystem"


def test_the_citation_describes_the_package():
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["repository-code"] == PROJECT["urls"]["Source"]
    assert CITATION["url"] == PROJECT["urls"]["Documentation"]
    assert CITATION["authors"] == PROJECT["authors"]


CONTENTS = load(ROOT / ".ci" / "wheel_contents.py")
INFO = [f"hrca-0.1.0.dist-info/{name}" for name in ("RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")]


@pytest.fixture
def wheel(tmp_path):
    def write(names: list[str], description: str = "") -> Path:
        path = tmp_path / "hrca-0.1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("hrca-0.1.0.dist-info/METADATA", description)
            for name in names:
                file.writestr(name, "")
        return path

    return write


@pytest.fixture
def sdist(tmp_path):
    def write(names: list[str]) -> Path:
        path = tmp_path / "hrca-0.1.0.tar.gz"
        with tarfile.open(path, "w:gz") as file:
            for name in names:
                file.addfile(tarfile.TarInfo(f"hrca-0.1.0/{name}"))
        return path

    return write


def test_a_whole_wheel_and_sdist_pass(wheel, sdist, capsys):
    package = sorted(CONTENTS.package_files())
    assert {"hrca/py.typed", "hrca/reporting/report.html.j2", "hrca/__init__.pyi"} <= set(package)
    paths = wheel([*package, *INFO]), sdist([f"src/{name}" for name in package] + sorted(CONTENTS.BESIDE))
    assert CONTENTS.main(*paths) == 0
    assert capsys.readouterr().out.endswith(": 0 complaints\n")


def test_what_a_wheel_or_sdist_lacks_or_should_not_have_is_named(wheel, sdist, capsys):
    package = sorted(CONTENTS.package_files() - {"hrca/py.typed"})
    paths = wheel([*package, *INFO, "tests/conftest.py"], "[Predict](docs/predict.md)"), sdist(["LICENSE"])
    assert CONTENTS.main(*paths) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "the wheel lacks hrca/py.typed",
        "the wheel has tests/conftest.py",
        "PyPI would not find the link (docs/predict.md)",
    ]
    assert "the sdist lacks src/hrca/cli/annotate.py" in lines
