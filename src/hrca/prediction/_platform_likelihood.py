"""The count likelihood of a query's cells under platform factors."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from hrca._blocks import CACHED_BYTES, row_blocks
from hrca.module._count_likelihood import CountLikelihood, background_weight, pool_log_scores

# Multiplier of the log-likelihood's pooling weight while the factors are fitted, without the classifier. 3 was the best
# of 1 (with the classifier), 2 and 3 on four pairs of real data (docs/decisions/0003).
PLATFORM_LIKELIHOOD_FACTOR = 3.0

# Lower bound of the log odds of a label relative to the most likely one: 1e-26.
MIN_LOG_ODDS = -60.0


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
        bytes_per_row = self.n_labels * self._logits.element_size()
        for rows in row_blocks(len(self._logits), CACHED_BYTES // bytes_per_row):
            logits = torch.addmm(self._logits[rows], self._norm_weights[rows], log_norms, alpha=-1)
            # for few columns, torch's softmax takes four times as long
            # exponentials near the smallest number take ten times as long as others
            odds = logits.sub_(logits.amax(dim=1, keepdim=True)).clamp_(min=MIN_LOG_ODDS).exp_()
            yield rows, odds.div_(odds.sum(dim=1, keepdim=True))
