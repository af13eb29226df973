"""References that cannot be learned from, and the errors that they get."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import TINY, synthetic

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
        *(
            pytest.param(["a", word, "b"] * 3, f"holds .'{word}'.*unlabeled_category='{word}'", id=word)
            for word in ("nan", "NaN", "None", "NA", "<NA>", "unknown", "Unassigned", "unlabeled", "Not_assigned")
        ),
        pytest.param(["a", "nan", "NA", "b"] * 3, r"replace\(\['nan', 'NA'\], 'Unknown'\)", id="two words"),
    ],
)
def test_labels_that_cannot_be_learned(values, words):
    with pytest.raises(ValueError, match=words):
        setup(labelled(values), labels_key="cell_type")


def test_the_way_out_of_words_for_no_label_works():
    adata = labelled(["a", "nan", "b", "c"] * 3)
    setup(adata, labels_key="cell_type", unlabeled_category="nan")
    assert set(hrca.HRCA(adata, **TINY).labels) == {"a", "b", "c"}
    adata = labelled(["a", "nan", "NA", "b"] * 3)
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(object).replace(["nan", "NA"], "Unknown")
    setup(adata, labels_key="cell_type")
    assert set(hrca.HRCA(adata, **TINY).labels) == {"a", "b"}


def test_no_such_column_lists_those_that_are_there(reference):
    with pytest.raises(ValueError, match=r"got 'celltype'; it has \['cell_type'\]"):
        setup(reference, labels_key="celltype")


def test_duplicated_genes(reference):
    reference.var_names = ["gene0", "gene0", *reference.var_names[2:]]
    with pytest.raises(ValueError, match=r"1 duplicated: \['gene0'\]"):
        setup(reference, labels_key="cell_type")


@pytest.mark.parametrize("rows", [0, 30], ids=["no cell", "no gene"])
def test_a_reference_without_cells_or_genes(reference, rows):
    empty = reference[:0].copy() if rows == 0 else reference[:, :0].copy()
    with pytest.raises(ValueError, match="must have cells and genes"):
        setup(empty, labels_key=None)


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf])
def test_values_that_are_not_counts(reference, value):
    reference.X[3, 4] = 1
    reference.X.data[0] = value
    with pytest.raises(ValueError, match="`adata.X` must hold raw counts"):
        setup(reference, labels_key="cell_type")


def test_a_rejected_reference_is_not_changed():
    adata = labelled([1, 2, 3] * 3)
    before = adata.copy()
    with pytest.raises(ValueError, match="strings"):
        setup(adata, labels_key="cell_type")
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert adata.uns == before.uns


def test_labels_with_few_cells_are_named(reference, caplog):
    with caplog.at_level("INFO", logger="hrca"):
        setup(reference, labels_key="cell_type")
    assert "Fewer than the recommended 300 cells" in caplog.text
    assert "'type 0': 34" in caplog.text


def test_counts_in_a_layer_are_found_and_registered(reference, query):
    expected = reference.X.copy()
    reference.layers["umi"] = reference.X.copy()
    reference.X = reference.X.log1p()
    setup(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, n_hidden=8, n_latent=8, n_heads=2, n_layers=1, n_feedforward=8, classifier_widths=(4,))
    assert model.registry["setup_args"]["layer"] == "umi"
    assert (model.adata_manager.get_from_registry("X") != expected).nnz == 0


def test_counts_in_raw_alone_are_rejected_with_a_remedy(reference):
    reference.raw = reference
    reference.X = reference.X.log1p()
    with pytest.raises(ValueError, match=r"`adata.layers\['counts'\] = adata.raw\[:, adata.var_names\].X.copy\(\)`"):
        setup(reference, labels_key="cell_type")


def test_raw_that_is_named_is_rejected_with_a_remedy(reference):
    reference.raw = reference
    reference.X = reference.X.log1p()
    with pytest.raises(ValueError, match=r"`adata.raw` was named, but cannot be registered.*adata.raw.to_adata\(\)`"):
        setup(reference, labels_key="cell_type", layer="raw")
    reference.layers["raw"] = reference.raw.X.copy()
    setup(reference, labels_key="cell_type", layer="raw")
    registered = hrca.HRCA._get_most_recent_anndata_manager(reference).get_from_registry("X")
    assert (registered != reference.raw.X).nnz == 0


def test_x_can_be_named(reference):
    reference.X.data[:] = 1
    setup(reference, labels_key="cell_type", layer="X")


def test_genes_as_rows_are_rejected(reference):
    reference.obs_names = [f"ENSG{i:011}" for i in range(100)]
    with pytest.raises(ValueError, match=r"Rows must be cells.*adata = adata.T"):
        setup(reference, labels_key="cell_type")
