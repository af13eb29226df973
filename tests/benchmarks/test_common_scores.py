"""Scores of one method on one query."""

import numpy as np
import pytest

from benchmarks.common import scores


def test_calibration_error_matches_a_loop():
    rng = np.random.default_rng(0)
    confidence = np.r_[rng.random(500), np.ones(20)]
    correct = rng.random(520) < confidence**2
    error = 0.0
    for low in np.arange(15) / 15:
        chosen = (confidence >= low) & ((confidence < low + 1 / 15) | (low > 0.93))
        error += chosen.mean() * abs(confidence[chosen].mean() - correct[chosen].mean())
    labels, predicted = np.full(520, "right"), np.where(correct, "right", "wrong")
    assert scores.calibration_error(labels, predicted, confidence) == pytest.approx(error, abs=1e-6)
    above_one = scores.calibration_error(labels[:1], predicted[:1], np.array([1 + 1e-7]))
    assert above_one == pytest.approx(float(not correct[0]))
    assert np.isnan(scores.calibration_error(labels[:2], predicted[:2], np.array([np.nan, 1])))


def test_unseen_types_are_counted_and_not_scored():
    labels, predicted = np.array(["a", "b", "c"], dtype=object), np.array(["a", "b", "a"], dtype=object)
    row = scores.score(labels, labels != "c", predicted, np.array([0.8, 0.6, 0.4]))
    assert row["accuracy"] == row["median_f1"] == 1
    assert (row["n_cells"], row["n_unseen"]) == (2, 1)
    assert (row["seen_confidence"], row["unseen_confidence"]) == (pytest.approx(0.7), 0.4)
