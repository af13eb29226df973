"""Results appear when they are complete."""

from pathlib import Path

import anndata as ad
import pytest
from conftest import synthetic

from hrca.cli._outputs import plan_outputs, unfinished_stores


@pytest.fixture
def query(tmp_path) -> Path:
    path = tmp_path / "a.b.h5ad"
    synthetic(5).write_h5ad(path)
    return path


def plan(queries, out=None, csv=None, *, table=None, overwrite=False):
    return plan_outputs(queries, out, csv, table=table, overwrite=overwrite)


def test_a_copy_appears_after_the_work(query, tmp_path):
    (output,) = plan([query], tmp_path / "out")
    with unfinished_stores([output]) as (store,):
        assert store != output.store
        assert not output.store.exists()
        assert ad.read_h5ad(store).n_obs == 5
    assert output.store == tmp_path / "out" / "a.b.h5ad"
    assert [path.name for path in output.store.parent.iterdir()] == ["a.b.h5ad"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_copy_after_an_error(query, tmp_path, error):
    (output,) = plan([query], tmp_path / "out.h5ad")
    with pytest.raises(error), unfinished_stores([output]):
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["a.b.h5ad"]


def test_a_folder_that_exists_is_replaced_if_that_is_wanted(query, tmp_path):
    synthetic(9).write_zarr(tmp_path / "out.zarr")
    with pytest.raises(FileExistsError, match="--overwrite"):
        plan([query], tmp_path / "out.zarr")
    (output,) = plan([query], tmp_path / "out.zarr", overwrite=True)
    with unfinished_stores([output]):
        assert ad.read_zarr(tmp_path / "out.zarr").n_obs == 9
    assert ad.read_zarr(tmp_path / "out.zarr").n_obs == 5


def test_results_without_a_copy_go_into_the_query(query):
    (output,) = plan([query])
    with unfinished_stores([output]) as (store,):
        assert store == query == output.cells(store)


def test_a_table_of_a_store_is_found_in_its_copy(tmp_path):
    from test_io import write_spatialdata

    write_spatialdata(tmp_path / "store.zarr", {"table": synthetic(5), "other": synthetic(6)})
    (output,) = plan([tmp_path / "store.zarr"], tmp_path / "out", table="other")
    with unfinished_stores([output]) as (store,):
        assert output.cells(store) == store / "tables" / "other"
    assert ad.read_zarr(tmp_path / "out" / "store.zarr" / "tables" / "table").n_obs == 5


def test_a_matrix_of_10x_needs_a_place_for_its_results(tmp_path):
    from test_io import write_10x_h5

    write_10x_h5(tmp_path / "matrix.h5", synthetic(5))
    with pytest.raises(ValueError, match=r"need a file of their own\. Name it by `--out FILE\.h5ad`"):
        plan([tmp_path / "matrix.h5"])
    (output,) = plan([tmp_path / "matrix.h5"], tmp_path / "out")
    with unfinished_stores([output]) as (store,):
        assert ad.read_h5ad(store).shape == (5, 60)
    assert output.store.name == "matrix.h5ad"
