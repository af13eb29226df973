"""Coefficients of the log odds that a cluster of the query is of none of the reference's labels.

    python -m benchmarks.uncertainty.open_set_fit --data DATA --models FOLDER [--seeds 1]

A logistic regression on the clusters of the cases of :mod:`benchmarks.uncertainty.open_set`. A cluster counts if at
least four fifths of its cells have a type that the reference lacks, or at least four fifths have one that it has. Of
the former, only those of separable types count. Each query has the same weight, divided among the clusters that count
by their numbers of cells. It prints the coefficients of a fit to the pairs of ``CHOSEN_ON``, of one to the others, and
the AUROC of each on both.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from hrca.prediction._probabilities import PredictionSettings

from .open_set import CHOSEN_ON, VARIANTS, XENIUM, OpenCase, TypeF1, cases, f1_by_type, is_separable_type, load_or_train
from .splits import thin_by_name

FEATURES = ["best", "relative", "margin"]
# As `predict` has them.
SETTINGS = PredictionSettings(platform_correction=True, open_set=True, calibrated=True)
# A cluster is pure if the fraction of uncovered cells is at most this, or at least 1 minus this.
MAX_IMPURITY = 0.2
# Weight of a query in cells of the regression, whose penalty is that of scikit-learn's default. Not tuned.
QUERY_WEIGHT = 10


def clusters_of(case: OpenCase, data: Path, models: Path, type_f1: TypeF1) -> Iterator[pd.DataFrame]:
    """Yield features and truth of the clusters of a case at each depth; adds to `type_f1` as the benchmark does."""
    pair = case.read(data)
    model = load_or_train(case, pair, models)
    for depth in case.depths:
        query = thin_by_name(pair.query, depth, case.seed, case.spec.name)
        types = query.obs[pair.labels_key].to_numpy().astype(str)
        if case.left_out == VARIANTS[0]:
            type_f1 |= f1_by_type(case, depth, types, np.asarray(model.predict(query, key_added=None), dtype=str))
        cells = model._predict_probabilities(model._open_query(query, None), SETTINGS)
        fit_of_query, open_set_scores = cells.query_fit, cells.open_set_scores
        if open_set_scores is None or fit_of_query is None or fit_of_query.misfits is None:
            continue
        separable = np.array([is_separable_type(case, depth, name, type_f1) for name in types])
        has_counts, is_covered = cells.has_counts, np.isin(types, model.labels)
        frame = pd.DataFrame({"uncovered": ~is_covered, "separable": separable})[has_counts]
        clusters = frame.groupby(open_set_scores.clusters[has_counts])
        table = clusters.mean().assign(
            cell_fraction=clusters.size() / has_counts.sum(),
            pair=case.spec.name,
            query=f"{case.model_name} at {depth:g}",
        )
        yield table.join(pd.DataFrame(fit_of_query.misfits.features(), columns=FEATURES))


def countable(clusters: pd.DataFrame) -> pd.DataFrame:
    """Return the pure clusters of covered or separable types; `cell_fraction` sums to 1 over those of a query."""
    is_pure = (clusters["uncovered"] <= MAX_IMPURITY) | (clusters["uncovered"] >= 1 - MAX_IMPURITY)
    kept = clusters[is_pure & ((clusters["uncovered"] < 0.5) | (clusters["separable"] > 0.5))]
    return kept.assign(cell_fraction=kept["cell_fraction"] / kept.groupby("query")["cell_fraction"].transform("sum"))


def fit(clusters: pd.DataFrame) -> LogisticRegression:
    """Fit the log odds to clusters from :func:`countable`."""
    weights = QUERY_WEIGHT * clusters["cell_fraction"]
    return LogisticRegression(C=1).fit(clusters[FEATURES], clusters["uncovered"] > 0.5, sample_weight=weights)


def main() -> None:
    """Fit the coefficients, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--models", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--out", type=Path, help="CSV file of the clusters")
    arguments = parser.parse_args()
    type_f1: TypeF1 = {}
    tables = [
        table
        for case in cases([], arguments.seeds)
        if case.spec is not XENIUM
        for table in clusters_of(case, arguments.data, arguments.models, type_f1)
    ]
    clusters = pd.concat(tables, ignore_index=True)
    if arguments.out:
        clusters.to_csv(arguments.out, index=False)
    clusters = countable(clusters)
    is_chosen = clusters["pair"].isin(CHOSEN_ON)
    for name, part in {"chosen on": clusters[is_chosen], "checked on": clusters[~is_chosen]}.items():
        model = fit(part)
        print(f"{name}: coefficients {model.coef_[0].round(2)}, intercept {model.intercept_[0]:.2f}")
        for other, rows in {"chosen on": clusters[is_chosen], "checked on": clusters[~is_chosen]}.items():
            scores = model.decision_function(rows[FEATURES])
            auroc = roc_auc_score(rows["uncovered"] > 0.5, scores, sample_weight=rows["cell_fraction"])
            print(f"  AUROC {other}: {auroc:.3f}")


if __name__ == "__main__":
    main()
