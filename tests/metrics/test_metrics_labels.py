"""Scores of labels, against scikit-learn and loops."""

import numpy as np
import pytest
from sklearn import metrics as sk

from hrca.metrics import annotation_scores, confusion_table

RNG = np.random.default_rng(0)
LABELS = RNG.choice(["a", "b", "c"], 200)
PREDICTED = np.where(RNG.random(200) < 0.6, LABELS, RNG.choice(["a", "b", "c"], 200))


def test_scores_equal_scikit_learn():
    scores = annotation_scores(LABELS, PREDICTED)
    assert scores["accuracy"] == sk.accuracy_score(LABELS, PREDICTED)
    assert scores["macro_f1"] == sk.f1_score(LABELS, PREDICTED, average="macro")
    assert scores["weighted_f1"] == sk.f1_score(LABELS, PREDICTED, average="weighted")
    assert scores["balanced_accuracy"] == sk.balanced_accuracy_score(LABELS, PREDICTED)
    assert scores["n_obs"] == 200


def test_a_label_that_is_only_predicted_does_not_enter_the_mean():
    # F1 of "a" is 2/3 (recall 1/2), of "b" is 1; "Unknown" is no known label
    assert annotation_scores(["a", "a", "b"], ["a", "Unknown", "b"])["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize(("labels", "predicted"), [(["a"], ["a", "b"]), ([], [])])
def test_unequal_lengths_and_no_cells_raise(labels, predicted):
    with pytest.raises(ValueError, match=f"got {len(labels)} and {len(predicted)}"):
        annotation_scores(labels, predicted)


def test_confusion_counts_each_cell_once():
    table = confusion_table(LABELS, PREDICTED)
    for label in "abc":
        for predicted in "abc":
            n_obs = sum(x == label and y == predicted for x, y in zip(LABELS, PREDICTED, strict=True))
            assert table.loc[label, predicted] == n_obs


def test_confusion_has_known_labels_in_one_order_on_both_sides():
    table = confusion_table(["b", "z", "a"], ["b", "a", "Unknown"])
    assert list(table.index) == ["a", "b", "z"]
    assert list(table.columns) == ["a", "b", "z", "Unknown"]
    assert table.to_numpy().sum() == 3
