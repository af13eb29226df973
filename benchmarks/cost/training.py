"""What training costs at each named size: seconds and memory, and how good the estimate is that warns of long runs.

    python benchmarks/training_time.py

times a few steps of each phase on random counts, scales them to an epoch of 10,000 cells, prints them beside the
estimate of ``hrca.train._runtime_estimate``, and writes results/training_time.csv. Each size runs in a process of its own, so that its
peak memory is its own.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import record
from lightning.pytorch.callbacks import Callback
from prediction import memory_gb, random_counts

import hrca
from hrca.train._runtime_estimate import estimate_epoch_seconds

BATCH_SIZE = 128
N_OBS = 10_000
# Steps that are timed, after one that is not.
N_STEPS = 3


class StepTimes(Callback):
    """Seconds of each training step."""

    def __init__(self):
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Note the time."""
        self.ends.append(time.perf_counter())


def measure(size: str, n_genes: int) -> dict:
    """Time both phases at one size."""
    counts = random_counts((N_STEPS + 1) * BATCH_SIZE, n_genes, 0.07)
    labels = [f"type {i % 20}" for i in range(counts.shape[0])]
    genes = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
    adata = ad.AnnData(counts, obs={"cell_type": labels}, var=genes)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    before = memory_gb("VmRSS")
    model = hrca.HRCA(adata, **hrca.SIZES[size])
    row = {"size": size, "n_genes": n_genes, "n_parameters": sum(p.numel() for p in model.module.parameters())}
    steps_per_epoch = -(-N_OBS // BATCH_SIZE)
    for phase in ("pretrain", "finetune"):
        times = StepTimes()
        options = {"train_size": 1.0, "accelerator": "cpu", "enable_progress_bar": False, "callbacks": [times]}
        getattr(model, phase)(1, **options)
        row[f"{phase}_s_per_epoch"] = round(float(np.diff(times.ends).min()) * steps_per_epoch, 1)
    estimate = estimate_epoch_seconds(model.module, n_obs=N_OBS, batch_size=BATCH_SIZE)
    row |= {"estimate_s_per_epoch": round(estimate, 1), "peak_gb": round(memory_gb("VmHWM") - before, 2)}
    return row


def main() -> None:
    """Measure each size in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, nargs="+", default=[1000, 5000, 20_000])
    parser.add_argument("--sizes", nargs="+", default=list(hrca.SIZES))
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "GENES"), help="measure one, print it as JSON")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return
    rows = []
    for size in arguments.sizes:
        for n_genes in arguments.genes:
            command = [sys.executable, __file__, "--one", size, str(n_genes)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows.append(json.loads(output.strip().splitlines()[-1]))
            print(rows[-1], flush=True)
            record.write("training_time", rows)


if __name__ == "__main__":
    main()
