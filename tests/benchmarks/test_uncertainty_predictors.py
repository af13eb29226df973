"""The methods of the calibration benchmark."""

import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, TINY, synthetic

import hrca
from benchmarks.uncertainty import predictors


def _train(n_folds: int | None) -> hrca.HRCA:
    scvi.settings.seed = 0
    cells = synthetic(120)
    hrca.HRCA.setup_anndata(cells, labels_key="cell_type")
    model = hrca.HRCA(cells, **TINY)
    model.train(2, pretrain_epochs=1, n_folds=n_folds, **QUIET)
    return model


def test_without_folds_is_the_model_of_a_training_without_them():
    query, folds, plain = synthetic(40, seed=1), _train(2), _train(None)
    found = predictors.predict_with_hrca(predictors.without_folds(folds), query)
    expected = predictors.predict_with_hrca(plain, query)
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    pd.testing.assert_frame_equal(found.sets, expected.sets)
    # the copy leaves the model with folds as it is
    assert folds.n_folds_ == 2


def test_without_calibration_changes_the_copy_alone(tiny_model, query):
    before = tiny_model.predict(query, soft=True, key_added=None)
    uncalibrated = predictors.without_calibration(tiny_model)
    assert not np.allclose(uncalibrated.predict(query, soft=True, key_added=None), before)
    pd.testing.assert_frame_equal(tiny_model.predict(query, soft=True, key_added=None), before)


def test_a_method_without_sets_gets_the_most_probable_labels():
    table = pd.DataFrame({"a": [0.95, 0.3], "b": [0.05, 0.7]})
    predictions = predictors.from_probabilities(table)
    assert predictions.labels.tolist() == ["a", "b"]
    assert predictions.confidence.tolist() == [0.95, 0.7]
    assert predictions.sets.to_numpy().tolist() == [[True, False], [True, True]]
    own = predictors.from_probabilities(table, pd.DataFrame({"0": [True, True], "1": [False, True]}))
    assert own.sets.columns.tolist() == ["a", "b"]


def test_scanvi_without_its_environment_says_how_to_make_it(tmp_path):
    with pytest.raises(SystemExit, match=r"make\.sh .* scanvi"):
        predictors.predict_with_scanvi(None, {}, tmp_path)
