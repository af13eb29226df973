"""Equal labels from every container of a query, in memory or not; other objects are rejected."""

import gc
import subprocess
import sys
import weakref

import anndata as ad
import dask.array as da
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.experimental import AnnCollection, read_lazy
from conftest import synthetic
from scipy import sparse

import hrca
from hrca.data._sources import open_file

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pull_on_update:FutureWarning"),
    # from zarr: its format 3 does not define this yet
    pytest.mark.filterwarnings("ignore:Consolidated metadata"),
    # from a package that spatialdata imports
    pytest.mark.filterwarnings("ignore:.*Scaler:DeprecationWarning"),
]


def soft(model, source, **kwargs) -> np.ndarray:
    return model.predict(source, soft=True, key_added=None, **kwargs).to_numpy()


def h5ad(query, folder):
    query.write_h5ad(folder / "query.h5ad")
    return folder / "query.h5ad"


def zarr_store(query, folder):
    query.write_zarr(folder / "query.zarr")
    return folder / "query.zarr"


def as_container(container, write):
    def make(query, folder):
        query.X = container(query.X.toarray())
        return write(query, folder)

    return make


def in_layer(write):
    def make(query, folder):
        query.layers["counts"] = query.X.copy()
        query.X = query.X.log1p()
        return write(query, folder)

    return make


def in_raw(write):
    def make(query, folder):
        query.raw = query
        query.X = query.X.log1p()
        return write(query, folder)

    return make


def in_dask(container):
    def make(query, folder):
        query.X = da.from_array(query.X.toarray(), chunks=(10, 20)).map_blocks(container)
        return query

    return make


def in_lazy_layer(query, folder):
    path = in_layer(zarr_store)(query, folder)
    return read_lazy(path)


def sparse_of_zarr(query, folder):
    import zarr

    group = zarr.open_group(zarr_store(query, folder), mode="r")
    return ad.AnnData(ad.io.sparse_dataset(group["X"]), obs=query.obs, var=query.var)


def backed_mudata(query, folder):
    in_mudata(query, folder).write_h5mu(folder / "query.h5mu")
    return mudata.read_h5mu(folder / "query.h5mu", backed="r")


def in_mudata(query, folder):
    protein = ad.AnnData(np.ones((query.n_obs, 2), dtype=np.float32), obs=query.obs.copy())
    return mudata.MuData({"rna": query, "protein": protein})


def collection(query, folder):
    return AnnCollection([query[:20].copy(), query[20:].copy()])


def backed_collection(query, folder):
    query.layers["counts"] = query.X.copy()
    for name, rows in {"a": slice(0, 20), "b": slice(20, None)}.items():
        query[rows].copy().write_h5ad(folder / f"{name}.h5ad")
    return AnnCollection([ad.read_h5ad(folder / f"{name}.h5ad", backed="r") for name in "ab"])


SOURCES = {
    "h5ad": h5ad,
    "h5ad, its name as text": lambda query, folder: str(h5ad(query, folder)),
    "h5ad, csc": as_container(sparse.csc_matrix, h5ad),
    "h5ad, dense": as_container(np.asarray, h5ad),
    "h5ad, counts in a layer": in_layer(h5ad),
    "h5ad, counts in raw": in_raw(h5ad),
    "zarr": zarr_store,
    "zarr, csc": as_container(sparse.csc_matrix, zarr_store),
    "zarr, dense": as_container(np.asarray, zarr_store),
    "zarr, counts in a layer": in_layer(zarr_store),
    "zarr, counts in raw": in_raw(zarr_store),
    "an AnnData with X in zarr": sparse_of_zarr,
    "dask, dense": in_dask(np.asarray),
    "dask, csr": in_dask(sparse.csr_matrix),
    "lazy h5ad": lambda query, folder: read_lazy(h5ad(query, folder)),
    "lazy zarr": lambda query, folder: read_lazy(zarr_store(query, folder)),
    "lazy zarr, dense": lambda query, folder: read_lazy(as_container(np.asarray, zarr_store)(query, folder)),
    "lazy zarr, counts in a layer": in_lazy_layer,
    "MuData": in_mudata,
    "backed MuData": backed_mudata,
    "AnnCollection": collection,
    "backed AnnCollection": backed_collection,
}


@pytest.mark.parametrize("form", SOURCES)
def test_labels_and_probabilities_are_those_of_the_query_in_memory(tiny_model, query, form, tmp_path):
    expected = soft(tiny_model, query.copy())
    source = SOURCES[form](query.copy(), tmp_path)
    np.testing.assert_array_equal(soft(tiny_model, source), expected)
    np.testing.assert_array_equal(soft(tiny_model, source, batch_size=7), soft(tiny_model, query, batch_size=7))
    assert hrca.pp.check(source, tiny_model).n_shared_genes == 45


@pytest.mark.parametrize("form", SOURCES)
def test_the_results_are_written_to_where_the_query_came_from(tiny_model, query, form, tmp_path):
    expected = tiny_model.predict(query.copy())
    source = SOURCES[form](query.copy(), tmp_path)
    tiny_model.predict(source)
    for obs, n_skipped in written(source):
        column = obs["hrca"]
        values = column.to_numpy() if isinstance(column, pd.Series) else column.values
        np.testing.assert_array_equal(
            np.asarray(values, dtype=str), np.asarray(expected, dtype=str)[n_skipped:][: len(obs.index)]
        )


def written(source):
    if isinstance(source, mudata.MuData):
        yield source["rna"].obs, 0
    elif isinstance(source, AnnCollection):
        yield source.obs, 0
        yield source.adatas[0].obs, 0
        yield source.adatas[1].obs, 20
        assert source.adatas[1].obsm["hrca_probabilities"].shape == (17, 3)
        assert "hrca" in source.adatas[1].uns
    else:
        yield (source if isinstance(source, ad.AnnData) else open_file(path_of(source))).obs, 0


def path_of(source):
    from pathlib import Path

    return Path(source)


@pytest.mark.parametrize("form", ["h5ad", "zarr", "dask, csr", "lazy zarr", "AnnCollection"])
def test_other_methods_read_them_also(tiny_model, query, form, tmp_path):
    query.obs["known"] = "type 1"
    source = SOURCES[form](query.copy(), tmp_path)
    np.testing.assert_array_equal(
        tiny_model.get_latent_representation(source), tiny_model.get_latent_representation(query)
    )
    pd.testing.assert_series_equal(tiny_model.evaluate(source, "known"), tiny_model.evaluate(query, "known"))


def test_no_matrix_of_a_file_is_read_whole(tmp_path):
    in_layer(zarr_store)(synthetic(50), tmp_path)
    cells = open_file(tmp_path / "query.zarr")
    assert not sparse.issparse(cells.X) and not isinstance(cells.layers["counts"], np.ndarray | sparse.csr_matrix)
    assert (cells.n_obs, cells.n_vars) == cells.X.shape == (50, 60)


def test_spatialdata_gives_its_table(tiny_model, query, tmp_path):
    import spatialdata

    expected = soft(tiny_model, query.copy())
    sdata = spatialdata.SpatialData(tables={"table": query.copy()})
    np.testing.assert_array_equal(soft(tiny_model, sdata), expected)
    tiny_model.predict(sdata)
    assert "hrca" in sdata.tables["table"].obs


def test_bins_of_several_sizes_must_be_named(tiny_model, query):
    import spatialdata

    sdata = spatialdata.SpatialData(tables={f"square_{size}um": query.copy() for size in ("002", "008")})
    with pytest.raises(
        ValueError, match=r"has 2: \['square_002um', 'square_008um'\].*`sdata.tables\['square_002um'\]`"
    ):
        tiny_model.predict(sdata)
    with pytest.raises(ValueError, match="must have one table, but it has 0"):
        tiny_model.predict(spatialdata.SpatialData())


def test_a_table_of_a_stored_spatialdata_is_a_query(tiny_model, query, tmp_path):
    import spatialdata

    expected = tiny_model.predict(query.copy())
    path = tmp_path / "section.zarr"
    spatialdata.SpatialData(tables={"table": query.copy()}).write(path)
    with pytest.raises(ValueError, match=r"SpatialData with the tables \['table'\].*section.zarr/tables/table'"):
        tiny_model.predict(path)
    tiny_model.predict(path / "tables" / "table")
    table = spatialdata.read_zarr(path).tables["table"]
    np.testing.assert_array_equal(table.obs["hrca"], expected)
    np.testing.assert_array_equal(table.X.toarray(), query.X.toarray())


@pytest.mark.parametrize("several", [list, tuple, lambda samples: dict(zip("ab", samples, strict=True))])
def test_samples_are_predicted_one_by_one(tiny_model, query, several):
    samples = [query[:20].copy(), query[20:, ::-1].copy()]
    expected = [np.asarray(tiny_model.predict(sample.copy())) for sample in samples]
    labels = tiny_model.predict(several(samples))
    assert type(labels) is (dict if isinstance(several(samples), dict) else list)
    for one, right in zip(labels.values() if isinstance(labels, dict) else labels, expected, strict=True):
        np.testing.assert_array_equal(one, right)
    assert all("hrca" in sample.obs for sample in samples)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda query: query.X,
        lambda query: query.to_df(),
        lambda query: 3,
        lambda query: [[query]],
    ],
)
def test_objects_without_genes_and_cells_raise(tiny_model, query, wrong):
    with pytest.raises(TypeError, match=r"A query must be an AnnData.*`anndata.AnnData\(counts"):
        tiny_model.predict(wrong(query))


def test_files_of_other_formats_raise(tiny_model, query, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file '.*nothing.h5ad'"):
        tiny_model.predict(tmp_path / "nothing.h5ad")
    (tmp_path / "counts.csv").write_text("gene,cell\n")
    with pytest.raises(ValueError, match="neither. Read it with"):
        tiny_model.predict(tmp_path / "counts.csv")
    with pytest.raises(ValueError, match="must be a zarr store, but .* is not one. Read it with the function for"):
        tiny_model.predict(tmp_path)
    (tmp_path / "filtered").mkdir()
    (tmp_path / "filtered" / "matrix.mtx.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds 10x Genomics' matrix.mtx. `scanpy.read_10x_mtx\(path\)` reads it"):
        tiny_model.predict(tmp_path / "filtered")
    in_mudata(query, None).write_h5mu(tmp_path / "query.h5mu")
    with pytest.raises(ValueError, match="holds a MuData: `mudata.read"):
        tiny_model.predict(tmp_path / "query.h5mu")
    with h5py.File(tmp_path / "ten_x.h5", "w") as file:
        file.create_group("matrix")
    with pytest.raises(ValueError, match="10x Genomics.*scanpy.read_10x_h5"):
        tiny_model.predict(tmp_path / "ten_x.h5")
    zarr.open_group(tmp_path / "other.zarr", mode="w").create_array("X", data=np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"has no obs and no var, but \['X'\]: it is no AnnData"):
        tiny_model.predict(tmp_path / "other.zarr")


@pytest.mark.parametrize("length", [0.1, 0.5, 0.999])
def test_a_truncated_file_is_named_with_its_sample(tiny_model, query, tmp_path, length):
    query.write_h5ad(tmp_path / "bad.h5ad")
    content = (tmp_path / "bad.h5ad").read_bytes()
    (tmp_path / "bad.h5ad").write_bytes(content[: int(length * len(content))])
    words = (
        "must be readable, but '.*bad.h5ad' cannot be opened: .*. If it is truncated or damaged, copy or write it again"
    )
    with pytest.raises(OSError, match=words) as error:
        tiny_model.predict({"good": query, "bad": tmp_path / "bad.h5ad"})
    assert error.value.__notes__ == ["The error is in sample 'bad'."]
    assert "hrca" not in query.obs
    with pytest.raises(OSError, match=words):
        hrca.pp.check(tmp_path / "bad.h5ad")


def test_the_reader_of_an_old_file_is_the_one_of_its_format(tiny_model, tmp_path):
    for name in ("obs", "var"):
        zarr.open_group(tmp_path / "old.zarr").create_array(name, data=np.ones(3))
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["obs"] = file["var"] = np.ones(3)
    with pytest.raises(ValueError, match=r"before 0.7: `anndata.read_zarr\(path\)`"):
        tiny_model.predict(tmp_path / "old.zarr")
    with pytest.raises(ValueError, match=r"before 0.7: `anndata.read_h5ad\(path\)`"):
        tiny_model.predict(tmp_path / "old.h5ad")


def test_a_query_is_not_kept_alive(tiny_model, query):
    alive = weakref.ref(query)
    tiny_model.predict(query)
    del query
    gc.collect()
    # the fixture's own reference is the last one
    holders = [holder for holder in gc.get_referrers(alive()) if type(holder).__module__.startswith("hrca")]
    assert not holders


def test_a_file_that_another_program_writes_to_raises(tmp_path):
    path = tmp_path / "cells.h5ad"
    synthetic(10).write_h5ad(path)
    program = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program, str(path)], **pipes) as other:
        assert other.stdout.readline().strip() == b"open"
        with pytest.raises(OSError, match=r"cells.h5ad' is open for writing in another program. Close it there"):
            open_file(path)
        other.stdin.close()
    assert open_file(path).n_obs == 10


def test_a_store_whose_writer_was_killed_is_named(tmp_path):
    left = tmp_path / ".cells.zarr.abcd1234.tmp" / "cells.zarr.old"
    left.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no file .*cells.zarr'.*cells.zarr.old': move it back"):
        open_file(tmp_path / "cells.zarr")
