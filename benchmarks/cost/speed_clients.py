"""Processes of the speed benchmark: the workers, a process that keeps a CPU busy, and short commands."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.common.processes import MAX_ERROR_LENGTH, MethodError, module_command, module_environment

LIBRARIES_WITH_THREADS = ("OMP", "MKL", "OPENBLAS", "NUMBA", "NUMEXPR")
BUSY_LOOP = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
PINNED = """
import os, runpy, sys
os.sched_setaffinity(0, map(int, sys.argv[1].split(",")))
runpy.run_module(sys.argv[2], run_name="__main__")
"""


def chosen_cpus(n: int) -> list[int]:
    """Return the last `n` CPUs that this process may use; fewer if there are not so many."""
    return sorted(os.sched_getaffinity(0))[-n:]


def environment(n_threads: int, wait_policy: str = "") -> dict[str, str]:
    """Return the environment variables of a process whose libraries have `n_threads` threads."""
    variables = {name: value for name, value in module_environment().items() if name != "OMP_WAIT_POLICY"}
    variables |= {f"{library}_NUM_THREADS": str(n_threads) for library in LIBRARIES_WITH_THREADS}
    return variables | ({"OMP_WAIT_POLICY": wait_policy} if wait_policy else {})


class Client:
    """A worker (``speed_worker.py``) that runs in a process of its own.

    Parameters
    ----------
    python
        The interpreter of its environment.
    method
        The method.
    folder
        Folder of ``reference.h5ad`` and ``query.h5ad``, and of its error output.
    size
        Size of HRCA's networks.
    variables
        Its environment variables.
    n_cpus
        Number of CPUs that it may use.

    Attributes
    ----------
    operations
        The names of its operations, when it has started.
    """

    def __init__(self, python: Path, method: str, folder: Path, *, size: str, variables: dict[str, str], n_cpus: int):
        cpus = ",".join(map(str, chosen_cpus(n_cpus)))
        paths = ["--reference", folder / "reference.h5ad", "--query", folder / "query.h5ad"]
        options = ["--method", method, *paths, "--size", size, "--cpus", cpus]
        self._stderr = folder / f"{method}.txt"
        with self._stderr.open("w") as stderr:
            self._process = subprocess.Popen(
                [*module_command("benchmarks.cost.speed_worker", python), *map(str, options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                env=variables,
            )
        self.operations: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, limit_s: float) -> None:
        """Wait until the worker has read its cells.

        Raises
        ------
        MethodError
            If it ends, or is not ready in time.
        """
        self.operations = self._answer(limit_s)["ready"]

    def ask(self, operation: str, limit_s: float) -> dict[str, Any]:
        """Return the cost of an operation.

        Raises
        ------
        MethodError
            If the worker has ended, or does not answer in time; it is then stopped.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{operation}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MethodError(self._last_words()) from None
        return self._answer(limit_s)

    def is_alive(self) -> bool:
        """Return whether the worker still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the worker and all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._process.wait()

    def _answer(self, limit_s: float) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        # an answer is one short line, written at once
        if not select.select([stdout], [], [], limit_s)[0]:
            self.stop()
            raise MethodError(f"timed out after {limit_s:.0f} s")
        line = stdout.readline()
        if not line:
            self._process.wait()
            raise MethodError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        lines = self._stderr.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip()[:MAX_ERROR_LENGTH] if lines else f"exit status {self._process.returncode}"


@contextmanager
def keep_busy(n_busy: int, n_cpus: int) -> Iterator[list[subprocess.Popen]]:
    """Keep the first `n_busy` of the `n_cpus` CPUs of a worker busy, each by a process."""
    cpus = chosen_cpus(n_cpus)[:n_busy]
    loops = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP, str(cpu)]) for cpu in cpus]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def machine_speeds(n_threads: int) -> dict[str, float]:
    """Measure the roofline of `n_threads` CPUs."""
    cpus = ",".join(map(str, chosen_cpus(n_threads)))
    command = [sys.executable, "-c", PINNED, cpus, "benchmarks.cost.roofline"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment(n_threads))
    return json.loads(done.stdout)


def command_cost(command: Sequence[str]) -> dict[str, float]:
    """Run a command on one thread, and return its time and memory, as a worker does."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(1))
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise MethodError(f"exit status {process.returncode} of {command}")
    peak_gb = usage.ru_maxrss / 1024**2
    cpu_s = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_gb": peak_gb, "process_gb": peak_gb}
