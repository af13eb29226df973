"""Prediction sets: sets of cumulative probability, and the tables of coverage and size."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

# Coverage that the sets are made for, and the distance from it that counts as reached.
COVERAGE, TOLERANCE = 0.9, 0.02
# Draws of the coverage of exact sets.
N_DRAWS = 2000


def cumulative_sets(probabilities: pd.DataFrame, coverage: float) -> pd.DataFrame:
    """Choose the most probable labels of each cell until their total probability reaches `coverage`.

    Parameters
    ----------
    probabilities
        Probabilities, n_obs x n_labels.
    coverage
        Total probability to reach.

    Returns
    -------
    True for the chosen labels, n_obs x n_labels.
    """
    order = np.argsort(-probabilities.to_numpy(), axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities.to_numpy(), order, axis=1)
    chosen = np.zeros(probabilities.shape, dtype=bool)
    np.put_along_axis(chosen, order, ordered.cumsum(axis=1) - ordered < coverage, axis=1)
    return pd.DataFrame(chosen, index=probabilities.index, columns=probabilities.columns)


def coverage_table(rows: pd.DataFrame, methods: Mapping[str, str]) -> pd.DataFrame:
    """Return coverage, mean over the splits and range, and mean size of the sets, by data set and depth.

    Parameters
    ----------
    rows
        ``coverage`` and ``size`` of each data set, depth, method and split.
    methods
        Names of the methods in the table.
    """
    columns = {}
    for method, name in methods.items():
        by_query = rows[rows["method"] == method].groupby(["data", "depth"])
        coverage = by_query["coverage"]
        limits = zip(coverage.mean(), coverage.min(), coverage.max(), strict=True)
        columns[f"{name}: coverage"] = [f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in limits]
        columns[f"{name}: size"] = by_query["size"].mean().round(1)
    index = rows.groupby(["data", "depth"]).size().index
    return pd.DataFrame(columns, index=index).sort_index(ascending=[True, False])


def label_coverage_table(by_label: pd.DataFrame, methods: Mapping[str, str]) -> pd.DataFrame:
    """Summarize the distance between the coverage of single labels and the requested coverage.

    Parameters
    ----------
    by_label
        ``coverage`` of the ``n_obs`` cells of each ``label``, by data set, depth, method and split.
    methods
        Names of the methods in the table.

    Returns
    -------
    Two rows for each method: labels of each split, and labels of all splits together.
    """
    lines = []
    for method, name in methods.items():
        rows = by_label[by_label["method"] == method]
        labels = rows.assign(n_covered=rows["coverage"] * rows["n_obs"]).groupby(["data", "depth", "label"])
        pooled, n_splits = labels[["n_covered", "n_obs"]].sum(), labels.size()
        each = _summarize(rows["coverage"], within_if_exact(rows["n_obs"].to_numpy()))
        exact = within_if_exact(pooled["n_obs"].to_numpy(), n_splits.to_numpy())
        together = _summarize(pooled["n_covered"] / pooled["n_obs"], exact)
        lines.append({"sets": name, "cells of": "each split", **each})
        lines.append({"sets": name, "cells of": "all splits", **together})
    return pd.DataFrame(lines).set_index("sets")


def _summarize(coverage: pd.Series, exact: float) -> dict[str, float]:
    distance = (coverage - COVERAGE).abs()
    return {
        "labels": len(distance),
        "within 2 points": is_within_tolerance(distance).mean(),
        "exact sets would be": exact,
        "mean coverage": coverage.mean(),
        "mean distance": distance.mean(),
        "least": coverage.min(),
    }


def is_within_tolerance(distance: pd.Series | np.ndarray) -> pd.Series | np.ndarray:
    """Find the distances of at most :data:`TOLERANCE`, up to rounding."""
    return distance <= TOLERANCE + 1e-9


def within_if_exact(n_obs: np.ndarray, n_splits: np.ndarray | Iterable[int] | int = 1) -> float:
    """Return the fraction of labels whose coverage would be within 2 points with exact split conformal sets.

    Given n held-out cells of a label, the probability that a set contains the label is random, with a beta distribution
    :cite:p:`vovk2012conditional`, and the fraction of n query cells is binomial around it. The halves of a data set
    have about the same number of cells of a label.

    Parameters
    ----------
    n_obs
        Query cells of each label, in all splits, shape (n_labels,).
    n_splits
        Number of splits, one for all labels or shape (n_labels,).
    """
    rng = np.random.default_rng(0)
    splits = np.broadcast_to(np.asarray(n_splits), len(n_obs))
    n_covered = np.zeros((N_DRAWS, len(n_obs)))
    for split in range(splits.max()):
        n = np.where(split < splits, np.round(n_obs / splits), 0).astype(int)
        rank = np.ceil((n + 1) * COVERAGE)
        n_covered += rng.binomial(n, rng.beta(rank, np.maximum(n + 1 - rank, 1), size=n_covered.shape))
    coverage = n_covered / (np.round(n_obs / splits) * splits)
    return float(is_within_tolerance(np.abs(coverage - COVERAGE)).mean())
