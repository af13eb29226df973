"""The fit of the coefficients of novel clusters: the clusters that count, and their weights."""

import numpy as np
import pandas as pd

from benchmarks.uncertainty import open_set_fit


def clusters() -> pd.DataFrame:
    """Two queries; an impure cluster, and one of a type that no model separates."""
    return pd.DataFrame(
        {
            "query": ["a"] * 4 + ["b"] * 2,
            "pair": "pair",
            "uncovered": [0.0, 0.9, 0.5, 1.0, 0.2, 0.8],
            "separable": [0.0, 0.9, 0.5, 0.0, 0.0, 0.8],
            "cell_fraction": [0.2, 0.2, 0.3, 0.3, 0.4, 0.6],
        }
    )


def test_each_query_has_the_same_weight_after_impure_clusters_are_dropped():
    kept = open_set_fit.countable(clusters())
    assert list(kept.index) == [0, 1, 4, 5]
    np.testing.assert_allclose(kept["cell_fraction"], [0.5, 0.5, 0.4, 0.6])


def test_the_fit_finds_the_feature_that_tells_novel_clusters():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(400, 3)), columns=open_set_fit.FEATURES)
    table["uncovered"] = (table["margin"] > 1).astype(float)
    table["cell_fraction"] = 1.0
    model = open_set_fit.fit(table)
    assert model.coef_[0].argmax() == 2
    assert np.abs(model.coef_[0][:2]).max() < 0.1 * model.coef_[0][2]
    table["cell_fraction"] = np.where(table["uncovered"] > 0.5, 1e-6, 1.0)
    assert open_set_fit.fit(table).predict(table[open_set_fit.FEATURES]).sum() == 0
