"""Distinguish genes from other measured features: control probes, antibodies, hashtags."""

import re

import numpy as np
import pandas as pd

# Values of 10x's column for a gene, in lower case; antibodies, guides and peaks have others. "GEX" and "RNA" are the
# words of joined data sets, such as that of the NeurIPS 2021 competition.
GENE_TYPES = ("gene expression", "gene_expression", "gex", "rna")

# Columns of 10x with the type of a feature.
TYPE_COLUMNS = ("feature_types", "feature_type")

# Codewords and probes without a target (Xenium, CosMx, MERSCOPE), and spiked-in RNA.
CONTROL = re.compile(
    r"(?i)(blank|neg[-_ ]?(control|prb|probe)|negative|system[-_ ]?control|false[-_ ]?code|antisense[-_]|unassigned"
    r"|deprecated[-_ ]?codeword|intergenic[-_ ]|genomic[-_ ]?control|ercc-\d)"
)

# Antibodies and hashtags of multi-modal kits.
PROTEIN = re.compile(r"(?i)(hto[-_]|hashtag|adt[-_]|anti[-_]|.*([-_](totalseq[-_]?[a-d]|adt|prot|protein)$))")


def is_gene_feature(var: pd.DataFrame) -> np.ndarray:
    """Return True for each gene, by 10x's column; for all features without it; shape (n_vars,)."""
    column = type_column(var)
    return np.ones(len(var), dtype=bool) if column is None else _is_gene_type(var[column])


def type_column(var: pd.DataFrame) -> str | None:
    """Return 10x's column with the types of features; None if there is none."""
    columns = [name for name in TYPE_COLUMNS if name in var and isinstance(var[name], pd.Series)]
    return next((name for name in columns if _is_gene_type(var[name]).any()), None)


def gene_type(var: pd.DataFrame, column: str) -> str:
    """Return the word for a gene in a column with the types of features."""
    return str(var[column][_is_gene_type(var[column])].iloc[0])


def flag_non_gene_features(names: pd.Index) -> dict[str, list[str]]:
    """List the names of control probes and of proteins.

    Parameters
    ----------
    names
        Names of features, shape (n_vars,).
    """
    return {
        "control probes": list(names[names.str.match(CONTROL)]),
        "proteins": list(names[names.str.match(PROTEIN)]),
    }


def _is_gene_type(types: pd.Series) -> np.ndarray:
    return types.astype(str).str.strip().str.lower().isin(GENE_TYPES).to_numpy()
