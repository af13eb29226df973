"""Which matrix is taken for the counts; more cases, on real cells, are in odd_inputs.py."""

import numpy as np
import pytest

from hrca.data._select_counts import select_counts


@pytest.fixture
def adata(reference):
    reference.layers["counts"] = reference.X.copy()
    reference.raw = reference
    return reference


def names(choice) -> tuple[str, int]:
    return choice.look.slot.name, len(choice.notes)


def test_x_comes_first_and_nothing_is_said(adata):
    assert names(select_counts(adata, None)) == ("X", 0)


def test_the_usual_layer_comes_before_x(adata):
    assert names(select_counts(adata, None, preferred_layer="counts")) == ("counts", 0)
    assert names(select_counts(adata, None, preferred_layer="nothing")) == ("X", 0)


def test_what_the_user_names_is_taken(adata):
    adata.layers["log"] = adata.X.log1p()
    assert names(select_counts(adata, "log")) == ("log", 0)
    assert names(select_counts(adata, "raw")) == ("raw", 0)
    adata.layers["zeros"] = adata.X * 0
    assert names(select_counts(adata, "zeros")) == ("zeros", 1)


def test_an_odd_x_is_taken_where_the_references_was_named(adata):
    odd = adata.copy()
    odd.X.data[:] = 1
    assert names(select_counts(odd, None, preferred_layer="X")) == ("counts", 1)
    del odd.layers["counts"], odd.raw
    choice = select_counts(odd, None, preferred_layer="X")
    assert names(choice) == ("X", 1)
    assert choice.notes[0] == (
        "`adata.X` was named for the reference, so it is taken for counts, but it holds only 0 and 1 (binarised?)."
    )
    for preferred_layer in (None, "counts"):
        with pytest.raises(ValueError, match="say so: `layer='X'`"):
            select_counts(odd, None, preferred_layer=preferred_layer)
    for x in (odd.X * 0, odd.X * 0.5):
        odd.X = x
        with pytest.raises(ValueError, match="must hold raw counts"):
            select_counts(odd, None, preferred_layer="X")


def test_another_place_is_taken_and_named(adata):
    adata.X = adata.X.log1p()
    choice = select_counts(adata, None)
    assert names(choice) == ("counts", 1)
    assert choice.notes[0] == "The counts were taken from `adata.layers['counts']`: `adata.X` holds log1p of counts."
    del adata.layers["counts"]
    assert names(select_counts(adata, None)) == ("raw", 1)
    with pytest.raises(ValueError, match=r"adata.raw.to_adata\(\)"):
        select_counts(adata, None, with_raw=False)


def test_raw_with_more_genes_is_named(adata):
    few = adata[:, :20].copy()
    assert "`layer='raw'` takes them" in select_counts(few, None).notes[0]


def test_nothing_is_taken_where_two_differ(adata):
    adata.layers["a"], adata.layers["b"] = adata.X.copy(), adata.X.minimum(3)
    del adata.layers["counts"], adata.raw
    adata.X = np.log1p(adata.X)
    with pytest.raises(ValueError, match="they differ: `adata.layers\\['a'\\]`, `adata.layers\\['b'\\]`. Name one"):
        select_counts(adata, None)
