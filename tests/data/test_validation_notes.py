"""Notes about cells and features that pass."""

import numpy as np
import pandas as pd
import pytest
from conftest import synthetic
from scipy import sparse

import hrca
from hrca.data._target_genes import TargetGenes
from hrca.data._validate import validate
from hrca.data._validation_notes import count_repeated, note_cells

GENES = TargetGenes(pd.Index([f"gene{i}" for i in range(60)]), np.ones(60))


def test_cells_are_noted_that_are_empty_repeated_or_of_one_name():
    sample = sparse.csr_array(synthetic(100).X)
    assert list(note_cells(pd.Index(["a", "b"]), sample, is_reference=False)) == []
    double = sparse.vstack([sample, sample, sparse.csr_array((2, 60))], format="csr")
    n_repeated = count_repeated(double)
    assert 0 < n_repeated <= 100
    assert list(note_cells(pd.Index(["a", "a"]), double, is_reference=False)) == [
        "`adata.obs_names` are not unique; labels are in the order of the cells.",
        "2 of 202 sampled cells have no counts and get no label.",
        f"{n_repeated} of 202 sampled cells have exactly the counts of another cell.",
    ]


def test_one_empty_cell_is_singular_and_a_reference_has_a_remedy():
    one = sparse.csr_array((1, 60))
    names = pd.Index(["a"])
    assert list(note_cells(names, one, is_reference=False)) == [
        "1 of 1 sampled cell has no counts and gets no label.",
    ]
    assert list(note_cells(names, one, is_reference=True)) == [
        "1 of 1 sampled cell has no counts: leave such cells out.",
    ]


def test_cells_with_few_counts_are_not_noted_as_repeated():
    assert count_repeated(sparse.csr_array(np.ones((5, 19)))) == 0
    assert count_repeated(sparse.csr_array(np.ones((5, 20)))) == 4


def test_probes_in_a_reference_would_be_learned(reference):
    reference.var_names = [*reference.var_names[:-1], "Blank-1"]
    assert (
        "1 name of control probes, such as 'Blank-1', would be learned: leave such names out"
        in validate(reference, None, None).report.notes[0]
    )


@pytest.mark.parametrize("column", ["feature_types", "feature_type"])
def test_proteins_in_a_reference_would_be_learned_and_the_line_drops_them(reference, column, caplog):
    reference.var[column] = pd.Categorical(["Gene Expression"] * 50 + ["Antibody Capture"] * 10)
    line = f"adata = adata[:, adata.var['{column}'] == 'Gene Expression'].copy()"
    with caplog.at_level("WARNING", logger="hrca"):
        hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    note = f"10 features are not genes by type, and would be learned: `{line}` drops such features."
    assert note in caplog.text
    assert validate(reference, None, None).report.notes == (note,)
    names = {"adata": reference}
    exec(line, names)
    assert validate(names["adata"], None, None).report.notes == ()
    assert names["adata"].n_vars == 50
    model_genes = TargetGenes(GENES.names[:50], np.ones(50))
    assert validate(reference, model_genes, None).report.notes == (
        "10 features are not genes by type, and are ignored.",
    )
