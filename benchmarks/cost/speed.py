"""Speed of HRCA and of other methods on the same cells, in turn, in one run.

    python -m benchmarks.cost.speed [--environments ENVIRONMENTS] [--quick] [--parts grid ...] [--minutes 25]
        [--timeout 400] [--retry-errors] [--out FOLDER]

It simulates reference and query cells, and measures training, prediction and adaptation: seconds, cells per second,
memory, and the least time that their arithmetic needs on this machine. ENVIRONMENTS is a folder made by
``benchmarks/environments/make.sh``; methods without an environment are left out. Rows go to
``benchmarks/results/cost/speed.csv`` as soon as they are measured. It stops after some minutes; the same command then
goes on. A row in the file is not measured again: give ``--out`` to repeat it.
``python -m benchmarks.cost.speed_report`` makes the tables and the figure of the docs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hrca
from benchmarks.common.methods import METHODS
from benchmarks.common.processes import MethodError
from benchmarks.common.results import RESULTS, Table

from .speed_cells import write_cells
from .speed_clients import Client, chosen_cpus, command_cost, environment, keep_busy, machine_speeds
from .speed_plan import BASE, KEY, ONCE, PARTS, Point, points
from .speed_rows import BATCH_SIZE, summarize, work_of

N_ROUNDS = 3
# Small queries take the count likelihood a millisecond.
DECIMALS = 6
STARTS = {"import hrca": "import hrca", "hrca --help": "from hrca.cli import app; app()"}

Answers = list[dict[str, Any]]


class OutOfTimeError(Exception):
    """The time of the run is used up."""


class Clock:
    """The time that is left, for one operation and for the run.

    Parameters
    ----------
    minutes
        Time of the run.
    timeout_s
        Time limit of an operation, in seconds.
    """

    def __init__(self, minutes: float, timeout_s: float):
        self._end, self._timeout_s = time.monotonic() + 60 * minutes, timeout_s

    def limit_s(self) -> float:
        """Return the seconds that the next operation may take.

        Raises
        ------
        OutOfTimeError
            If no time is left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise OutOfTimeError
        return min(left, self._timeout_s)

    def check(self) -> None:
        """Raise OutOfTimeError if no time is left."""
        self.limit_s()


class SpeedBenchmark:
    """A run of the benchmark.

    Parameters
    ----------
    table
        The table of results.
    clock
        The time that is left.
    environments
        Folder of the environments of the published methods; None: they are left out.
    """

    def __init__(self, table: Table, clock: Clock, environments: Path | None):
        self.table, self._clock, self._environments = table, clock, environments
        self._machines: dict[int, dict[str, float]] = {}

    def measure_starts(self) -> None:
        """Time how long Python takes to import HRCA, and to print the help of its command."""
        for operation, code in STARTS.items():
            key = Point("start", {}, cells=dict.fromkeys(BASE, "")).key("hrca", operation)
            if self._is_missing(key):
                self._clock.check()
                command = [sys.executable, "-c", code, "--help"]
                # the first one may read the libraries from the disk
                answers = [command_cost(command) for _ in range(N_ROUNDS + 1)][1:]
                self._append(key, summarize(answers, None, None, self._machine(1)))

    def measure(self, point: Point) -> None:
        """Measure what the table lacks of a point."""
        missing = {
            method: [operation for operation in operations if self._is_missing(point.key(method, operation))]
            for method, operations in point.operations.items()
            if self.python(method) is not None
        }
        missing = {method: operations for method, operations in missing.items() if operations}
        n_cpus = len(chosen_cpus(point.n_cpus))
        if missing and n_cpus < point.n_cpus:
            print(f"{point.part}: left out, because it needs {point.n_cpus} CPUs, and there are {n_cpus}")
        if not missing or n_cpus < point.n_cpus:
            return
        self._clock.check()
        machine = self._machine(point.threads)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            n_nonzero = write_cells(point.cells, folder, BATCH_SIZE)
            stack.enter_context(keep_busy(point.busy, point.n_cpus))
            clients = {method: stack.enter_context(self._client(method, point, folder)) for method in missing}
            for method, operation, answers in self._answers(clients, missing):
                key = point.key(method, operation)
                is_step = operation.endswith("step")
                n_cells = BATCH_SIZE if is_step else point.cells["n_obs"] if operation not in ONCE else None
                work = work_of(key, n_nonzero["batch" if is_step else "query"], hrca.SIZES[point.cells["size"]])
                self._append(key, summarize(answers, n_cells, work, machine))

    def python(self, method: str) -> Path | None:
        """Return the interpreter of a method; None if its environment does not exist."""
        name = METHODS[method].environment if method in METHODS else None
        if name is None:
            return Path(sys.executable)
        path = None if self._environments is None else self._environments / name / "bin" / "python"
        return path if path is not None and path.exists() else None

    def _answers(self, clients: dict[str, Client], missing: dict[str, list[str]]) -> Iterator[tuple[str, str, Answers]]:
        """Prepare each method, then run its operations, the methods in turn."""
        failed: dict[str, Answers] = {}
        for method, client in clients.items():
            answer = self._ask(client, None)
            first = "train" if "train" in missing[method] or "prepare" not in client.operations else "prepare"
            if "error" not in answer:
                answer = self._ask(client, first)
            if first in missing[method]:
                yield method, first, [answer]
            if "error" in answer:
                failed[method] = [answer]
        rest = [(method, name) for method, names in missing.items() for name in names if name != "train"]
        answers: dict[tuple[str, str], Answers] = {pair: [] for pair in rest}
        for round_ in range(N_ROUNDS):
            for method, name in rest:
                if method not in failed and not (name in ONCE and round_):
                    answer = self._ask(clients[method], name)
                    answers[method, name].append(answer)
                    if not clients[method].is_alive():
                        failed[method] = [answer]
        for (method, name), of_operation in answers.items():
            yield method, name, of_operation or failed[method]

    def _ask(self, client: Client, operation: str | None) -> dict[str, Any]:
        """Return the answer to an operation, None for the start; an error of the method is an answer."""
        limit_s = self._clock.limit_s()
        try:
            if operation is None:
                client.start(limit_s)
                return {}
            return client.ask(operation, limit_s)
        except MethodError as error:
            # what the end of the run cut off is measured by the next one
            self._clock.check()
            return {"error": str(error)}

    def _client(self, method: str, point: Point, folder: Path) -> Client:
        python = self.python(method) or Path(sys.executable)
        variables = environment(point.threads, point.wait_policy)
        size = point.cells["size"]
        return Client(python, method, folder, size=size, variables=variables, n_cpus=point.n_cpus)

    def _is_missing(self, key: dict[str, Any]) -> bool:
        return self.table.key_of(key) not in self.table.keys

    def _append(self, key: dict[str, Any], row: dict[str, Any]) -> None:
        self.table.append([key | row])
        shown = row["error"] or f"{row['seconds']:.3g} s"
        print(*(str(key[name]) for name in KEY if key[name] != ""), shown, flush=True)

    def _machine(self, n_threads: int) -> dict[str, float]:
        if n_threads not in self._machines:
            self._machines[n_threads] = machine_speeds(n_threads)
        return self._machines[n_threads]


def main() -> None:
    """Measure the rows that the results lack, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, help="folder of the environments of the published methods")
    parser.add_argument("--quick", action="store_true", help="few cells: a test that everything runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--minutes", type=float, default=25, help="time of the run")
    parser.add_argument("--timeout", type=float, default=400, help="time limit of an operation, in seconds")
    parser.add_argument("--retry-errors", action="store_true", help="measure rows with an error again")
    parser.add_argument("--out", type=Path, default=RESULTS / "cost", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "speed.csv", KEY, decimals=DECIMALS, retry_errors=arguments.retry_errors)
    clock = Clock(arguments.minutes, arguments.timeout)
    benchmark = SpeedBenchmark(table, clock, arguments.environments)
    chosen = [point for point in points(quick=arguments.quick) if point.part in arguments.parts]
    absent = {method for point in chosen for method in point.operations if benchmark.python(method) is None}
    if absent:
        print(f"without an environment, and left out: {', '.join(sorted(absent))}")
    try:
        if "start" in arguments.parts:
            benchmark.measure_starts()
        for point in chosen:
            benchmark.measure(point)
    except OutOfTimeError:
        print(f"{arguments.minutes:g} minutes are over; the same command goes on")


if __name__ == "__main__":
    main()
