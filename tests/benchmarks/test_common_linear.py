"""The linear baselines."""

import numpy as np

from benchmarks.common.baselines import linear
from benchmarks.common.baselines.task import Task
from benchmarks.common.data import total_counts


def test_thinned_copies_keep_ten_counts_on_average(reference):
    copies = linear.thinned_copies(reference, np.random.default_rng(0))
    n_obs, depths = reference.n_obs, np.asarray(copies.sum(axis=1)).ravel()
    assert copies.shape[0] == n_obs * (linear.N_COPIES + 1)
    np.testing.assert_array_equal(depths[:n_obs], total_counts(reference))
    assert (depths[n_obs:] <= np.tile(depths[:n_obs], linear.N_COPIES)).all()
    assert np.quantile(depths[n_obs:], 0.02) > linear.MIN_THINNED_DEPTH / 2


def test_a_support_vector_machine_has_no_confidence(reference):
    for variant, has_confidence in (("linear_svm", False), ("logistic_regression", True)):
        model = linear.train(Task(reference, "cell_type", 0, {}, variant))
        labels, confidence = linear.predict(model, reference)
        assert (labels == reference.obs["cell_type"]).mean() > 0.9
        assert (confidence is not None) == has_confidence
