"""Prediction on the workers of a dask cluster: the same results, each chunk read twice, none through the client."""

import os
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import anndata as ad
import dask
import dask.array as da
import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, TINY, synthetic
from dask.distributed import Client, LocalCluster
from dask.sizeof import sizeof
from dask.utils import parse_timedelta
from scipy import sparse

import hrca
from hrca.data import _row_reader
from hrca.model._dask_tasks import Annotator
from hrca.prediction import _probabilities
from hrca.uncertainty import _novelty

CHUNKS = (300, 300, 300, 300, 300)


@contextmanager
def cluster(*, processes: bool):
    with (
        # None for the dashboard takes port 8787, and warns if it is in use
        LocalCluster(n_workers=2, threads_per_worker=1, processes=processes, dashboard_address=":0") as workers,
        Client(workers) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    """Two workers, which are threads of this process."""
    with cluster(processes=False) as client:
        yield client


@pytest.fixture(scope="module")
def model() -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(300, n_labels=5)
    adata = adata[adata.obs["cell_type"] != "type 4"].copy()
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(10, pretrain_epochs=2, lr=1e-2, batch_size=32, **QUIET)
    return model


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    """1,500 cells, of which a fifth are of a type that the reference lacks, and one is empty; too many genes."""
    rng = np.random.default_rng(0)
    adata = synthetic(1500, n_genes=65, n_labels=5, seed=5)
    counts = rng.poisson(3 * adata.X.toarray()).astype(np.float32)
    counts[700] = 0
    adata.X = sparse.csr_matrix(counts)
    return adata[:, rng.permutation(adata.n_vars)].copy()


def loaded_in_chunks(cells: ad.AnnData, folder: Path, chunks=CHUNKS, on_load=lambda i, n_loads: None) -> ad.AnnData:
    """The cells with an X whose chunks are files, and which notes each load of a chunk in a file."""
    folder.mkdir()
    bounds = np.concatenate([[0], np.cumsum(chunks)])
    for i, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        sparse.save_npz(folder / f"{i}.npz", cells.X[start:stop])

    # nested, so that it is pickled with its code: workers cannot import this file
    def load(i: int) -> sparse.csr_matrix:
        with (folder / "loads").open("a") as file:
            file.write(f"{i} {os.getpid()}\n")
        loads = [line.split()[0] for line in (folder / "loads").read_text().splitlines()]
        on_load(i, loads.count(str(i)))
        return sparse.load_npz(folder / f"{i}.npz").tocsr()

    blocks = [
        da.from_delayed(
            dask.delayed(load)(i), (n, cells.n_vars), np.float32, meta=sparse.csr_matrix((0, 0), dtype=np.float32)
        )
        for i, n in enumerate(chunks)
    ]
    return ad.AnnData(da.concatenate(blocks), obs=cells.obs[[]].copy(), var=cells.var.copy())


def loads(folder: Path) -> list[tuple[int, int]]:
    """Chunk and process of each load."""
    return [tuple(map(int, line.split())) for line in (folder / "loads").read_text().splitlines()]


def in_memory(model: hrca.HRCA, cells: ad.AnnData, **options) -> ad.AnnData:
    expected = ad.AnnData(cells.X, obs=cells.obs[[]].copy(), var=cells.var.copy())
    model.predict(expected, enable_progress_bar=False, **options)
    return expected


def assert_same(found: ad.AnnData, expected: ad.AnnData) -> None:
    assert list(found.obs_names) == list(expected.obs_names)
    assert list(found.obs) == list(expected.obs)
    for name, column in expected.obs.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            assert list(found.obs[name].cat.categories) == list(column.cat.categories)
            assert list(found.obs[name]) == list(column)
        else:
            assert found.obs[name].dtype == column.dtype
            np.testing.assert_allclose(found.obs[name], column, atol=1e-5)
    assert set(found.obsm) == set(expected.obsm)
    for name, table in expected.obsm.items():
        np.testing.assert_allclose(found.obsm[name], table.to_numpy(), atol=1e-5)
    assert set(found.uns["hrca"]) == set(expected.uns["hrca"])
    for name, value in expected.uns["hrca"].items():
        if name in ("novel_groups", "left_out_labels"):
            table = pd.DataFrame(found.uns["hrca"][name])
            pd.testing.assert_frame_equal(table[list(value)], pd.DataFrame(value), check_dtype=False, atol=1e-5)
        else:
            np.testing.assert_array_equal(found.uns["hrca"][name], value)


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
@pytest.mark.parametrize(
    ("chunks", "options"),
    [
        pytest.param(CHUNKS, {}, id="defaults"),
        pytest.param((1, 599, 350, 550), {"coverage": 0.9, "novelty_fpr": 0.1}, id="irregular chunks, sets, rejection"),
        pytest.param((120,), {"open_set": False, "novelty_fpr": 0.2}, id="novelty among reference cells"),
        pytest.param((50, 70), {"open_set": False, "platform_correction": False}, id="without a fit"),
    ],
)
def test_results_are_those_in_memory(model, cells, client, tmp_path, chunks, options):
    cells = cells[: sum(chunks)]
    out = model.predict_dask(loaded_in_chunks(cells, tmp_path / "x", chunks), tmp_path / "out.zarr", **options)
    assert out == tmp_path / "out.zarr"
    assert_same(ad.read_zarr(out), in_memory(model, cells, **options))
    assert Counter(chunk for chunk, _ in loads(tmp_path / "x")) == dict.fromkeys(range(len(chunks)), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zarr", "x"]


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_results_of_a_query_larger_than_the_samples_are_those_in_memory(model, cells, client, tmp_path, monkeypatch):
    # the workers are threads of this process
    monkeypatch.setattr(_probabilities, "MAX_SAMPLED_CELLS", 400)
    monkeypatch.setattr(_novelty, "MAX_RANKED_CELLS", 300)
    model.predict_dask(loaded_in_chunks(cells, tmp_path / "x"), tmp_path / "out.zarr")
    found, expected = ad.read_zarr(tmp_path / "out.zarr"), in_memory(model, cells)
    assert_same(found, expected)
    # the ranks are those of 300 cells
    assert len(np.unique(expected.obs["hrca_novelty"].dropna())) <= 301


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_nothing_passes_through_the_client_but_the_checked_cells(model, cells, client, tmp_path, monkeypatch):
    # as of a matrix of more than 4,000,000 values
    monkeypatch.setattr(_row_reader, "MAX_BLOCK_VALUES", 10_000)
    monkeypatch.setattr(_row_reader, "MAX_SAMPLED_CELLS", 120)
    received, sent, gather, submit = [], [], Client._gather_remote, Client.submit

    async def watched_gather(self, *args, **kwargs):
        response = await gather(self, *args, **kwargs)
        received.append(sum(sizeof(value) for value in response["data"].values()))
        return response

    def watched_submit(self, function, *args, **kwargs):
        sent.extend(arg for arg in args if isinstance(arg, Annotator))
        return submit(self, function, *args, **kwargs)

    monkeypatch.setattr(Client, "_gather_remote", watched_gather)
    monkeypatch.setattr(Client, "submit", watched_submit)
    out = model.predict_dask(loaded_in_chunks(cells, tmp_path / "x"), tmp_path / "out.zarr")
    checked, *results = received
    assert checked < 120 * 2 * cells.X.data.nbytes / cells.n_obs + 10_000
    assert results
    assert sum(results) < 10_000 < ad.read_zarr(out).obsm["hrca_probabilities"].nbytes
    # the model is the argument of one task
    assert len(sent) == 1


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_files_opened_lazily_are_predicted(model, cells, client, tmp_path):
    pytest.importorskip("xarray")
    ad.AnnData(cells.X, obs=cells.obs[[]], var=cells.var).write_h5ad(tmp_path / "cells.h5ad")
    lazy = ad.experimental.read_lazy(tmp_path / "cells.h5ad")
    model.predict_dask(lazy, tmp_path / "out.zarr", client)
    assert_same(ad.read_zarr(tmp_path / "out.zarr"), in_memory(model, cells))


@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_counts_are_found_in_a_layer_of_a_mudata(model, cells, client, tmp_path):
    dense = cells.X.toarray()
    adata = ad.AnnData(da.from_array(np.log1p(dense), chunks=(400, -1)), obs=cells.obs[[]].copy(), var=cells.var.copy())
    adata.layers["counts"] = da.from_array(dense, chunks=(400, -1))
    with mudata.set_options(pull_on_update=False):
        mdata = mudata.MuData({"rna": adata})
    model.predict_dask(mdata, tmp_path / "out.zarr", key_added="types")
    found, expected = ad.read_zarr(tmp_path / "out.zarr"), in_memory(model, cells)
    assert list(found.obs["types"]) == list(expected.obs["hrca"])
    assert found.uns["types"]["layer"] == "counts"


def test_a_query_of_one_cell_is_predicted(model, cells, client, tmp_path):
    one = cells[:1].copy()
    model.predict_dask(loaded_in_chunks(one, tmp_path / "x", (1,)), tmp_path / "out.zarr")
    assert_same(ad.read_zarr(tmp_path / "out.zarr"), in_memory(model, one))


def test_values_that_are_no_counts_leave_no_results(model, cells, client, tmp_path):
    spoiled = cells.copy()
    spoiled.X[450] = -spoiled.X[450]
    with pytest.raises(ValueError, match=r"`adata.X`.*negative"):
        model.predict_dask(loaded_in_chunks(spoiled, tmp_path / "x"), tmp_path / "out.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x.compute(), ValueError, r"`adata.X` is a csr_matrix.*read_lazy"),
        (lambda x: x.rechunk({1: 20}), ValueError, r"all genes of its cells.*4 chunks.*rechunk\(\{1: -1\}\)"),
        (lambda x: x[:0], ValueError, "must have cells"),
    ],
)
def test_unsuitable_arrays_are_rejected_before_a_load(model, cells, client, tmp_path, change, error, message):
    x = change(loaded_in_chunks(cells, tmp_path / "x").X)
    (tmp_path / "x" / "loads").unlink(missing_ok=True)
    adata = ad.AnnData(x, obs=cells.obs[[]].iloc[: x.shape[0]], var=cells.var.iloc[: x.shape[1]])
    with pytest.raises(error, match=message):
        model.predict_dask(adata, tmp_path / "out.zarr")
    assert not (tmp_path / "x" / "loads").exists()


def test_foreign_genes_are_rejected_before_a_load(model, cells, client, tmp_path):
    adata = loaded_in_chunks(cells, tmp_path / "x")
    adata.var_names = [f"protein{i}" for i in range(cells.n_vars)]
    with pytest.raises(ValueError, match="enough of the model's genes"):
        model.predict_dask(adata, tmp_path / "out.zarr")
    assert not (tmp_path / "x" / "loads").exists()


def test_chunks_of_unknown_size_are_rejected(model, cells, client, tmp_path):
    adata = loaded_in_chunks(cells, tmp_path / "x")
    # anndata takes no such array; one that is in place may become one
    adata.X._chunks = ((float("nan"),) * 5, (cells.n_vars,))
    with pytest.raises(ValueError, match=r"unknown ones \(NaN\).*compute_chunk_sizes"):
        model.predict_dask(adata, tmp_path / "out.zarr")


def test_unsuitable_arguments_are_rejected(model, cells, client, tmp_path):
    adata = loaded_in_chunks(cells, tmp_path / "x")
    with pytest.raises(TypeError, match=r"got the path.*read_lazy"):
        model.predict_dask("cells.h5ad", tmp_path / "out.zarr")
    with pytest.raises(FileExistsError, match="must not exist"):
        model.predict_dask(adata, tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="folder of `out` must exist"):
        model.predict_dask(adata, tmp_path / "no folder" / "out.zarr")
    with pytest.raises(TypeError, match=r"must be a `dask.distributed.Client` or None, got a str"):
        model.predict_dask(adata, tmp_path / "out.zarr", "tcp://scheduler:8786")
    with pytest.raises(ValueError, match="`key_added` must be a name"):
        model.predict_dask(adata, tmp_path / "out.zarr", key_added="a/b")
    with pytest.raises(ValueError, match="`coverage` must be between 0 and 1"):
        model.predict_dask(adata, tmp_path / "out.zarr", coverage=2)
    assert not (tmp_path / "x" / "loads").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_client_is_needed(model, cells, tmp_path, monkeypatch):
    # the other tests' client is active in this process
    monkeypatch.setattr("distributed.client._get_global_client", lambda: None)
    with pytest.raises(ValueError, match=r"none is active.*Client\(\)"):
        model.predict_dask(loaded_in_chunks(cells, tmp_path / "x"), tmp_path / "out.zarr")


def test_the_extra_is_named_where_dask_is_missing(model, cells, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(ImportError, match=r'needs dask: `pip install "hrca\[dask\]"`'):
        model.predict_dask(cells, tmp_path / "out.zarr")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
@pytest.mark.parametrize("kills_all", [False, True], ids=["one worker", "all workers"])
def test_workers_that_are_killed_cost_time_alone(model, cells, tmp_path, kills_all):
    marker, interval = tmp_path / "killed", dask.config.get("distributed.scheduler.active-memory-manager.interval")

    def kill(i: int, n_loads: int) -> None:
        # while the cells of the fourth chunk are to be scored
        if i != 3 or n_loads != 2 or marker.exists():
            return
        marker.touch()
        if not kills_all:
            # dask's active memory manager has by then reduced what several workers hold to one copy, perhaps this one
            time.sleep(2 * parse_timedelta(interval))
        for worker in {*workers} - {os.getpid()} if kills_all else ():
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    with cluster(processes=True) as client:
        workers = list(client.run(os.getpid).values())
        adata = loaded_in_chunks(cells, tmp_path / "x", on_load=kill)
        model.predict_dask(adata, tmp_path / "out.zarr", client, coverage=0.9)
    assert marker.exists()
    assert len(loads(tmp_path / "x")) > 10
    assert_same(ad.read_zarr(tmp_path / "out.zarr"), in_memory(model, cells, coverage=0.9))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hrca._warnings.HRCAWarning")
def test_workers_that_are_processes_share_the_chunks(model, cells, tmp_path):
    with cluster(processes=True) as client:
        model.predict_dask(loaded_in_chunks(cells, tmp_path / "x"), tmp_path / "out.zarr", client, coverage=0.9)
    assert Counter(chunk for chunk, _ in loads(tmp_path / "x")) == dict.fromkeys(range(5), 2)
    assert len({process for _, process in loads(tmp_path / "x")} - {os.getpid()}) == 2
    assert_same(ad.read_zarr(tmp_path / "out.zarr"), in_memory(model, cells, coverage=0.9))
