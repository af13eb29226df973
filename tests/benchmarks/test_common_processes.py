"""Modules in processes of their own."""

import subprocess
import sys

import pytest

from benchmarks.common import processes


def test_a_command_that_fails_or_is_late_says_why(tmp_path):
    with pytest.raises(processes.MethodError, match="ValueError: on purpose"):
        processes.run_with_limit([sys.executable, "-c", "raise ValueError('on purpose')"], tmp_path, 60)
    with pytest.raises(processes.MethodError, match="timed out after 0.2 s"):
        processes.run_with_limit([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.2)


def test_modules_are_found_from_any_folder(tmp_path):
    command = [*processes.module_command("benchmarks.common.processes")]
    subprocess.run(command, check=True, cwd=tmp_path, env=processes.module_environment())
