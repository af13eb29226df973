"""Accuracy of default training by the number of cells of a label that fine-tuning uses.

    python -m benchmarks.cost.cells_per_label --data DATA [--limits 50 200 none] [--seeds 3] [--out FOLDER]

It trains a laptop-size model on two references of blood, restricted to their 300 most variable genes, for each
``max_cells_per_label`` and seed, and scores the whole and the sparse query. It writes
``benchmarks/results/cost/cells_per_label.csv``. Rows in the file are not measured again: give ``--out`` to repeat
them.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import scvi

import hrca
from benchmarks.common.data import PairSpec, read_pair, restrict_to_panel, select_pairs, thin_queries
from benchmarks.common.results import RESULTS, Table
from hrca.metrics import annotation_scores

KEY = ("pair", "limit", "seed", "depth")
PAIRS = ("pbmc_facs_zheng -> pbmc3k", "pbmc3k -> pbmc_symphony_3tech")
PANEL = "300 variable"
DEPTHS = ("1.0", "100 counts")
NO_LIMIT = "none"


def measure(spec: PairSpec, limit: str, seed: int, data: Path) -> list[dict[str, Any]]:
    """Train a model and score it at each depth."""
    pair = restrict_to_panel(read_pair(spec, data), PANEL, seed)
    if pair is None:
        raise ValueError(f"A pair must have more genes than the panel of {PANEL}, got {spec.name}.")
    scvi.settings.seed = seed
    reference = pair.reference.copy()
    hrca.HRCA.setup_anndata(reference, labels_key=pair.labels_key)
    model = hrca.HRCA(reference, size="laptop")
    start = time.process_time()
    model.train(max_cells_per_label=None if limit == NO_LIMIT else int(limit), enable_progress_bar=False)
    seconds = time.process_time() - start
    known = pair.is_known_label
    rows = []
    for depth, query in thin_queries(pair, DEPTHS, seed).items():
        model.predict(query, enable_progress_bar=False)
        scores = annotation_scores(query.obs[pair.labels_key][known], query.obs["hrca"][known])
        rows.append({"pair": spec.name, "limit": limit, "seed": seed, "depth": depth, "cpu_s": seconds, **scores})
    return rows


def main() -> None:
    """Measure the rows that the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--limits", nargs="+", default=["50", "200", NO_LIMIT])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "cost", help="folder of the results")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    table = Table(arguments.out / "cells_per_label.csv", KEY)
    for seed in range(arguments.seeds):
        for spec in select_pairs(PAIRS):
            for limit in arguments.limits:
                if (spec.name, limit, str(seed), DEPTHS[0]) not in table.keys:
                    table.append(measure(spec, limit, seed, arguments.data))


if __name__ == "__main__":
    main()
