"""Per-gene factors between the reference's platform and the query's, and the likelihood under them."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from hrca.module._count_likelihood import CountLikelihood, background_weight, pool_log_scores
from hrca.module._profiles import normalize_rows

from ._random_effects import between_variance, excess_variance

# Multiplier of the log-likelihood's pooling weight while the factors are fitted, without the classifier. 3 was the best
# of 1 (with the classifier), 2 and 3 on four pairs of real data (docs/decisions/0003).
PLATFORM_LIKELIHOOD_FACTOR = 3.0

# Maximum numbers of iterations between labels and factors, and between factors and the norms of the profiles; they stop
# when no log factor changes by more than MAX_LOG_CHANGE.
PLATFORM_ROUNDS, NORM_ROUNDS, MAX_LOG_CHANGE = 10, 10, 1e-3

# Minimum numbers of labels, and of cells of a label, that factors are estimated from; and the probability from which a
# cell counts for its label. Probabilities of 0.5 and 0.9 gave a macro-F1 of .773 and .771 on 19 queries
# (docs/decisions/0007). The numbers of labels and cells were not tuned.
MIN_PLATFORM_LABELS, MIN_CELLS_OF_LABEL, MIN_GROUP_PROBABILITY = 3, 10, 0.5

# Counts that are added to observed and expected counts before the log of their ratio, as in Haldane's correction.
RATIO_PSEUDOCOUNT = 0.5

# Probabilities that are computed at once: 256 kB, which the cache holds.
BLOCK_VALUES = 65_536

# Lower bound of the log odds of a label relative to the most likely one: 1e-26.
MIN_LOG_ODDS = -60.0

# Lower bound of the norm of a profile, against division by 0.
MIN_NORM = 1e-12


def platform_log_norms(
    count_likelihood: CountLikelihood, factors: Float[Tensor, " n_genes"]
) -> Float[Tensor, "2 n_labels"]:
    """Return the logs of the norms of the profiles under platform factors.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood.
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.

    Returns
    -------
    On all genes (first row) and on the informative ones, shape (2, n_labels).
    """
    return _log_norms(count_likelihood.log_profiles.to(factors).exp(), count_likelihood, factors)


def _log_norms(
    profiles: Float[Tensor, "n_labels n_genes"], count_likelihood: CountLikelihood, factors: Float[Tensor, " n_genes"]
) -> Float[Tensor, "2 n_labels"]:
    norms = torch.stack([profiles @ factors, profiles @ (factors * count_likelihood.is_informative.to(factors))])
    # a query without informative genes has no counts on them, and the logarithm must be finite
    return norms.clamp(min=torch.finfo(factors.dtype).tiny).log()


def normalize_log_likelihood(
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, "n_obs 2"],
    log_norms: Float[Tensor, "2 n_labels"],
) -> Float[Tensor, "n_obs n_labels"]:
    r"""Subtract the norms of the profiles, under platform factors, from the log-likelihood.

    Parameters
    ----------
    log_likelihood
        Output of the count likelihood, shape (n_obs, n_labels).
    depth
        Counts of each cell on all genes and on the informative ones, shape (n_obs, 2).
    log_norms
        From :func:`platform_log_norms`, shape (2, n_labels).

    Returns
    -------
    Log-likelihood, shape (n_obs, n_labels), up to a constant of the cell.

    Notes
    -----
    The result is a weighted geometric mean of two multinomial likelihoods. That of the counts on all genes has the
    weight :math:`\beta = 1 / (1 + n / 100)`. The other one is of the counts on the informative genes I alone. With
    platform factors :math:`\phi_g` and the output :math:`\ell_k` of the count likelihood,

    .. math::
        \ell_k - \beta n \log \sum_g p_{kg} \phi_g - (1 - \beta) n_I \log \sum_{g \in I} p_{kg} \phi_g .
    """
    return torch.addmm(log_likelihood, _norm_weights(depth), log_norms, alpha=-1)


def _norm_weights(depth: Float[Tensor, "n_obs 2"]) -> Float[Tensor, "n_obs 2"]:
    """Return the weights of both norms in the log-likelihood of each cell, shape (n_obs, 2)."""
    background = background_weight(depth[:, 0])
    return torch.stack([background * depth[:, 0], (1 - background) * depth[:, 1]], dim=1)


def platform_log_likelihood(
    log_likelihood: Float[Tensor, "n_obs n_labels"],
    depth: Float[Tensor, "n_obs 2"],
    log_norms: Float[Tensor, "2 n_labels"],
    max_depth: float,
) -> tuple[Float[Tensor, "n_obs n_labels"], Float[Tensor, " n_obs"]]:
    """Return the log-likelihood under platform factors, at the depth that the classifier sees.

    Parameters
    ----------
    log_likelihood
        Output of the count likelihood, shape (n_obs, n_labels).
    depth
        Counts of each cell on all genes and on the informative ones, shape (n_obs, 2).
    log_norms
        From :func:`platform_log_norms`, shape (2, n_labels).
    max_depth
        Depth of the draws of deeper cells that the classifier sees.

    Returns
    -------
    log_likelihood
        Log-likelihood, shape (n_obs, n_labels). That of a cell deeper than `max_depth` is scaled by `max_depth` over
        the cell's depth, because the classifier sees thinned draws of the cell.
    depth
        Counts of each cell, clipped to `max_depth`, shape (n_obs,).
    """
    n_counts = depth[:, 0]
    clipped = n_counts.clamp(max=max_depth)
    normalized = normalize_log_likelihood(log_likelihood, depth, log_norms)
    return normalized * (clipped / n_counts.clamp(min=1))[:, None], clipped


@dataclass(frozen=True)
class QueryCellSample:
    """Cells of a query that platform factors and clusters are fitted to.

    Attributes
    ----------
    counts
        Raw counts on the genes that model and query share, shape (n_cells, n_genes); the other genes are 0.
    log_likelihood
        Output of the count likelihood, shape (n_cells, n_labels).
    depth
        Counts of each cell on all genes and on the informative ones, shape (n_cells, 2).
    """

    counts: sparse.csr_array
    log_likelihood: Float[Tensor, "n_cells n_labels"]
    depth: Float[Tensor, "n_cells 2"]


class LikelihoodLabels:
    """Labels of a query's cells by the count likelihood alone, under changing platform factors.

    The classifier knows no factors and would preserve the errors that they correct. The likelihood is tempered by its
    pooling weight: untempered, it is so confident that a wrong composition reinforces itself.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood, in double precision.
    cells
        Query cells, each with counts.
    """

    def __init__(self, count_likelihood: CountLikelihood, cells: QueryCellSample):
        self.cells = cells
        self._likelihood = count_likelihood
        self._profiles = count_likelihood.log_profiles.double().exp()
        depth = cells.depth.double()
        clipped = depth[:, 0].clamp(max=float(count_likelihood.max_depth))
        pool_weights = count_likelihood.pool_weights.double()
        # the factor of the log-likelihood in the pooled logits: its tempering is the same for all labels
        unit = pool_log_scores(
            torch.zeros(len(depth), 1).double(), torch.ones(len(depth), 1).double(), clipped, pool_weights
        )
        scale = PLATFORM_LIKELIHOOD_FACTOR * unit * (clipped / depth[:, 0].clamp(min=1))[:, None]
        log_likelihood = cells.log_likelihood
        # single precision is enough for the differences between labels
        relative = log_likelihood - log_likelihood.max(dim=1, keepdim=True).values
        self._logits, self._norm_weights = (relative * scale).float(), (_norm_weights(depth) * scale).float()

    @property
    def profiles(self) -> np.ndarray:
        """Fraction of counts of each label by gene, shape (n_labels, n_genes)."""
        return self._profiles.cpu().numpy()

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return len(self._profiles)

    @torch.inference_mode()
    def probabilities(self, factors: np.ndarray) -> Iterator[tuple[slice, Float[Tensor, "n_batch n_labels"]]]:
        """Iterate over blocks of cells.

        Parameters
        ----------
        factors
            Platform factors, shape (n_genes,).

        Yields
        ------
        The cells as a slice, and the probabilities of the labels, float32, shape (n_batch, n_labels).
        """
        log_norms = _log_norms(self._profiles, self._likelihood, torch.from_numpy(factors).double())
        log_norms = (log_norms - log_norms.mean(dim=1, keepdim=True)).float()
        n_rows = max(1, BLOCK_VALUES // self.n_labels)
        for start in range(0, len(self._logits), n_rows):
            rows = slice(start, start + n_rows)
            logits = torch.addmm(self._logits[rows], self._norm_weights[rows], log_norms, alpha=-1)
            # for few columns, torch's softmax takes four times as long
            # exponentials near the smallest number take ten times as long as others
            odds = logits.sub_(logits.amax(dim=1, keepdim=True)).clamp_(min=MIN_LOG_ODDS).exp_()
            yield rows, odds.div_(odds.sum(dim=1, keepdim=True))


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
    cells.

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
            weighted = probabilities * (torch.from_numpy(weights[rows]) * depth[rows]).float()[:, None]
            summed = torch.zeros(n_labels, n_labels).index_add_(0, highest.indices, weighted)
            counts_by_label += summed
        self._move(codes, weights)
        is_large = np.bincount(codes, weights, minlength=n_labels) >= MIN_CELLS_OF_LABEL
        return _LabelGroups(self._sums[is_large], counts_by_label.numpy()[is_large])

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
