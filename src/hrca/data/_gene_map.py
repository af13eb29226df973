"""Map the names of genes by a table of two columns, such as Ensembl ids and symbols."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from hrca._paths import user_path

from ._gene_ids import describe_ids, normalize_gene_ids
from ._name_keys import are_positions

# The tables that a user can pass.
GeneMapInput: TypeAlias = pd.DataFrame | pd.Series | Mapping[str, str] | str | Path

# Attributes of a GTF file, which a table made of one has as columns.
GTF_COLUMNS = ["gene_id", "gene_name"]

# Columns with a smaller fraction of different values, such as 10x's types of features, hold no names.
MIN_DISTINCT_FRACTION = 0.5

# Separator of columns by the end of a file's name.
SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}


@dataclass(frozen=True)
class GeneMap:
    """A table of names that mean the same gene.

    Attributes
    ----------
    pairs
        Two columns of normalised names, without missing values and repeated rows.
    """

    pairs: pd.DataFrame

    @cached_property
    def _forward(self) -> pd.Series:
        return _unambiguous(self.pairs.iloc[:, 0], self.pairs.iloc[:, 1])

    def contains(self, names: pd.Index) -> np.ndarray:
        """Return True for each name that the table has in either column, shape (n_vars,)."""
        return normalize_gene_ids(names).isin(self.pairs.stack())

    def ambiguous_targets(self, names: pd.Index, absent_genes: pd.Index) -> pd.Index:
        """Return the genes that were not matched because their rows are ambiguous: a row links them to a name.

        Parameters
        ----------
        names
            Names of features that were not matched to a gene.
        absent_genes
            Genes that no name was matched to.
        """
        free, keys = set(normalize_gene_ids(names)), normalize_gene_ids(absent_genes)
        first, second = self.pairs.iloc[:, 0], self.pairs.iloc[:, 1]
        linked = {*second[first.isin(free)], *first[second.isin(free)]}
        return absent_genes[keys.isin(linked)]

    def common_names(self, names: pd.Index) -> pd.Index:
        """Return a key that is equal for two names of the same gene: the second column for a name of the first.

        Parameters
        ----------
        names
            Shape (n_vars,).
        """
        keys = normalize_gene_ids(names)
        mapped = pd.Series(keys.map(self._forward), dtype=object)
        return pd.Index(mapped.where(mapped.notna(), keys), dtype=object)

    def rename(self, names: pd.Index) -> pd.Index:
        """Return the new name of each gene; its own where the table has none, or where two genes would get the same.

        The first column is mapped to the second; the second to the first if both have another kind of names, and only
        the second has the kind of `names`.

        Parameters
        ----------
        names
            Unique names of genes, shape (n_vars,).

        Raises
        ------
        ValueError
            If the table has none of the names.
        """
        keys, (first, second) = normalize_gene_ids(names), (self.pairs.iloc[:, 0], self.pairs.iloc[:, 1])
        mapped = pd.Series(keys.map(_unambiguous(*self._directed(keys))), dtype=object)
        if mapped.isna().all():
            raise ValueError(
                f"`gene_map` must have names of these genes, but it has none of {list(names[:3])}. Its columns begin "
                f"with {list(first[:3])} and {list(second[:3])}."
            )
        old_names = pd.Series(names, dtype=object)
        renamed = mapped.where(mapped.notna(), old_names)
        # each round gives names back, whose owners may then be in the way of others
        while (is_shared := renamed.duplicated(keep=False) & (renamed != old_names)).any():
            renamed = renamed.where(~is_shared, old_names)
        return pd.Index(renamed, dtype=object)

    def ambiguous_names(self, names: pd.Index) -> pd.Index:
        """Return the names that keep theirs because their rows are ambiguous: with several names, or another gene's.

        Parameters
        ----------
        names
            Unique names of genes, shape (n_vars,).
        """
        keys = normalize_gene_ids(names)
        old, new = self._directed(keys)
        return names[keys.isin(old[old != new]) & (self.rename(names) == names)]

    def _directed(self, keys: pd.Index) -> tuple[pd.Series, pd.Series]:
        """Return the column of the old names and that of the new ones, for normalised names of genes."""
        first, second = self.pairs.iloc[:, 0], self.pairs.iloc[:, 1]
        is_other_kind = describe_ids(pd.Index(first)).kind != describe_ids(pd.Index(second)).kind
        is_reversed = keys.isin(second).sum() > keys.isin(first).sum()
        return (second, first) if is_other_kind and is_reversed else (first, second)

    def of(self, names: pd.Index) -> dict[str, str] | None:
        """Return the new name of each gene that gets one, as a plain dict; None if all keep theirs.

        Parameters
        ----------
        names
            Unique names of genes, shape (n_vars,).

        Raises
        ------
        ValueError
            If the table has none of the names.
        """
        return {old: new for old, new in zip(names, self.rename(names), strict=True) if old != new} or None


def read_gene_map(source: GeneMapInput | GeneMap) -> GeneMap:
    """Read a table of two names of each gene.

    Parameters
    ----------
    source
        A mapping or Series from one name to another; a data frame of two columns, of one column and its index, or with
        the columns ``gene_id`` and ``gene_name`` of a GTF file; or the path of a csv, tsv or GTF file, perhaps
        compressed.

    Raises
    ------
    ValueError
        If the table does not have two columns of names, or no row with both.
    FileNotFoundError
        If there is no such file.
    TypeError
        If `source` has another type.
    """
    if isinstance(source, GeneMap):
        return source
    if isinstance(source, str | Path):
        table = _read_file(user_path(source))
    elif isinstance(source, pd.DataFrame):
        table = source
    elif isinstance(source, pd.Series | Mapping):
        series = pd.Series(source, dtype=object)
        table = pd.DataFrame({"from": series.index, "to": series.array})
    else:
        raise TypeError(
            "`gene_map` must be a dict, a pandas Series or DataFrame, or the path of a csv, tsv or GTF file, got "
            f"{type(source).__name__}."
        )
    # a column of NCBI's numbers with missing values holds floats
    pairs = _two_columns(table).convert_dtypes().dropna().astype(str)
    pairs.columns = ["from", "to"]
    pairs = pairs.apply(lambda column: column.str.strip())
    pairs = pairs.apply(lambda column: pd.Series(normalize_gene_ids(pd.Index(column)), column.index))
    pairs = pairs[(pairs != "").all(axis=1)].drop_duplicates(ignore_index=True)
    if not len(pairs):
        raise ValueError("`gene_map` must have a row with two names, but it has none.")
    return GeneMap(pairs)


def _unambiguous(sources: pd.Series, targets: pd.Series) -> pd.Series:
    """Return the target of each source that has one only."""
    return pd.Series(targets.to_numpy(), index=sources.to_numpy())[~sources.duplicated(keep=False).to_numpy()]


def _two_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return the two columns of a table that hold names."""
    if set(GTF_COLUMNS) <= set(table.columns):
        return table[GTF_COLUMNS]
    if table.shape[1] == 1:
        return table.reset_index(names="_from")
    if table.shape[1] > 2:
        named = [name for name in range(table.shape[1]) if _holds_names(table.iloc[:, name])]
        if len(named) == 2:
            return table.iloc[:, named]
    if table.shape[1] != 2:
        raise ValueError(
            f"`gene_map` must have two columns of names, but it has {list(table.columns)}. Choose two: "
            "`gene_map[['gene_id', 'gene_name']]`."
        )
    return table


def _holds_names(column: pd.Series) -> bool:
    """Return True if a column holds text that differs between most rows, and is not the number of the row."""
    if pd.api.types.is_numeric_dtype(column.dtype) or column.nunique() <= MIN_DISTINCT_FRACTION * len(column):
        return False
    return not are_positions(pd.Index(column.dropna().astype(str)))


def _read_file(path: Path) -> pd.DataFrame:
    """Read a csv, tsv or GTF file; the line of column names becomes a pair that no gene has."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r} for `gene_map`.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if ".gtf" in suffixes:
        lines = pd.read_csv(path, sep="\t", comment="#", header=None, usecols=[8], dtype=str, quoting=3)[8]
        pairs = {name: lines.str.extract(rf'\b{re.escape(name)} "([^"]+)"', expand=False) for name in GTF_COLUMNS}
        return pd.DataFrame(pairs)
    separator = next((SEPARATORS[suffix] for suffix in suffixes if suffix in SEPARATORS), None)
    if separator is None:
        raise ValueError(f"`gene_map` must be a csv, tsv or GTF file, got {path.name!r}.")
    table = pd.read_csv(path, sep=separator, header=None, dtype=str)
    if set(GTF_COLUMNS) <= set(table.iloc[0]):
        table.columns = table.iloc[0].to_list()
    return table
