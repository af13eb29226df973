"""Tables of two names of each gene, in each form, and the names that they give."""

import gzip
import re

import numpy as np
import pandas as pd
import pytest

from hrca.data._gene_map import read_gene_map
from hrca.data._gene_matching import match_genes, note_gene_match, own_genes
from hrca.data._target_genes import TargetGenes

IDS, SYMBOLS = ["ENSG00000153563", "ENSG00000156738", "ENSG00000105374"], ["CD8A", "MS4A1", "NKG7"]
TABLE = pd.DataFrame({"id": IDS, "symbol": SYMBOLS})


def gtf_line(gene: str, symbol: str, feature: str = "gene") -> str:
    return f'chr1\tENSEMBL\t{feature}\t1\t9\t.\t+\t.\tgene_id "{gene}.3"; gene_type "x"; gene_name "{symbol}";'


def rename(table, names):
    return read_gene_map(table).rename(pd.Index(names, dtype=object)).to_list()


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(TABLE, id="frame"),
        pytest.param(TABLE.set_index("id"), id="one column and index"),
        pytest.param(TABLE.set_index("id")["symbol"], id="series"),
        pytest.param(dict(zip(IDS, SYMBOLS, strict=True)), id="dict"),
        pytest.param(dict(zip(SYMBOLS, IDS, strict=True)), id="dict in the other direction"),
        pytest.param(TABLE.assign(id=TABLE["id"] + ".12"), id="versions"),
        pytest.param(
            pd.concat([TABLE, TABLE]).set_axis(["gene_id", "gene_name"], axis=1).assign(feature="exon", start=range(6)),
            id="columns of a GTF file",
        ),
        pytest.param(TABLE.assign(type="Gene Expression"), id="10x's types"),
        pytest.param(TABLE.astype("category"), id="categories"),
        pytest.param(TABLE.astype("string"), id="nullable"),
    ],
)
def test_every_form_of_a_table_gives_the_same_names(table):
    assert rename(table, [IDS[1], f"{IDS[0]}.7", "ENSG00000000001"]) == ["MS4A1", "CD8A", "ENSG00000000001"]
    assert rename(table, ["NKG7", "CD8A"]) == [IDS[2], IDS[0]]


def test_files(tmp_path):
    TABLE.to_csv(tmp_path / "with_header.csv", index=False)
    TABLE.to_csv(tmp_path / "with_index.csv")
    TABLE.to_csv(tmp_path / "bare.tsv", sep="\t", header=False, index=False)
    TABLE.assign(type="Gene Expression").to_csv(tmp_path / "features.tsv.gz", sep="\t", header=False, index=False)
    with gzip.open(tmp_path / "genes.gtf.gz", "wt") as file:
        pairs = list(zip(IDS, SYMBOLS, strict=True))
        lines = [gtf_line(*pair, kind) for pair in pairs for kind in ("gene", "exon")]
        file.write("\n".join(["#!genome GRCh38", *lines, ""]))
    for path in sorted(tmp_path.iterdir()):
        assert rename(path, IDS) == SYMBOLS, path.name
        assert rename(str(path), SYMBOLS) == IDS, path.name


def test_old_symbols_become_new_ones_although_most_genes_have_the_new():
    table = {"MARCH1": "MARCHF1", "KIAA1": "AAK2", "OLD3": "NEW3"}
    assert rename(table, ["MARCHF9", "AAK2", "NEW3", "MARCH1"]) == ["MARCHF9", "AAK2", "NEW3", "MARCHF1"]


def test_numbers_of_ncbi_with_missing_values_are_read_as_integers():
    table = pd.DataFrame({"entrez": [925.0, None, 931.0], "symbol": SYMBOLS})
    assert rename(table, ["925", "931"]) == ["CD8A", "NKG7"]


def test_names_stay_unique():
    # two ids of one symbol; a symbol that another gene has already; and one that is freed
    assert rename({"a": "S", "b": "S"}, ["a", "b", "c"]) == ["a", "b", "c"]
    assert rename({"a": "c"}, ["a", "c"]) == ["a", "c"]
    assert rename({"a": "c", "c": "d"}, ["a", "c"]) == ["c", "d"]
    # b and d go back to their names, and b then is in the way of a
    assert rename({"a": "b", "b": "S", "d": "S"}, ["a", "b", "d"]) == ["a", "b", "d"]
    # an id with two symbols
    table = pd.DataFrame([("a", "S"), ("a", "T"), ("b", "U")])
    assert rename(table, ["a", "b"]) == ["a", "U"]


def test_names_of_ambiguous_rows_keep_theirs():
    table = pd.DataFrame([("a", "S"), ("a", "T"), ("b", "U"), ("c", "V"), ("d", "V"), ("e", "e")])
    names = pd.Index(["a", "b", "c", "d", "e", "f"], dtype=object)
    assert list(read_gene_map(table).ambiguous_names(names)) == ["a", "c", "d"]
    # in the other direction
    table = pd.concat([TABLE, TABLE.assign(symbol="NKG7")])
    assert list(read_gene_map(table).ambiguous_names(pd.Index(SYMBOLS))) == ["NKG7"]


def test_genes_of_ambiguous_rows_are_noted():
    genes = pd.Index([f"GENE{letter}{i}" for letter in "AB" for i in range(30)])
    ids = [f"ENSG{i:011}" for i in range(60)]
    table = pd.DataFrame({"id": ids, "symbol": genes})
    # three ids with two symbols, and two ids of one symbol
    table = pd.concat(
        [
            table,
            pd.DataFrame({"id": ids[:3], "symbol": "OTHER"}),
            pd.DataFrame([("ENSG00000000999", genes[9])], columns=["id", "symbol"]),
        ]
    )
    target, var = TargetGenes(genes, np.ones(60)), pd.DataFrame(index=[*ids, "ENSG00000000999"])
    result = match_genes(var, target, read_gene_map(table))
    assert result.n_shared == 56
    assert result.ambiguous == ("GENEA0", "GENEA1", "GENEA2", "GENEA9")
    words = "4 genes were not matched by `gene_map`, which has several names .* such as 'GENEA0', 'GENEA1', 'GENEA2'"
    assert any(re.match(words, note) for note in note_gene_match(result, "adata"))
    # genes that the query lacks, or that have their row, are not ambiguous
    result = match_genes(var.iloc[3:9], target, read_gene_map(table))
    assert (result.n_shared, result.ambiguous) == (6, ())
    assert own_genes(var.iloc[:12], read_gene_map(table)).ambiguous == tuple(ids[:3])


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ({"x": "y"}, ValueError, r"none of \['CD8A'\].*\['x'\] and \['y'\]"),
        ({}, ValueError, "a row with two names"),
        (pd.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]}), ValueError, r"two columns of names, but it has \['a'"),
        (["CD8A"], TypeError, "must be a dict.*got list"),
        ("nowhere.csv", FileNotFoundError, "no file 'nowhere.csv'"),
        (__file__, ValueError, "must be a csv, tsv or GTF file"),
    ],
)
def test_tables_that_cannot_be_used(table, error, words):
    with pytest.raises(error, match=words):
        rename(table, ["CD8A"])
