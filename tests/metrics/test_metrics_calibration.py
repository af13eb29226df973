"""Confidence against accuracy, against torchmetrics and loops."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from hrca.metrics import calibration_error, calibration_table, depth_bins, reliability_table

RNG = np.random.default_rng(0)
LABELS = RNG.choice(["a", "b", "c"], 200)
PREDICTED = np.where(RNG.random(200) < 0.6, LABELS, RNG.choice(["a", "b", "c"], 200))
CONFIDENCE = RNG.uniform(0.2, 1, 200)
DEPTH = RNG.lognormal(5, 1.5, 200)


def test_calibration_error_equals_torchmetrics():
    for n_bins in (15, 7):
        correct = torch.from_numpy(LABELS == PREDICTED).int()
        expected = binary_calibration_error(torch.from_numpy(CONFIDENCE), correct, n_bins=n_bins, norm="l1")
        ours = calibration_error(LABELS, PREDICTED, CONFIDENCE, n_bins=n_bins)
        assert ours == pytest.approx(float(expected), abs=1e-6)


def test_reliability_table_is_a_loop_over_groups_and_bins():
    bins = depth_bins(DEPTH)
    table = reliability_table(LABELS, PREDICTED, CONFIDENCE, by=bins, n_bins=5)
    row = 0
    for group in bins.categories:
        for i in range(5):
            cells = [x for x in range(200) if bins[x] == group and i / 5 <= CONFIDENCE[x] < (i + 1) / 5]
            if cells:
                assert table.loc[row, ["by", "bin", "n_obs"]].tolist() == [group, i, len(cells)]
                assert table.loc[row, "confidence"] == pytest.approx(np.mean(CONFIDENCE[cells]))
                assert table.loc[row, "accuracy"] == np.mean(LABELS[cells] == PREDICTED[cells])
                row += 1
    assert row == len(table)


def test_calibration_table_is_the_error_of_each_group():
    bins = np.asarray(depth_bins(DEPTH).astype(str))
    table = calibration_table(LABELS, PREDICTED, CONFIDENCE, by=bins)
    assert set(table.index) == set(bins)
    for group, row in table.iterrows():
        members = bins == group
        assert row["n_obs"] == members.sum()
        assert row["accuracy"] == pytest.approx((LABELS == PREDICTED)[members].mean())
        assert row["confidence"] == pytest.approx(CONFIDENCE[members].mean())
        expected = calibration_error(LABELS[members], PREDICTED[members], CONFIDENCE[members])
        assert row["calibration_error"] == pytest.approx(expected)


def test_a_confidence_bin_contains_its_lower_edge_and_the_last_both():
    table = reliability_table(["a"] * 4, ["a"] * 4, [0.0, 0.5, 0.75, 1.0], n_bins=2)
    assert table["n_obs"].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("confidence", "words"), [([0.5], "shape"), ([0.5, np.nan], "1 NaN"), ([0.5, 3.2], "0.5 to 3.2")]
)
def test_an_impossible_confidence_raises(confidence, words):
    with pytest.raises(ValueError, match=words):
        calibration_error(["a", "b"], ["a", "b"], confidence)
