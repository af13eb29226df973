"""Scores along a tree, against a loop."""

import numpy as np
import pytest

from hrca.metrics import hierarchical_scores

RNG = np.random.default_rng(0)
LABELS = RNG.choice(["a", "b", "c"], 200)
PREDICTED = np.where(RNG.random(200) < 0.6, LABELS, RNG.choice(["a", "b", "c"], 200))
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


def test_a_cell_without_a_prediction_reduces_the_recall_alone():
    scores = hierarchical_scores(["CD4", "B"], ["Unknown", "B"], PARENTS)
    assert scores.tolist() == pytest.approx([1, 2 / 5, 4 / 7])
    assert hierarchical_scores(["B"], ["Unknown"], PARENTS).tolist() == [0, 0, 0]


def test_a_circle_is_no_tree():
    with pytest.raises(ValueError, match="own ancestor"):
        hierarchical_scores(["a"], ["b"], {"a": "b", "b": "a"})
