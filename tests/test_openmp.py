"""The waits of OpenMP's threads, by what OpenMP itself says of them."""

import os
import re
import subprocess
import sys

import pytest

CODE = "import hrca, torch; print(torch.__config__.parallel_info())"


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, of the torch for Linux")
@pytest.mark.parametrize(
    ("given", "rounds"),
    [
        ({}, "3000"),
        ({"GOMP_SPINCOUNT": "77"}, "77"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000"),
    ],
)
def test_threads_wait_as_the_environment_says_or_for_3000_rounds(given, rounds):
    inherited = {name: x for name, x in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment = {**inherited, "OMP_DISPLAY_ENV": "VERBOSE", **given}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True)
    assert "OpenMP" in done.stdout
    # each copy of OpenMP writes its settings, and one is loaded for each library that ships it
    assert set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)) == {rounds}
