"""Tables of obsm can be written and read again, whatever the labels and the names of the cells are."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

from hrca.annotation._result import AnnDataEntries, PredictionResult, to_entries
from hrca.annotation._tables import MAX_TABLE_COLUMNS, is_nullable, table_in_file, table_in_object, writable_columns
from hrca.annotation._write import write_to_object
from hrca.annotation._write_file import write_to_file

pytestmark = [
    pytest.mark.filterwarnings("ignore:Consolidated metadata"),
    pytest.mark.filterwarnings("ignore:This setting will be removed in 0.14"),
    pytest.mark.filterwarnings("ignore:zarr v3 will become the only option"),
]
FORMATS = ["h5ad", "zarr", "zarr 3"]
ODD_LABELS = ["a", ".", "..", "_index", "__b", ".zattrs", ".zgroup", "zarr.json", "c/d", "c|d", "long " * 100]


def write(adata: ad.AnnData, path, format: str) -> None:
    if format == "h5ad":
        adata.write_h5ad(path)
    else:
        with ad.settings.override(zarr_write_format=3 if format == "zarr 3" else 2):
            adata.write_zarr(path)


def read(path, format: str) -> ad.AnnData:
    return ad.read_h5ad(path) if format == "h5ad" else ad.read_zarr(path)


def entries(obs_names: pd.Index, labels: list[str]) -> AnnDataEntries:
    codes = np.arange(len(obs_names)) % len(labels)
    probabilities = pd.DataFrame(np.eye(len(labels), dtype=np.float32)[codes], index=obs_names, columns=labels)
    result = PredictionResult(
        pd.Categorical.from_codes(codes, categories=[*labels, "Unknown"]),
        np.ones(len(obs_names), dtype=np.float32),
        probabilities,
        sets=probabilities > 0,
    )
    return to_entries("key", result, {"labels": np.array(labels, dtype=str)})


def assert_written(adata: ad.AnnData, labels: list[str]) -> None:
    expected = np.eye(len(labels))[np.arange(adata.n_obs) % len(labels)]
    np.testing.assert_array_equal(np.asarray(adata.obsm["key_probabilities"]), expected)
    np.testing.assert_array_equal(np.asarray(adata.obsm["key_set"]), expected > 0)
    adata.copy()


def test_names_that_a_format_uses_get_a_bar():
    written = list(writable_columns(pd.Index(ODD_LABELS[:9])))
    assert written == ["a", "|.", "|..", "|_index", "|__b", "|.zattrs", "|.zgroup", "|zarr.json", "c|d"]
    assert len(writable_columns(pd.Index(["\N{GREEK SMALL LETTER ALPHA}" * 200]))[0].encode()) == 200
    assert list(writable_columns(pd.Index(["x\0y", "", "\ud800", "T cell"]))) == ["x|y", "|", "?", "T cell"]
    assert writable_columns(pd.Index(ODD_LABELS)).is_unique


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("where", ["object", "file"])
def test_odd_labels_are_written_and_read(tmp_path, format, where):
    adata, path = synthetic(40), tmp_path / "cells"
    made = entries(adata.obs_names, ODD_LABELS)
    if where == "object":
        write_to_object(adata, made)
        write(adata, path, format)
    else:
        write(adata, path, format)
        write_to_file(path, made)
    after = read(path, format)
    assert_written(after, ODD_LABELS)
    assert list(after.obsm["key_probabilities"])[:4] == ["a", "|.", "|..", "|_index"]


@pytest.mark.parametrize("n_labels", [MAX_TABLE_COLUMNS, 4_200])
@pytest.mark.parametrize("where", ["object", "file"])
def test_thousands_of_labels_are_written_and_read(tmp_path, n_labels, where):
    adata, path = synthetic(3), tmp_path / "cells.h5ad"
    labels = [f"{i:04d} IT-ET Glut" for i in range(n_labels)]
    made = entries(adata.obs_names, labels)
    if where == "object":
        write_to_object(adata, made)
        adata.write_h5ad(path)
    else:
        adata.write_h5ad(path)
        write_to_file(path, made)
    after = ad.read_h5ad(path)
    assert_written(after, labels)
    assert isinstance(after.obsm["key_set"], pd.DataFrame) == (n_labels <= MAX_TABLE_COLUMNS)
    assert list(after.uns["key"]["set_labels"]) == labels


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
@pytest.mark.parametrize("index", [pd.RangeIndex(6), pd.Index([5, 3, 2, 1, 9, 7]), pd.Index(np.linspace(0, 1, 6))])
@pytest.mark.filterwarnings("ignore:Transforming to str index")
def test_cells_named_by_numbers_are_written_and_read(tmp_path, index, format):
    adata, path = synthetic(6), tmp_path / "cells"
    adata.obs.index = index
    write(adata, path, format)
    write_to_file(path, entries(index, ["a", "b"]))
    by_path = read(path, format)
    assert_written(by_path, ["a", "b"])
    assert list(by_path.obsm["key_probabilities"]) == ["a", "b"]
    if index.inferred_type != "floating":  # which anndata cannot copy anyway
        write_to_object(adata, entries(index, ["a", "b"]))
        assert adata.obs.index is index
        assert isinstance(adata.obsm["key_set"], np.ndarray)
        assert_written(adata, ["a", "b"])
        write(adata, tmp_path / "again", format)
        assert_written(read(tmp_path / "again", format), ["a", "b"])


@pytest.mark.parametrize("format", FORMATS)
def test_cells_named_by_nullable_strings_are_written_and_read(tmp_path, format):
    adata, path = synthetic(6), tmp_path / "cells"
    adata.obs.index = adata.obs_names.astype("string")
    with ad.settings.override(allow_write_nullable_strings=True):
        write(adata, path, format)
    write_to_file(path, entries(pd.Index(list(adata.obs_names), dtype=object), ["a", "b"]))
    after = read(path, format)
    assert_written(after, ["a", "b"])
    assert list(after.obsm["key_probabilities"]) == ["a", "b"]
    write_to_object(adata, entries(adata.obs_names, ["a", "b"]))
    assert_written(adata, ["a", "b"])
    with ad.settings.override(allow_write_nullable_strings=True):
        write(adata, tmp_path / "again", format)
    assert_written(read(tmp_path / "again", format), ["a", "b"])


def test_cells_named_by_categories_are_written_and_read(tmp_path):
    adata = synthetic(6)
    adata.obs.index = pd.CategoricalIndex(adata.obs_names)
    write_to_object(adata, entries(adata.obs_names, ["a", "b"]))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    assert_written(ad.read_h5ad(tmp_path / "cells.h5ad"), ["a", "b"])
    write_to_file(tmp_path / "cells.h5ad", entries(adata.obs_names, ["a", "b"]))
    assert_written(ad.read_h5ad(tmp_path / "cells.h5ad"), ["a", "b"])


def test_a_label_may_be_the_name_of_the_index(tmp_path):
    adata = synthetic(6)
    adata.obs.index.name = "a"
    write_to_object(adata, entries(adata.obs_names, ["a", "b"]))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    after = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert_written(after, ["a", "b"])
    assert list(after.obsm["key_set"]) == ["|a", "b"]


def test_a_table_keeps_the_names_of_its_object_or_file():
    table = pd.DataFrame({"a": [1.0, 2.0]})
    assert list(table_in_object(table, pd.Index(["x", "y"])).index) == ["x", "y"]
    stored = pd.Index(["x", "y"], dtype="string", name="cells")
    assert is_nullable(table_in_file(table, stored).index)
    assert table_in_file(table, stored).index.name is None
    assert list(table_in_file(table, pd.Index([1, 2])).index) == ["1", "2"]
