"""Kinds of ids, and which are the same gene."""

import numpy as np
import pandas as pd
import pytest

from hrca.data._gene_ids import (
    Ids,
    describe_ids,
    detect_mixed_species,
    flag_non_gene_features,
    is_gene_feature,
    lookup_genes,
    same_case_convention,
)

HUMAN, MOUSE = ["ACTB", "CD4", "C1orf112", "HLA-A"], ["Actb", "Cd4", "A830018L16Rik", "H2-K1"]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (HUMAN, Ids("symbols", style="upper")),
        (MOUSE, Ids("symbols", style="title")),
        (["actb", "cd4"], Ids("symbols", style="lower")),
        (["actb", "CD4"], Ids("symbols")),
        (["ENSG00000075624", "ENSG00000010610.9"], Ids("Ensembl", "human")),
        (["ENSMUSG00000029580"], Ids("Ensembl", "mouse")),
        (["ENSXETG00000029580"], Ids("Ensembl", "ENSXET")),  # a frog, which has no name here
        (["ENST00000029580"], Ids("transcripts", "human")),
        (["ENSMUSP00000029580.1"], Ids("proteins", "mouse")),
        (["60", "920"], Ids("numbers")),
        (["AAACCTGAGAAACCAT-1", "AAACCTGAGAAACCGC-1"], Ids("barcodes")),
        (["GRCh38_ACTB", "GRCh38_CD4"], Ids("symbols", style="upper")),
        ([], Ids("symbols")),
    ],
)
def test_kinds(names, ids):
    assert describe_ids(pd.Index(names, dtype=object)) == ids


@pytest.mark.parametrize(
    ("query", "model", "species", "same"),
    [
        (HUMAN, HUMAN, "", True),
        (HUMAN, MOUSE, "", False),
        (["actb", "cd4"], HUMAN, "", False),
        (["actb", "cd4"], HUMAN, "human", True),
        (["ACTB", "CD4"], MOUSE, "mouse", True),
        (["actb", "cd4"], MOUSE, "human", False),
        (["ENSG00000075624"], ["ENSMUSG00000029580"], "", False),
        (["60"], HUMAN, "human", False),
    ],
)
def test_case_is_ignored_only_within_a_species(query, model, species, same):
    assert same_case_convention(describe_ids(pd.Index(query)), describe_ids(pd.Index(model)), species) == same


def found(names, model_genes, *, fold=False, is_gene=None):
    is_gene = np.ones(len(names), dtype=bool) if is_gene is None else np.array(is_gene)
    return lookup_genes(pd.Index(names, dtype=object), pd.Index(model_genes, dtype=object), is_gene, fold=fold)


def test_names_are_matched_exactly_then_tidied_then_in_any_case():
    located = found(["x", "ENSG00000000002.4", "b", " C", "a"], ["a", "B", "C", "ENSG00000000002.1"], fold=True)
    assert located.source.tolist() == [4, 2, 3, 1]
    assert (located.n_tidied, located.n_folded) == (2, 1)
    assert found(["b"], ["B"]).source.tolist() == [-1]


def test_a_name_that_two_would_have_is_no_name():
    assert found(["ENSG00000000001.1", "ENSG00000000001.2"], ["ENSG00000000001"]).source.tolist() == [-1]
    assert found(["aB", "Ab"], ["AB"], fold=True).source.tolist() == [-1]
    # the second copy of a chromosome is another gene
    assert found(["ENSG00000000001.1_PAR_Y"], ["ENSG00000000001"]).source.tolist() == [-1]


def test_an_exact_name_is_not_given_away():
    assert found(["AB", "ab"], ["AB", "Ab"], fold=True).source.tolist() == [0, 1]


def test_the_first_of_two_is_taken_and_they_are_named():
    located = found(["a", "b", "a", "c", "c"], ["a", "b"])
    assert located.source.tolist() == [0, 1]
    assert located.repeated == ["a"]


def test_features_that_are_no_genes_are_not_matched():
    located = found(["a", "b", "a"], ["a", "b"], is_gene=[False, True, True])
    assert located.source.tolist() == [2, 1]
    assert not located.repeated


def test_nothing_among_nothing():
    assert found([], ["a"]).source.tolist() == [-1]
    assert found(["a"], []).source.tolist() == []


@pytest.mark.parametrize(
    ("names", "species"),
    [
        (HUMAN, []),
        (MOUSE, []),
        ([*HUMAN, *MOUSE[:2]], ["ACTB", "Actb"]),
        ([*(f"GRCh38_{name}" for name in HUMAN), *(f"mm10___{name}" for name in MOUSE)], ["GRCh38", "mm10"]),
        (["ENSG00000075624", "ENSMUSG00000029580"], ["human", "mouse"]),
        ([f"ENSG{i:011}" for i in range(100)] + ["ENSMUSG00000029580"], []),
        ([], []),
    ],
)
def test_two_species(names, species):
    assert sorted(detect_mixed_species(pd.Index(names, dtype=object))) == species


def test_what_is_no_gene_by_its_name():
    names = [
        "ACTB",
        "Blank-1",
        "NegPrb01",
        "BLANK_0003",
        "CD4_TotalSeqB",
        "HTO_1",
        "ERCC-00002",
        "ERCC1",
        "NEGR1",
        "ADTRP",
    ]
    assert flag_non_gene_features(pd.Index(names)) == {
        "control probes": ["Blank-1", "NegPrb01", "BLANK_0003", "ERCC-00002"],
        "proteins": ["CD4_TotalSeqB", "HTO_1"],
    }


def test_real_genes_are_genes_of_one_species(data_dir):
    import anndata as ad

    for path in sorted(data_dir.glob("*.h5ad")):
        names = ad.read_h5ad(path, backed="r").var_names
        assert not detect_mixed_species(names) and not any(flag_non_gene_features(names).values()), path.stem
        assert describe_ids(names).style in ("upper", "title")


def test_feature_types_tell_genes():
    var = pd.DataFrame({"feature_types": ["Gene Expression", "Antibody Capture"]})
    assert is_gene_feature(var).tolist() == [True, False]
    assert is_gene_feature(var[1:]).tolist() == [True]
    assert is_gene_feature(var[[]]).tolist() == [True, True]
