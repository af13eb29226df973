"""The genes that tell each label from all others, or from its nearest one, by the profiles of the model."""

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

from hrca.module._count_likelihood import CountLikelihood
from hrca.prediction._platform_likelihood import platform_log_likelihood, platform_log_norms

from ._counts import count_contributions
from ._label_scores import pooling_weights

# Words for what a label is compared with, where no label has this name: all other labels, or the nearest one. The
# first is scanpy's.
REST, NEAREST = "rest", "nearest"

COLUMNS = ("label", "against", "gene", "fraction", "fraction_against", "rank", "contribution")


def marker_table(
    count_likelihood: CountLikelihood,
    gene_mask: np.ndarray,
    names: tuple[np.ndarray, np.ndarray],
    *,
    against: str,
    n_genes: int,
    depth: float,
) -> pd.DataFrame:
    """Return the genes that speak most for each label, in a cell with the counts that its profile predicts.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood, in double precision.
    gene_mask
        1 for a gene that the model uses, shape (n_genes,).
    names
        Names of the labels, shape (n_labels,), and of the genes, shape (n_genes,).
    against
        The label to compare with, "rest" or "nearest".
    n_genes
        Number of genes of each label.
    depth
        Counts of the cell.

    Returns
    -------
    The table; see :meth:`hrca.HRCA.label_markers`.
    """
    labels, genes = names
    fractions = count_likelihood.log_profiles.exp().numpy() * gene_mask
    fractions /= fractions.sum(axis=1, keepdims=True)
    expected = depth * fractions
    codes = np.arange(len(labels))
    if against in labels:
        others = np.full(len(labels), list(labels).index(against))
    elif against == NEAREST:
        scores = _pooled_log_likelihood(count_likelihood, expected, gene_mask)
        scores[codes, codes] = -np.inf
        others = scores.argmax(axis=1)
    else:
        others = np.full(len(labels), -1)
    weights = np.where((others < 0)[:, None], 1 - np.eye(len(labels)), np.eye(len(labels))[others])
    weights /= weights.sum(axis=1, keepdims=True)
    names_of_others = np.where(others < 0, REST, labels[others])
    contributions = count_contributions(count_likelihood, expected, gene_mask, codes, weights)
    fractions_of_others = weights @ fractions
    ranks = rankdata(-fractions, method="min", axis=0).astype(int)
    rows = []
    for code in codes[codes != others]:
        top = np.argsort(-contributions[code], kind="stable")[:n_genes]
        other = names_of_others[code]
        for gene in top[contributions[code, top] > 0]:
            numbers = (table[code, gene] for table in (fractions, fractions_of_others, ranks, contributions))
            rows.append((labels[code], other, genes[gene], *numbers))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _pooled_log_likelihood(count_likelihood: CountLikelihood, counts: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the count likelihood's part of the pooled scores, shape (n_obs, n_labels)."""
    is_informative = count_likelihood.is_informative.numpy()
    depth = torch.from_numpy(np.stack([counts.sum(axis=1), counts @ is_informative], axis=1))
    raw = count_likelihood(torch.from_numpy(counts))
    log_norms = platform_log_norms(count_likelihood, torch.from_numpy(factors).double())
    log_likelihood, clipped = platform_log_likelihood(raw, depth, log_norms, float(count_likelihood.max_depth))
    return log_likelihood.numpy() * pooling_weights(count_likelihood, clipped.numpy())[1][:, None]
