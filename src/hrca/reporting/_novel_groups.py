"""Groups of cells that are of none of the labels, with their genes."""

from typing import Any

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from sklearn.cluster import KMeans

from hrca.annotation._novel_groups import group_clusters
from hrca.module._deviance import log_or_zero
from hrca.module._profiles import normalize_rows
from hrca.pl._expression import log_normalised, top_genes
from hrca.prediction._query_clusters import CLUSTER_PSEUDOCOUNT

from ._cells import AnnotatedCells

# Number of groups at most, cells of a cluster at least on average, and principal components by which the cells are
# clustered. Not tuned: the groups are a description.
MAX_GROUPS, MIN_CLUSTER_CELLS, N_COMPONENTS = 5, 20, 10

# Genes and labels that are named for a group. Not tuned.
N_GENES, N_LABELS = 6, 2

# Labels of a smaller fraction of a group are not named: they would have 0 %.
MIN_LABEL_FRACTION = 0.005

# Cells of a group that Welch's t test needs: a variance is of at least two.
MIN_TESTED_CELLS = 2

# Runs of the clustering, of which the best is taken. Not tuned.
N_RUNS = 3

OTHER_CELLS = "other cells"


def normalised_sample(cells: AnnotatedCells) -> AnnData:
    """Return the sampled cells with log1p of counts per 10,000 in X, without genes that have no count in them.

    Parameters
    ----------
    cells
        The cells.
    """
    sample = log_normalised(cells.sample_counts, pd.DataFrame(index=cells.sample_rows.astype(str)), cells.gene_names)
    return sample[:, np.asarray(sample.X.sum(axis=0)).ravel() > 0].copy()


def novel_groups(cells: AnnotatedCells, sample: AnnData) -> list[dict[str, Any]]:
    """Return the groups of novel cells, the largest first.

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
    if cells.is_novel is None:
        return []
    is_novel = cells.is_novel[cells.sample_rows]
    n_novel = int(is_novel.sum())
    n_clusters = min(MAX_GROUPS, n_novel // MIN_CLUSTER_CELLS)
    if n_clusters == 0:
        return []
    codes = _merge_clusters(cells.sample_counts, is_novel, _cluster(sample[is_novel].copy(), n_clusters))
    names = np.full(sample.n_obs, OTHER_CELLS, dtype=object)
    names[is_novel] = [f"group {code}" for code in codes]
    groups = pd.DataFrame({"group": pd.Categorical(names)}, index=sample.obs_names)
    n_cells = groups["group"].value_counts().drop(OTHER_CELLS, errors="ignore")
    n_cells = n_cells[n_cells >= MIN_TESTED_CELLS]
    genes = top_genes(AnnData(sample.X, obs=groups, var=sample.var), "group", list(n_cells.index), N_GENES)
    scale = cells.adata.n_obs / sample.n_obs
    labels = cells.labels.to_numpy()[cells.sample_rows]
    found = []
    for name, n in n_cells.items():
        commonest = pd.Series(labels[names == name]).value_counts(normalize=True).head(N_LABELS)
        commonest = commonest[commonest >= MIN_LABEL_FRACTION]
        found.append(
            {
                "n_cells": round(n * scale),
                "labels": ", ".join(f"{label} ({fraction:.0%})" for label, fraction in commonest.items()),
                "genes": list(genes[name].index[genes[name] > 0]),
            }
        )
    return found


def _cluster(novel: AnnData, n_clusters: int) -> np.ndarray:
    """Return the cluster of each cell, shape (n_novel,)."""
    n_components = min(N_COMPONENTS, novel.n_vars - 1, novel.n_obs - 1)
    if n_clusters == 1 or n_components < 2:
        return np.zeros(novel.n_obs, dtype=int)
    sc.pp.pca(novel, n_comps=n_components, random_state=0)
    return KMeans(n_clusters, n_init=N_RUNS, random_state=0).fit_predict(novel.obsm["X_pca"])


def _merge_clusters(counts: Any, is_novel: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the group of each novel cell: k-means cuts a type of many cells into clusters of the same genes."""
    background = np.asarray(counts.sum(axis=0), dtype=float).ravel()
    background /= max(background.sum(), 1)
    novel_counts, clusters = counts[is_novel], np.unique(codes)
    sums = np.array([np.asarray(novel_counts[codes == code].sum(axis=0), dtype=float).ravel() for code in clusters])
    log_profiles = log_or_zero(normalize_rows(sums + CLUSTER_PSEUDOCOUNT * background))
    merged = np.empty_like(codes)
    for group, members in enumerate(group_clusters(log_profiles, background)):
        merged[np.isin(codes, clusters[members])] = group
    return merged
