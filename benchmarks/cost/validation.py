"""What the checks before prediction cost, as a share of predicting a clean query.

    python benchmarks/checks.py

predicts random counts of each size with a laptop-size model, in memory and on disk, and times in the same runs what
`predict` does before its first batch. It prints the shares and writes results/checks.csv. Weights are untrained: they
cost the same.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import anndata as ad
import pandas as pd
import record
from prediction import random_counts

import hrca

# cells, genes, share of counts that are not zero
SIZES = [(2_000, 300, 0.3), (2_000, 20_000, 0.05), (10_000, 300, 0.3), (10_000, 20_000, 0.05), (50_000, 20_000, 0.05)]


def measure(model: hrca.HRCA, query: ad.AnnData, repeats: int) -> dict[str, float]:
    """Median seconds of a prediction, and of the checks in it."""
    whole, checks = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        hrca.pp.check(query, model)
        checks.append(time.perf_counter() - start)
        start = time.perf_counter()
        model.predict(query, key_added=None, enable_progress_bar=False)
        whole.append(time.perf_counter() - start)
    predict_s, check_s = statistics.median(whole), statistics.median(checks)
    return {"predict_s": round(predict_s, 3), "check_s": round(check_s, 4), "share": round(check_s / predict_s, 4)}


def main() -> None:
    """Make, predict, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many of the sizes, from the smallest")
    arguments = parser.parse_args()
    rows = []
    for n_obs, n_genes, density in SIZES[: arguments.sizes]:
        counts = random_counts(n_obs, n_genes, density)
        var = pd.DataFrame(index=[f"GENE{i}" for i in range(n_genes)])
        reference = ad.AnnData(counts[:200].copy(), obs={"cell_type": [f"type {i % 10}" for i in range(200)]}, var=var)
        hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
        model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
        model.finetune(1, train_size=1.0, enable_progress_bar=False)
        # another order: what a query from elsewhere has
        query = ad.AnnData(counts, var=var)[:, ::-1].copy()
        with tempfile.TemporaryDirectory() as folder:
            query.write_h5ad(Path(folder) / "query.h5ad")
            for where in ("memory", "disk"):
                cells = query if where == "memory" else ad.read_h5ad(Path(folder) / "query.h5ad", backed="r")
                row = {"n_obs": n_obs, "n_genes": n_genes, "density": density, "where": where}
                rows.append(row | measure(model, cells, arguments.repeats))
                print(rows[-1])
                if where == "disk":
                    cells.file.close()
    print(f"largest share: {max(row['share'] for row in rows):.1%}; written to {record.write('checks', rows)}")


if __name__ == "__main__":
    main()
