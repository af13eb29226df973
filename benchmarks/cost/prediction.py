"""Speed and memory of prediction on a large sparse query.

    python benchmarks/prediction.py

makes cells x genes of random counts (default 100,000 x 20,000, 5 % of them not zero), predicts them with a laptop-size
model, prints cells per second and peak memory above the data, and writes results/prediction.csv. Weights are untrained:
they cost the same.
"""

import argparse
import resource
import time

import anndata as ad
import numpy as np
import pandas as pd
import record
from scipy import sparse

import hrca


def random_counts(n_obs: int, n_genes: int, density: float, seed: int = 0) -> sparse.csr_matrix:
    """Counts whose non-zero genes are drawn with equal chance for each cell, without a dense array on the way."""
    rng = np.random.default_rng(seed)
    n_nonzero = round(density * n_genes)
    indices = np.empty((n_obs, n_nonzero), dtype=np.int32)
    for start in range(0, n_obs, 1000):
        block = indices[start : start + 1000]
        block[:] = rng.random((len(block), n_genes), dtype=np.float32).argpartition(n_nonzero, axis=1)[:, :n_nonzero]
        block.sort(axis=1)
    data = rng.geometric(0.5, indices.size).astype(np.float32)
    indptr = np.arange(0, indices.size + 1, n_nonzero)
    return sparse.csr_matrix((data, indices.ravel(), indptr), shape=(n_obs, n_genes))


def memory_gb(field: str) -> float:
    """Memory of this process as the kernel has it: VmRSS is now, VmHWM the largest so far."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024**2


def main() -> None:
    """Make, predict, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--shuffled", action="store_true", help="give the query's genes in another order")
    arguments = parser.parse_args()
    counts = random_counts(arguments.cells, arguments.genes, arguments.density)
    genes = pd.Index([f"gene{i}" for i in range(arguments.genes)])
    reference = ad.AnnData(
        counts[:200].copy(), obs={"cell_type": [f"type {i % 10}" for i in range(200)]}, var=pd.DataFrame(index=genes)
    )
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.finetune(1, train_size=1.0, enable_progress_bar=False)
    order = np.random.default_rng(1).permutation(genes) if arguments.shuffled else genes
    query = ad.AnnData(counts, var=pd.DataFrame(index=order))
    # the peak so far is of making the data: start it anew (Linux)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = memory_gb("VmRSS")
    start, cpu_start = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    model.predict(query)
    wall_s, cpu_end = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    row = {
        "n_obs": arguments.cells,
        "n_genes": arguments.genes,
        "density": arguments.density,
        "shuffled": arguments.shuffled,
        "data_gb": round((counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes) / 1024**3, 3),
        "peak_above_data_gb": round(memory_gb("VmHWM") - before, 3),
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_end.ru_utime + cpu_end.ru_stime - cpu_start.ru_utime - cpu_start.ru_stime, 1),
        "cells_per_s": round(arguments.cells / wall_s),
    }
    for name, value in row.items():
        print(f"{name}: {value}")
    record.write("prediction_shuffled" if arguments.shuffled else "prediction", [row])


if __name__ == "__main__":
    main()
