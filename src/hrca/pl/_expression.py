"""Normalised expression of some cells, and the genes that are highest in groups of them."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

# Counts per cell after normalisation, as everywhere in HRCA.
TARGET_SUM = 1e4


def log_normalised(counts: Any, obs: pd.DataFrame, gene_names: pd.Index) -> AnnData:
    """Return cells with log1p of counts per 10,000 in X; equal names of genes are made different.

    Parameters
    ----------
    counts
        Counts, shape (n_obs, n_vars). They do not change.
    obs
        Table of the cells.
    gene_names
        Names of the genes.
    """
    import scanpy as sc

    cells = AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=gene_names))
    cells.var_names_make_unique()
    sc.pp.normalize_total(cells, target_sum=TARGET_SUM)
    sc.pp.log1p(cells)
    return cells


def top_genes(cells: AnnData, key: str, groups: Sequence[str], n_genes: int) -> dict[str, pd.Series]:
    """Return the genes of groups that are highest against all other cells, by Welch's t test.

    Parameters
    ----------
    cells
        Cells with normalised expression.
    key
        Column of obs with the groups, categorical.
    groups
        The groups whose genes are wanted, each of at least two cells.
    n_genes
        Number of genes of a group.

    Returns
    -------
    The score of each gene by group, decreasing. Of a single group of all cells, the scores are means.
    """
    import scanpy as sc

    if len(groups) == cells.obs[key].nunique() == 1:
        mean = pd.Series(np.asarray(cells.X.mean(axis=0)).ravel(), cells.var_names)
        return {groups[0]: mean.nlargest(n_genes)}
    with warnings.catch_warnings():
        # scanpy 1.11.5 adds a column to a frame for each of many groups, and divides by zero for genes without counts
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        sc.tl.rank_genes_groups(cells, key, groups=list(groups), method="t-test", n_genes=n_genes)
    ranked = cells.uns["rank_genes_groups"]
    return {group: pd.Series(ranked["scores"][group], ranked["names"][group]) for group in groups}
