"""Time of a prediction on a dask cluster of one and of two workers, and bytes that pass through the client.

    python -m benchmarks.cost.dask_cluster --folder FOLDER [--cells 100000] [--genes 2000] [--out RESULTS]

It writes a zarr store of random counts into FOLDER, predicts it with a laptop-size model in this process (0 workers,
counts in memory) and on clusters of one and two workers, which are processes with one thread each, and compares the
labels. The workers predict a few cells first, so that no import is timed.

``scaling`` is the processor time of the only worker over the largest of a worker: the speed-up on idle cores, whatever
else the machine does. ``received_mb`` is what the client received as results of tasks. Results go to
``benchmarks/results/cost/dask_cluster.csv``; a workload in the file is not measured again: give ``--out`` to repeat it.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from dask.distributed import Client, LocalCluster
from dask.sizeof import sizeof

import hrca
from benchmarks.common.results import RESULTS, Table

from .workload import N_REFERENCE_CELLS, gene_names, laptop_model, random_counts

KEY = ("n_obs", "n_genes", "density", "n_workers")
DENSITY = 0.1
N_CHUNK_CELLS = 2_500
N_WARMUP_CELLS = 100
BYTES_PER_MB = 1e6


def write_store(path: Path, n_obs: int, n_genes: int) -> None:
    """Write random counts on the model's genes in reverse order."""
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(n_obs)])
    var = pd.DataFrame(index=gene_names(n_genes)[::-1])
    ad.AnnData(random_counts(n_obs, n_genes, DENSITY), obs=obs, var=var).write_zarr(path)


def open_store(path: Path) -> ad.AnnData:
    """Open the counts as a dask array in chunks of some thousand cells."""
    lazy = ad.experimental.read_lazy(path)
    x = lazy.X.rechunk({0: N_CHUNK_CELLS})
    return ad.AnnData(x, obs=pd.DataFrame(index=lazy.obs_names), var=pd.DataFrame(index=lazy.var_names))


class CountedClient(Client):
    """A client that counts the bytes that it receives as results of tasks."""

    received = 0

    async def _gather_remote(self, *args: Any, **kwargs: Any) -> dict:
        response = await super()._gather_remote(*args, **kwargs)
        self.received += sum(sizeof(value) for value in response["data"].values())
        return response


def measure(model: hrca.HRCA, path: Path, n_workers: int) -> dict[str, Any]:
    """Predict the store on a cluster."""
    out = path.with_name("labels.zarr")
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        CountedClient(cluster) as client,
    ):
        adata = open_store(path)
        # two chunks for each worker: all of them import what they need
        few = adata[: n_workers * N_WARMUP_CELLS].copy()
        few.X = few.X.rechunk({0: N_WARMUP_CELLS // 2})
        model.predict_dask(few, path.with_name("few.zarr"), client)
        client.received, before, start = 0, client.run(time.process_time), time.perf_counter()
        model.predict_dask(adata, out, client)
        wall_s, after = time.perf_counter() - start, client.run(time.process_time)
    cpu_s = [after[worker] - before[worker] for worker in before]
    labels = ad.read_zarr(out).obs["hrca"].astype(str)
    for name in (out, path.with_name("few.zarr")):
        shutil.rmtree(name)
    return {
        "wall_s": round(wall_s, 1),
        "cpu_s": round(sum(cpu_s), 1),
        "largest_cpu_s": round(max(cpu_s), 1),
        "received_mb": round(client.received / BYTES_PER_MB, 3),
        "labels": labels,
    }


def measure_here(model: hrca.HRCA, path: Path) -> dict[str, Any]:
    """Predict the same cells in this process."""
    adata = ad.read_zarr(path)
    start, cpu_start = time.perf_counter(), time.process_time()
    model.predict(adata, enable_progress_bar=False)
    cpu_s = round(time.process_time() - cpu_start, 1)
    wall_s = round(time.perf_counter() - start, 1)
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "largest_cpu_s": cpu_s,
        "received_mb": np.nan,
        "labels": adata.obs["hrca"].astype(str),
    }


def main() -> None:
    """Measure the workload, if the results lack it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the store, which workers see")
    parser.add_argument("--cells", type=int, default=100_000, help="number of cells")
    parser.add_argument("--genes", type=int, default=2_000, help="number of genes")
    parser.add_argument("--out", type=Path, default=RESULTS / "cost", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "dask_cluster.csv", KEY)
    workload = {"n_obs": arguments.cells, "n_genes": arguments.genes, "density": DENSITY}
    if table.key_of({**workload, "n_workers": 0}) in table.keys:
        print(f"{table.path} has this workload; give --out to measure it again")
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / "counts.zarr"
    write_store(path, arguments.cells, arguments.genes)
    model = laptop_model(random_counts(N_REFERENCE_CELLS, arguments.genes, DENSITY))
    rows = [measure_here(model, path), *(measure(model, path, n_workers) for n_workers in (1, 2))]
    shutil.rmtree(path)
    expected, alone = rows[0]["labels"], rows[1]["largest_cpu_s"]
    for n_workers, row in enumerate(rows):
        row["n_other_labels"] = int((row.pop("labels").to_numpy() != expected.to_numpy()).sum())
        row["scaling"] = round(alone / row["largest_cpu_s"], 2)
        rows[n_workers] = {**workload, "n_workers": n_workers, **row}
    table.append(rows)
    print(pd.DataFrame(rows).to_string())


if __name__ == "__main__":
    main()
