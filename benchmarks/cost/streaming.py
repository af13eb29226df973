"""Memory and time of predicting a file that is not loaded, with the labels written into it.

    python -m benchmarks.cost.streaming --folder FOLDER [--sizes 30000 ...] [--genes 20000] [--density 0.05]
        [--out RESULTS]

It writes h5ad files of random sparse counts into FOLDER, predicts each in its own process with a laptop-size model, and
deletes it. Memory above the start and time go to ``benchmarks/results/cost/streaming.csv``. FOLDER needs twice the size
of the largest file: 5 GB with the default sizes. A size in the file is not measured again: give ``--out`` to repeat it.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from benchmarks.common.processes import run_for_json
from benchmarks.common.results import RESULTS, Table

from .memory import memory_gb, reset_peak_memory
from .workload import N_REFERENCE_CELLS, gene_names, laptop_model, random_counts

KEY = ("n_obs", "n_genes", "density")
SIZES = [30_000, 100_000, 300_000]
# Cells that are written at once, and maximum number of values in a chunk of the file.
N_PIECE_CELLS = 10_000
MAX_CHUNK_SIZE = 1_000_000
BYTES_PER_GB = 1024**3


def write_counts(path: Path, n_obs: int, n_genes: int, density: float) -> None:
    """Write random counts in CSR, a piece at a time, on the model's genes in reverse order."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(n_obs)])
    ad.AnnData(obs=obs, var=pd.DataFrame(index=gene_names(n_genes)[::-1])).write_h5ad(path)
    # one gene of each stretch of genes has a count
    stride = round(1 / density)
    n_nonzero = n_genes // stride
    with h5py.File(path, "r+") as file:
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n_obs, n_genes)})
        x["indptr"] = np.arange(n_obs + 1, dtype=np.int64) * n_nonzero
        n_values = n_obs * n_nonzero
        chunks = (min(MAX_CHUNK_SIZE, n_values),)
        indices = x.create_dataset("indices", (n_values,), np.int32, chunks=chunks)
        data = x.create_dataset("data", (n_values,), np.float32, chunks=chunks)
        for start in range(0, n_obs, N_PIECE_CELLS):
            shape = (min(N_PIECE_CELLS, n_obs - start), n_nonzero)
            values = slice(start * n_nonzero, (start + shape[0]) * n_nonzero)
            indices[values] = (np.arange(n_nonzero) * stride + rng.integers(0, stride, shape)).ravel()
            data[values] = (1 + rng.poisson(0.5, shape)).ravel()


def measure_here(path: Path, n_genes: int, density: float) -> dict[str, float]:
    """Predict the cells of a file, in this process."""
    model = laptop_model(random_counts(N_REFERENCE_CELLS, n_genes, density))
    memory_before, start = reset_peak_memory(), time.perf_counter()
    model.predict(path, enable_progress_bar=False)
    wall_s = time.perf_counter() - start
    return {
        "start_gb": round(memory_before, 3),
        "peak_above_start_gb": round(memory_gb("VmHWM") - memory_before, 3),
        "wall_s": round(wall_s, 1),
    }


def measure(n_obs: int, n_genes: int, density: float, folder: Path) -> dict[str, Any]:
    """Write a file, predict it in another process, and delete it."""
    path = folder / f"cells_{n_obs}.h5ad"
    write_counts(path, n_obs, n_genes, density)
    file_gb = round(path.stat().st_size / BYTES_PER_GB, 3)
    counts = ("--genes", str(n_genes), "--density", str(density))
    row = run_for_json("benchmarks.cost.streaming", "--folder", str(folder), "--measure", str(path), *counts)
    n_labelled = int(ad.read_h5ad(path, backed="r").obs["hrca"].notna().sum())
    path.unlink()
    return {"file_gb": file_gb, "n_labelled": n_labelled, **row, "cells_per_s": round(n_obs / row["wall_s"])}


def main() -> None:
    """Measure the sizes that the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the files of counts")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of cells")
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--density", type=float, default=0.05, help="fraction of counts that are not zero")
    parser.add_argument("--measure", type=Path, help="predict this file, and print the costs as JSON")
    parser.add_argument("--out", type=Path, default=RESULTS / "cost", help="folder of the results")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure_here(arguments.measure, arguments.genes, arguments.density)))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    table = Table(arguments.out / "streaming.csv", KEY)
    for n_obs in arguments.sizes:
        row = {"n_obs": n_obs, "n_genes": arguments.genes, "density": arguments.density}
        if table.key_of(row) in table.keys:
            print(f"{n_obs} cells: in {table.path} already; give --out to measure them again")
            continue
        row |= measure(**row, folder=arguments.folder)
        table.append([row])
        print(row, flush=True)


if __name__ == "__main__":
    main()
