"""The methods of the calibration benchmark: HRCA with and without its options, and three baselines."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi
from scipy.special import softmax

import hrca
from benchmarks.common.baselines import likelihood, linear
from benchmarks.common.baselines.task import Task
from benchmarks.common.expression import log_normalized
from benchmarks.common.methods import EnvironmentMissingError, label_queries, method_command
from hrca.module._calibration import Calibration

from .sets import COVERAGE, cumulative_sets
from .splits import Case

N_FOLDS = 5
SCANVI = "scanvi"
SCANVI_TIMEOUT_S = 1800
# Methods that need no other environment.
METHODS = (
    "hrca",
    "hrca_label",
    "hrca_weighted",
    "hrca_folds",
    "hrca_folds_label",
    "hrca_raw",
    "hrca_adapted",
    "logistic_regression",
    "multinomial",
)


@dataclass(frozen=True)
class CellPredictions:
    """The predictions of a method for a query.

    Attributes
    ----------
    labels
        The label of each cell, shape (n_obs,).
    confidence
        The probability of that label, shape (n_obs,).
    sets
        True for a label in the prediction set of a cell, n_obs x n_labels; None for a method without sets.
    """

    labels: np.ndarray
    confidence: np.ndarray
    sets: pd.DataFrame | None


Predictor = Callable[[ad.AnnData], CellPredictions]


def from_probabilities(probabilities: pd.DataFrame, sets: pd.DataFrame | None = None) -> CellPredictions:
    """Predict the most probable labels; `sets` of the method's own, or else sets of cumulative probability."""
    values = probabilities.to_numpy(dtype=float)
    labels = probabilities.columns.to_numpy()[values.argmax(axis=1)]
    if sets is None:
        sets = cumulative_sets(probabilities, COVERAGE)
    else:
        sets = sets.set_axis(probabilities.columns, axis=1)
    return CellPredictions(labels, values.max(axis=1).clip(0, 1), sets)


def predict_with_hrca(model: hrca.HRCA, query: ad.AnnData, **options: bool) -> CellPredictions:
    """Predict with HRCA, and with its prediction sets."""
    query = query.copy()
    probabilities = model.predict(query, soft=True, coverage=COVERAGE, **options)
    return from_probabilities(probabilities, query.obsm["hrca_set"])


def copy_with_own_module(model: hrca.HRCA) -> hrca.HRCA:
    """Copy a model so that its module can be changed."""
    other = copy.copy(model)
    other.module = copy.deepcopy(model.module)
    return other


def without_folds(model: hrca.HRCA) -> hrca.HRCA:
    """Return the model that ``train()`` gives without folds; its networks are the same to the last bit."""
    if model.split_ is None:
        raise ValueError("`model` must be trained, but has no split into training and validation cells.")
    other = copy_with_own_module(model)
    other._fit_posthoc(model.split_, None)
    return other


def without_calibration(model: hrca.HRCA) -> hrca.HRCA:
    """Return the model with the calibration that changes nothing."""
    other = copy_with_own_module(model)
    other.module.calibration = Calibration(len(model.labels))
    return other


def train_predictors(reference: ad.AnnData, labels_key: str, seed: int, names: set[str]) -> dict[str, Predictor]:
    """Train methods on a reference.

    Parameters
    ----------
    reference
        Raw counts in X (CSR), labels in ``obs[labels_key]``.
    labels_key
        Column of obs.
    seed
        Seed of HRCA and of the baselines.
    names
        Methods, of :data:`METHODS`.

    Returns
    -------
    A function of the query for each method.
    """
    predictors = _train_hrca(reference, labels_key, seed, has_folds=bool(names & {"hrca_folds", "hrca_folds_label"}))
    predictors |= _train_baselines(reference, labels_key, seed, names)
    return {name: predictor for name, predictor in predictors.items() if name in names}


def _train_hrca(reference: ad.AnnData, labels_key: str, seed: int, *, has_folds: bool) -> dict[str, Predictor]:
    scvi.settings.seed = seed
    cells = reference.copy()
    hrca.HRCA.setup_anndata(cells, labels_key=labels_key)
    folds = hrca.HRCA(cells, **hrca.SIZES["laptop"])
    folds.train(n_folds=N_FOLDS if has_folds else None, enable_progress_bar=False)
    model = without_folds(folds)
    uncalibrated = without_calibration(model)

    def predict_uncalibrated(query: ad.AnnData) -> CellPredictions:
        return from_probabilities(uncalibrated.predict(query, soft=True, key_added=None))

    def predict_adapted(query: ad.AnnData) -> CellPredictions:
        return predict_with_hrca(
            model.adapt(query, select=False, enable_progress_bar=False), query, reweight_to_query=True
        )

    return {
        "hrca": partial(predict_with_hrca, model),
        "hrca_label": partial(predict_with_hrca, model, class_conditional=True),
        "hrca_folds": partial(predict_with_hrca, folds),
        "hrca_folds_label": partial(predict_with_hrca, folds, class_conditional=True),
        "hrca_weighted": partial(predict_with_hrca, model, reweight_to_query=True),
        "hrca_raw": predict_uncalibrated,
        "hrca_adapted": predict_adapted,
    }


def _train_baselines(reference: ad.AnnData, labels_key: str, seed: int, names: set[str]) -> dict[str, Predictor]:
    predictors: dict[str, Predictor] = {}
    if "logistic_regression" in names:
        regression = linear.train(Task(reference, labels_key, seed, {}))

        def predict_regression(query: ad.AnnData) -> CellPredictions:
            x = log_normalized(query)[:, regression.genes].X
            classifier: Any = regression.classifier
            table = pd.DataFrame(classifier.predict_proba(x), query.obs_names, classifier.classes_)
            return from_probabilities(table)

        predictors["logistic_regression"] = predict_regression
    if "multinomial" in names:
        profiles = likelihood.train(Task(reference, labels_key, seed, {}, "multinomial"))

        def predict_likelihood(query: ad.AnnData) -> CellPredictions:
            log_likelihood = likelihood.multinomial(query.X.tocsr().astype(float), profiles.profiles)
            return from_probabilities(pd.DataFrame(softmax(log_likelihood, axis=1), query.obs_names, profiles.labels))

        predictors["multinomial"] = predict_likelihood
    return predictors


def predict_with_scanvi(
    case: Case, queries: dict[float, ad.AnnData], environments: Path | None
) -> dict[float, CellPredictions]:
    """Train scANVI in its own environment, and predict each query; it has a confidence and no sets."""
    try:
        command = method_command(SCANVI, environments)
    except EnvironmentMissingError as error:
        raise SystemExit(f"scANVI cannot run: {error}") from None
    run = label_queries(command, case.pair, queries, seed=case.seed, timeout_s=SCANVI_TIMEOUT_S)
    return {
        depth: CellPredictions(table["label"].to_numpy(), table["confidence"].to_numpy(dtype=float), None)
        for depth, table in run.labels.items()
    }
