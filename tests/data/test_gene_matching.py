"""The column that names the genes, and the fraction of information they have; more cases are in odd_inputs.py."""

import numpy as np
import pandas as pd
import pytest

from hrca.data._gene_matching import (
    GeneMatchResult,
    has_enough_genes,
    match_genes,
    name_columns,
    note_gene_match,
    own_genes,
)
from hrca.data._target_genes import TargetGenes

GENES = pd.Index([f"GENE{letter}{i}" for letter in "AB" for i in range(30)])


def target(is_informative=None) -> TargetGenes:
    if is_informative is None:
        return TargetGenes(GENES, np.ones(len(GENES)))
    return TargetGenes(GENES, np.isin(np.arange(len(GENES)), is_informative).astype(float), "informative genes")


def table(names, **columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index(names, dtype=object))


def match(names, is_informative=None, **columns) -> GeneMatchResult:
    return match_genes(table(names, **columns), target(is_informative))


def test_the_fraction_is_of_the_information():
    result = match(GENES[:15])
    assert (result.column, result.gene_weight_fraction, result.n_shared) == ("var_names", 0.25, 15)
    assert result.alignment.n_shared == 15
    assert match(GENES[:15], range(20)).gene_weight_fraction == 0.75


def test_a_column_is_used_only_if_it_covers_clearly_more():
    assert match(GENES[:30], name=GENES[:30]).column == "var_names"
    assert match(GENES[:30], name=[*GENES[:29], "x"]).column == "var_names"
    mixed = [*GENES[:20], *(f"x{i}" for i in range(40))]
    result = match(mixed, name=GENES)
    assert (result.column, result.gene_weight_fraction) == ("name", 1)
    assert list(note_gene_match(result, "adata")) == ["Genes were found by `adata.var['name']`, not by the index."]
    assert match(mixed, name=pd.Categorical(GENES)).column == "name"


def test_columns_of_numbers_and_of_few_texts_do_not_name_genes():
    columns = {"chromosome": ["chr1"] * 30, "n_cells": range(30), "missing": [None] * 30, "symbol": GENES[:30]}
    assert list(name_columns(table(GENES[:30], **columns))) == ["var_names", "symbol"]
    assert match(GENES[:30], **columns).column == "var_names"


def test_of_a_name_twice_in_a_column_the_first_is_used_with_a_note():
    result = match([f"x{i}" for i in range(61)], name=[*GENES, GENES[0]])
    assert "names 1 gene twice, e.g. GENEA0: the first was taken" in list(note_gene_match(result, "adata.raw"))[1]
    assert result.alignment.selector.tocoo().row.tolist() == list(range(60))


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (
            [f" {name}" for name in GENES],
            "60 names were matched without their version, genome or blanks, such as ' GENEA0' as 'GENEA0'.",
        ),
        (
            [*GENES[:-1].str.replace("GENEA1", "GENEa1"), GENES[-1]],
            "11 names were matched in another case, such as 'GENEa1' as 'GENEA1'.",
        ),
        (
            [*GENES[:-1], "1-Mar"],
            "`adata.var_names` has 1 date, such as '1-Mar', as spreadsheets make of MARCH1 or SEPT2: take "
            "the names from the original file.",
        ),
    ],
)
def test_names_that_were_changed_are_noted(names, note):
    assert list(note_gene_match(match(names), "adata")) == [note]


def test_nine_genes_of_many_are_not_enough_but_a_small_panel_of_a_small_model_is():
    many = TargetGenes(pd.Index([f"GENE{i}" for i in range(1000)]), np.ones(1000))
    assert not has_enough_genes(match_genes(table(many.names[:9]), many), many)
    fifty = match_genes(table(many.names[:50]), many)
    assert fifty.gene_weight_fraction == 0.05
    assert has_enough_genes(fifty, many)
    assert has_enough_genes(match(GENES[:4]), target())
    assert not has_enough_genes(match(["x", "y"]), target())


def test_genes_most_of_which_are_in_another_case_are_not_enough():
    names = [*GENES[:20], *GENES[20:].str.lower()]
    result = match(names)
    assert result.n_shared == 20
    assert not has_enough_genes(result, target())


def test_genes_that_are_not_searched_for_match_themselves():
    result = own_genes(table(["b", "a", "b"]))
    assert result.alignment.selector is None
    assert result.n_shared == 3
    assert not list(note_gene_match(result, "adata"))
