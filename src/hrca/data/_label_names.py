"""Names of labels that are no cell types, or are the same type twice."""

import pandas as pd

# scvi-tools warns of categories with fewer cells (scvi-tools 1.4.2, ``_make_column_categorical``).
WARNED_CELLS_PER_LABEL = 3

# Names of cells of poor quality and of rests of a clustering in published references, in lower case, without "cells".
# "Ambiguous" and "Unstable" are those of Moffitt et al., Science 2018.
QUALITY_CLASSES = {
    *("ambiguous", "unstable", "unclear", "doublet", "doublets", "multiplet", "multiplets", "mixed"),
    *("low quality", "lowquality", "poor quality", "bad quality", "low q", "lq", "failed qc", "qc fail", "fail"),
    *("debris", "dead", "dying", "damaged", "empty", "empty droplet", "empty droplets", "ambient"),
    *("contamination", "contaminated", "contaminant", "artifact", "artefact", "noise", "junk", "outlier", "outliers"),
    *("other", "others", "rest", "misc", "miscellaneous", "exclude", "excluded", "filtered", "removed", "discard"),
}


def is_quality_class(name: str) -> bool:
    """Return True for a label that names the quality of cells, or a rest, and not a type.

    Examples
    --------
    >>> is_quality_class("Low-quality cells"), is_quality_class("doublet"), is_quality_class("B cell")
    (True, True, False)
    """
    words = name.casefold().replace("_", " ").replace("-", " ").split()
    return " ".join(words[:-1] if words[-1:] in (["cell"], ["cells"]) else words) in QUALITY_CLASSES


def similar_spellings(names: pd.Index) -> list[list[str]]:
    """Return the names that differ from another only by case or blanks, in groups, in the order of `names`.

    Examples
    --------
    >>> similar_spellings(pd.Index(["T cell", "B cell", "t  cell"]))
    [['T cell', 't  cell']]
    """
    texts = pd.Series(names.astype(str))
    keys = texts.str.split().str.join(" ").str.casefold()
    return [list(group) for _, group in texts.groupby(keys.to_numpy(), sort=False) if len(group) > 1]
