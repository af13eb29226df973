"""Whatever counts, genes and cells there are: how they are arranged and held does not change what is predicted."""

import tempfile
from pathlib import Path

import anndata as ad
import dask.array as da
import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

pytestmark = [
    pytest.mark.filterwarnings("ignore:Consolidated metadata"),
    pytest.mark.filterwarnings("ignore:The query has .* genes, and only"),
]
MODEL_GENES = [f"gene{i}" for i in range(60)]
# what each cell adds to what is drawn, so that no draw raises an error for looking like what is no counts
PLAIN = np.arange(60) % 3

HELD = {
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "dense": np.asarray,
    "Fortran": np.asfortranarray,
    "stored zeros": lambda x: with_stored_zeros(x),
    "unsorted indices": lambda x: with_unsorted_indices(x),
}
STORED = ["h5ad csr", "h5ad csc", "h5ad dense", "zarr csr", "zarr dense"]
DTYPES = ["float32", "float64", "int32", "int64", "uint8", "uint16"]


def with_stored_zeros(x):
    full = sparse.csr_matrix(np.ones_like(x))
    full.data = x.ravel().copy()
    return full


def with_unsorted_indices(x):
    csr = sparse.csr_matrix(x)
    order = np.concatenate(
        [np.arange(start, stop)[::-1] for start, stop in zip(csr.indptr[:-1], csr.indptr[1:], strict=True)]
    ).astype(int)
    return sparse.csr_matrix((csr.data[order], csr.indices[order], csr.indptr), shape=csr.shape)


@st.composite
def queries(draw) -> ad.AnnData:
    """Counts of 1 to 12 cells on 30 to 60 of the model's genes."""
    panel = draw(st.lists(st.sampled_from(range(60)), min_size=30, max_size=60, unique=True))
    n_obs = draw(st.integers(1, 12) | st.integers(8, 12))
    drawn = draw(hnp.arrays(np.int64, (n_obs, len(panel)), elements=st.integers(0, 30), fill=st.just(0)))
    counts = drawn + PLAIN[panel]
    return ad.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(n_obs)]),
        var=pd.DataFrame(index=[MODEL_GENES[i] for i in panel]),
    )


def predict(model, source, **kwargs) -> pd.DataFrame:
    return model.predict(source, soft=True, key_added=None, **kwargs)


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    two = np.sort(expected.to_numpy(), axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > 1e-4  # of a tie, rounding decides
    np.testing.assert_array_equal(actual.idxmax(axis=1)[clear], expected.idxmax(axis=1)[clear])


invariant = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@invariant
@given(query=queries(), data=st.data())
def test_order_of_genes_and_cells(tiny_model, query, data):
    cells = data.draw(st.permutations(range(query.n_obs)))
    genes = data.draw(st.permutations(range(query.n_vars)))
    expected = predict(tiny_model, query)
    assert_same(predict(tiny_model, query[cells][:, genes].copy()), expected.iloc[cells])


@invariant
@given(query=queries(), data=st.data())
def test_extra_genes(tiny_model, query, data):
    n_extra = data.draw(st.integers(1, 80))
    counts = data.draw(hnp.arrays(np.int64, (query.n_obs, n_extra), elements=st.integers(0, 99), fill=st.just(0)))
    names = [f"other{i}" for i in range(n_extra)]
    more = ad.AnnData(
        sparse.hstack([query.X, sparse.csr_matrix(counts.astype(np.float32))], format="csr"),
        obs=query.obs,
        var=pd.DataFrame(index=[*query.var_names, *names]),
    )
    genes = data.draw(st.permutations(range(more.n_vars)))
    assert_same(predict(tiny_model, more[:, genes].copy()), predict(tiny_model, query))


@invariant
@given(query=queries(), held=st.sampled_from(list(HELD)), dtype=st.sampled_from(DTYPES), batch_size=st.integers(1, 15))
def test_container_dtype_and_batch_size(tiny_model, query, held, dtype, batch_size):
    expected = predict(tiny_model, query)
    query.X = HELD[held](query.X.toarray().astype(dtype))
    assert_same(predict(tiny_model, query, batch_size=batch_size), expected)


@invariant
@given(
    query=queries(),
    chunks=st.tuples(st.integers(2, 9), st.integers(1, 60)),
    held=st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_array]),
    batch_size=st.integers(1, 8),
)
def test_chunks_of_dask(tiny_model, query, chunks, held, batch_size):
    expected = predict(tiny_model, query)
    # sparse chunks of dask are of whole rows
    n_columns = chunks[1] if held is np.asarray else query.n_vars
    query.X = da.from_array(query.X.toarray(), chunks=(chunks[0], n_columns)).map_blocks(held)
    assert_same(predict(tiny_model, query, batch_size=batch_size), expected)


@invariant
@given(query=queries(), stored=st.sampled_from(STORED), batch_size=st.integers(1, 15))
def test_files(tiny_model, query, stored, batch_size):
    expected = predict(tiny_model, query)
    format, container = stored.split()
    if container != "csr":
        query.X = {"csc": sparse.csc_matrix, "dense": np.asarray}[container](query.X.toarray())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"query.{format}"
        getattr(query, f"write_{format}")(path)
        assert_same(predict(tiny_model, path, batch_size=batch_size), expected)


@invariant
@given(query=queries(), data=st.data())
def test_a_cell_is_judged_by_itself_where_that_is_asked_for(tiny_model, query, data):
    rows = data.draw(st.lists(st.integers(0, query.n_obs - 1), min_size=1, unique=True))
    expected = predict(tiny_model, query, platform_correction=False)
    assert_same(predict(tiny_model, query[rows].copy(), platform_correction=False), expected.iloc[rows])
