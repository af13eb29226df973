"""Some cells of a query, from every container."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata.experimental import AnnCollection
from mudata import MuData

from hrca.data._cell_selection import select_cells
from hrca.data._sources import entry_keys, open_query_input

ROWS = [9, 2, 30, 31]


def containers(query: ad.AnnData, tmp_path) -> dict:
    """The same cells in memory, on disk and in collections."""
    query.raw = query
    query.layers["counts"] = query.X.copy()
    query.write_h5ad(tmp_path / "q.h5ad")
    query.write_zarr(tmp_path / "q.zarr")
    dense = query.copy()
    dense.X = dense.X.toarray()
    dense.write_h5ad(tmp_path / "dense.h5ad")
    by_column = query.copy()
    by_column.X = by_column.X.tocsc()
    by_column.write_h5ad(tmp_path / "csc.h5ad")
    return {
        "memory": query,
        "view": query[:, :].copy()[:],
        "backed": ad.read_h5ad(tmp_path / "q.h5ad", backed="r"),
        "h5ad": tmp_path / "q.h5ad",
        "dense": tmp_path / "dense.h5ad",
        "by column": tmp_path / "csc.h5ad",
        "zarr": tmp_path / "q.zarr",
        "collection": AnnCollection([query[:20].copy(), query[20:].copy()], index_unique=None),
        "MuData": MuData({"rna": query.copy()}),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", ["memory", "view", "backed", "h5ad", "dense", "by column", "zarr", "collection", "MuData"]
)
def test_cells_of_each_container_are_predicted_alike(kind, query, tiny_model, tmp_path):
    expected = tiny_model.predict(query[ROWS].copy(), soft=True, key_added=None)
    source = containers(query, tmp_path)[kind]
    found = tiny_model.predict(source, ROWS, soft=True, key_added=None)
    pd.testing.assert_frame_equal(found, expected, check_names=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_results_of_some_cells_are_written_into_a_file(kind, query, tiny_model, tmp_path):
    path = containers(query, tmp_path)[kind]
    labels = tiny_model.predict(path, ROWS, coverage=0.9)
    written = ad.read_h5ad(path) if kind == "h5ad" else ad.read_zarr(path)
    assert written.obs["hrca"].iloc[ROWS].tolist() == list(labels)
    assert written.obs["hrca"].isna().sum() == written.n_obs - len(ROWS)
    assert written.obsm["hrca_probabilities"].iloc[ROWS].notna().all(axis=None)
    assert written.obsm["hrca_set"].dtypes.eq(bool).all()


@pytest.mark.filterwarnings("ignore")
def test_results_of_some_cells_are_written_into_a_collection(query, tiny_model, tmp_path):
    collection = containers(query, tmp_path)["collection"]
    labels = tiny_model.predict(collection, ROWS)
    parts = pd.concat([adata.obs["hrca"].astype(object) for adata in collection.adatas])
    assert parts.iloc[ROWS].tolist() == list(labels)
    assert parts.isna().sum() == 37 - len(ROWS)


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([], "must be positions of the query's 37 cells|at least one cell"),
        ([0, 0], "each once, got 2 positions of 1 cell"),
        ([0, -37], "must be 0 or more, got -37"),
        ([37], "positions of the query's 37 cells or a mask"),
        ([0.5], "positions of the query's 37 cells or a mask"),
        (["cell1"], "get_indexer"),
        ([True, False], "positions of the query's 37 cells or a mask"),
        ([False] * 37, "at least one cell"),
        ([[0, 1]], "each once|at least one cell"),
        (3, "at least one cell"),
    ],
)
def test_indices_that_name_no_cells_raise(query, indices, words):
    adata, _ = open_query_input(query, "rna")
    with pytest.raises(ValueError, match=words):
        select_cells(adata, np.array(indices) if isinstance(indices, list) else indices)


def test_the_order_of_the_indices_holds(query):
    cells, selection = select_cells(query, np.array(ROWS))
    assert list(cells.obs_names) == list(query.obs_names[ROWS])
    np.testing.assert_array_equal(cells.X.toarray(), query.X[ROWS].toarray())
    assert list(selection.obs_names) == list(query.obs_names)


def test_a_name_that_is_not_there_is_no_last_cell(query):
    with pytest.raises(ValueError, match="must be 0 or more, got -1.*a name that is not there"):
        select_cells(query, query.obs_names.get_indexer(["cell3", "no cell"]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["memory", "backed", "h5ad", "zarr"])
def test_the_names_of_obsm_and_uns_are_those_of_all_cells(kind, query, tmp_path):
    query.obsm["spatial"] = np.zeros((query.n_obs, 2))
    query.uns.clear()
    query.uns.update({"hrca": {"hrca_version": "0", "seed": 0}, "title": "a section"})
    adata, _ = open_query_input(containers(query, tmp_path)[kind], "rna")
    obsm_keys, uns_keys = entry_keys(select_cells(adata, np.array(ROWS))[0])
    assert obsm_keys == ("spatial",)
    assert {name: sorted(keys) for name, keys in uns_keys.items()} == {"hrca": ["hrca_version", "seed"], "title": []}
