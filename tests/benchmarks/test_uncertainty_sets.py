"""Prediction sets of cumulative probability, and the tables of coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.uncertainty import sets


def test_sets_of_the_most_probable_labels_reach_their_probability():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), size=50)
    chosen = sets.cumulative_sets(pd.DataFrame(probabilities), 0.9).to_numpy()
    for row, labels in zip(probabilities, chosen, strict=True):
        total, expected = 0.0, set()
        for label in sorted(range(4), key=lambda label: -row[label]):
            if total < 0.9:
                expected.add(label)
            total += row[label]
        assert set(np.flatnonzero(labels)) == expected


def test_coverage_of_labels_over_splits():
    by_label = pd.DataFrame(
        {"data": "cells", "depth": 1.0, "label": ["a", "a", "b"], "n_obs": [100, 300, 100], "method": "one"}
    ).assign(coverage=[0.84, 0.92, 0.90])
    table = sets.label_coverage_table(by_label, {"one": "One"}).reset_index().set_index("cells of")
    assert table.loc["each split", ["labels", "least"]].tolist() == [3, 0.84]
    assert table.loc["each split", "within 2 points"] == pytest.approx(2 / 3)
    assert table.loc["all splits", ["labels", "within 2 points", "least"]].tolist() == [2, 1.0, 0.9]
    # a beta-binomial: 91 of the 101 places that a new cell can have among 100 held-out ones
    exact = stats.betabinom.cdf(92, 100, 91, 10) - stats.betabinom.cdf(87, 100, 91, 10)
    assert sets.within_if_exact(np.full(50, 100)) == pytest.approx(exact, abs=0.01)
    assert sets.within_if_exact(np.full(50, 300), 3) > exact + 0.1


def test_the_coverage_table_has_mean_and_range_of_the_splits():
    rows = pd.DataFrame({"data": "cells", "depth": [0.1, 1.0, 1.0], "method": "one"})
    rows = rows.assign(coverage=[0.5, 0.9, 0.8], size=[3.0, 1.0, 2.0])
    table = sets.coverage_table(rows, {"one": "One"})
    assert table.index.tolist() == [("cells", 1.0), ("cells", 0.1)]
    assert table["One: coverage"].tolist() == ["0.850 (0.800 to 0.900)", "0.500 (0.500 to 0.500)"]
    assert table["One: size"].tolist() == [1.5, 3.0]
