"""References that cannot be learned from, and what the user is told."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

import hrca

setup = hrca.HRCA.setup_anndata


def labelled(values) -> ad.AnnData:
    adata = synthetic(len(values))
    adata.obs["cell_type"] = values
    return adata


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(["a", None, "b"] * 3, "is missing or empty for 3 of 9 cells.*fillna", id="NaN"),
        pytest.param(["a", " ", "b"] * 3, "is missing or empty for 3 of 9 cells", id="empty"),
        pytest.param(["a"] * 9, r"at least two labels.*\['a'\]", id="one label"),
        pytest.param(["a", "Unknown", "a"] * 3, "at least two labels", id="one label beside the unlabelled"),
        pytest.param([1, 2, 3] * 3, r"Labels must be strings.*astype\(str\)", id="integers"),
        pytest.param(
            pd.Categorical(["a", "b", "a"] * 3, categories=["a", "b", "c"]),
            r"none of \['c'\].*remove_unused",
            id="unused",
        ),
    ],
)
def test_labels_that_cannot_be_learned(values, words):
    with pytest.raises(ValueError, match=words):
        setup(labelled(values), labels_key="cell_type")


def test_no_such_column_lists_those_that_are_there(reference):
    with pytest.raises(ValueError, match=r"got 'celltype'; it has \['cell_type'\]"):
        setup(reference, labels_key="celltype")


def test_duplicated_genes(reference):
    reference.var_names = ["gene0", "gene0", *reference.var_names[2:]]
    with pytest.raises(ValueError, match=r"1 duplicated: \['gene0'\]"):
        setup(reference, labels_key="cell_type")


@pytest.mark.parametrize("rows", [0, 30], ids=["no cell", "no gene"])
def test_nothing_left(reference, rows):
    empty = reference[:0].copy() if rows == 0 else reference[:, :0].copy()
    with pytest.raises(ValueError, match="must have cells and genes"):
        setup(empty, labels_key=None)


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf])
def test_no_counts(reference, value):
    reference.X[3, 4] = 1
    reference.X.data[0] = value
    with pytest.raises(ValueError, match="`adata.X` must hold raw counts"):
        setup(reference, labels_key="cell_type")


def test_a_refused_reference_is_left_as_it_was():
    adata = labelled([1, 2, 3] * 3)
    before = adata.copy()
    with pytest.raises(ValueError, match="strings"):
        setup(adata, labels_key="cell_type")
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert adata.uns == before.uns


def test_few_cells_of_a_type_are_named(reference, caplog):
    with caplog.at_level("INFO", logger="hrca"):
        setup(reference, labels_key="cell_type")
    assert "Fewer than the recommended 300 cells" in caplog.text
    assert "'type 0': 34" in caplog.text
