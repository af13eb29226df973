"""Data sets by name: the recovered counts of scanpy's cells, and a local folder."""

import anndata as ad
import numpy as np
import pytest

from hrca.datasets import local, pbmc68k


def test_recovered_counts_normalise_to_the_values_that_scanpy_ships():
    import scanpy as sc

    shipped = sc.datasets.pbmc68k_reduced()
    adata = pbmc68k()
    # .raw was normalised over all genes: only ratios within a cell can be compared
    normalized = np.expm1(shipped.raw.X.toarray())
    ratio = normalized.sum(axis=1, keepdims=True) / adata.X.toarray().sum(axis=1, keepdims=True)
    np.testing.assert_allclose(adata.X.toarray() * ratio, normalized, rtol=2e-2)
    assert (adata.X.data == np.rint(adata.X.data)).all()
    assert adata.X.data.min() == 1


def test_a_missing_folder_or_file_raises(tmp_path, monkeypatch):
    monkeypatch.delenv("HRCA_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match="HRCA_DATA_DIR"):
        local("anything")
    ad.AnnData(np.ones((2, 2), dtype=np.float32)).write_h5ad(tmp_path / "cells.h5ad")
    assert local("cells", tmp_path).shape == (2, 2)
    with pytest.raises(FileNotFoundError, match=r"other.h5ad must exist.*\['cells'\]"):
        local("other", tmp_path)


def test_values_that_are_no_normalised_counts_raise(monkeypatch):
    import scanpy as sc

    shipped = sc.datasets.pbmc68k_reduced()
    shipped.obs["n_counts"] *= 1.01
    monkeypatch.setattr(sc.datasets, "pbmc68k_reduced", lambda: shipped)
    with pytest.raises(ValueError, match="their depths up to 1.1% off"):
        pbmc68k()
