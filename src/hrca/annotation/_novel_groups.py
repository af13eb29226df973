"""Groups of query cells that are of none of the reference's labels, and the genes that they express."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.cluster import AgglomerativeClustering

from hrca.module._deviance import log_or_zero
from hrca.module._profiles import normalize_rows
from hrca.prediction._open_set import QueryFit
from hrca.prediction._platform_factors import RATIO_PSEUDOCOUNT
from hrca.prediction._query_clusters import QueryClusters

# Clusters whose centred log profiles have a cosine distance of at most this are one group. Not tuned.
MAX_GROUP_DISTANCE = 0.5

# Number of genes that describe a group. Not tuned.
N_GROUP_GENES = 3

# Natural log of the ratio by which a gene of a group must at least be higher: what Seurat's `FindMarkers` long had by
# default. Smaller ones, of which many genes have some by chance, describe nothing.
MIN_GENE_LOG_RATIO = 0.25


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
        Genes that distinguish them most from this label, from the other cells of the query, and from each other group.
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
    The groups, the largest first. Groups that no gene tells apart are one. Empty without such cells.
    """
    clusters = query_fit.clusters
    if clusters is None:
        return []
    members = np.flatnonzero(n_novel.sum(axis=1))
    if not len(members):
        return []
    groups = group_clusters(clusters.log_profiles()[members], clusters.background)
    found = _describe_groups(clusters, query_fit.profiles, n_novel, [members[group] for group in groups])
    described = [NovelGroup(int(n.sum()), int(n.argmax()), list(gene_names[genes])) for n, genes in found]
    return sorted(described, key=lambda group: -group.n_obs)


def _describe_groups(
    clusters: QueryClusters, profiles: np.ndarray, n_novel: np.ndarray, groups: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the number of cells by label, and the genes, of each group; groups that no gene tells apart are joined."""
    sums = np.stack([clusters.sums[rows].sum(axis=0) for rows in groups])
    n_by_label = np.stack([n_novel[rows].sum(axis=0) for rows in groups])
    all_genes = []
    # the smallest first: a larger one keeps its genes
    for i in np.argsort(n_by_label.sum(axis=1), kind="stable"):
        profile = profiles[n_by_label[i].argmax()]
        used = profile > 0
        fractions = normalize_rows(sums + RATIO_PSEUDOCOUNT * used)
        rest = normalize_rows(clusters.sums.sum(axis=0) - sums[i] + RATIO_PSEUDOCOUNT * used)
        others = np.delete(fractions, i, axis=0)
        genes = _top_genes(fractions[i], np.stack([profile, rest, *others]))
        if not len(genes) and len(_top_genes(fractions[i], np.stack([profile, rest]))):
            divergences = (fractions[i] * (log_or_zero(fractions[i]) - log_or_zero(fractions))).sum(axis=1)
            nearest = int(np.argsort(divergences, kind="stable")[1])
            kept = [rows for j, rows in enumerate(groups) if j not in (i, nearest)]
            joined = np.concatenate([groups[nearest], groups[i]])
            return _describe_groups(clusters, profiles, n_novel, [joined, *kept])
        all_genes.append((n_by_label[i], genes))
    return all_genes


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


def _top_genes(fractions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the genes that distinguish a group from each of some others.

    Parameters
    ----------
    fractions
        Fraction of the group's counts by gene, shape (n_genes,).
    others
        Fractions of the others, shape (n_others, n_genes).

    Returns
    -------
    The indices of the genes with the largest contribution to the smallest of the divergences.
    """
    log_ratio = (log_or_zero(fractions) - log_or_zero(others)).min(axis=0)
    contributions = np.where(log_ratio >= MIN_GENE_LOG_RATIO, fractions * log_ratio, 0)
    order = np.argsort(-contributions)[:N_GROUP_GENES]
    return order[contributions[order] > 0]
