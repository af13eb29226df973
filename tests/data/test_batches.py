"""Aligned batches and their progress bar."""

import re

import numpy as np
import pytest
from scipy import sparse

from hrca.data import _batches
from hrca.data._alignment import GeneAlignment, make_selector
from hrca.data._batches import KeptBatches, aligned_batches, with_progress

COUNTS = np.random.default_rng(0).poisson(1.0, (25, 4)).astype(np.float64)
# the model's genes: the matrix's third, one that is absent, and the matrix's first
POSITIONS = np.array([2, -1, 0])
ALIGNMENT = GeneAlignment(make_selector(POSITIONS, 4), POSITIONS >= 0)
EXPECTED = np.column_stack([COUNTS[:, 2], np.zeros(25), COUNTS[:, 0]])


@pytest.mark.parametrize("container", [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize("batch_size", [1, 10, 25, 100])
def test_batches_are_sparse_and_in_the_models_order(container, batch_size):
    batches = list(aligned_batches(container(COUNTS), ALIGNMENT, batch_size=batch_size, source="`adata.X`"))
    assert [rows.stop - rows.start for rows, _ in batches] == [counts.shape[0] for _, counts in batches]
    assert [rows.start for rows, _ in batches] == list(range(0, 25, batch_size))
    assert all(counts.dtype == np.float32 and counts.has_canonical_format for _, counts in batches)
    assert all((counts.data > 0).all() for _, counts in batches)
    np.testing.assert_array_equal(np.vstack([counts.toarray() for _, counts in batches]), EXPECTED)


@pytest.mark.parametrize(("max_bytes", "n_reads"), [(10**6, 1), (10, 2)])
def test_a_query_is_read_once_if_it_fits_into_memory(max_bytes, n_reads):
    bars = []

    def read(bar):
        bars.append(bar)
        return aligned_batches(COUNTS, ALIGNMENT, batch_size=10, source="X")

    batches = KeptBatches(read, max_bytes)
    # a pass that is broken off keeps nothing
    next(iter(batches("broken")))
    for bar in ("one", "two"):
        np.testing.assert_array_equal(np.vstack([counts.toarray() for _, counts in batches(bar)]), EXPECTED)
    assert bars == ["broken", "one", "two"][: 1 + n_reads]


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_values_are_checked_in_each_batch(container):
    counts = COUNTS.copy()
    counts[20, 1] = 0.5
    batches = aligned_batches(container(counts), ALIGNMENT, batch_size=10, source="`adata.layers['a']`")
    next(batches), next(batches)
    with pytest.raises(ValueError, match=r"`adata.layers\['a'\]` must hold raw counts.*fractions such as 0.5"):
        next(batches)


def test_a_batch_must_have_cells():
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        next(aligned_batches(COUNTS, ALIGNMENT, batch_size=0, source="`adata.X`"))


def test_a_progress_bar_changes_no_batch():
    batches = [(slice(0, 2), COUNTS[:2]), (slice(2, 3), COUNTS[2:3])]
    assert list(with_progress(iter(batches), 3, "labels")) == batches


@pytest.mark.parametrize("enable_progress_bar", [True, False])
@pytest.mark.parametrize(("max_bytes", "names"), [(10**6, ["cells"]), (0, ["cells", "labels", "novelty"])])
def test_each_pass_that_reads_has_a_progress_bar_with_its_name(
    tiny_model, query, monkeypatch, capsys, enable_progress_bar, max_bytes, names
):
    monkeypatch.setattr(_batches, "PROGRESS_DELAY_S", 0)
    monkeypatch.setattr(_batches, "MAX_KEPT_BYTES", max_bytes)
    tiny_model.predict(query, enable_progress_bar=enable_progress_bar)
    output = capsys.readouterr()
    shown = re.findall(r"(\w+): 100%.*37.0/37.0", output.err)
    assert list(dict.fromkeys(shown)) == (names if enable_progress_bar else [])
    assert "37.0" not in output.out
