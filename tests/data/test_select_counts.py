"""The matrix that is selected for the counts; more cases, on real cells, are in odd_inputs.py."""

import numpy as np
import pytest

from hrca.data._count_selection_errors import explain_no_counts
from hrca.data._count_slots import list_slots
from hrca.data._select_counts import select_counts, select_named, summarize_matrix


def summaries_of(adata, layer=None):
    slots = list_slots(adata, layer)
    return tuple(summarize_matrix(slot, slot.matrix(adata), is_named=layer is not None) for slot in slots)


def select(adata, preferred_layer=None, *, with_raw=True):
    return select_counts(summaries_of(adata), preferred_layer, with_raw=with_raw)


def explain(adata, preferred_layer=None, *, with_raw=True):
    return explain_no_counts(summaries_of(adata), preferred_layer, with_raw=with_raw)


@pytest.fixture
def adata(reference):
    reference.layers["counts"] = reference.X.copy()
    reference.raw = reference
    return reference


def name_and_n_notes(selection) -> tuple[str, int]:
    return selection.summary.slot.name, len(selection.notes)


def test_x_comes_first_without_a_note(adata):
    assert name_and_n_notes(select(adata)) == ("X", 0)


def test_the_preferred_layer_comes_before_x(adata):
    assert name_and_n_notes(select(adata, "counts")) == ("counts", 0)
    assert name_and_n_notes(select(adata, "nothing")) == ("X", 0)


@pytest.mark.parametrize(("layer", "n_notes"), [("log", 0), ("raw", 0), ("zeros", 1)])
def test_a_named_matrix_is_selected(adata, layer, n_notes):
    adata.layers["log"] = adata.X.log1p()
    adata.layers["zeros"] = adata.X * 0
    (summary,) = summaries_of(adata, layer)
    assert name_and_n_notes(select_named(summary)) == (layer, n_notes)
    assert summary.sample.shape == adata.shape


def test_a_suspicious_x_is_selected_if_the_references_was_named(adata):
    suspicious = adata.copy()
    suspicious.X.data[:] = 1
    assert name_and_n_notes(select(suspicious, "X")) == ("counts", 1)
    del suspicious.layers["counts"], suspicious.raw
    selection = select(suspicious, "X")
    assert name_and_n_notes(selection) == ("X", 1)
    assert selection.notes[0] == (
        "`adata.X` was named for the reference, so it is taken for counts, but it holds only 0 and 1 (binarised?)."
    )
    for preferred_layer in (None, "counts"):
        assert select(suspicious, preferred_layer) is None
        assert "name them: `layer='X'`" in explain(suspicious, preferred_layer)
    for x in (suspicious.X * 0, suspicious.X * 0.5):
        suspicious.X = x
        assert select(suspicious, "X") is None
        assert "must hold raw counts" in explain(suspicious, "X")


def test_another_matrix_is_selected_and_named(adata):
    adata.X = adata.X.log1p()
    selection = select(adata)
    assert name_and_n_notes(selection) == ("counts", 1)
    assert selection.notes[0] == "The counts were taken from `adata.layers['counts']`: `adata.X` holds log1p of counts."
    del adata.layers["counts"]
    assert name_and_n_notes(select(adata)) == ("raw", 1)
    assert select(adata, with_raw=False) is None


def test_raw_with_more_genes_is_named(adata):
    few = adata[:, :20].copy()
    assert "`layer='raw'` takes them" in select(few).notes[0]


def test_nothing_is_selected_if_two_matrices_differ(adata):
    adata.layers["a"], adata.layers["b"] = adata.X.copy(), adata.X.minimum(3)
    del adata.layers["counts"], adata.raw
    adata.X = np.log1p(adata.X)
    assert select(adata) is None


def test_a_sample_is_read_once_and_kept_only_of_counts(adata, monkeypatch):
    adata.layers["log"] = adata.X.log1p()
    n_reads = []
    monkeypatch.setattr("hrca.data._select_counts.sample_cells", lambda x: n_reads.append(1) or x)
    summaries = summaries_of(adata)
    assert len(n_reads) == len(summaries) == 4
    assert [summary.sample.shape[0] for summary in summaries] == [100, 100, 0, 100]
