"""The format of gene ids, and the case of symbols."""

import anndata as ad
import pandas as pd
import pytest

from hrca.data._gene_ids import IdFormat, describe_ids, same_case_convention

HUMAN, MOUSE = ["ACTB", "CD4", "C1orf112", "HLA-A"], ["Actb", "Cd4", "A830018L16Rik", "H2-K1"]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (HUMAN, IdFormat("symbols", case="upper")),
        (MOUSE, IdFormat("symbols", case="title")),
        (["actb", "cd4"], IdFormat("symbols", case="lower")),
        (["actb", "CD4"], IdFormat("symbols")),
        (["ENSG00000075624", "ENSG00000010610.9"], IdFormat("Ensembl", "human")),
        (["ENSMUSG00000029580"], IdFormat("Ensembl", "mouse")),
        (["ENSXETG00000029580"], IdFormat("Ensembl", "ENSXET")),  # a frog, which has no name here
        (["ENST00000029580"], IdFormat("transcripts", "human")),
        (["ENSMUSP00000029580.1"], IdFormat("proteins", "mouse")),
        (["60", "920"], IdFormat("numbers")),
        (["AAACCTGAGAAACCAT-1", "AAACCTGAGAAACCGC-1"], IdFormat("barcodes")),
        (["GRCh38_ACTB", "GRCh38_CD4"], IdFormat("symbols", case="upper")),
        ([], IdFormat("symbols")),
    ],
)
def test_ids_have_a_format(names, ids):
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
def test_symbols_are_of_one_convention_only_within_a_species(query, model, species, same):
    assert same_case_convention(describe_ids(pd.Index(query)), describe_ids(pd.Index(model)), species) == same


def test_a_format_reads_well():
    assert str(IdFormat("symbols", case="title")) == "symbols in title case"
    assert str(IdFormat("symbols")) == "symbols"
    assert str(IdFormat("transcripts", "mouse")) == "Ensembl transcript ids (mouse)"


def test_real_genes_are_symbols_of_one_case(data_dir):
    for path in sorted(data_dir.glob("*.h5ad")):
        assert describe_ids(ad.read_h5ad(path, backed="r").var_names).case in ("upper", "title"), path.stem
