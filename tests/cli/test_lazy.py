"""The package and the help are there at once."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

import hrca

# Packages that take seconds to load.
SLOW = ("torch", "scvi", "scanpy", "anndata", "pandas", "numpy", "matplotlib")


def loaded_after(code: str) -> dict:
    """Run code in a new process; return the slow packages that it has loaded, and the seconds of its processor."""
    tail = f"import json, sys, time; print(json.dumps([[n for n in {SLOW} if n in sys.modules], time.process_time()]))"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tail}"],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("code", ["import hrca", "from hrca.cli import main; main(['annotate', '--help'])"])
def test_nothing_slow_is_loaded(code):
    packages, seconds = loaded_after(code)
    assert packages == []
    assert seconds < 1


def test_the_stub_lists_what_the_package_has():
    stub = (ROOT / "src" / "hrca" / "__init__.pyi").read_text()
    namespace: dict = {}
    exec(stub.split("\n__version__: str\n")[1], namespace)
    assert namespace["__all__"] == hrca.__all__ == dir(hrca)
    assert all(hasattr(hrca, name) for name in hrca.__all__)


def test_names_that_are_not_there_raise():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = hrca.no_such_name


def test_the_specification_module_is_there_under_its_name():
    from hrca import hrca as functions

    assert functions.__name__ == "hrca.compat"
    assert hrca.HRCA.__name__ == "HRCA"


def test_the_version_is_that_of_the_installed_package():
    result = subprocess.run(
        [sys.executable, "-m", "hrca", "--version"], cwd=ROOT / "src", capture_output=True, text=True, check=True
    )
    assert result.stdout == f"hrca {hrca.__version__}\n"
