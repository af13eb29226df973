"""Losses, against the published code's golden numbers and written-out sums."""

import pytest
import torch
from golden import recipe

from hrca.module._losses import smoothed_cross_entropy, soft_target_cross_entropy


def test_smoothed_cross_entropy_equals_golden(golden_dir):
    golden = recipe(golden_dir).golden()
    loss = smoothed_cross_entropy(torch.from_numpy(golden["h8_l2.logits_f64"]), torch.from_numpy(golden["labels"]), 0.1)
    assert float(loss) == pytest.approx(float(golden["label_smoothing_eval_f64"]), abs=1e-12)


@pytest.mark.parametrize("n_labels", [2, 5])
def test_smoothed_cross_entropy_equals_written_out_sum(n_labels):
    logits, labels = torch.randn(6, n_labels, dtype=torch.float64), torch.arange(6) % n_labels
    expected = 0.0
    for row, label in zip(logits, labels, strict=True):
        log_probabilities = row - torch.logsumexp(row, 0)
        for k in range(n_labels):
            expected -= (0.9 if k == label else 0.1 / (n_labels - 1)) * float(log_probabilities[k]) / len(logits)
    assert float(smoothed_cross_entropy(logits, labels, 0.1)) == pytest.approx(expected, abs=1e-12)


def test_soft_target_cross_entropy_equals_written_out_sum():
    logits = torch.randn(4, 3, dtype=torch.float64)
    targets = torch.rand(4, 3, dtype=torch.float64)
    expected = 0.0
    for row, weights in zip(logits, targets, strict=True):
        for k in range(3):
            expected -= float(weights[k]) * float(row[k] - torch.logsumexp(row, 0)) / 4
    assert float(soft_target_cross_entropy(logits, targets)) == pytest.approx(expected, abs=1e-12)


def test_soft_targets_of_one_label_are_labels():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 2, 1, 1, 0, 2])
    soft = soft_target_cross_entropy(logits, torch.eye(3)[labels])
    torch.testing.assert_close(soft, smoothed_cross_entropy(logits, labels, 0.0))
    # a weight of 0 leaves a cell out, but not of the mean
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])[:, None]
    half = soft_target_cross_entropy(logits, weights * torch.eye(3)[labels])
    torch.testing.assert_close(half, smoothed_cross_entropy(logits[:3], labels[:3], 0.0) / 2)
