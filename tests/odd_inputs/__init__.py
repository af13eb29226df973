"""Wrong and unusual inputs, each made from a clean query of real cells: the data that users have."""

from . import cells, containers, genes, several_matrices, transformed_values
from .case import ENSEMBL, MOUSE, SYMBOLS

__all__ = ["CASES", "ENSEMBL", "MOUSE", "SYMBOLS"]

# In the order of the table.
CASES = transformed_values.CASES | several_matrices.CASES | containers.CASES | genes.CASES | cells.CASES
