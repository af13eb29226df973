"""What each gene contributes to the difference between two labels in the count likelihood. It is exact."""

import numpy as np
import torch

from hrca.module._count_likelihood import CountLikelihood, background_weight

from ._label_scores import pooling_weights

# Lower bound of the norm of a profile, against the log of 0; the cell then has no count that the norm belongs to.
TINY = np.finfo(float).tiny


def count_contributions(
    count_likelihood: CountLikelihood,
    counts: np.ndarray,
    factors: np.ndarray,
    codes: np.ndarray,
    against: np.ndarray,
) -> np.ndarray:
    r"""Divide the difference between two labels in the pooled log-likelihood among the genes.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood, in double precision.
    counts
        Raw counts on the shared genes, shape (n_obs, n_genes); the other genes are 0.
    factors
        Platform factors, shape (n_genes,); 0 for genes that the query lacks.
    codes
        Index of the label in each cell, shape (n_obs,).
    against
        Index of the other label in each cell, shape (n_obs,); or weights of the labels whose mean is compared with,
        shape (n_obs, n_labels), the rows with a sum of 1.

    Returns
    -------
    Contributions, shape (n_obs, n_genes). Their sum over the genes is the difference. That of a gene without counts
    is 0.

    Notes
    -----
    The likelihood of a cell weights that of the counts on all genes and that of the counts on the informative genes I
    alone, with :math:`\beta = 1 / (1 + n / 100)`. Both norms are sums over counts, so that each count has its part of
    them. With the profiles :math:`p` of both labels on the query's platform, normalised over all genes
    (:math:`\tilde p`) and over I (:math:`\hat p`), and the factor :math:`w` of the likelihood in the pooled score, gene
    g with :math:`x_g` counts contributes

    .. math::
        w \, x_g \Big( \beta \log \frac{\tilde p_{ag}}{\tilde p_{bg}}
        + (1 - \beta) \, [g \in I] \log \frac{\hat p_{ag}}{\hat p_{bg}} \Big) .
    """
    counts = counts.astype(float)
    log_profiles = count_likelihood.log_profiles.numpy()
    is_informative = count_likelihood.is_informative.numpy()
    norms = [np.exp(log_profiles) @ (factors * mask) for mask in (np.ones_like(factors), is_informative)]
    log_norm_all, log_norm_informative = (np.log(np.maximum(norm, TINY)) for norm in norms)

    def difference(values: np.ndarray) -> np.ndarray:
        return values[codes] - (values[against] if against.ndim == 1 else against @ values)

    log_ratio = difference(log_profiles)
    over_all = log_ratio - difference(log_norm_all)[:, None]
    over_informative = log_ratio - difference(log_norm_informative)[:, None]
    depth = counts.sum(axis=1)
    background = background_weight(torch.from_numpy(depth)).numpy()[:, None]
    per_count = background * over_all + (1 - background) * is_informative * over_informative
    # a cell deeper than `max_depth` is scored as if it had this many counts, in the same proportions
    clipped = np.minimum(depth, float(count_likelihood.max_depth))
    _, weight = pooling_weights(count_likelihood, clipped)
    return counts * per_count * (weight * clipped / np.maximum(depth, 1))[:, None]
