"""Keys by which two spellings of a gene's name are the same, and names that spreadsheets or converters made."""

import re

import pandas as pd

from ._gene_ids import KIND_MAJORITY, N_SAMPLED_NAMES, replace_in_names

# HGNC renamed these symbols in 2020, because spreadsheets turn them into dates (Bruford et al., Nature Genetics 52,
# 754). None of the old symbols has been given to another gene.
RENAMED = {
    "MARCH": "MARCHF",
    "SEPT": "SEPTIN",
    "MARC": "MTARC",
    "DEC": "DELEC",
    "March": "Marchf",
    "Sept": "Septin",
    "Marc": "Mtarc",
}

# The numbers after each of these.
OLD_SYMBOL = r"^(?:(MARCH|SEPT|March|Sept)(?=\d{1,2}$)|(MARC|Marc)(?=[12]$)|(DEC)(?=1$))"

MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)"

# "1-Mar" for MARCH1, "Sep-02" for SEPT2, "2002-09-01" for the same, also in R's spelling ("X1.Mar").
DATE = re.compile(rf"(?i)(X?\d{{1,2}}[-./ ]{MONTH}|{MONTH}[-./ ]\d{{1,2}}|X?\d{{4}}[-.]\d\d[-.]\d\d( 00:00:00)?)")

# Positions as a conversion makes names of them: "0", "0.0" of a float, "V1" and "X1" of R.
POSITION = r"[VX]?(\d{1,6})(?:\.0)?"

# No matrix has more genes. NCBI's numbers of the genes of a genome reach millions.
MAX_POSITION = 200_000

# Positions are dense also after a choice of some hundred variable genes.
MIN_POSITION_DENSITY = 0.005


def respell(names: pd.Index) -> pd.Index:
    """Return a key that is equal for a name and its spelling by R or Seurat.

    R replaces all signs but letters, numbers and "." by ".", and puts "X" before a number at the start. Seurat replaces
    "_" by "-".

    Parameters
    ----------
    names
        Normalised names, shape (n_vars,).

    Examples
    --------
    >>> respell(pd.Index(["HLA-DRA", "HLA.DRA", "7SK", "X7SK"])).to_list()
    ['HLA.DRA', 'HLA.DRA', '7SK', '7SK']
    """
    return replace_in_names(names, {r"[^\w\n]|_": ".", r"^X(?=\d)": ""})


def update_symbols(names: pd.Index) -> pd.Index:
    """Return a key that is equal for the old and the new symbol of a gene that HGNC renamed in 2020.

    Parameters
    ----------
    names
        Normalised names, shape (n_vars,).

    Examples
    --------
    >>> update_symbols(pd.Index(["MARCH1", "MARCHF1", "Sept2", "CD4"])).to_list()
    ['MARCHF1', 'MARCHF1', 'Septin2', 'CD4']
    """
    return replace_in_names(names, {OLD_SYMBOL: lambda match: RENAMED[match[0]]})


def fold_case(names: pd.Index) -> pd.Index:
    """Return a key that is equal for names that differ in case, or as :func:`update_symbols` says.

    Parameters
    ----------
    names
        Normalised names, shape (n_vars,).
    """
    return update_symbols(names.str.upper()) if len(names) else names


def find_dates(names: pd.Index) -> list[str]:
    """List the names that are dates, as spreadsheets make of symbols such as MARCH1.

    Parameters
    ----------
    names
        Shape (n_vars,).
    """
    return list(names[names.str.fullmatch(DATE)]) if len(names) else []


def are_positions(names: pd.Index) -> bool:
    """Return True if names are positions in a table, which are equal in any two tables; False for NCBI's numbers.

    Parameters
    ----------
    names
        Shape (n_vars,).

    Examples
    --------
    >>> are_positions(pd.Index(["0", "1", "2"])), are_positions(pd.Index(["7157", "920", "100287102"]))
    (True, False)
    """
    sample = names[:: max(1, len(names) // N_SAMPLED_NAMES)]
    if not len(names) or sample.str.fullmatch(POSITION).mean() <= KIND_MAJORITY:
        return False
    digits = pd.Series(names.str.extract(f"^{POSITION}$", expand=False)).dropna()
    numbers = digits.astype(int).to_numpy()
    if len(numbers) <= KIND_MAJORITY * len(names) or numbers.max() > MAX_POSITION:
        return False
    density = len(set(numbers)) / (numbers.max() + 1)
    is_ascending = bool((numbers[1:] > numbers[:-1]).all())
    return bool(density > KIND_MAJORITY) or (is_ascending and density > MIN_POSITION_DENSITY)
