"""The format of gene ids: symbols, Ensembl ids or others, with their species and case."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

# Groups: prefix of the species; gene, transcript or protein.
ENSEMBL = re.compile(r"ENS([A-Z]{3,4})?([GTP])\d{11}(?:\.\d+)?")

ENSEMBL_KINDS = {"G": "Ensembl", "T": "transcripts", "P": "proteins"}

# Species by the prefix in an Ensembl id.
SPECIES = {
    "": "human",
    "MUS": "mouse",
    "RNO": "rat",
    "MMU": "macaque",
    "SSC": "pig",
    "DAR": "zebrafish",
    "GAL": "chicken",
}

# Case of the symbols of a species.
CASE_OF_SPECIES = {"human": "upper", "mouse": "title", "rat": "title"}

# Prefix of genes in a reference of more than one genome, as Cell Ranger writes them: "GRCh38_ACTB", "mm10___Actb".
# Seurat writes "-" for "_", and R ".".
GENOME = re.compile(r"(GRCh3[78]|hg19|hg38|GRCm3[89]|mm9|mm10|mm39|Rnor[-_.]6\.0|mRatBN7[-_.]2)[-_.]+")

# Version of an Ensembl id. "ENSG00000182378.15_PAR_Y" keeps its version, since it is another gene.
VERSION = r"^(ENS[A-Z]*\d{11})\.\d+$"

# Blanks around a line.
BLANKS = r"^[^\S\n]+|[^\S\n]+$"

# Barcodes of cells, and ids of cells of imaging platforms ("cell_12", Xenium's "aaaadpbp-1").
BARCODE = re.compile(r"([ACGT]{12,}|cell[_-]?\d+|[a-p]{8})(-\d+)?")

WORD = re.compile(r"[A-Za-z].*[A-Za-z]")

# Number of names from which the format is inferred.
N_SAMPLED_NAMES = 500

# Fraction of these names that must have a format.
KIND_MAJORITY = 0.6


@dataclass(frozen=True)
class IdFormat:
    """The format of gene ids.

    Attributes
    ----------
    kind
        "symbols", "Ensembl", "transcripts", "proteins", "numbers" or "barcodes".
    species
        Species by Ensembl's prefix; "" for other ids.
    case
        Case of symbols: "upper" as for human, "title" as for mouse and rat, "lower"; "" if mixed.
    """

    kind: str
    species: str = ""
    case: str = ""

    def __str__(self) -> str:
        if self.kind in ENSEMBL_KINDS.values():
            noun = {"Ensembl": "gene ids", "transcripts": "transcript ids", "proteins": "protein ids"}[self.kind]
            return f"Ensembl {noun} ({self.species})"
        case = {"upper": " in upper case", "title": " in title case", "lower": " in lower case", "": ""}[self.case]
        return self.kind + (case if self.kind == "symbols" else "")


def describe_ids(names: pd.Index) -> IdFormat:
    """Return the format of gene ids, from about 500 of them.

    Parameters
    ----------
    names
        Shape (n_vars,).

    Examples
    --------
    >>> print(describe_ids(pd.Index(["ENSMUSG00000064372.1", "ENSMUSG00000064371"])))
    Ensembl gene ids (mouse)
    >>> print(describe_ids(pd.Index(["Gad1", "Slc17a6", "Mbp"])))
    symbols in title case
    """
    sample = [GENOME.sub("", name.strip(), count=1) for name in sample_names(names)]
    if not sample:
        return IdFormat("symbols")
    ensembl_ids = [match for name in sample if (match := ENSEMBL.fullmatch(name))]
    if len(ensembl_ids) > KIND_MAJORITY * len(sample):
        letters = [match[2] for match in ensembl_ids]
        prefixes = [match[1] or "" for match in ensembl_ids]
        prefix = max(set(prefixes), key=prefixes.count)
        return IdFormat(ENSEMBL_KINDS[max("GTP", key=letters.count)], SPECIES.get(prefix, f"ENS{prefix}"))
    if np.mean([name.isdigit() for name in sample]) > KIND_MAJORITY:
        return IdFormat("numbers")
    if np.mean([BARCODE.fullmatch(name) is not None for name in sample]) > KIND_MAJORITY:
        return IdFormat("barcodes")
    return IdFormat("symbols", case=_majority_case(sample))


def sample_names(names: pd.Index) -> list[str]:
    """Return about 500 names at equal distances."""
    return [str(name) for name in names[:: max(1, len(names) // N_SAMPLED_NAMES)]]


def count_cases(names: list[str]) -> dict[str, int]:
    """Count the names in upper, lower and title case."""
    words = [name for name in names if WORD.search(name)]
    return {
        "upper": sum(name.isupper() for name in words),
        "lower": sum(name.islower() for name in words),
        "title": sum(name[0].isupper() and not name.isupper() for name in words),
    }


def _majority_case(names: list[str]) -> str:
    """Return the case of most names; "" if there is none."""
    n_names = count_cases(names)
    case = max(n_names, key=lambda name: n_names[name])
    return case if n_names[case] > KIND_MAJORITY * sum(n_names.values()) else ""


def same_case_convention(query: IdFormat, model: IdFormat, query_species: str) -> bool:
    """Return True if names that differ in case alone are the same gene: both are certainly of one species.

    Parameters
    ----------
    query
        Format of the query's ids.
    model
        Format of the model's ids.
    query_species
        Species of the query by another column of ids; "" if no column has it.
    """
    if query.kind != "symbols" or model.kind != "symbols":
        return query.kind == model.kind and query.species == model.species
    case = CASE_OF_SPECIES.get(query_species, query.case)
    return case != "" and case == model.case


def normalize_gene_ids(names: pd.Index) -> pd.Index:
    """Remove surrounding blanks, the genome before a name, and the version of an Ensembl id.

    Parameters
    ----------
    names
        Shape (n_vars,).

    Examples
    --------
    >>> normalize_gene_ids(pd.Index(["GRCh38_ACTB", "ENSG00000141510.18", " TP53"])).to_list()
    ['ACTB', 'ENSG00000141510', 'TP53']
    """
    return replace_in_names(names, {BLANKS: "", f"^{GENOME.pattern}": "", VERSION: r"\1"})


def replace_in_names(names: pd.Index, replacements: Mapping[str, str | Callable[[re.Match], str]]) -> pd.Index:
    """Replace patterns in names, one pattern after the other.

    All names are searched as the lines of one text, which takes a tenth of the time of a search in each.

    Parameters
    ----------
    names
        Shape (n_vars,).
    replacements
        Replacement of each pattern, as :func:`re.sub` takes them; "^" and "$" are the ends of a name.
    """
    if not len(names):
        return names
    text = "\n".join(names)
    if text.count("\n") >= len(names):  # a line break in a name would make two of it
        text = "\n".join(names.str.replace("\n", " "))
    for pattern, replacement in replacements.items():
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return pd.Index(text.split("\n"), dtype=object)
