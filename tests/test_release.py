"""The files that a release needs agree with each other."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def newest_release() -> str:
    """The version of the first numbered section of the changelog."""
    return re.search(r"^## (\d+\.\d+\.\d+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]


def citation_version() -> str:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]


def version_without_tags() -> str:
    """What hatch-vcs takes where it finds no tag: before the release, so that the release replaces it."""
    return PYPROJECT["tool"]["hatch"]["version"]["raw-options"]["fallback_version"].removesuffix(".dev0")


@pytest.mark.parametrize("version", [citation_version, version_without_tags])
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
