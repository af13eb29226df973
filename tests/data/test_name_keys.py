"""Spellings of the same gene, dates by spreadsheets, and positions in place of names."""

import numpy as np
import pandas as pd
import pytest

from hrca.data._gene_ids import normalize_gene_ids, replace_in_names
from hrca.data._name_keys import are_positions, find_dates, fold_case, respell, update_symbols


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HLA-DRA", "HLA.DRA"),
        ("MT-CO1", "GRCh38-MT-CO1"),
        ("ACTB", "GRCh38_ACTB"),
        ("Actb", "mm10---Actb"),
        ("ACTB", "GRCh38.ACTB"),
        ("7SK", "X7SK"),
        ("RP11-34P13.7", "RP11.34P13.7"),
        ("Y_RNA", "Y-RNA"),
        ("Actb", "Rnor-6.0-Actb"),
        ("TBCE-1", "TBCE.1"),
    ],
)
def test_a_spelling_by_r_or_seurat_has_the_same_key(one, other):
    first, second = respell(normalize_gene_ids(pd.Index([one, other])))
    assert first == second


def test_other_genes_have_other_keys():
    names = pd.Index(["XIST", "X", "HLA-DRA", "HLA-DRB1", "HLADRA", "MARCKS", "SEPTIN2", "DECR1", "MARCO"])
    assert update_symbols(names).is_unique
    assert update_symbols(names[:1])[0] == "XIST"


def test_renamed_symbols_have_the_key_of_the_new_one():
    old = pd.Index(["MARCH1", "SEPT14", "MARC2", "DEC1", "March10", "Sept9", "Marc1", "CD4"])
    new = ["MARCHF1", "SEPTIN14", "MTARC2", "DELEC1", "Marchf10", "Septin9", "Mtarc1", "CD4"]
    assert update_symbols(old).to_list() == update_symbols(pd.Index(new)).to_list() == new
    assert fold_case(pd.Index(["mt.co1", "march1"])).to_list() == ["MT.CO1", "MARCHF1"]


def test_patterns_are_replaced_in_each_name_also_with_a_line_break():
    names = pd.Index(["a1", "b\n1", "", "1"])
    assert replace_in_names(names, {"^[ab]": "c", "1$": "2"}).to_list() == ["c2", "c 2", "", "2"]
    assert replace_in_names(names[:0], {"a": "b"}).to_list() == []


def test_dates_are_found_in_each_format():
    dates = ["1-Mar", "02-Sep", "Dec-01", "2002-03-01 00:00:00", "X1.Mar", "4-oct"]
    assert find_dates(pd.Index([*dates, "MARCH1", "SEPT2", "MARS1", "1-CH", "OCT4", "MAR1"])) == dates


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(np.arange(60), id="all"),
        pytest.param(np.arange(1, 61), id="from one"),
        pytest.param(np.random.default_rng(0).permutation(60), id="shuffled"),
        pytest.param(np.sort(np.random.default_rng(0).choice(36_000, 2000, replace=False)), id="variable genes"),
        pytest.param(np.arange(60.0), id="floats"),
        pytest.param([f"V{i}" for i in range(1, 61)], id="columns of R"),
        pytest.param([f"X{i}" for i in range(60)], id="numbers of R"),
        pytest.param([*range(60), "Blank-1"], id="with a probe"),
    ],
)
def test_positions_are_no_names(names):
    assert are_positions(pd.Index(names).astype(str))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([7157, 920, 100287102, 3569, 5133], id="NCBI"),
        pytest.param([920, 3569, 5133, 7157, 100287102], id="NCBI, sorted"),
        pytest.param([920, 7157, 5133, 3569], id="a panel of old genes"),
        pytest.param(["CD4", "CD8A", "1", "2"], id="two of four"),
        pytest.param([], id="none"),
    ],
)
def test_numbers_of_ncbi_are_names(names):
    assert not are_positions(pd.Index(names, dtype=object).astype(str))
