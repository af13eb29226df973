"""Queries that lack some of a model's genes: the model as it is, and one that is trained on the shared genes.

    python -m benchmarks.uncertainty.missing_genes --data DATA [--pairs BZ14 ...]

Pairs of the accuracy benchmark, on the 1,000 genes with the most counts in the reference at most, and query cells of
types that the reference has. A random part of these genes is left out of the query. The results are in
``benchmarks/results/uncertainty/missing_genes.csv``, a row for each pair, kept fraction of the genes and model:
``information``, the fraction of the model's information that the query has; macro-F1; and the fractions of the cells
that have a confidence of at least .9, and that have it with a wrong label. Pairs in the file are not measured again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scvi

import hrca
from benchmarks.common.results import RESULTS, Table
from hrca import metrics

from .splits import Case, cases_across

KEY = ("pair",)
# The first two chose the fraction of the information below which HRCA warns, the others checked it.
PAIRS = ("poa", "pbmc_facs_zheng -> pbmc3k", "BZ14", "pbmc3k -> pbmc_symphony_3tech")
MAX_GENES = 1_000
KEPT_FRACTIONS = (1.0, 0.95, 0.9, 0.75, 0.5)
MIN_CONFIDENCE = 0.9


def most_counted_genes(reference: ad.AnnData) -> np.ndarray:
    """Return which genes have the most counts, at most 1,000, shape (n_genes,)."""
    totals = np.asarray(reference.X.sum(axis=0)).ravel()
    is_chosen = np.zeros(len(totals), dtype=bool)
    is_chosen[np.argsort(-totals, kind="stable")[:MAX_GENES]] = True
    return is_chosen


def train(reference: ad.AnnData, labels_key: str, seed: int) -> hrca.HRCA:
    """Train a model of laptop size with the defaults."""
    scvi.settings.seed = seed
    hrca.HRCA.setup_anndata(reference, labels_key=labels_key)
    model = hrca.HRCA(reference, size="laptop")
    model.train(enable_progress_bar=False)
    return model


def score(model: hrca.HRCA, query: ad.AnnData, true_labels: np.ndarray) -> dict[str, float]:
    """Return the scores of a model, and the information that the query has."""
    table = model.predict(query, soft=True, key_added=None)
    labels, confidence = table.columns.to_numpy()[table.to_numpy().argmax(axis=1)], table.to_numpy().max(axis=1)
    is_confident = confidence >= MIN_CONFIDENCE
    return {
        "information": hrca.pp.check(query, model).gene_weight_fraction,
        "macro_f1": metrics.annotation_scores(true_labels, labels)["macro_f1"],
        "confident": float(is_confident.mean()),
        "confident_wrong": float((is_confident & (labels != true_labels)).mean()),
    }


def measure(case: Case) -> Iterator[dict[str, Any]]:
    """Score both models for each kept fraction of the genes."""
    labels_key, genes = case.pair.labels_key, most_counted_genes(case.pair.reference)
    reference, query = case.pair.reference[:, genes].copy(), case.pair.query[:, genes].copy()
    true_labels = query.obs[labels_key].to_numpy().astype(str)
    full, order = train(reference, labels_key, case.seed), np.random.default_rng(case.seed).permutation(query.n_vars)
    for fraction in KEPT_FRACTIONS:
        kept = np.sort(order[: round(fraction * len(order))])
        rest = query[:, kept].copy()
        models = {"all genes": full}
        if fraction < 1:
            models["shared genes"] = train(reference[:, kept].copy(), labels_key, case.seed)
        for name, model in models.items():
            where = {"pair": case.name, "kept_fraction": fraction, "model": name, "n_genes": len(kept)}
            yield where | score(model, rest, true_labels)


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--pairs", nargs="+", default=PAIRS, help="only pairs whose name contains one of these")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "missing_genes.csv", KEY)
    for name in arguments.pairs:
        for unread in cases_across([name], 1, arguments.data):
            if (unread.name,) not in table.keys:
                table.append(list(measure(unread.read())))
                print(f"{unread.name}: measured", flush=True)


if __name__ == "__main__":
    main()
