"""The report, what is logged and warned of, and that backed cells stay on disk."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

import hrca
from hrca.data._target_genes import TargetGenes
from hrca.data._validate import validate, warn_low_gene_coverage

GENES = TargetGenes(pd.Index([f"gene{i}" for i in range(60)]), np.ones(60))


def test_all_well_is_one_sentence(reference, caplog):
    with caplog.at_level("INFO", logger="hrca"):
        report = validate(reference, GENES, None).report
    assert [record.getMessage() for record in caplog.records] == [report.sentence()]
    assert report.sentence() == (
        "100 cells x 60 genes: counts from X, genes from var_names (symbols in small letters), 60 of the model's 60 "
        "genes, 100% of what its genes tell."
    )
    assert report.notes == ()


def test_notes_are_logged_as_warnings(reference, caplog):
    reference.layers["umi"] = reference.X.copy()
    reference.X = reference.X.log1p()
    with caplog.at_level("WARNING", logger="hrca"):
        validate(reference, GENES, None)
    assert "counts from umi" in caplog.text
    assert "`adata.X` holds log1p of counts" in caplog.text


def test_the_report_reads_well_and_is_a_dict(reference):
    reference.layers["log"] = reference.X.log1p()
    reference.X.data[reference.X.indptr[3] : reference.X.indptr[4]] = 0
    report = validate(reference, None, None).report
    assert repr(report).splitlines() == [
        "100 cells x 60 genes: counts from X, genes from var_names (symbols in small letters).",
        "  X: raw counts",
        "  log: log1p of counts",
        "  100 cells looked at: 1 without counts; 0 genes without counts in them",
        "  note: 1 of 100 cells looked at have no counts: they cannot be judged.",
    ]
    assert report.to_dict()["matrices"] == {"X": "raw counts", "log": "log1p of counts"}
    assert report.to_dict()["n_genes"] is None


def test_little_is_warned_of_at_the_line_that_asked(reference):
    few = reference[:, :20].copy()
    with pytest.warns(
        UserWarning, match="has 20 of the model's 60 genes, and only 33% of what its genes tell"
    ) as record:
        warn_low_gene_coverage(validate(few, GENES, None).report, stacklevel=1)
    assert record[0].filename == __file__
    warn_low_gene_coverage(validate(reference, GENES, None).report, stacklevel=1)


def test_probes_in_a_reference_would_be_learned(reference):
    reference.var_names = [*reference.var_names[:-1], "Blank-1"]
    assert (
        "1 of the names are control probes, such as 'Blank-1': they would be learned"
        in validate(reference, None, None).report.notes[0]
    )


@pytest.mark.parametrize("column", ["feature_types", "feature_type"])
def test_proteins_in_a_reference_would_be_learned_and_the_line_drops_them(reference, column, caplog):
    reference.var[column] = pd.Categorical(["Gene Expression"] * 50 + ["Antibody Capture"] * 10)
    line = f"adata = adata[:, adata.var['{column}'] == 'Gene Expression'].copy()"
    with caplog.at_level("WARNING", logger="hrca"):
        hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    note = f"10 features are no genes by their type, and would be learned as genes: `{line}` drops them."
    assert note in caplog.text
    assert validate(reference, None, None).report.notes == (note,)
    names = {"adata": reference}
    exec(line, names)
    assert validate(names["adata"], None, None).report.notes == ()
    assert names["adata"].n_vars == 50
    model_genes = TargetGenes(GENES.names[:50], np.ones(50))
    assert validate(reference, model_genes, None).report.notes == (
        "10 features are no genes by their type, and play no part in finding genes.",
    )


@pytest.mark.parametrize("dense", [False, True])
def test_cells_on_disk_are_not_read_whole(tmp_path, dense, monkeypatch):
    adata = synthetic(100_000)
    if dense:
        adata.X = adata.X.toarray()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    report = validate(backed, GENES, None).report
    assert backed.isbacked
    assert (report.n_obs, report.n_sampled_cells) == (100_000, 996)


def test_no_cell_and_no_gene():
    empty = synthetic(5)[:0].copy()
    assert validate(empty, GENES, None).report.n_sampled_cells == 0
    assert validate(synthetic(5)[:, :0].copy(), None, None).report.n_vars == 0
