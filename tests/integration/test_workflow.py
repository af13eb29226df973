"""README's steps after `predict`, by the installed scanpy and squidpy, on enough cells for an approximate search."""

import re

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import ROOT, synthetic
from scipy import sparse
from sklearn.metrics import homogeneity_score
from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph

import hrca

# scanpy measures all distances up to 8,192 cells, and calls pynndescent above
N_CELLS = 9_000


def readme_code(name: str) -> str:
    """The code block that README marks by this name."""
    return re.search(rf"<!-- {name} -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]


def fraction_found(found: sparse.csr_matrix, exact: sparse.csr_matrix) -> float:
    """Return the fraction of the exact pairs of neighbours that were found."""
    return (found.astype(bool).multiply(exact.astype(bool))).sum() / exact.astype(bool).sum()


@pytest.mark.slow
# squidpy 1.8 of its own docstrings, and a package that spatialdata imports
@pytest.mark.filterwarnings("ignore:.*is not a valid key:SyntaxWarning")
@pytest.mark.filterwarnings("ignore:.*Scaler:DeprecationWarning")
def test_readmes_steps_after_predict(tiny_model):
    query = synthetic(N_CELLS, seed=3)
    known = query.obs.pop("cell_type")
    x = (known.astype("category").cat.codes + np.random.default_rng(0).random(N_CELLS)) / 3  # each type is a stripe
    query.obsm["spatial"] = np.c_[x, np.random.default_rng(1).random(N_CELLS)]
    tiny_model.predict(query)

    exec(readme_code("workflow"), {"hrca": hrca, "sc": sc, "model": tiny_model, "query": query})

    exact = kneighbors_graph(query.obsm["X_hrca"], 14)  # scanpy counts the cell itself as its 15th
    assert fraction_found(query.obsp["distances"], exact) > 0.9
    umap = query.obsm["X_umap"]
    assert KNeighborsClassifier().fit(umap[::2], known[::2]).score(umap[1::2], known[1::2]) > 0.95
    assert homogeneity_score(known, query.obs["leiden"]) > 0.9
    around = kneighbors_graph(query.obsm["spatial"], 6)
    assert fraction_found(query.obsp["spatial_connectivities"], around) == 1
    for column in ("hrca", "hrca_majority", "hrca_smooth"):
        assert (query.obs[column].astype(str) == known).mean() > 0.98, column
    assert pd.notna(query.obs).all(axis=None)
