"""The steps of a validation together: what is logged, warned of and read."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic
from scipy import sparse

from hrca.data._query import open_query
from hrca.data._target_genes import TargetGenes
from hrca.data._validate import check_orientation, low_gene_coverage, validate

GENES = TargetGenes(pd.Index([f"gene{i}" for i in range(60)]), np.ones(60))


def test_cells_without_notes_are_logged_as_one_sentence(reference, caplog):
    with caplog.at_level("INFO", logger="hrca"):
        report = validate(reference, GENES, None).report
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", report.sentence())]
    assert report.notes == ()


def test_notes_are_logged_as_warnings(reference, caplog):
    reference.layers["umi"] = reference.X.copy()
    reference.X = reference.X.log1p()
    with caplog.at_level("WARNING", logger="hrca"):
        validate(reference, GENES, None)
    assert "counts from umi" in caplog.text
    assert "`adata.X` holds log1p of counts" in caplog.text


def test_low_coverage_is_warned_of_at_the_line_of_the_caller(reference):
    few = reference[:, :20].copy()
    with pytest.warns(
        UserWarning, match="has 20 of the model's 60 genes, and only 33% of the information of its genes"
    ) as record:
        query = open_query(few, None, GENES)
    assert record[0].filename == __file__
    assert low_gene_coverage(query.report) == str(record[0].message)
    assert low_gene_coverage(validate(reference, GENES, None).report) is None
    assert low_gene_coverage(validate(few, None, None).report) is None


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


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_values_of_a_backed_matrix_are_checked_in_the_sample(container, tmp_path):
    counts = synthetic(100)
    counts.X[80, 1] = 0.5
    counts.X = container(counts.X.toarray())
    counts.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(ValueError, match="fractions such as 0.5"):
        validate(ad.read_h5ad(tmp_path / "x.h5ad", backed="r"), GENES, "X")


def test_values_of_a_matrix_in_memory_are_checked_whole():
    counts = synthetic(3_000)
    counts.X[2_999, 0] = 0.5
    with pytest.raises(ValueError, match="fractions such as 0.5"):
        validate(counts, GENES, None)


def test_one_sample_is_read_of_each_matrix(reference, monkeypatch):
    reference.layers["a"] = reference.X.copy()
    shapes = []
    monkeypatch.setattr(
        "hrca.data._select_counts.sample_cells", lambda x: shapes.append(x.shape) or sparse.csr_array(x)
    )
    validate(reference, GENES, None)
    assert len(shapes) == 2
    validate(reference, GENES, "a")
    assert len(shapes) == 3


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(["ENSG00000075624"], ["cell1"]), (["ACTB"], ["AAACCTGAGAAACCAT-1"])],
    ids=["Ensembl ids in rows", "barcodes in columns"],
)
def test_a_transposed_matrix_raises(rows, columns):
    with pytest.raises(ValueError, match=r"Rows must be cells.*adata = adata.T"):
        check_orientation(pd.Index(rows), pd.Index(columns))
    check_orientation(pd.Index(columns), pd.Index(rows))
