"""The model's genes in a query: the column, the share, what is refused; more cases are in odd_inputs.py."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hrca.data._alignment import GeneAlignment, make_selector
from hrca.data._count_slots import CountSlot
from hrca.data._gene_matching import check_zero_filled, match_genes
from hrca.data._target_genes import TargetGenes

X = CountSlot("X", "X")
GENES = pd.Index([f"GENE{letter}{i}" for letter in "AB" for i in range(30)])


def model(is_informative=None) -> TargetGenes:
    if is_informative is None:
        return TargetGenes(GENES, np.ones(len(GENES)))
    return TargetGenes(GENES, np.isin(np.arange(len(GENES)), is_informative).astype(float), "informative genes")


def query(names, **columns) -> ad.AnnData:
    counts = sparse.csr_matrix((3, len(names)), dtype=np.float32)
    return ad.AnnData(counts, var=pd.DataFrame(columns, index=pd.Index(names, dtype=object)))


def test_the_share_is_of_what_the_genes_tell():
    found = match_genes(query(GENES[:15]), X, model())
    assert (found.column, found.gene_weight_fraction, found.alignment.n_shared) == ("var_names", 0.25, 15)
    assert match_genes(query(GENES[:15]), X, model(range(20))).gene_weight_fraction == 0.75


def test_a_column_is_taken_only_if_it_tells_clearly_more():
    assert match_genes(query(GENES[:30], name=GENES[:30]), X, model()).column == "var_names"
    assert match_genes(query(GENES[:30], name=[*GENES[:29], "x"]), X, model()).column == "var_names"
    mixed = [*GENES[:20], *(f"x{i}" for i in range(40))]
    found = match_genes(query(mixed, name=GENES), X, model())
    assert (found.column, found.gene_weight_fraction) == ("name", 1)
    assert found.notes == ("Genes were found by `adata.var['name']`, not by the index.",)
    assert match_genes(query(mixed, name=pd.Categorical(GENES)), X, model()).column == "name"


def test_columns_of_numbers_and_of_few_texts_are_no_names():
    odd = query(GENES[:30], chromosome=["chr1"] * 30, n_cells=range(30), missing=[None] * 30)
    assert match_genes(odd, X, model()).column == "var_names"


def test_a_name_twice_in_a_column_is_the_first_and_is_said():
    twice = query([f"x{i}" for i in range(61)], name=[*GENES, GENES[0]])
    found = match_genes(twice, X, model())
    assert "names 1 genes twice, e.g. GENEA0: the first was taken" in found.notes[1]
    assert found.alignment.selector.tocoo().row.tolist() == list(range(60))


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_a_name_twice_in_the_index_is_refused_if_the_model_knows_it():
    with pytest.raises(ValueError, match=r"1 of the model's genes duplicated: \['GENEA0'\].*make_unique"):
        match_genes(query([*GENES, GENES[0]]), X, model())
    assert match_genes(query([*GENES, "x", "x"]), X, model()).gene_weight_fraction == 1


def test_nine_genes_of_many_are_refused_but_a_small_panel_of_a_small_model_is_not():
    many = TargetGenes(pd.Index([f"GENE{i}" for i in range(1000)]), np.ones(1000))
    with pytest.raises(
        ValueError, match=r"9 of its 1,000 genes\. adata.var_names\[:3\] = \['GENE0', 'GENE1', 'GENE2'\]"
    ):
        match_genes(query(many.names[:9]), X, many)
    assert match_genes(query(many.names[:50]), X, many).gene_weight_fraction == 0.05
    assert match_genes(query(GENES[:4]), X, model()).alignment.n_shared == 4


def test_genes_in_raw_are_found_in_raw():
    adata = query(GENES)
    adata.raw = adata
    few = adata[:, :3].copy()
    assert match_genes(few, CountSlot("raw", "raw"), model()).gene_weight_fraction == 1
    few.var_names = ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"`adata.raw.var_names` has|adata.var_names\[:3\]"):
        match_genes(few, X, model())


def test_zeros_for_absent_genes_are_refused_from_enough_cells_and_counts():
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
