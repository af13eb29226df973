"""The genes that a query is searched for."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._count_slots import CountSlot

VAR_NAMES = "var_names"


@dataclass(frozen=True)
class TargetGenes:
    """The genes that a query is to have.

    Attributes
    ----------
    names
        In the model's order, shape (n_genes,).
    weights
        What each tells about the labels, 0 or more, shape (n_genes,): of :attr:`what`.
    what
        What the weights are of: "genes", or "informative genes".
    profile
        Share of the counts that each has in the reference, shape (n_genes,); None where that is not known.
    """

    names: pd.Index
    weights: np.ndarray
    what: str = "genes"
    profile: np.ndarray | None = None

    def gene_weight_fraction(self, present: np.ndarray) -> float:
        """Return the share of the weights that some genes have."""
        return float(self.weights[present].sum() / max(self.weights.sum(), 1e-30))


def name_of(column: str, slot: CountSlot) -> str:
    """Name a column of gene names in a message, e.g. "`adata.var_names`"."""
    owner = "adata.raw" if slot.place == "raw" else "adata"
    return f"`{owner}.{VAR_NAMES}`" if column == VAR_NAMES else f"`{owner}.var[{column!r}]`"
