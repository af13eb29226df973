"""One method of the speed benchmark in a process of its own: it reads operations from stdin, and answers their cost.

    PYTHON -m benchmarks.cost.speed_worker --method METHOD --reference R.h5ad --query Q.h5ad --size SIZE --cpus 0,1

An operation is a line, and so is its answer, in JSON. Since the process waits between two operations, those of several
methods can be measured in turn, on the same cells. It runs in the environment of its method, and imports no more than
that needs.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, TextIO

from .memory import memory_gb, reset_peak_memory

# An operation returns nothing, or the seconds and CPU seconds of each of its repeats: training steps.
Operation = Callable[[], list[tuple[float, float]] | None]


def measure(operation: Operation) -> dict[str, Any]:
    """Run an operation, and return its time and its memory above that before."""
    memory_before = reset_peak_memory()
    start, cpu_start = time.perf_counter(), time.process_time()
    steps = operation()
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    if steps:
        # the first step starts threads and allocates memory
        steps = steps[1:]
        seconds, cpu_s = (sorted(times)[len(times) // 2] for times in zip(*steps, strict=True))
    process_gb = memory_gb("VmHWM")
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_gb": process_gb - memory_before, "process_gb": process_gb}


def serve(operations: dict[str, Operation], requests: TextIO, answers: TextIO) -> None:
    """Answer each request; an error is an answer too."""
    for line in requests:
        try:
            answer = measure(operations[line.strip()])
        except Exception as error:  # noqa: BLE001 - an error of any method is a row of the results
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Serve the operations of one method."""
    parser = argparse.ArgumentParser()
    for name in ("--method", "--reference", "--query", "--size", "--cpus"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args()
    # before a library counts the CPUs
    os.sched_setaffinity(0, {int(cpu) for cpu in arguments.cpus.split(",")})
    warnings.simplefilter("ignore")
    # libraries print to stdout
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if arguments.method == "hrca":
        # before torch, so that it shortens the waits of torch's threads
        import_module("hrca")
    module = import_module(f".speed_{'own' if arguments.method in ('hrca', 'published') else 'others'}", __package__)
    operations = module.operations(arguments.method, arguments.reference, arguments.query, arguments.size)
    print(json.dumps({"ready": sorted(operations)}), file=answers, flush=True)
    serve(operations, sys.stdin, answers)


if __name__ == "__main__":
    main()
