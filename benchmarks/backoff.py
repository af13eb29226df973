"""Answers of any level of a hierarchy, against labels alone, on blood.

    python benchmarks/backoff.py --data DATA [--seeds 1] [--genes 2000]

For ``pbmc3k`` and ``pbmc_facs_zheng`` (``cell_type``): half of the cells train HRCA (laptop size, ``train()`` as it
is), with the hierarchies below; the other half, at each depth, is labelled. Writes results/backoff.csv, a row for each
``min_confidence`` and depth: hierarchical precision, recall and F1 of ``predict(min_confidence=...)``; of a threshold
on the labels' probabilities with as many answers; and of the likeliest label of every cell.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import calibration
import grid
import numpy as np
import pandas as pd
import record
import scvi

import hrca
from hrca import metrics

PARENTS = {
    "pbmc3k": {
        "Naive CD4 T": "CD4 T",
        "Memory CD4 T": "CD4 T",
        "CD4 T": "T",
        "CD8 T": "T",
        "CD14+ Mono": "Mono",
        "FCGR3A+ Mono": "Mono",
    },
    "pbmc_facs_zheng": {
        "CD4+ T Helper2": "CD4 T",
        "CD4+/CD45RO+ Memory": "CD4 T",
        "CD4+/CD25 T Reg": "CD4 T",
        "CD4+/CD45RA+/CD25- Naive T": "CD4 T",
        "CD8+ Cytotoxic T": "CD8 T",
        "CD8+/CD45RA+ Naive Cytotoxic": "CD8 T",
        "CD4 T": "T",
        "CD8 T": "T",
    },
}
DEPTHS = (1.0, 0.1)
LEAST = (0.4, 0.5, 0.7, 0.9)


def measure(name: str, data: Path, seed: int, n_genes: int) -> Iterator[dict]:
    """Train, and score each way to answer."""
    reference, query = calibration.halves(name, data, seed, n_genes)
    scvi.settings.seed = seed
    hrca.HRCA.setup_anndata(reference, labels_key=calibration.LABELS_KEY, labels_hierarchy=PARENTS[name])
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(enable_progress_bar=False)
    for depth in DEPTHS:
        thinned = grid.thin(query, depth, grid.generator(seed, f"{depth:g} of {name}"))
        thinned = thinned[grid.totals(thinned) > 0].copy()
        known = thinned.obs[calibration.LABELS_KEY].to_numpy().astype(str)
        table = model.predict(thinned, soft=True, key_added=None)
        flat, sure = table.columns.to_numpy()[table.to_numpy().argmax(axis=1)], table.to_numpy().max(axis=1)
        for least in LEAST:
            answers = np.asarray(model.predict(thinned, min_confidence=least, key_added=None))
            n_answers = int((answers != "Unknown").sum())
            surest = np.argsort(-sure, kind="stable")[:n_answers]
            threshold = np.full(len(known), "Unknown", dtype=object)
            threshold[surest] = flat[surest]
            row = {"data": name, "seed": seed, "depth": depth, "min_confidence": least}
            row |= {"coverage": n_answers / len(known), "n_obs": len(known)}
            for way, said in (("backoff", answers), ("threshold", threshold), ("flat", flat)):
                scores = metrics.hierarchical_scores(known, said, PARENTS[name])
                row |= {key.replace("hierarchical", way): value for key, value in scores.items()}
            yield row


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--genes", type=int, default=2000, help="most variable genes to keep")
    parser.add_argument("--out", type=Path, default=record.HERE / "results")
    arguments = parser.parse_args()
    runs = [(name, seed) for seed in range(arguments.seeds) for name in PARENTS]
    rows = [row for name, seed in runs for row in measure(name, arguments.data, seed, arguments.genes)]
    table = pd.DataFrame([{**row, **record.provenance()} for row in rows])
    table.round(4).to_csv(arguments.out / "backoff.csv", index=False, lineterminator="\n")
    print(table.iloc[:, :16].to_string())


if __name__ == "__main__":
    main()
