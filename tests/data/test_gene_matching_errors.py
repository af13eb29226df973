"""The reason that is given if too few genes match; more cases, on real cells, are in odd_inputs.py."""

import numpy as np
import pandas as pd
import pytest

from hrca.data._gene_map import read_gene_map
from hrca.data._gene_matching import match_genes, own_genes
from hrca.data._gene_matching_errors import check_gene_match
from hrca.data._target_genes import TargetGenes

GENES = pd.Index([f"GENE{letter}{i}" for letter in "AB" for i in range(30)])
TARGET = TargetGenes(GENES, np.ones(60))
CELLS = pd.Index(["cell0", "cell1"])


def check(names, target=TARGET, cells=CELLS, owner="adata", gene_map=None, **columns):
    var = pd.DataFrame(columns, index=pd.Index(names, dtype=object))
    table = None if gene_map is None else read_gene_map(gene_map)
    check_gene_match(match_genes(var, target, table), target, var, cells, owner)


def test_a_name_twice_in_the_index_raises_if_the_model_knows_it():
    with pytest.raises(
        ValueError, match=r"1 of the model's genes duplicated: \['GENEA0'\].*make_unique.*its columns\.$"
    ):
        check([*GENES, GENES[0]])
    with pytest.raises(ValueError, match=r"`adata.var\['feature_types'\]` may tell them apart"):
        check([*GENES, GENES[0]], feature_types="x")
    check([*GENES, "x", "x"])


def test_the_names_of_both_sides_are_shown():
    many = TargetGenes(pd.Index([f"GENE{i}" for i in range(1000)]), np.ones(1000))
    with pytest.raises(
        ValueError, match=r"9 of its 1,000 genes\. adata.var_names\[:3\] = \['GENE0', 'GENE1', 'GENE2'\]"
    ):
        check(many.names[:9], many)
    with pytest.raises(ValueError, match=r"adata.raw.var_names\[:3\] = \['a', 'b', 'c'\]"):
        check(["a", "b", "c"], owner="adata.raw")


def test_informative_genes_are_counted_if_the_model_knows_them():
    informative = TargetGenes(GENES, np.r_[np.ones(20), np.zeros(40)], "informative genes")
    with pytest.raises(ValueError, match=r"0 of its 60 genes, and 0 \(0.0%\) of the 20 informative ones"):
        check(["x", "y"], informative)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (GENES.str.lower(), r"60 would match if case were ignored.*`adata.var_names = adata.var_names.str.upper\(\)`"),
        ([str(i) for i in range(60)], r"Genes must have names, but `adata.var_names` has positions: \['0', '1', '2'\]"),
        ([str(7157 + 10_007 * i) for i in range(60)], "These are numbers, such as NCBI's: give a table.*`gene_map`"),
        (["Blank-1", "Blank-2", "NegPrb1"], "Most of these are control probes"),
        (["CD4_TotalSeqB", "HTO_1"], "Most of these are proteins: pass the modality"),
        (["AAACCTGAGAAACCAT-1", "AAACCTGAGAAACCGC-1"], "cells' barcodes: is the matrix transposed"),
        (["ENST00000029580"], r"These are Ensembl transcript ids \(human\): sum them by gene"),
        (
            ["ENSG00000075624"],
            r"gene ids \(human\), the model's are symbols in upper case. Give a table of both as `gene_map`, from",
        ),
        (["Actb", "Cd4"], "symbols in title case, the model's are symbols in upper case: are the cells of"),
        (["ACTB", "CD4"], "Are both of one species and tissue"),
    ],
)
def test_the_reason_is_the_most_certain_one(names, reason):
    with pytest.raises(ValueError, match=reason):
        check(names)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            pd.DataFrame({"symbol": GENES}),
            r"has 0 of them and 60 of the model's: its columns begin with \['0', '1', '2'\]",
        ),
        ({"ENSMUSG00000029580": "Actb"}, "has 0 of them and 0 of the model's: its columns begin with .'ENSMUSG"),
        ({"ENSG00000075624": "ACTB", "ENSG00000010610": "CD4"}, "has 2 of them and 0 of the model's"),
    ],
)
@pytest.mark.parametrize("names", [["ENSG00000075624", "ENSG00000010610"]])
def test_a_table_that_does_not_map_the_names_is_the_reason(names, table, words):
    with pytest.raises(ValueError, match=f"`gene_map` must map these names to the model's, but it {words}"):
        check(names, gene_map=table)


def test_a_table_that_does_not_map_numbers_is_the_reason():
    with pytest.raises(ValueError, match="`gene_map` must map these names .*has 0 of them and 1 of the model's"):
        check([str(7157 + 10_007 * i) for i in range(60)], gene_map={"5": GENES[0]})


def test_ensembl_ids_of_another_species_are_named():
    human = TargetGenes(pd.Index([f"ENSG{i:011}" for i in range(60)]), np.ones(60))
    with pytest.raises(ValueError, match=r"ids \(mouse\), the model's Ensembl gene ids \(human\): map them"):
        check([f"ENSMUSG{i:011}" for i in range(60)], human)


def test_cells_with_the_names_of_genes_are_a_transposed_matrix():
    with pytest.raises(ValueError, match="the matrix is transposed. `adata = adata.T`"):
        check(["cell0", "cell1"], cells=GENES)


def test_two_species_raise_with_and_without_target_genes():
    var = pd.DataFrame(index=["GRCh38_ACTB", "mm10___Actb"])
    for target in (None, TARGET):
        with pytest.raises(ValueError, match="must be of one species"):
            check_gene_match(own_genes(var), target, var, CELLS, "adata")
