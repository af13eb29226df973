"""Risk and coverage, against loops."""

import numpy as np
import pytest

from hrca.metrics import risk_coverage, risk_coverage_area

RNG = np.random.default_rng(0)
LABELS = RNG.choice(["a", "b", "c"], 200)
PREDICTED = np.where(RNG.random(200) < 0.6, LABELS, RNG.choice(["a", "b", "c"], 200))
CONFIDENCE = RNG.uniform(0.2, 1, 200)


def test_risk_coverage_is_a_loop_over_thresholds():
    confidence = CONFIDENCE.round(1)  # many are equal
    curve, wrong = risk_coverage(LABELS, PREDICTED, confidence), LABELS != PREDICTED
    assert curve["confidence"].tolist() == sorted(set(confidence), reverse=True)
    for _, row in curve.iterrows():
        selected = confidence >= row["confidence"]
        assert row["coverage"] == pytest.approx(selected.mean())
        assert row["risk"] == pytest.approx(wrong[selected].mean())
    expected = np.mean([wrong[confidence >= threshold].mean() for threshold in confidence])
    assert risk_coverage_area(LABELS, PREDICTED, confidence) == pytest.approx(expected)


def test_the_order_alone_counts():
    area = risk_coverage_area(LABELS, PREDICTED, CONFIDENCE)
    assert risk_coverage_area(LABELS, PREDICTED, 10 * np.log(CONFIDENCE)) == area
    perfect, worst = np.where(LABELS == PREDICTED, 1, 0), np.where(LABELS == PREDICTED, 0, 1)
    assert risk_coverage_area(LABELS, PREDICTED, perfect) < area < risk_coverage_area(LABELS, PREDICTED, worst)


def test_a_confidence_of_nan_raises():
    with pytest.raises(ValueError, match="1 NaN"):
        risk_coverage(["a", "b"], ["a", "b"], [0.5, np.nan])
