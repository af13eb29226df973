"""Speed and memory of prediction on a large sparse query in memory.

    python -m benchmarks.cost.prediction [--cells 100000] [--genes 20000] [--density 0.05] [--labels 10]
        [--shuffled] [--out FOLDER]

It predicts random counts with a laptop-size model, and writes cells per second and peak memory above the data to
``benchmarks/results/cost/prediction.csv``. A workload in the file is not measured again: give ``--out`` to repeat it.
"""

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from benchmarks.common.results import RESULTS, Table

from .memory import memory_gb, reset_peak_memory
from .workload import N_LABELS, gene_names, laptop_model, random_counts

KEY = ("n_obs", "n_genes", "density", "n_labels", "shuffled")
BYTES_PER_GB = 1024**3


def measure(n_obs: int, n_genes: int, density: float, n_labels: int, shuffled: bool) -> dict[str, Any]:
    """Predict random counts, in this process.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_genes
        Number of genes.
    density
        Fraction of counts that are not zero.
    n_labels
        Number of labels of the model.
    shuffled
        True for a query whose genes are in another order than the model's.
    """
    counts = random_counts(n_obs, n_genes, density)
    model = laptop_model(counts, n_labels)
    genes = gene_names(n_genes)
    order = np.random.default_rng(1).permutation(genes) if shuffled else genes
    query = ad.AnnData(counts, var=pd.DataFrame(index=order))
    memory_before = reset_peak_memory()
    start, cpu_start = time.perf_counter(), _cpu_seconds()
    model.predict(query)
    wall_s, cpu_s = time.perf_counter() - start, _cpu_seconds() - cpu_start
    return {
        "data_gb": round((counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes) / BYTES_PER_GB, 3),
        "peak_above_data_gb": round(memory_gb("VmHWM") - memory_before, 3),
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "cells_per_s": round(n_obs / wall_s),
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure the workload, if the results lack it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--labels", type=int, default=N_LABELS)
    parser.add_argument("--shuffled", action="store_true", help="give the query's genes in another order")
    parser.add_argument("--out", type=Path, default=RESULTS / "cost", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "prediction.csv", KEY)
    workload = (arguments.cells, arguments.genes, arguments.density, arguments.labels, arguments.shuffled)
    row = dict(zip(KEY, workload, strict=True))
    if table.key_of(row) in table.keys:
        print(f"{table.path} has this workload; give --out to measure it again")
        return
    row |= measure(*workload)
    table.append([row])
    for name, value in row.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
