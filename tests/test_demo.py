"""The demo's parts; the command as a user calls it."""

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from typer.testing import CliRunner

from hrca.cli import app
from hrca.cli._demo import _cells, count_likelihood, logistic_regression, pbmc68k_pair, poa_pair
from hrca.datasets import local, pbmc68k
from hrca.metrics import annotation_scores


def test_recovered_counts_give_back_what_scanpy_ships():
    import scanpy as sc

    shipped = sc.datasets.pbmc68k_reduced()
    adata = pbmc68k()
    # .raw was normalised over all genes; only the ratio within a cell can be compared
    normalized = np.expm1(shipped.raw.X.toarray())
    ratio = normalized.sum(axis=1, keepdims=True) / adata.X.toarray().sum(axis=1, keepdims=True)
    np.testing.assert_allclose(adata.X.toarray() * ratio, normalized, rtol=2e-2)
    assert (adata.X.data == np.rint(adata.X.data)).all()
    assert adata.X.data.min() == 1


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
    known = pair.query.obs["bulk_labels"].astype(str)
    scores = annotation_scores(known, baseline(pair))
    assert scores["accuracy"] > 2 * known.value_counts(normalize=True).iloc[0]


def test_real_pair_is_read(data_dir):
    pair = poa_pair(data_dir)
    assert pair.reference.shape == (1120, 132)
    assert pair.query.n_obs == 5343
    assert "" not in set(pair.query.obs["label_harmonised"])


# scanpy's
@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_cells_are_drawn_in_the_same_colors_by_known_and_predicted_label():
    obs = pd.DataFrame(
        {
            "known": pd.Categorical(["b", "a", "c", "a"]),
            "hrca": pd.Categorical(["b", "a", "a", "Unknown"], categories=["a", "b", "Unknown"]),
            "hrca_confidence": np.array([0.9, 0.5, 0.3, 0.0], dtype=np.float32),
        },
        index=list("wxyz"),
    )
    figure = _cells(ad.AnnData(obs=obs, obsm={"X_umap": np.arange(8.0).reshape(4, 2)}), "umap", "known")
    known, predicted, confidence = figure.axes[:3]
    assert [ax.get_title() for ax in figure.axes[:3]] == ["known label", "HRCA's label", "confidence"]
    before, after = (ax.collections[0].get_facecolors() for ax in (known, predicted))
    np.testing.assert_array_equal(before[:2], after[:2])
    assert (before[2] != after[2]).any()
    np.testing.assert_allclose(after[3], to_rgba("lightgray"))
    assert {text.get_text() for text in predicted.get_legend().get_texts()} >= {"a", "b", "c", "Unknown"}
    np.testing.assert_allclose(sorted(confidence.collections[0].get_array()), [0, 0.3, 0.5, 0.9])
    plt.close(figure)


def test_a_missing_folder_or_file_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("HRCA_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match="HRCA_DATA_DIR"):
        local("anything")
    ad.AnnData(np.ones((2, 2), dtype=np.float32)).write_h5ad(tmp_path / "cells.h5ad")
    assert local("cells", tmp_path).shape == (2, 2)
    with pytest.raises(FileNotFoundError, match=r"other.h5ad must exist.*\['cells'\]"):
        local("other", tmp_path)


# scanpy, umap and numba of one another, as a user of the command never sees them
@pytest.mark.filterwarnings("ignore")
def test_the_command_leaves_what_it_says(tmp_path):
    result = CliRunner().invoke(app, ["demo", "--quick", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Reference: 490 cells x 765 genes; query: 210 cells." in result.output
    assert "logistic regression" in result.output
    assert "So few epochs only show that everything runs" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["annotated.h5ad", "confusion.png", "umap.png"]
    annotated = ad.read_h5ad(tmp_path / "out" / "annotated.h5ad")
    assert annotated.n_obs == 210
    assert {"hrca", "hrca_confidence"} <= set(annotated.obs)
