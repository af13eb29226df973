"""Calibration of confidences and coverage of prediction sets, within data sets and across them.

    python -m benchmarks.uncertainty.calibration --data DATA [--datasets starmap_mpfc ...] [--seeds 3] [--genes 2000]
        [--methods hrca ...] [--environments FOLDER] [--across [--pairs BZ9 ...]]

Within: half of the cells of a data set are the reference. They train HRCA (laptop size, ``train()`` with its defaults),
logistic regression, the multinomial likelihood and scANVI, which needs an environment of its own
(``benchmarks/environments/make.sh FOLDER``). Each method predicts the other half at several depths. Across
(``--across``): the pairs of the accuracy benchmark on all genes, query cells with labels that the reference has. Cells
without counts are left out.

There are three files in ``benchmarks/results/uncertainty``, and three more whose names start with
``calibration_across``:

- ``calibration.csv``, a row for each method and depth;
- ``calibration_by_label.csv``, the coverage of the sets by true label, for labels with at least 100 cells;
- ``calibration_bins.csv``, the bins of confidence, from which ``benchmarks.uncertainty.report`` pools the splits.

Rows in the files are not measured again.

The methods are:

- ``hrca``, which predicts with the defaults;
- ``hrca_label``, with class-conditional sets, and ``hrca_weighted``, with sets that are reweighted to the query;
- ``hrca_folds`` and ``hrca_folds_label``, after ``train(n_folds=5)``;
- ``hrca_raw``, without calibration;
- ``hrca_adapted``, after ``adapt(query)`` at each depth, with reweighted sets;
- ``logistic_regression`` and ``multinomial``;
- ``scanvi``, which has the confidence of its label and no sets.

Methods without sets of their own, and ``hrca_raw``, get the most probable labels until their total probability is 0.9.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.common.data import total_counts
from benchmarks.common.results import RESULTS, Table
from hrca import metrics

from .predictors import METHODS, SCANVI, CellPredictions, predict_with_scanvi, train_predictors
from .splits import DATA_SETS, Case, UnreadCase, cases_across, cases_within

KEY = ("data", "seed", "genes", "method")
# The coverage of a label with fewer cells is too uncertain.
MIN_LABEL_CELLS = 100
# Draws of correct and wrong predictions under confidences that are correct.
N_CHANCE_DRAWS = 20


class Measurement(NamedTuple):
    """The scores of a method at one depth: over all cells, by label, and the bins of confidence."""

    row: dict[str, Any]
    by_label: list[dict[str, Any]]
    bins: list[dict[str, Any]]


def error_by_chance(confidence: np.ndarray) -> float:
    """Return the calibration error that correct confidences would have by chance, with this number of cells."""
    rng = np.random.default_rng(0)
    drawn = [np.where(rng.random(len(confidence)) < confidence, "same", "other") for _ in range(N_CHANCE_DRAWS)]
    same = np.full(len(confidence), "same")
    return float(np.mean([metrics.calibration_error(labels, same, confidence) for labels in drawn]))


def score(predictions: CellPredictions, true_labels: np.ndarray) -> tuple[dict[str, float], pd.DataFrame]:
    """Score predictions over all cells, and their sets by true label."""
    labels, confidence = predictions.labels, predictions.confidence
    row = {
        "n_obs": len(true_labels),
        "accuracy": np.mean(labels == true_labels),
        "confidence": confidence.mean(),
        "calibration_error": metrics.calibration_error(true_labels, labels, confidence),
        "by_chance": error_by_chance(confidence),
        "risk_coverage_area": metrics.risk_coverage_area(true_labels, labels, confidence),
    }
    names = ("coverage", "size", "empty")
    if predictions.sets is None:
        return row | dict.fromkeys(names, np.nan), pd.DataFrame()
    overall = metrics.set_scores(true_labels, predictions.sets).loc["all"]
    by_label = metrics.set_scores(true_labels, predictions.sets, by=true_labels)
    return row | {name: overall[name] for name in names}, by_label[by_label["n_obs"] >= MIN_LABEL_CELLS]


def confidence_bins(predictions: CellPredictions, true_labels: np.ndarray) -> pd.DataFrame:
    """Return number of cells, mean confidence, accuracy, and the sum of p (1 - p), by bin of confidence p."""
    confidence = predictions.confidence
    table = metrics.reliability_table(true_labels, predictions.labels, confidence)
    places = np.minimum((confidence * metrics.N_BINS).astype(int), metrics.N_BINS - 1)
    variance = np.bincount(places, confidence * (1 - confidence), minlength=metrics.N_BINS)
    return table.drop(columns="by").assign(variance=variance[table["bin"]])


def measure(case: Case, genes: str, names: set[str], environments: Path | None) -> Iterator[Measurement]:
    """Train all methods, and score them one depth after the other.

    Parameters
    ----------
    case
        Reference and query.
    genes
        Value of the column ``genes``: ``all``, or the number of genes.
    names
        Methods, of :data:`METHODS` or ``scanvi``.
    environments
        Folder of the environments of published methods.
    """
    queries = case.queries()
    of_scanvi = predict_with_scanvi(case, queries, environments) if SCANVI in names else {}
    predictors = train_predictors(case.pair.reference, case.pair.labels_key, case.seed, names)
    for depth, query in queries.items():
        true_labels = query.obs[case.pair.labels_key].to_numpy().astype(str)
        predictions = {name: predict(query) for name, predict in predictors.items()}
        predictions |= {SCANVI: of_scanvi[depth]} if of_scanvi else {}
        for name, predicted in predictions.items():
            where = {"data": case.name, "seed": case.seed, "n_genes": query.n_vars, "method": name, "depth": depth}
            scores, by_label = score(predicted, true_labels)
            median_counts = {"median_counts": float(np.median(total_counts(query)))}
            yield Measurement(
                {"genes": genes, **where, **median_counts, **scores},
                _rows(by_label.rename_axis("label").reset_index(), where, genes),
                _rows(confidence_bins(predicted, true_labels), where, genes),
            )


def _rows(table: pd.DataFrame, where: dict[str, Any], genes: str) -> list[dict[str, Any]]:
    return [{**row, **where, "genes": genes} for row in table.to_dict("records")]


def run(cases: Iterator[UnreadCase], genes: str, names: set[str], environments: Path | None, stem: Path) -> None:
    """Measure what the files lack; the main table is written last, so that its rows stand for a whole measurement."""
    table = Table(Path(f"{stem}.csv"), KEY)
    by_label = Table(Path(f"{stem}_by_label.csv"), KEY, provenance_columns=())
    bins = Table(Path(f"{stem}_bins.csv"), KEY, provenance_columns=())
    by_label.keep_only(table.keys)
    bins.keep_only(table.keys)
    for case in cases:
        missing = {name for name in names if (case.name, str(case.seed), genes, name) not in table.keys}
        if not missing:
            continue
        measurements = list(measure(case.read(), genes, missing, environments))
        by_label.append(row for measurement in measurements for row in measurement.by_label)
        bins.append(row for measurement in measurements for row in measurement.bins)
        table.append(measurement.row for measurement in measurements)
        columns = ["data", "seed", "method", "depth", "calibration_error", "by_chance", "coverage", "size"]
        print(pd.DataFrame([measurement.row for measurement in measurements])[columns].round(4))


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--datasets", nargs="+", default=DATA_SETS, choices=DATA_SETS)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--genes", type=int, help="most variable genes to keep; all if not given")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, SCANVI], help="all except scANVI if not given")
    parser.add_argument("--environments", type=Path, help="folder of the environments, for scANVI")
    parser.add_argument("--across", action="store_true", help="the pairs of the accuracy benchmark")
    parser.add_argument("--pairs", nargs="+", default=[], help="only pairs whose name contains one of these")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    arguments = parser.parse_args()
    if arguments.across:
        stem, cases = "calibration_across", cases_across(arguments.pairs, arguments.seeds, arguments.data)
    else:
        stem = "calibration"
        cases = cases_within(arguments.datasets, arguments.seeds, arguments.genes, arguments.data)
    genes = "all" if arguments.across or arguments.genes is None else str(arguments.genes)
    run(cases, genes, set(arguments.methods or METHODS), arguments.environments, arguments.out / stem)


if __name__ == "__main__":
    main()
