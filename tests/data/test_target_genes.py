"""Information of genes about the labels."""

import numpy as np
import pandas as pd

from hrca.data._target_genes import TargetGenes


def test_the_fraction_is_of_the_weights():
    genes = TargetGenes(pd.Index(["a", "b", "c"]), np.array([1.0, 0.0, 3.0]))
    assert genes.gene_weight_fraction(np.array([True, True, False])) == 0.25
    assert genes.gene_weight_fraction(np.array([True, False, True])) == 1


def test_genes_without_information_have_none_of_it():
    genes = TargetGenes(pd.Index(["a", "b"]), np.zeros(2))
    assert genes.gene_weight_fraction(np.array([True, True])) == 0
