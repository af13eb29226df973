"""Per-gene factors between the reference's platform and the query's."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from hrca.module._profiles import normalize_rows

from ._platform_likelihood import LikelihoodLabels
from ._random_effects import between_variance, excess_variance

# Maximum numbers of iterations between labels and factors, and between factors and the norms of the profiles; they stop
# when no log factor changes by more than MAX_LOG_CHANGE.
PLATFORM_ROUNDS, NORM_ROUNDS, MAX_LOG_CHANGE = 10, 10, 1e-3

# Minimum numbers of labels, and of cells of a label, that factors are estimated from; and the probability from which a
# cell counts for its label. Probabilities of 0.5 and 0.9 gave a macro-F1 of .773 and .771 on 19 queries
# (docs/decisions/0007). The numbers of labels and cells were not tuned.
MIN_PLATFORM_LABELS, MIN_CELLS_OF_LABEL, MIN_GROUP_PROBABILITY = 3, 10, 0.5

# Maximum number of labels that factors are estimated from, those with the most cells in the first round: the time would
# grow with the square of the number of labels. Not tuned; no pair of data sets has more labels.
MAX_PLATFORM_LABELS = 50

# Counts that are added to observed and expected counts before the log of their ratio, as in Haldane's correction.
RATIO_PSEUDOCOUNT = 0.5

# Lower bound of the norm of a profile, against division by 0.
MIN_NORM = 1e-12


def fit_platform(
    labels: LikelihoodLabels,
    gene_mask: np.ndarray,
    label_sums: np.ndarray,
    cell_weights: np.ndarray | None = None,
) -> np.ndarray | None:
    r"""Fit platform factors to unlabelled cells by a random-effects meta-analysis over the labels.

    A platform changes a gene in all labels. A change in one or two labels is a difference between cell types. The log
    ratio of observed to expected counts is therefore averaged over the labels, and shrunk where the labels disagree.

    Parameters
    ----------
    labels
        Labels of the query's cells under platform factors.
    gene_mask
        1 for a gene that model and query share, 0 for the others, shape (n_genes,).
    label_sums
        Summed counts of the reference by label and gene, shape (n_labels, n_genes).
    cell_weights
        Weight of each cell, 0 to 1, shape (n_cells,). None: all are 1.

    Returns
    -------
    Platform factors, shape (n_genes,); 0 for genes that the query lacks. None if fewer than 3 labels have at least 10
    cells. Of more than 50 such labels, only the 50 with the most cells are used.

    Notes
    -----
    Factors and labels are fitted in turn. A cell contributes to its most likely label if the probability of this label
    is at least one half. The cells of group k have the observed counts :math:`S_{kg}`, and of these :math:`c_{kl}`
    belong to label l by their probabilities, which allows for wrong labels. With the profiles :math:`\pi_l`, the
    factors :math:`f` and the counts :math:`R_{lg}` of the reference, the expected counts and those behind them are

    .. math::
        E_{kg} = \sum_l \frac{c_{kl} \pi_{lg}}{\sum_h \pi_{lh} f_h}, \qquad
        R_{kg} = \frac{\sum_l c_{kl} R_{lg}}{\sum_l c_{kl}} .

    For each gene,

    .. math::
        y_k = \log \frac{S_k + 0.5}{E_k + 0.5}, \qquad v_k = \frac{1}{S_k + 0.5} + \frac{1}{R_k + 0.5} .

    The mean :math:`\mu` over groups has the weights :math:`1 / (v_k + \tau^2)`. The disagreement :math:`\tau^2` is
    estimated as by DerSimonian and Laird :cite:p:`dersimonian1986meta`. With the variance :math:`\sigma^2` of the log
    factors over genes and the squared standard error :math:`s^2` of :math:`\mu`,

    .. math:: \log f = \mu \frac{\sigma^2}{\sigma^2 + s^2 + \tau^2} .

    That :math:`\tau^2` also shrinks the mean is not part of their method: a gene on which the labels disagree shows a
    difference between cell types.
    """
    factors = gene_mask.astype(float)
    profiles = labels.profiles * factors
    grouping = _Grouping(labels, cell_weights)
    for _ in range(PLATFORM_ROUNDS):
        groups = grouping.update(factors)
        if len(groups.observed) < MIN_PLATFORM_LABELS:
            return None
        used, before = gene_mask > 0, factors
        factors = _meta_analysis(groups, profiles, label_sums, used, before)
        if np.abs(np.log(factors[used] / before[used])).max(initial=0.0) < MAX_LOG_CHANGE:
            break
    return factors


@dataclass(frozen=True)
class _LabelGroups:
    """Query cells by their most likely label.

    Attributes
    ----------
    observed
        Summed counts by gene, shape (n_groups, n_genes).
    counts_by_label
        Counts of a group's cells, divided among the labels by their probabilities, shape (n_groups, n_labels).
    """

    observed: np.ndarray
    counts_by_label: np.ndarray


class _Grouping:
    """The groups of cells by their most likely label, which change little from one round to the next.

    Parameters
    ----------
    labels
        Labels of the cells under platform factors.
    cell_weights
        Weight of each cell, shape (n_cells,); None: all are 1.
    """

    def __init__(self, labels: LikelihoodLabels, cell_weights: np.ndarray | None):
        self._labels, self._cell_weights = labels, cell_weights
        n_cells, n_genes = labels.cells.counts.shape
        self._codes, self._weights = np.zeros(n_cells, dtype=np.int64), np.zeros(n_cells)
        self._sums = np.zeros((labels.n_labels, n_genes))
        self._largest: np.ndarray | None = None

    def update(self, factors: np.ndarray) -> _LabelGroups:
        """Group the cells by their labels under platform factors, shape (n_genes,)."""
        n_labels = self._labels.n_labels
        codes, weights = self._codes.copy(), self._weights.copy()
        counts_by_label, depth = torch.zeros(n_labels, n_labels).double(), self._labels.cells.depth[:, 0]
        for rows, probabilities in self._labels.probabilities(factors):
            highest = probabilities.max(dim=1)
            codes[rows] = highest.indices.numpy()
            weights[rows] = (highest.values >= MIN_GROUP_PROBABILITY).numpy()
            if self._cell_weights is not None:
                weights[rows] *= self._cell_weights[rows]
            counts = probabilities * (torch.from_numpy(weights[rows]) * depth[rows]).float()[:, None]
            summed = torch.zeros(n_labels, n_labels).index_add_(0, highest.indices, counts)
            counts_by_label += summed
        self._move(codes, weights)
        n_cells = np.bincount(codes, weights, minlength=n_labels)
        if self._largest is None:
            # the same labels in all rounds: otherwise the factors need not converge
            self._largest = np.sort(np.argsort(-n_cells, kind="stable")[:MAX_PLATFORM_LABELS])
        groups = self._largest[n_cells[self._largest] >= MIN_CELLS_OF_LABEL]
        return _LabelGroups(self._sums[groups], counts_by_label.numpy()[groups])

    def _move(self, codes: np.ndarray, weights: np.ndarray) -> None:
        """Add the cells that moved to the sums of their new groups, and subtract them from the old ones."""
        moved = np.flatnonzero((codes != self._codes) | (weights != self._weights))
        counts, n_moved = self._labels.cells.counts[moved], len(moved)
        entries = (
            np.concatenate([weights[moved], -self._weights[moved]]),
            (np.concatenate([codes[moved], self._codes[moved]]), np.tile(np.arange(n_moved), 2)),
        )
        membership = sparse.csr_array(entries, shape=(len(self._sums), n_moved))
        self._sums = self._sums + (membership @ counts).toarray()
        self._codes, self._weights = codes, weights


def _meta_analysis(
    groups: _LabelGroups, profiles: np.ndarray, label_sums: np.ndarray, used: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """Return the factors for fixed labels; see :func:`fit_platform`."""
    label_fractions = normalize_rows(groups.counts_by_label)
    variance = 1 / (groups.observed + RATIO_PSEUDOCOUNT) + 1 / (label_fractions @ label_sums + RATIO_PSEUDOCOUNT)
    for _ in range(NORM_ROUNDS):
        expected = (groups.counts_by_label / (profiles @ factors).clip(MIN_NORM)) @ profiles
        log_ratio = np.log((groups.observed + RATIO_PSEUDOCOUNT) / (expected + RATIO_PSEUDOCOUNT))
        disagreement = between_variance(log_ratio, variance)
        weights = 1 / (variance + disagreement)
        squared_error = 1 / weights.sum(axis=0)
        mean = (weights * log_ratio).sum(axis=0) * squared_error
        prior_variance = excess_variance(mean[used], squared_error[used])
        log_factors = mean * prior_variance / (prior_variance + squared_error + disagreement)
        updated = np.where(used, np.exp(log_factors), 0.0)
        change = np.abs(log_factors - np.log(np.where(used, factors, 1.0)))[used].max(initial=0.0)
        factors = updated
        if change < MAX_LOG_CHANGE:
            break
    return factors


def platform_log_sd(factors: np.ndarray) -> float:
    """Return the standard deviation of the log factors above 0, shape (n_genes,); 0 without any."""
    return float(np.log(factors[factors > 0]).std()) if factors.any() else 0.0


def platform_profiles(profiles: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the label profiles on a platform with these factors.

    Parameters
    ----------
    profiles
        Fraction of counts by gene, shape (n_labels, n_genes).
    factors
        Platform factors, shape (n_genes,).

    Returns
    -------
    Profiles times the factors, shape (n_labels, n_genes), rows that sum to one.
    """
    return normalize_rows(profiles * factors)
