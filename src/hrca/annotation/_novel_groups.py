"""Groups of query cells that are of none of the reference's labels, and the genes that they express."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.cluster import AgglomerativeClustering

from hrca.module._deviance import log_or_zero
from hrca.module._profiles import normalize_rows
from hrca.prediction._open_set import QueryFit
from hrca.prediction._platform_factors import RATIO_PSEUDOCOUNT

# Clusters whose centred log profiles have a cosine distance of at most this are one group. Not tuned.
MAX_GROUP_DISTANCE = 0.5

# Number of genes that describe a group. Not tuned.
N_GROUP_GENES = 3


@dataclass(frozen=True)
class NovelGroup:
    """Cells that are of none of the labels and express the same genes.

    Attributes
    ----------
    n_obs
        Number of cells.
    label
        Index of the most common label among them.
    genes
        Genes that distinguish them most from this label and from the other cells of the query.
    """

    n_obs: int
    label: int
    genes: list[str]


def novel_groups(query_fit: QueryFit, n_novel: np.ndarray, gene_names: pd.Index) -> list[NovelGroup]:
    """Group the cells with a novel probability of at least .5.

    Parameters
    ----------
    query_fit
        The clusters of the query.
    n_novel
        Number of such cells by cluster and most probable label, shape (n_clusters, n_labels).
    gene_names
        Names of the genes, shape (n_genes,).

    Returns
    -------
    The groups, the largest first. Empty without such cells.
    """
    clusters = query_fit.clusters
    if clusters is None:
        return []
    members = np.flatnonzero(n_novel.sum(axis=1))
    if not len(members):
        return []
    groups = []
    for group in group_clusters(clusters.log_profiles()[members], clusters.background):
        rows = members[group]
        label = n_novel[rows].sum(axis=0).argmax()
        others = clusters.sums.sum(axis=0) - clusters.sums[rows].sum(axis=0)
        genes = _top_genes(clusters.sums[rows].sum(axis=0), others, query_fit.profiles[label])
        groups.append(NovelGroup(int(n_novel[rows].sum()), int(label), list(gene_names[genes])))
    return sorted(groups, key=lambda group: -group.n_obs)


def group_table(groups: list[NovelGroup], labels: list[str]) -> dict[str, np.ndarray]:
    """Return groups in the form that uns and files hold.

    Parameters
    ----------
    groups
        The groups.
    labels
        The labels of the model.

    Returns
    -------
    An array of each group's number of cells in ``n_cells``, its most common label in ``label``, and its genes, divided
    by commas, in ``genes``.
    """
    return {
        "n_cells": np.array([group.n_obs for group in groups], dtype=int),
        "label": np.array([labels[group.label] for group in groups], dtype=str),
        "genes": np.array([", ".join(group.genes) for group in groups], dtype=str),
    }


def group_clusters(log_profiles: np.ndarray, background: np.ndarray) -> list[np.ndarray]:
    """Group clusters that express the same genes.

    Parameters
    ----------
    log_profiles
        Log of the fraction of each cluster's counts by gene, shape (n_clusters, n_genes).
    background
        Fraction of the query's counts by gene, shape (n_genes,).

    Returns
    -------
    The indices of the clusters of each group.
    """
    if len(log_profiles) == 1:
        return [np.array([0])]
    used = background > 0
    centred = log_profiles[:, used] - np.log(background[used])
    grouping = AgglomerativeClustering(
        n_clusters=None, distance_threshold=MAX_GROUP_DISTANCE, metric="cosine", linkage="average"
    )
    codes = grouping.fit(centred).labels_
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


def _top_genes(counts: np.ndarray, other_counts: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Return the indices of the genes with the largest contribution to the divergence from both, each positive."""
    used = profile > 0
    fractions, others = normalize_rows(counts + RATIO_PSEUDOCOUNT * used), other_counts + RATIO_PSEUDOCOUNT * used
    log_ratios = [log_or_zero(fractions) - log_or_zero(other) for other in (normalize_rows(others), profile)]
    contributions = fractions * np.minimum(*log_ratios)
    order = np.argsort(-contributions)[:N_GROUP_GENES]
    return order[contributions[order] > 0]
