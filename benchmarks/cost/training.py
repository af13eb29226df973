"""Time and memory of training at each named size, and the accuracy of the estimate that warns of long runs.

    python -m benchmarks.cost.training [--sizes laptop ...] [--genes 1000 ...] [--out FOLDER]

It times a few steps of each phase on random counts, scales them to an epoch of 10,000 cells, and writes them with the
estimate of ``hrca.train._runtime_estimate`` to ``benchmarks/results/cost/training.csv``. Each size has its own process,
and so its own peak memory. A size in the file is not measured again: give ``--out`` to repeat it.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.callbacks import Callback

import hrca
from benchmarks.common.processes import run_for_json
from benchmarks.common.results import RESULTS, Table
from hrca.train._runtime_estimate import estimate_epoch_seconds

from .memory import memory_gb
from .workload import labelled_cells, random_counts

KEY = ("size", "n_genes")
BATCH_SIZE = 128
N_OBS = 10_000
N_LABELS = 20
DENSITY = 0.07
N_GENES = [1000, 5000, 20_000]
# Steps that are timed, after one that is not.
N_STEPS = 3


class StepTimes(Callback):
    """The times at which training steps end, in seconds."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the time."""
        self.ends.append(time.perf_counter())


def measure_here(size: str, n_genes: int) -> dict[str, Any]:
    """Time both phases at one size, in this process."""
    adata = labelled_cells(random_counts((N_STEPS + 1) * BATCH_SIZE, n_genes, DENSITY), N_LABELS)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    memory_before = memory_gb("VmRSS")
    model = hrca.HRCA(adata, **hrca.SIZES[size])
    row = {"size": size, "n_genes": n_genes, "n_parameters": sum(p.numel() for p in model.module.parameters())}
    steps_per_epoch = -(-N_OBS // BATCH_SIZE)
    for phase in ("pretrain", "finetune"):
        times = StepTimes()
        options = {"train_size": 1.0, "accelerator": "cpu", "enable_progress_bar": False, "callbacks": [times]}
        getattr(model, phase)(1, **options)
        row[f"{phase}_s_per_epoch"] = round(float(np.diff(times.ends).min()) * steps_per_epoch, 1)
    estimate = estimate_epoch_seconds(model.module, n_obs=N_OBS, batch_size=BATCH_SIZE)
    peak_gb = round(memory_gb("VmHWM") - memory_before, 2)
    return {**row, "estimate_s_per_epoch": round(estimate, 1), "peak_gb": peak_gb}


def main() -> None:
    """Measure the sizes that the results lack, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, nargs="+", default=N_GENES, help="numbers of genes")
    parser.add_argument("--sizes", nargs="+", default=list(hrca.SIZES), choices=list(hrca.SIZES))
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "GENES"), help="measure one size, and print it as JSON")
    parser.add_argument("--out", type=Path, default=RESULTS / "cost", help="folder of the results")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.one:
        print(json.dumps(measure_here(arguments.one[0], int(arguments.one[1]))))
        return
    table = Table(arguments.out / "training.csv", KEY)
    for size in arguments.sizes:
        for n_genes in arguments.genes:
            if (size, str(n_genes)) in table.keys:
                print(f"{size}, {n_genes} genes: in {table.path} already; give --out to measure them again")
                continue
            row = run_for_json("benchmarks.cost.training", "--one", size, str(n_genes))
            table.append([row])
            print(row, flush=True)


if __name__ == "__main__":
    main()
