"""Running modules of the benchmarks in their own processes: in another environment, or to measure their memory."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
# Longest error text of a row of results.
MAX_ERROR_LENGTH = 300


class MethodError(Exception):
    """A method failed or took too long."""


def module_command(module: str, python: Path | str = sys.executable) -> list[str]:
    """Return the command line that runs a module of this repository."""
    return [str(python), "-m", module]


def module_environment() -> dict[str, str]:
    """Return the environment variables under which any Python finds the modules of this repository.

    The waits that `import hrca` has set for this process are left out.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    return variables | {"PYTHONPATH": os.pathsep.join(paths)}


def run_with_limit(command: Sequence[str], folder: Path, timeout_s: float) -> None:
    """Run a command in its own process group, so that nothing that it starts outlives it.

    Parameters
    ----------
    command
        The command line.
    folder
        Folder for its error output, ``stderr.txt``.
    timeout_s
        Time limit, in seconds.

    Raises
    ------
    MethodError
        If the command fails, with the last line of its error output, or does not end in time.
    """
    with (folder / "stderr.txt").open("w") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True, env=module_environment()
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise MethodError(f"timed out after {timeout_s:g} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        lines = (folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
        raise MethodError(lines[-1].strip()[:MAX_ERROR_LENGTH] if lines else f"exit status {code}")


def run_for_json(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module of this repository with this Python, and parse the last line that it prints as JSON."""
    command = [*module_command(module), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=module_environment())
    return json.loads(done.stdout.strip().splitlines()[-1])
