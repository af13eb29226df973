"""The report of a validation, as it reads and as a dict."""

import numpy as np
import pandas as pd

from hrca.data._target_genes import TargetGenes
from hrca.data._validate import validate

GENES = TargetGenes(pd.Index([f"gene{i}" for i in range(60)]), np.ones(60))


def test_the_sentence_of_a_query(reference):
    assert validate(reference, GENES, None).report.sentence() == (
        "100 cells x 60 genes: counts from X, genes from var_names (symbols in lower case), 60 of the model's 60 "
        "genes, 100% of the information of its genes."
    )


def test_the_report_reads_well_and_is_a_dict(reference):
    reference.layers["log"] = reference.X.log1p()
    reference.X.data[reference.X.indptr[3] : reference.X.indptr[4]] = 0
    report = validate(reference, None, None).report
    assert repr(report).splitlines() == [
        "100 cells x 60 genes: counts from X, genes from var_names (symbols in lower case).",
        "  X: raw counts",
        "  log: log1p of counts",
        "  100 cells sampled: 1 without counts; 0 genes without counts in them",
        "  note: 1 of 100 sampled cells has no counts: leave such cells out.",
    ]
    assert report.to_dict()["matrices"] == {"X": "raw counts", "log": "log1p of counts"}
    assert report.to_dict()["n_genes"] is None


def test_the_fields_of_a_query_are_of_the_models_genes(reference):
    few = reference[:, :15].copy()
    informative = TargetGenes(GENES.names, np.r_[np.ones(20), np.zeros(40)], "informative genes")
    report = validate(few, informative, None).report
    assert (report.n_obs, report.n_vars, report.layer, report.gene_column) == (100, 15, "X", "var_names")
    assert (report.n_shared_genes, report.n_genes) == (15, 60)
    assert (report.gene_weight_fraction, report.gene_weight_of) == (0.75, "informative genes")
