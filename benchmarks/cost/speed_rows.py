"""Rows of the speed benchmark, from the answers of its workers."""

import statistics
from collections.abc import Sequence
from typing import Any

from .roofline import Work, floor_s, linear_work, network_work

COLUMNS = ("rounds", "seconds", "cpu_s", "cells_per_s", "peak_gb", "process_gb", "floor_s", "dense_floor_s", "share")
BATCH_SIZE = 128


def work_of(key: dict[str, Any], n_nonzero: int, sizes: dict[str, Any]) -> Work | None:
    """Return the work that an operation cannot do without; None where it is not known.

    Parameters
    ----------
    key
        The columns that identify the row.
    n_nonzero
        Number of counts of the query that are not zero; for a training step, of a batch of the reference.
    sizes
        Sizes of HRCA's networks.
    """
    numbers = {name: key[name] for name in ("n_obs", "n_genes", "n_labels")} | {"n_nonzero": n_nonzero}
    method, operation = key["method"], key["operation"]
    if operation.endswith("step"):
        phase = "pretrain" if operation.startswith("pre-training") else "finetune"
        return network_work(sizes, **numbers | {"n_obs": BATCH_SIZE}, phase=phase)
    if not operation.startswith("predict"):
        return None
    if method in ("hrca", "published"):
        return network_work(sizes, **numbers, phase="predict")
    # the likelihood once for the platform factors, and once for the labels
    return linear_work(**numbers, n_passes=2) if method == "likelihood" else None


def summarize(
    answers: Sequence[dict[str, Any]], n_cells: int | None, work: Work | None, machine: dict[str, float]
) -> dict[str, Any]:
    """Return the measured columns of a row: medians of the times, maxima of the memory.

    Parameters
    ----------
    answers
        The answers of a worker, one for each round.
    n_cells
        Number of cells of which the rate is given; None: no rate.
    work
        The work of the operation, if it is known.
    machine
        The speeds of the machine.
    """
    error = next((answer["error"] for answer in answers if "error" in answer), "")
    row = dict.fromkeys(COLUMNS) | {"rounds": len(answers), **machine, "error": error}
    if error:
        return row
    row |= {name: statistics.median(answer[name] for answer in answers) for name in ("seconds", "cpu_s")}
    row |= {name: max(answer[name] for answer in answers) for name in ("peak_gb", "process_gb")}
    if n_cells is not None:
        row["cells_per_s"] = round(n_cells / row["seconds"])
    if work is not None:
        row["floor_s"] = floor_s(work.operations, work.n_bytes, machine)
        row["dense_floor_s"] = floor_s(work.dense_operations, work.n_bytes, machine)
        row["share"] = row["floor_s"] / row["seconds"]
    return row
