"""Cells of each format are read, and labels are written for Xenium Explorer."""

import sys
from types import SimpleNamespace

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic
from scipy import sparse

import hrca
from hrca.data._formats import file_format, table_path
from hrca.data._sources import open_file


def write_10x_h5(path, adata) -> None:
    """Write a feature-barcode matrix of 10x Genomics, format 3, with a control probe as its last feature."""
    counts = sparse.hstack([adata.X, sparse.csr_matrix((adata.n_obs, 1))]).tocsr().astype(np.int32)
    names = [*adata.var_names, "NegControlProbe_1"]
    types = ["Gene Expression"] * adata.n_vars + ["Negative Control Probe"]
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(adata.obs_names, dtype="S")
        for name in ("data", "indices", "indptr"):
            matrix[name] = getattr(counts, name)
        matrix["shape"] = np.array(counts.shape[::-1], dtype=np.int32)
        features = matrix.create_group("features")
        features["id"] = features["name"] = np.array(names, dtype="S")
        features["feature_type"] = np.array(types, dtype="S")
        features["genome"] = np.array(["GRCh38"] * len(names), dtype="S")


def write_spatialdata(path, tables) -> None:
    """Write the tables of a SpatialData store, as spatialdata does."""
    import zarr

    # the format that anndata 0.12 writes
    zarr.open_group(path, mode="w", zarr_format=2).create_group("tables")
    for name, adata in tables.items():
        adata.write_zarr(path / "tables" / name)


@pytest.fixture(params=["h5ad", "zarr", "10x_h5", "mudata", "spatialdata"])
def stored(request, tmp_path):
    """The format of a file, the file, and its cells."""
    adata, suffix = synthetic(20), {"zarr": "zarr", "mudata": "h5mu", "spatialdata": "zarr", "10x_h5": "h5"}
    path = tmp_path / f"cells.{suffix.get(request.param, 'h5ad')}"
    if request.param == "h5ad":
        adata.write_h5ad(path)
    elif request.param == "zarr":
        adata.write_zarr(path)
    elif request.param == "10x_h5":
        write_10x_h5(path, adata)
    elif request.param == "mudata":
        mudata.MuData({"rna": adata}).write(path)
    else:
        write_spatialdata(path, {"table": adata})
    return request.param, path, adata


# of mudata, about its own next version; of zarr, about its format 3
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Consolidated metadata", "ignore:Object at")
def test_each_format_is_recognised_and_read(stored):
    kind, path, expected = stored
    assert file_format(path) == kind
    adata = hrca.io.read_cells(path)
    np.testing.assert_array_equal(adata.X.toarray(), expected.X.toarray())
    assert list(adata.obs_names) == list(expected.obs_names)
    assert list(adata.var_names) == list(expected.var_names)


def test_one_of_several_tables_is_named(tmp_path):
    path = tmp_path / "cells.zarr"
    write_spatialdata(path, {"square_008um": synthetic(20), "square_016um": synthetic(10)})
    with pytest.raises(ValueError, match=r"2 tables .* one of \['square_008um', 'square_016um'\]"):
        table_path(path, None)
    with pytest.raises(ValueError, match="must be a table of .*, got 'table'"):
        table_path(path, "table")
    assert hrca.io.read_cells(path, table="square_016um").n_obs == 10


@pytest.mark.parametrize(
    ("file", "kind"),
    [("experiment.xenium", "xenium"), ("binned_outputs", "visium_hd"), ("a_feature_slice.h5", "visium_hd")],
)
def test_folders_are_recognised_by_their_files(tmp_path, file, kind):
    (tmp_path / file).touch()
    assert file_format(tmp_path) == kind


def test_folders_are_read_by_spatialdata_io_without_their_pictures(tmp_path, monkeypatch):
    # its readers need gigabytes of a real folder; their arguments are checked against the real package below
    calls, tables = [], {"square_008um": synthetic(20), "square_016um": synthetic(10)}

    def reader(path, **kwargs):
        calls.append((path, kwargs))
        return SimpleNamespace(tables=tables if path.name == "hd" else {"table": synthetic(5)})

    monkeypatch.setitem(sys.modules, "spatialdata_io", SimpleNamespace(xenium=reader, visium_hd=reader))
    for name, file in (("xenium", "experiment.xenium"), ("hd", "binned_outputs")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    assert hrca.io.read_cells(tmp_path / "xenium").n_obs == 5
    assert set(calls[0][1].values()) == {False}
    assert hrca.io.read_cells(tmp_path / "hd", table="square_016um").n_obs == 10
    assert calls[1][1]["bin_size"] == 16
    with pytest.raises(ValueError, match="must have one table"):
        hrca.io.read_cells(tmp_path / "hd")
    with pytest.raises(ValueError, match="must be one of the bins"):
        hrca.io.read_cells(tmp_path / "hd", table="square_002um")
    assert not any(arguments["load_segmentations_only"] for _, arguments in calls[1:])


def test_segmented_cells_of_visium_hd_are_read_without_bins_and_have_their_centroids(tmp_path, monkeypatch):
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    cells, calls = synthetic(3), []
    cells.obs["cell_id"] = cells.obs_names
    cells.uns["spatialdata_attrs"] = {"region": "a_cells", "region_key": "region", "instance_key": "cell_id"}
    boxes = [shapely.box(i, 10 * i, i + 2, 10 * i + 4) for i in range(3)]
    # the polygons are in another order than the cells
    shapes = geopandas.GeoDataFrame(geometry=boxes[::-1], index=cells.obs_names[::-1])

    def reader(path, **kwargs):
        calls.append(kwargs)
        return SimpleNamespace(tables={"cell_segmentations": cells}, shapes={"a_cells": shapes})

    monkeypatch.setitem(sys.modules, "spatialdata_io", SimpleNamespace(visium_hd=reader))
    (tmp_path / "binned_outputs").mkdir()
    found = hrca.io.read_cells(tmp_path, table="cell_segmentations")
    np.testing.assert_allclose(found.obsm["spatial"], [[1, 2], [2, 12], [3, 22]])
    assert calls == [{"bin_size": None, "load_segmentations_only": True, "load_all_images": False}]


def test_spatialdata_io_has_the_arguments_that_are_used():
    import inspect

    from hrca.io import XENIUM_WITHOUT

    spatialdata_io = pytest.importorskip("spatialdata_io")
    assert set(XENIUM_WITHOUT) <= set(inspect.signature(spatialdata_io.xenium).parameters)
    used = {"bin_size", "load_segmentations_only", "load_all_images"}
    assert used <= set(inspect.signature(spatialdata_io.visium_hd).parameters)


def test_a_table_where_there_is_none_raises(tmp_path):
    synthetic(5).write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match="`table` names a table"):
        hrca.io.read_cells(tmp_path / "cells.h5ad", table="table")


@pytest.mark.parametrize("name", ["cells.h5ad", "cells.zarr"])
def test_cells_are_written_once_and_completely(tmp_path, name):
    hrca.io.write_cells(synthetic(5), tmp_path / name)
    assert hrca.io.read_cells(tmp_path / name).n_obs == 5
    with pytest.raises(FileExistsError, match=name):
        hrca.io.write_cells(synthetic(5), tmp_path / name)
    bad = synthetic(5)
    bad.uns["objects"] = object()
    with pytest.raises(Exception, match="object"):
        hrca.io.write_cells(bad, tmp_path / f"bad_{name}")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (None, ["cell0", "cell1", "cell2"]),
        (["a-1", "b-1", "c-1"], ["a-1", "b-1", "c-1"]),
        ([b"a", b"b", b"c"], list("abc")),
    ],
)
def test_groups_have_the_ids_of_xenium(tmp_path, column, expected):
    adata = synthetic(3)
    if column is not None:
        adata.obs["cell_id"] = column
    adata.obs["hrca"] = pd.Categorical(["A", "B, C", "Unknown"])
    hrca.io.write_groups(adata, tmp_path / "groups.csv")
    table = pd.read_csv(tmp_path / "groups.csv")
    assert table.to_dict("list") == {"cell_id": expected, "group": ["A", "B, C", "Unknown"]}


def test_cells_that_were_not_predicted_have_no_group(tmp_path):
    adata = synthetic(3)
    adata.obs["hrca"] = pd.Categorical(["A", None, "Unknown"])
    hrca.io.write_groups(adata, tmp_path / "groups.csv")
    assert (tmp_path / "groups.csv").read_text() == "cell_id,group\ncell0,A\ncell2,Unknown\n"


def with_novel_cells() -> ad.AnnData:
    adata = synthetic(5)
    adata.obs["hrca"] = pd.Categorical(["A", "A", "B", None, "Unsure"])
    adata.obs["hrca_novel_probability"] = [0.49, 0.5, np.nan, 0.9, 0.9]
    adata.uns["hrca"] = {"unlabeled_category": "Unsure"}
    return adata


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("keep", "expected"), [(False, ["A", "Unsure", "B", "Unsure"]), (True, ["A", "A", "B", "Unsure"])]
)
def test_cells_of_none_of_the_labels_have_the_group_of_cells_without_a_label(tmp_path, in_file, keep, expected):
    cells = adata = with_novel_cells()
    if in_file:
        cells = tmp_path / "cells.h5ad"
        adata.write_h5ad(cells)
    hrca.io.write_groups(cells, tmp_path / "groups.csv", keep_novel_labels=keep)
    table = pd.read_csv(tmp_path / "groups.csv")
    assert table.to_dict("list") == {"cell_id": ["cell0", "cell1", "cell2", "cell4"], "group": expected}
    # the labels in obs stay
    assert adata.obs["hrca"].to_list()[:3] == ["A", "A", "B"]


@pytest.mark.parametrize("uns", [{}, {"hrca": "not of HRCA"}, {"hrca": {}}])
def test_novel_cells_are_unknown_if_the_record_of_the_prediction_is_lost(tmp_path, uns):
    adata = with_novel_cells()
    adata.uns = uns
    hrca.io.write_groups(adata, tmp_path / "groups.csv")
    assert pd.read_csv(tmp_path / "groups.csv")["group"].to_list() == ["A", "Unknown", "B", "Unknown"]


def test_groups_of_a_file_are_those_of_its_cells(tmp_path):
    adata = synthetic(3)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    hrca.io.write_groups(tmp_path / "cells.h5ad", tmp_path / "groups.csv", key_added="cell_type")
    assert pd.read_csv(tmp_path / "groups.csv")["group"].to_list() == ["type 0", "type 1", "type 2"]
    with pytest.raises(ValueError, match=r"labels in obs\['hrca'\]"):
        hrca.io.write_groups(ad.read_h5ad(tmp_path / "cells.h5ad"), tmp_path / "groups.csv")


def test_a_file_whose_groups_are_written_is_closed(tmp_path, monkeypatch):
    opened = []

    def remember(path):
        opened.append(open_file(path))
        return opened[-1]

    monkeypatch.setattr("hrca.io.open_file", remember)
    synthetic(3).write_h5ad(tmp_path / "cells.h5ad")
    hrca.io.write_groups(tmp_path / "cells.h5ad", tmp_path / "groups.csv", key_added="cell_type")
    # a closed file of h5py is false
    assert len(opened) == 1 and not opened[0].file


def test_an_interrupted_writing_of_groups_leaves_the_earlier_file(tmp_path, monkeypatch):
    def interrupted(self, path, **_):
        path.write_text("cell_id,gr")
        raise KeyboardInterrupt

    (tmp_path / "groups.csv").write_text("earlier")
    monkeypatch.setattr(pd.DataFrame, "to_csv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hrca.io.write_groups(synthetic(3), tmp_path / "groups.csv", key_added="cell_type")
    assert [path.name for path in tmp_path.iterdir()] == ["groups.csv"]
    assert (tmp_path / "groups.csv").read_text() == "earlier"


def test_groups_are_compressed_by_the_name_of_the_file_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    hrca.io.write_groups(synthetic(3), "~/groups.csv.gz", key_added="cell_type")
    assert (tmp_path / "groups.csv.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert pd.read_csv(tmp_path / "groups.csv.gz")["group"].to_list() == ["type 0", "type 1", "type 2"]
