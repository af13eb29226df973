"""Scores, against scikit-learn, torchmetrics and loops."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk

from hrca.metrics import (
    annotation_scores,
    calibration_error,
    calibration_table,
    confusion_table,
    depth_bins,
    hierarchical_scores,
    reliability_table,
    risk_coverage,
    risk_coverage_area,
    set_scores,
)

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
def test_scores_refuse_what_does_not_match(labels, predicted):
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


# Confidence ----------------------------------------------------------------------------------------------------------

CONFIDENCE = RNG.uniform(0.2, 1, 200)
DEPTH = RNG.lognormal(5, 1.5, 200)


def test_calibration_error_equals_torchmetrics():
    from torchmetrics.functional.classification import binary_calibration_error

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
        own = bins == group
        assert row["n_obs"] == own.sum()
        assert row["accuracy"] == pytest.approx((LABELS == PREDICTED)[own].mean())
        assert row["confidence"] == pytest.approx(CONFIDENCE[own].mean())
        expected = calibration_error(LABELS[own], PREDICTED[own], CONFIDENCE[own])
        assert row["calibration_error"] == pytest.approx(expected)


def test_a_bin_ends_where_the_next_begins():
    assert list(depth_bins([9.5, 10, 99, 100], edges=(10, 100))) == ["<10", "10-100", "10-100", ">=100"]
    table = reliability_table(["a"] * 4, ["a"] * 4, [0.0, 0.5, 0.75, 1.0], n_bins=2)
    assert table["n_obs"].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("confidence", "words"), [([0.5], "shape"), ([0.5, np.nan], "1 that are NaN"), ([0.5, 3.2], "0.5 to 3.2")]
)
def test_a_confidence_that_is_none_is_refused(confidence, words):
    with pytest.raises(ValueError, match=words):
        calibration_error(["a", "b"], ["a", "b"], confidence)


def test_risk_coverage_is_a_loop_over_thresholds():
    confidence = CONFIDENCE.round(1)  # many are equal
    curve, wrong = risk_coverage(LABELS, PREDICTED, confidence), LABELS != PREDICTED
    assert curve["confidence"].tolist() == sorted(set(confidence), reverse=True)
    for _, row in curve.iterrows():
        answered = confidence >= row["confidence"]
        assert row["coverage"] == pytest.approx(answered.mean())
        assert row["risk"] == pytest.approx(wrong[answered].mean())
    expected = np.mean([wrong[confidence >= own].mean() for own in confidence])
    assert risk_coverage_area(LABELS, PREDICTED, confidence) == pytest.approx(expected)


# Trees and sets ------------------------------------------------------------------------------------------------------

PARENTS = {"CD4": "T", "CD8": "T", "T": "lymphocyte", "B": "lymphocyte"}


def test_hierarchical_scores_are_a_loop_over_lineages():
    labels = RNG.choice(["CD4", "CD8", "B", "monocyte"], 60)
    predicted = RNG.choice(["CD4", "CD8", "T", "B", "monocyte", "lymphocyte", "Unknown"], 60)
    lineage = {
        "CD4": {"CD4", "T", "lymphocyte"},
        "CD8": {"CD8", "T", "lymphocyte"},
        "T": {"T", "lymphocyte"},
        "B": {"B", "lymphocyte"},
        "lymphocyte": {"lymphocyte"},
        "monocyte": {"monocyte"},
        "Unknown": set(),
    }
    both = sum(len(lineage[x] & lineage[y]) for x, y in zip(labels, predicted, strict=True))
    precision = both / sum(len(lineage[y]) for y in predicted)
    recall = both / sum(len(lineage[x]) for x in labels)
    scores = hierarchical_scores(labels, predicted, PARENTS)
    expected = [precision, recall, 2 * precision * recall / (precision + recall)]
    np.testing.assert_allclose(scores, expected)


def test_without_a_tree_hierarchical_f1_is_the_accuracy():
    assert hierarchical_scores(LABELS, PREDICTED, {})["hierarchical_f1"] == pytest.approx(np.mean(LABELS == PREDICTED))


def test_a_cell_without_an_answer_costs_recall_alone():
    scores = hierarchical_scores(["CD4", "B"], ["Unknown", "B"], PARENTS)
    assert scores.tolist() == pytest.approx([1, 2 / 5, 4 / 7])
    assert hierarchical_scores(["B"], ["Unknown"], PARENTS).tolist() == [0, 0, 0]


def test_a_circle_is_no_tree():
    with pytest.raises(ValueError, match="own ancestor"):
        hierarchical_scores(["a"], ["b"], {"a": "b", "b": "a"})


def test_set_scores_are_a_loop_over_cells():
    sets = pd.DataFrame(RNG.random((200, 2)) < 0.5, columns=["a", "b"])  # "c" is in no set
    table = set_scores(LABELS, sets, by=LABELS)
    for label in "abc":
        cells = np.flatnonzero(LABELS == label)
        covered = [label in sets and bool(sets.loc[cell, label]) for cell in cells]
        size = [int(sets.loc[cell].sum()) for cell in cells]
        expected = [len(cells), np.mean(covered), np.mean(size), np.mean(np.equal(size, 0))]
        np.testing.assert_allclose(table.loc[label], expected)
    everything = set_scores(LABELS, sets)
    assert list(everything.index) == ["all"]
    assert everything.loc["all", "coverage"] == pytest.approx(np.average(table["coverage"], weights=table["n_obs"]))


def test_a_slash_in_a_label_is_found_in_obsm():
    assert set_scores(["L2/3"], pd.DataFrame({"L2|3": [True]})).loc["all", "coverage"] == 1


def test_sets_of_other_cells_are_refused():
    with pytest.raises(ValueError, match="got 1 and 2"):
        set_scores(["a"], pd.DataFrame({"a": [True, False]}))
