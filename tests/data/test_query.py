"""A query that was opened: its batches, its provenance, its known labels, and the sample that an error is in."""

import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

import hrca
from hrca.data._query import annotate_sample_errors, known_labels, open_query
from hrca.data._target_genes import TargetGenes

GENES = TargetGenes(pd.Index([f"gene{i}" for i in range(60)]), np.ones(60))


def test_batches_have_the_models_genes(query):
    expected = pd.DataFrame(query.X.toarray(), columns=query.var_names).reindex(columns=GENES.names, fill_value=0)
    opened = open_query(query, None, GENES)
    assert opened.n_obs == 37
    assert opened.adata is opened.target is query
    for bar in (None, "labels"):
        batches = [counts for _, counts in opened.batches(10, bar=bar)]
        np.testing.assert_array_equal(np.vstack([counts.toarray() for counts in batches]), expected)


def test_a_file_is_both_source_and_target(query, tmp_path):
    query.layers["umi"] = query.X.copy()
    query.X = query.X.log1p()
    path = tmp_path / "query.h5ad"
    query.write_h5ad(path)
    opened = open_query(str(path), None, GENES)
    assert (opened.target, str(opened.slot)) == (path, "`adata.layers['umi']`")
    np.testing.assert_array_equal(
        next(opened.batches(37))[1].sum(), query.layers["umi"][:, query.var_names.isin(GENES.names)].sum()
    )


def test_the_preferred_layer_is_used(query):
    query.layers["umi"] = query.X.copy()
    assert open_query(query, None, GENES, preferred_layer="umi").slot.name == "umi"
    assert open_query(query, "X", GENES, preferred_layer="umi").slot.name == "X"


def test_provenance_has_the_selected_matrix_and_genes(query):
    assert open_query(query, None, GENES).provenance() == {
        "hrca_version": hrca.__version__,
        "layer": "X",
        "gene_column": "var_names",
        "n_genes": 60,
        "n_shared_genes": 45,
        "gene_weight_fraction": 0.75,
        "gene_weight_of": "genes",
    }


def test_low_coverage_is_warned_of_at_the_users_line(tiny_model, query):
    few = query[:, query.var_names.isin(GENES.names[:12])].copy()
    with pytest.warns(UserWarning, match="has 12 of the model's 60 genes") as record:
        open_query(few, None, GENES)
    assert record[0].filename == __file__
    weight = tiny_model.module.count_likelihood.is_informative.cpu().numpy()
    genes = [gene for gene in tiny_model.gene_names[weight == 0] if gene in query.var_names]
    informative = tiny_model.gene_names[weight > 0][:5]
    with pytest.warns(UserWarning, match="of the information of its informative genes") as record:
        tiny_model.predict(query[:, query.var_names.isin([*genes, *informative])].copy())
    assert record[0].filename == __file__


def test_known_labels_are_missing_for_unlabelled_cells():
    obs = pd.DataFrame({"type": pd.Categorical(["a", "Unknown", None, "b"])})
    labels = known_labels(obs, "type", "Unknown")
    assert labels.dtype == object
    assert labels.isna().tolist() == [False, True, True, False]
    assert labels[[0, 3]].tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"got 'celltype'; it has \['type'\]"):
        known_labels(obs, "celltype", "Unknown")


@pytest.mark.parametrize(
    ("name", "notes"), [("a", ["The error is in sample 'a'."]), (0, ["The error is in sample 0."])]
)
def test_an_error_names_its_sample(name, notes):
    with pytest.raises(TypeError) as error, annotate_sample_errors(name):
        raise TypeError("wrong")
    assert error.value.__notes__ == notes


def test_an_error_of_the_only_sample_is_not_changed():
    with pytest.raises(ValueError, match="^wrong$") as error, annotate_sample_errors(None):
        raise ValueError("wrong")
    assert not hasattr(error.value, "__notes__")


def test_all_samples_are_checked_before_any_is_predicted(tiny_model, query):
    bad = query.copy()
    bad.X = bad.X.log1p()
    samples = {"first": query, "second": bad}
    with pytest.raises(ValueError, match="log1p of counts") as error:
        tiny_model.predict(samples)
    assert error.value.__notes__ == ["The error is in sample 'second'."]
    assert "hrca" not in query.obs


@pytest.mark.parametrize("key_added", ["hrca", None])
def test_a_sample_with_a_bad_cell_between_the_sampled_ones_is_named(tiny_model, query, tmp_path, key_added):
    bad = synthetic(3_000, seed=5)
    bad.X[2_999, 0] = 1
    bad.X.data[-1] = 0.5
    bad.write_h5ad(tmp_path / "bad.h5ad")
    with pytest.raises(ValueError, match="fractions such as 0.5") as error:
        tiny_model.predict({"first": query, "second": tmp_path / "bad.h5ad"}, key_added=key_added)
    assert error.value.__notes__ == ["The error is in sample 'second'."]
    assert "hrca" not in query.obs


def test_a_column_of_labels_that_is_there_twice_raises():
    obs = pd.DataFrame([["a", "b"]] * 3, columns=["cell_type"] * 2)
    with pytest.raises(ValueError, match="`adata.obs` has 2 columns 'cell_type'"):
        known_labels(obs, "cell_type", "Unknown")
