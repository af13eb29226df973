"""Scores of predictions with known labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from hrca.annotation._options import LabelSpace
from hrca.metrics import calibration_error, hierarchical_scores, risk_coverage_area
from hrca.model._evaluation import evaluation_scores, known_cells, unseen_warning

LABELS = ["A", "B", "C"]
TRUE = pd.Series(["A", "B", "C", "A", None, "B", "A", "C", "B", "A", "X"], dtype=object)
PREDICTED = np.array(["A", "B", "A", "A", "C", "C", "A", "C", "B", "B", "A"])
CONFIDENCE = np.linspace(0.3, 0.95, len(TRUE))
KNOWN = np.array([label in LABELS for label in TRUE])


def space(parents=None) -> LabelSpace:
    return LabelSpace(LABELS, parents or {}, "Unknown")


def test_cells_with_a_label_of_the_model_are_known():
    np.testing.assert_array_equal(known_cells(TRUE, LABELS, "cell_type"), KNOWN)
    with pytest.raises(ValueError, match=r"obs\['cell_type'\] has \['X'\] and the model \['A', 'B', 'C'\]"):
        known_cells(TRUE[[10]], LABELS, "cell_type")


def test_scores_are_those_of_the_known_cells():
    scores = evaluation_scores(TRUE, PREDICTED, CONFIDENCE, KNOWN, space())
    scored = TRUE[KNOWN], PREDICTED[KNOWN], CONFIDENCE[KNOWN]
    assert scores["n_obs"] == KNOWN.sum()
    assert scores["accuracy"] == accuracy_score(*scored[:2])
    assert scores["macro_f1"] == pytest.approx(f1_score(*scored[:2], average="macro"))
    assert scores["calibration_error"] == calibration_error(*scored)
    assert scores["risk_coverage_area"] == risk_coverage_area(*scored)
    assert scores["n_unseen"] == 1
    assert "hierarchical_f1" not in scores


def test_a_hierarchy_adds_its_score():
    parents = {"A": "AB", "B": "AB"}
    scores = evaluation_scores(TRUE, PREDICTED, CONFIDENCE, KNOWN, space(parents))
    expected = hierarchical_scores(TRUE[KNOWN], PREDICTED[KNOWN], parents, unlabeled_category="Unknown")
    assert scores["hierarchical_f1"] == expected["hierarchical_f1"]


def test_many_unseen_cells_warn():
    true_labels = TRUE.replace("A", "Y")
    is_known = true_labels.isin(LABELS).to_numpy()
    with pytest.warns(UserWarning, match=r"5 of 10 labelled cells are not scored: .* \['Y', 'X'\]"):
        evaluation_scores(true_labels, PREDICTED, CONFIDENCE, is_known, space())
    sentence = unseen_warning(pd.Series(["A", "A", "A", "A", "X"]), np.arange(5) < 4, LABELS)
    assert sentence.startswith("1 of 5 labelled cells is not scored: the model does not know ['X']; it knows ")
