"""Zeros that were filled in for genes that were not measured."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hrca.data._alignment import GeneAlignment, make_selector
from hrca.data._target_genes import TargetGenes
from hrca.data._zero_filled import check_zero_filled

GENES = pd.Index([f"GENE{letter}{i}" for letter in "AB" for i in range(30)])


def test_zeros_for_absent_genes_raise_from_enough_cells_and_counts():
    counts = np.random.default_rng(0).poisson(1.0, (60, 60)).astype(float)
    alignment = GeneAlignment(make_selector(np.arange(60), 60), np.ones(60, dtype=bool))
    genes = TargetGenes(GENES, np.ones(60), profile=np.full(60, 1 / 60))
    check_zero_filled(sparse.csr_array(counts), alignment, genes)
    counts[:, 40:] = 0
    with pytest.raises(ValueError, match="20 of 60 genes that are common.*no count in 60 cells.*'GENEB10'"):
        check_zero_filled(sparse.csr_array(counts), alignment, genes)
    check_zero_filled(sparse.csr_array(counts[:40]), alignment, genes)
    check_zero_filled(sparse.csr_array(counts * (np.arange(60) == 0)[:, None]), alignment, genes)
    check_zero_filled(sparse.csr_array(counts), alignment, TargetGenes(GENES, np.ones(60)))
