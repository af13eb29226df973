"""Log-normalized counts and variable genes."""

import numpy as np

from benchmarks.common.expression import log_normalized, variable_genes


def test_log_normalization_copies(reference):
    counts = reference.X.copy()
    normalized = log_normalized(reference)
    np.testing.assert_allclose(np.expm1(normalized.X.toarray()).sum(axis=1), 1e4, rtol=1e-4)
    assert (reference.X != counts).nnz == 0


def test_the_variable_genes_are_in_the_order_of_var(reference):
    genes = variable_genes(reference, 20)
    assert len(genes) == 20
    assert genes == [gene for gene in reference.var_names if gene in genes]
    assert variable_genes(reference) == reference.var_names.tolist()
