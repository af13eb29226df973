"""Time of the checks before prediction, as a fraction of the time to predict a clean query.

    python -m benchmarks.cost.validation [--repeats 3] [--sizes 5] [--out FOLDER]

It predicts random counts of each size with a laptop-size model, in memory and on disk, and times ``hrca.pp.check`` in
the same runs. The fractions go to ``benchmarks/results/cost/validation.csv``. A size in the file is not measured again:
give ``--out`` to repeat it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import pandas as pd

import hrca
from benchmarks.common.results import RESULTS, Table

from .workload import gene_names, laptop_model, random_counts

KEY = ("n_obs", "n_genes", "density", "where")
# Cells, genes, and the fraction of counts that are not zero.
SIZES = [(2_000, 300, 0.3), (2_000, 20_000, 0.05), (10_000, 300, 0.3), (10_000, 20_000, 0.05), (50_000, 20_000, 0.05)]


def measure(model: hrca.HRCA, query: ad.AnnData, n_repeats: int) -> dict[str, float]:
    """Return the median seconds of a prediction and of the checks, and the ratio of the two."""
    prediction_times, check_times = [], []
    for _ in range(n_repeats):
        start = time.perf_counter()
        hrca.pp.check(query, model)
        check_times.append(time.perf_counter() - start)
        start = time.perf_counter()
        model.predict(query, key_added=None, enable_progress_bar=False)
        prediction_times.append(time.perf_counter() - start)
    predict_s, check_s = statistics.median(prediction_times), statistics.median(check_times)
    fraction = round(check_s / predict_s, 4)
    return {"predict_s": round(predict_s, 3), "check_s": round(check_s, 4), "check_fraction": fraction}


@contextmanager
def opened(query: ad.AnnData, where: str) -> Iterator[ad.AnnData]:
    """Give the query in memory, or backed by a file on disk."""
    if where == "memory":
        yield query
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "query.h5ad"
        query.write_h5ad(path)
        backed = ad.read_h5ad(path, backed="r")
        yield backed
        backed.file.close()


def main() -> None:
    """Measure the sizes that the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="number of repeats, of which the median is taken")
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="number of sizes, from the smallest")
    parser.add_argument("--out", type=Path, default=RESULTS / "cost", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "validation.csv", KEY)
    for n_obs, n_genes, density in SIZES[: arguments.sizes]:
        size = {"n_obs": n_obs, "n_genes": n_genes, "density": density}
        missing = [where for where in ("memory", "disk") if table.key_of({**size, "where": where}) not in table.keys]
        if not missing:
            print(f"{n_obs} cells, {n_genes} genes: in {table.path} already; give --out to measure them again")
            continue
        counts = random_counts(n_obs, n_genes, density)
        model = laptop_model(counts)
        # another order of the genes, which a query from elsewhere has
        query = ad.AnnData(counts, var=pd.DataFrame(index=gene_names(n_genes)))[:, ::-1].copy()
        for where in missing:
            with opened(query, where) as cells:
                row: dict[str, Any] = {**size, "where": where, **measure(model, cells, arguments.repeats)}
            table.append([row])
            print(row, flush=True)


if __name__ == "__main__":
    main()
