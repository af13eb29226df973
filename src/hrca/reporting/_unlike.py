"""Groups of cells that are of none of the labels, with their genes."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from sklearn.cluster import KMeans

from ._cells import AnnotatedCells

# Number of groups at most, cells of a group at least, and principal components by which the cells are grouped. Not
# tuned: the groups are a description.
MAX_GROUPS, MIN_GROUP_CELLS, N_COMPONENTS = 5, 20, 10

# Genes that are named for a group.
N_GENES = 6

TARGET_SUM = 1e4


def normalised_sample(cells: AnnotatedCells) -> AnnData:
    """Return the sampled cells with log1p of counts per 10,000 in X, without genes that have no count in them.

    Parameters
    ----------
    cells
        The cells.
    """
    obs = pd.DataFrame(index=cells.sample_rows.astype(str))
    sample = AnnData(cells.sample_counts.copy(), obs=obs, var=pd.DataFrame(index=cells.gene_names))
    sample.X = sample.X.astype(np.float32)
    sample.var_names_make_unique()
    used = np.asarray(sample.X.sum(axis=0)).ravel() > 0
    sample = sample[:, used].copy()
    sc.pp.normalize_total(sample, target_sum=TARGET_SUM)
    sc.pp.log1p(sample)
    return sample


def unlike_groups(cells: AnnotatedCells, sample: AnnData) -> list[dict[str, Any]]:
    """Return the groups of unlike cells, the largest first.

    Parameters
    ----------
    cells
        The cells.
    sample
        Their sample; see :func:`normalised_sample`.

    Returns
    -------
    For each group, its estimated number of cells in ``n_cells``, the commonest labels of its cells in ``labels``, and
    the genes that are highest against all other cells in ``genes``. Empty if there are too few cells.
    """
    if cells.is_unlike is None:
        return []
    is_unlike = cells.is_unlike[cells.sample_rows]
    n_unlike = int(is_unlike.sum())
    n_groups = min(MAX_GROUPS, n_unlike // MIN_GROUP_CELLS)
    if n_groups == 0:
        return []
    unlike = sample[is_unlike].copy()
    n_components = min(N_COMPONENTS, unlike.n_vars - 1, unlike.n_obs - 1)
    codes = np.zeros(n_unlike, dtype=int)
    if n_groups > 1 and n_components > 1:
        sc.pp.pca(unlike, n_comps=n_components, random_state=0)
        codes = KMeans(n_groups, n_init=3, random_state=0).fit_predict(unlike.obsm["X_pca"])
    names = np.full(sample.n_obs, "other cells", dtype=object)
    names[is_unlike] = [f"group {code}" for code in codes]
    groups = pd.DataFrame({"group": pd.Categorical(names)}, index=sample.obs_names)
    sample = AnnData(sample.X, obs=groups, var=sample.var)
    genes = _top_genes(sample)
    scale = cells.adata.n_obs / sample.n_obs
    labels = cells.labels.to_numpy()[cells.sample_rows]
    found = []
    for name, n in sample.obs["group"].value_counts().items():
        if name != "other cells" and n >= 2:
            commonest = pd.Series(labels[(names == name)]).value_counts(normalize=True).head(2)
            found.append(
                {
                    "n_cells": round(n * scale),
                    "labels": ", ".join(f"{label} ({fraction:.0%})" for label, fraction in commonest.items()),
                    "genes": genes.get(str(name), []),
                }
            )
    return found


def _top_genes(sample: AnnData) -> dict[str, list[str]]:
    """Return the genes of each group of cells that are highest against all other cells, by Welch's t test."""
    groups = [name for name, n in sample.obs["group"].value_counts().items() if n >= 2 and name != "other cells"]
    if len(groups) == sample.obs["group"].nunique() == 1:
        mean = pd.Series(np.asarray(sample.X.mean(axis=0)).ravel(), sample.var_names)
        return {groups[0]: list(mean.nlargest(N_GENES).index)}
    with warnings.catch_warnings():
        # scanpy 1.11.5 on groups of few cells, and on a frame with many columns
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(sample, "group", groups=groups, method="t-test", n_genes=N_GENES)
    ranked = sample.uns["rank_genes_groups"]
    return {
        name: [gene for gene, score in zip(ranked["names"][name], ranked["scores"][name], strict=True) if score > 0]
        for name in groups
    }
