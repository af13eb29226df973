"""What kind of ids genes have, and which ids of two lists name the same gene, as far as that is certain."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

ENSEMBL = re.compile(r"ENS([A-Z]{3,4})?([GTP])\d{11}(?:\.\d+)?")

GENE_ID = re.compile(r"ENS[A-Z]{0,4}G(?=\d{11})")

LETTERS = re.compile(r"[A-Za-z].*[A-Za-z]")

SPECIES = {
    "": "human",
    "MUS": "mouse",
    "RNO": "rat",
    "MMU": "macaque",
    "SSC": "pig",
    "DAR": "zebrafish",
    "GAL": "chicken",
}

# Genes of references of more than one genome, as Cell Ranger names them: "GRCh38_ACTB", "mm10___Actb".
GENOME = re.compile(r"(GRCh3[78]|hg19|hg38|GRCm3[89]|mm9|mm10|mm39|Rnor_6\.0|mRatBN7[._]2)_+")

# Version of an Ensembl id; "ENSG00000182378.15_PAR_Y" keeps it, being a gene of its own.
VERSION = r"^(ENS[A-Z]*\d{11})\.\d+$"

BARCODE = re.compile(r"([ACGT]{12,}|cell[_-]?\d+|[a-p]{8})(-\d+)?")

# What 10x's column calls a gene, not an antibody or a guide.
GENE_TYPE = "Gene Expression"

# What spatial platforms and multi-modal kits measure beside genes: codewords and probes without a target (Xenium,
# CosMx, MERSCOPE), spiked-in RNA, antibodies and hashtags.
CONTROL = re.compile(
    r"(?i)(blank|neg[-_ ]?(control|prb|probe)|negative|system[-_ ]?control|false[-_ ]?code|antisense[-_]|unassigned"
    r"|deprecated[-_ ]?codeword|intergenic[-_ ]|genomic[-_ ]?control|ercc-\d)"
)

PROTEIN = re.compile(r"(?i)(hto[-_]|hashtag|adt[-_]|anti[-_]|.*([-_](totalseq[-_]?[a-d]|adt|prot|protein)$))")

# Names looked at to tell of what kind all are; and the share of them that decides.
N_SAMPLED_NAMES, KIND_MAJORITY = 500, 0.6

# Share of the names that a second species must have: stray ones are transgenes or viruses.
MIN_SECOND_SPECIES_FRACTION = 0.05

# Share of the names that stand there in two cases ("ACTB", "Actb"), of two species; one has next to none.
MIN_CASE_TWIN_FRACTION = 0.2


@dataclass(frozen=True)
class Ids:
    """What kind of ids genes have.

    Attributes
    ----------
    kind
        "symbols", "Ensembl", "transcripts", "proteins", "numbers" or "barcodes".
    species
        By Ensembl's prefix; "" where the ids do not tell.
    style
        How symbols are written: "upper" as of human, "title" as of mouse and rat, "lower"; "" where mixed.
    """

    kind: str
    species: str = ""
    style: str = ""

    def __str__(self) -> str:
        if self.kind in ("Ensembl", "transcripts", "proteins"):
            noun = {"Ensembl": "gene ids", "transcripts": "transcript ids", "proteins": "protein ids"}[self.kind]
            return f"Ensembl {noun} ({self.species})"
        written = {"upper": " in capitals", "title": " with one capital", "lower": " in small letters", "": ""}
        return self.kind + (written[self.style] if self.kind == "symbols" else "")


@dataclass(frozen=True)
class GeneLookup:
    """Where the model's genes are among some names.

    Attributes
    ----------
    source
        Position of each of the model's genes, shape (n_genes,); -1 where absent.
    n_tidied
        How many were found without version, genome or blanks around them.
    n_folded
        How many were found in another case.
    repeated
        Names of the model's genes that stand more than once; the first of each was taken.
    """

    source: np.ndarray
    n_tidied: int
    n_folded: int
    repeated: list[str]


def describe_ids(names: pd.Index) -> Ids:
    """Say what kind of ids these are, from some 500 of them.

    Examples
    --------
    >>> print(describe_ids(pd.Index(["ENSMUSG00000064372.1", "ENSMUSG00000064371"])))
    Ensembl gene ids (mouse)
    >>> print(describe_ids(pd.Index(["Gad1", "Slc17a6", "Mbp"])))
    symbols with one capital
    """
    looked_at = [GENOME.sub("", name.strip(), count=1) for name in _some(names)]
    if not looked_at:
        return Ids("symbols")
    ensembl = [match for name in looked_at if (match := ENSEMBL.fullmatch(name))]
    if len(ensembl) > KIND_MAJORITY * len(looked_at):
        letters = [match[2] for match in ensembl]
        kind = {"G": "Ensembl", "T": "transcripts", "P": "proteins"}[max("GTP", key=letters.count)]
        prefixes = [match[1] or "" for match in ensembl]
        prefix = max(set(prefixes), key=prefixes.count)
        return Ids(kind, SPECIES.get(prefix, f"ENS{prefix}"))
    if np.mean([name.isdigit() for name in looked_at]) > KIND_MAJORITY:
        return Ids("numbers")
    if np.mean([BARCODE.fullmatch(name) is not None for name in looked_at]) > KIND_MAJORITY:
        return Ids("barcodes")
    return Ids("symbols", style=_style(looked_at))


def _some(names: pd.Index) -> list[str]:
    return [str(name) for name in names[:: max(1, len(names) // N_SAMPLED_NAMES)]]


def _style(names: list[str]) -> str:
    styles = _styles(names)
    style = max(styles, key=lambda name: styles[name])
    return style if styles[style] > KIND_MAJORITY * sum(styles.values()) else ""


def _styles(names: list[str]) -> dict[str, int]:
    words = [name for name in names if LETTERS.search(name)]
    return {
        "upper": sum(name.isupper() for name in words),
        "lower": sum(name.islower() for name in words),
        "title": sum(name[0].isupper() and not name.isupper() for name in words),
    }


def same_case_convention(query: Ids, model: Ids, query_species: str) -> bool:
    """Say whether names that differ in case alone are the same gene: where both sides are of one species for certain.

    Parameters
    ----------
    query
        Ids of the query.
    model
        Ids of the model.
    query_species
        The query's species, if another column of it tells; else "".
    """
    if query.kind != "symbols" or model.kind != "symbols":
        return query.kind == model.kind and query.species == model.species
    style = {"human": "upper", "mouse": "title", "rat": "title"}.get(query_species, query.style)
    return style != "" and style == model.style


def lookup_genes(names: pd.Index, model_genes: pd.Index, is_gene: np.ndarray, *, fold: bool) -> GeneLookup:
    """Find the model's genes among names: as they are, then without what is not the id, then in any case.

    Parameters
    ----------
    names
        Shape (n_vars,).
    model_genes
        Shape (n_genes,).
    is_gene
        Which of the names may be a gene, shape (n_vars,).
    fold
        Whether names that differ in case alone are the same gene.
    """
    genes = np.flatnonzero(is_gene)
    again = names[genes].duplicated()
    places = genes[~again]
    where = names[places].get_indexer(model_genes)
    source = np.where(where >= 0, places[where], -1) if len(places) else np.full(len(model_genes), -1)
    repeated = list(model_genes[model_genes.isin(names[genes[again]])]) if again.any() else []
    n_exact = n_found = int((source >= 0).sum())
    for key in (normalize_gene_ids, lambda genes: normalize_gene_ids(genes).str.upper())[: 1 + fold]:
        taken = np.zeros(len(names) + 1, dtype=bool)
        taken[source] = True  # -1 is the last place, which is no name
        lacking, free = np.flatnonzero(source < 0), places[~taken[places]]
        if len(lacking) and len(free):
            ours, theirs = key(model_genes[lacking]), key(names[free])
            # a name that two genes come to have is no name
            ours, theirs = ours.where(~ours.duplicated(keep=False), ""), theirs.where(~theirs.duplicated(keep=False))
            known = theirs.notna()
            where = theirs[known].get_indexer(ours)
            source[lacking[where >= 0]] = free[known][where[where >= 0]]
        if key is normalize_gene_ids:
            n_found = int((source >= 0).sum())
    return GeneLookup(source, n_found - n_exact, int((source >= 0).sum()) - n_found, repeated)


def normalize_gene_ids(names: pd.Index) -> pd.Index:
    """Take blanks, the genome before a name and the version behind an Ensembl id away.

    Examples
    --------
    >>> tidy(pd.Index(["GRCh38_ACTB", "ENSG00000141510.18", " TP53"])).to_list()
    ['ACTB', 'ENSG00000141510', 'TP53']
    """
    if not len(names):
        return names
    return names.str.strip().str.replace(f"^{GENOME.pattern}", "", regex=True).str.replace(VERSION, r"\1", regex=True)


def detect_mixed_species(names: pd.Index) -> dict[str, str]:
    """Return a beginning of names for each of two species, or a name of each, if there are two; else nothing."""
    looked_at = _some(names)
    for pattern, meaning in ((GENOME, lambda found: found.strip("_")), (GENE_ID, _species_of)):
        found = pd.Series([match[0] for name in looked_at if (match := pattern.match(name))], dtype=object)
        counts = found.value_counts()
        if (counts > MIN_SECOND_SPECIES_FRACTION * len(looked_at)).sum() > 1:
            return {meaning(beginning): beginning for beginning in counts.index[:2]}
    styles = _styles(looked_at)
    if min(styles["upper"], styles["title"]) > MIN_SECOND_SPECIES_FRACTION * len(looked_at):
        folded = names.str.upper()
        twins = folded.duplicated() & ~names.duplicated()
        if twins.sum() > MIN_CASE_TWIN_FRACTION * len(names) / 2:
            second = names[np.flatnonzero(twins)[0]]
            return {names[folded == second.upper()][0]: "", second: ""}
    return {}


def _species_of(beginning: str) -> str:
    prefix = beginning.removeprefix("ENS")[:-1]
    return SPECIES.get(prefix, beginning)


def is_gene_feature(var: pd.DataFrame) -> np.ndarray:
    """Say which features are genes, where 10x's column tells; else all, shape (n_vars,)."""
    column = type_column(var)
    return np.ones(len(var), dtype=bool) if column is None else _of_genes(var[column])


def type_column(var: pd.DataFrame) -> str | None:
    """Return the column of 10x that tells genes from other features; None if there is none."""
    return next(
        (name for name in ("feature_types", "feature_type") if name in var and _of_genes(var[name]).any()), None
    )


def _of_genes(types: pd.Series) -> np.ndarray:
    return (types.astype(str) == GENE_TYPE).to_numpy()


def flag_non_gene_features(names: pd.Index) -> dict[str, list[str]]:
    """List names of control probes and of proteins."""
    return {
        "control probes": list(names[names.str.match(CONTROL)]),
        "proteins": list(names[names.str.match(PROTEIN)]),
    }
