"""Labels of any level of a hierarchy (back-off), compared with labels of the finest level, on blood.

    python -m benchmarks.uncertainty.backoff --data DATA [--seeds 3] [--genes 2000]

Half of the cells of ``pbmc3k`` and of ``pbmc_facs_zheng`` (``cell_type``) train HRCA (laptop size) by
``train(n_folds=5)``, with the hierarchies below. This model, and the model that ``train()`` gives without folds,
predict the other half at each depth. The results are in ``benchmarks/results/uncertainty/backoff.csv``, a row for each
``n_folds``, depth and ``min_confidence``, with hierarchical precision, recall and F1 of three methods:

- ``backoff``: ``predict(min_confidence=...)``;
- ``threshold``: the most probable label, for the same number of cells, those with the highest probabilities;
- ``flat``: the most probable label of every cell.

Data sets and seeds in the file are not measured again. ``benchmarks.uncertainty.report`` averages the splits.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scvi

import hrca
from benchmarks.common.results import RESULTS, Table
from hrca import metrics

from .predictors import N_FOLDS, without_folds
from .splits import LABELS_KEY, split_in_halves, thin_by_name

KEY = ("data", "seed")
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
# 0.45 is about half of the F1 on blood. A label that is one level finer raises the expected F1 if its probability is
# above half of that F1 (Lipton et al., ECML 2014).
MIN_CONFIDENCES = (0.4, 0.45, 0.5, 0.7, 0.9)
UNKNOWN = "Unknown"


def train(name: str, reference: ad.AnnData, seed: int) -> hrca.HRCA:
    """Train with folds and with the hierarchy of a data set."""
    scvi.settings.seed = seed
    hrca.HRCA.setup_anndata(reference, labels_key=LABELS_KEY, labels_hierarchy=PARENTS[name])
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(n_folds=N_FOLDS, enable_progress_bar=False)
    return model


def score_methods(
    true_labels: np.ndarray, predicted: Mapping[str, np.ndarray], parents: dict[str, str]
) -> dict[str, float]:
    """Return hierarchical precision, recall and F1 of the predictions of each method."""
    row: dict[str, float] = {}
    for method, labels in predicted.items():
        scores = metrics.hierarchical_scores(true_labels, labels, parents)
        row |= {name.replace("hierarchical", method): value for name, value in scores.items()}
    return row


def score(model: hrca.HRCA, query: ad.AnnData, parents: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Score each method at each ``min_confidence``."""
    true_labels = query.obs[LABELS_KEY].to_numpy().astype(str)
    table = model.predict(query, soft=True, key_added=None)
    flat, confidence = table.columns.to_numpy()[table.to_numpy().argmax(axis=1)], table.to_numpy().max(axis=1)
    for min_confidence in MIN_CONFIDENCES:
        backoff = np.asarray(model.predict(query, min_confidence=min_confidence, key_added=None))
        n_labelled = int((backoff != UNKNOWN).sum())
        most_confident = np.argsort(-confidence, kind="stable")[:n_labelled]
        threshold = np.full(len(true_labels), UNKNOWN, dtype=object)
        threshold[most_confident] = flat[most_confident]
        predicted = {"backoff": backoff, "threshold": threshold, "flat": flat}
        n_obs = len(true_labels)
        row = {"min_confidence": min_confidence, "coverage": n_labelled / n_obs, "n_obs": n_obs}
        yield row | score_methods(true_labels, predicted, parents)


def measure(name: str, folder: Path, seed: int, n_genes: int) -> Iterator[dict[str, Any]]:
    """Train, and score the model with and without folds at each depth."""
    reference, query = split_in_halves(name, folder, seed, n_genes)
    folds = train(name, reference, seed)
    for n_folds, model in ((None, without_folds(folds)), (N_FOLDS, folds)):
        for depth in DEPTHS:
            thinned = thin_by_name(query, depth, seed, name)
            where = {"data": name, "seed": seed, "n_folds": n_folds, "depth": depth}
            yield from (where | row for row in score(model, thinned, PARENTS[name]))


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--genes", type=int, default=2000, help="most variable genes to keep")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "backoff.csv", KEY)
    for seed in range(arguments.seeds):
        for name in PARENTS:
            if (name, str(seed)) not in table.keys:
                table.append(list(measure(name, arguments.data, seed, arguments.genes)))
                print(f"{name}, seed {seed}: measured", flush=True)


if __name__ == "__main__":
    main()
