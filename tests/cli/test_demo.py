"""The demo's pairs, baselines and figures."""

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from hrca.cli._demo import _draw_cells, count_likelihood, logistic_regression, pbmc68k_pair, poa_pair
from hrca.datasets import pbmc68k
from hrca.metrics import annotation_scores


def test_the_query_is_thinned_to_30_percent_and_no_cell_is_in_both():
    pair = pbmc68k_pair(seed=1)
    full = pbmc68k()[pair.query.obs_names]
    assert not set(pair.reference.obs_names) & set(pair.query.obs_names)
    assert pair.reference.n_obs + pair.query.n_obs == 700
    assert pair.query.X.sum() / full.X.sum() == pytest.approx(0.3, abs=0.01)
    assert (pair.query.X > full.X).nnz == 0


@pytest.mark.parametrize("baseline", [logistic_regression, count_likelihood])
def test_a_baseline_beats_the_largest_class(baseline):
    pair = pbmc68k_pair()
    true_labels = pair.query.obs["bulk_labels"].astype(str)
    scores = annotation_scores(true_labels, baseline(pair))
    assert scores["accuracy"] > 2 * true_labels.value_counts(normalize=True).iloc[0]


def test_real_pair_is_read(data_dir):
    pair = poa_pair(data_dir)
    assert pair.reference.shape == (1120, 132)
    assert pair.query.n_obs == 5343
    assert "" not in set(pair.query.obs["label_harmonised"])


# of matplotlib, by way of scanpy
@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_true_and_predicted_labels_are_drawn_in_the_same_colors():
    obs = pd.DataFrame(
        {
            "known": pd.Categorical(["b", "a", "c", "a"]),
            "hrca": pd.Categorical(["b", "a", "a", "Unknown"], categories=["a", "b", "Unknown"]),
            "hrca_confidence": np.array([0.9, 0.5, 0.3, 0.0], dtype=np.float32),
        },
        index=list("wxyz"),
    )
    figure = _draw_cells(ad.AnnData(obs=obs, obsm={"X_umap": np.arange(8.0).reshape(4, 2)}), "umap", "known")
    true_panel, predicted_panel, confidence_panel = figure.axes[:3]
    assert [ax.get_title() for ax in figure.axes[:3]] == ["known label", "HRCA's label", "confidence"]
    before, after = (ax.collections[0].get_facecolors() for ax in (true_panel, predicted_panel))
    np.testing.assert_array_equal(before[:2], after[:2])
    assert (before[2] != after[2]).any()
    np.testing.assert_allclose(after[3], to_rgba("lightgray"))
    assert {text.get_text() for text in predicted_panel.get_legend().get_texts()} >= {"a", "b", "c", "Unknown"}
    np.testing.assert_allclose(sorted(confidence_panel.collections[0].get_array()), [0, 0.3, 0.5, 0.9])
    plt.close(figure)
