"""The genes that a query is searched for."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class TargetGenes:
    """The genes that a query is searched for.

    Attributes
    ----------
    names
        Names in the model's order, shape (n_genes,).
    weights
        Information of each gene about the labels, 0 or more, shape (n_genes,).
    weighted_genes
        The genes with a weight above 0, in words: "genes" or "informative genes".
    profile
        Fraction of the reference's counts that each gene has, shape (n_genes,); None if it is unknown.
    """

    names: pd.Index
    weights: np.ndarray
    weighted_genes: str = "genes"
    profile: np.ndarray | None = None

    def gene_weight_fraction(self, present: np.ndarray) -> float:
        """Return the fraction of the total weight that some genes have.

        Parameters
        ----------
        present
            True for each of these genes, shape (n_genes,).
        """
        return float(self.weights[present].sum() / max(self.weights.sum(), 1e-30))
