"""Answers of any level of a hierarchy, against labels alone, on blood.

    python benchmarks/backoff.py --data DATA [--seeds 1] [--genes 2000]

For ``pbmc3k`` and ``pbmc_facs_zheng`` (``cell_type``): half of the cells train HRCA (laptop size), with the hierarchies
below, by ``train(n_folds=5)``; the other half, at each depth, is labelled, by this model and by what ``train()`` makes
of the same networks. Writes results/backoff.csv, a row for each ``n_folds``, depth and ``min_confidence``: hierarchical
precision, recall and F1 of ``predict(min_confidence=...)``; of a threshold on the labels' probabilities with as many
answers; and of the most probable label of every cell. docs/benchmarks/backoff.csv has the means over the splits.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
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
# .45 is about half of the F1 of blood, where an answer that is one level finer begins to pay
LEAST = (0.4, 0.45, 0.5, 0.7, 0.9)


def train(name: str, reference: ad.AnnData, seed: int) -> hrca.HRCA:
    """Train with folds and the hierarchy."""
    scvi.settings.seed = seed
    hrca.HRCA.setup_anndata(reference, labels_key=calibration.LABELS_KEY, labels_hierarchy=PARENTS[name])
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(n_folds=calibration.N_FOLDS, enable_progress_bar=False)
    return model


def answered(known: np.ndarray, answers: dict[str, np.ndarray], parents: dict[str, str]) -> dict[str, float]:
    """Hierarchical scores of each way to answer."""
    row = {}
    for way, said in answers.items():
        scores = metrics.hierarchical_scores(known, said, parents)
        row |= {key.replace("hierarchical", way): value for key, value in scores.items()}
    return row


def score(model: hrca.HRCA, query: ad.AnnData, parents: dict[str, str]) -> Iterator[dict]:
    """Score each way to answer, at each ``min_confidence``."""
    known = query.obs[calibration.LABELS_KEY].to_numpy().astype(str)
    table = model.predict(query, soft=True, key_added=None)
    flat, sure = table.columns.to_numpy()[table.to_numpy().argmax(axis=1)], table.to_numpy().max(axis=1)
    for least in LEAST:
        backoff = np.asarray(model.predict(query, min_confidence=least, key_added=None))
        n_answers = int((backoff != "Unknown").sum())
        surest = np.argsort(-sure, kind="stable")[:n_answers]
        threshold = np.full(len(known), "Unknown", dtype=object)
        threshold[surest] = flat[surest]
        ways = {"backoff": backoff, "threshold": threshold, "flat": flat}
        row = {"min_confidence": least, "coverage": n_answers / len(known), "n_obs": len(known)}
        yield row | answered(known, ways, parents)


def measure(name: str, data: Path, seed: int, n_genes: int) -> Iterator[dict]:
    """Train, and score with and without what the folds taught."""
    reference, query = calibration.halves(name, data, seed, n_genes)
    model = train(name, reference, seed)
    for n_folds, asked in ((None, calibration.without_folds(model)), (calibration.N_FOLDS, model)):
        for depth in DEPTHS:
            thinned = grid.thin(query, depth, grid.generator(seed, f"{depth:g} of {name}"))
            thinned = thinned[grid.totals(thinned) > 0].copy()
            where = {"data": name, "seed": seed, "n_folds": n_folds, "depth": depth}
            yield from (where | row for row in score(asked, thinned, PARENTS[name]))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the splits together: mean F1 (precision) of each way, and in how many splits back-off's F1 is the highest.

    Parameters
    ----------
    rows
        What :func:`measure` yields.
    """
    first = (rows["backoff_f1"] > rows["threshold_f1"]) & (rows["backoff_f1"] > rows["flat_f1"])
    grouped = rows.assign(first=first).groupby(["data", "depth", "n_folds", "min_confidence"], dropna=False)
    means = grouped.mean(numeric_only=True)
    table = pd.DataFrame({"answered": means["coverage"].map("{:.3f}".format)})
    for way, name in (("backoff", "back-off"), ("threshold", "threshold"), ("flat", "every cell")):
        table[name] = [f"{a:.4f} ({b:.3f})" for a, b in zip(means[f"{way}_f1"], means[f"{way}_precision"], strict=True)]
    table["back-off first"] = [f"{a} of {b}" for a, b in zip(grouped["first"].sum(), grouped.size(), strict=True)]
    return table.sort_index(ascending=[True, False, False, True], na_position="last")


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
    table = pd.DataFrame(rows).astype({"n_folds": "Int64"}).round(4)
    print(table.to_string())
    table.assign(**record.provenance()).to_csv(arguments.out / "backoff.csv", index=False, lineterminator="\n")
    summary(table).to_csv(record.HERE.parent / "docs" / "benchmarks" / "backoff.csv", lineterminator="\n")


if __name__ == "__main__":
    main()
