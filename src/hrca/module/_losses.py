"""Cross-entropy losses of the classifier."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def smoothed_cross_entropy(
    logits: Float[Tensor, "n_obs n_labels"], labels: Int[Tensor, " n_obs"], smoothing: float
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy against smoothed labels.

    Parameters
    ----------
    logits
        Scores of the labels, shape (n_obs, n_labels), at least two labels.
    labels
        Index of the true label, shape (n_obs,).
    smoothing
        Probability that the n_labels - 1 other labels share, in [0, 1].

    Returns
    -------
    A scalar.

    Notes
    -----
    torch's label smoothing :cite:p:`szegedy2016rethinking` spreads the probability over all labels, including the true
    one. The published code spreads it over the others (row 11 of docs/published_code.md). The factor K / (K - 1) for K
    labels converts between the two.
    """
    n_labels = logits.shape[1]
    return F.cross_entropy(logits, labels, label_smoothing=smoothing * n_labels / (n_labels - 1))


def soft_target_cross_entropy(
    logits: Float[Tensor, "n_obs n_labels"], targets: Float[Tensor, "n_obs n_labels"]
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy against weighted label probabilities.

    Parameters
    ----------
    logits
        Scores of the labels, shape (n_obs, n_labels).
    targets
        Probabilities of the labels times the weight of the cell, shape (n_obs, n_labels).

    Returns
    -------
    A scalar.
    """
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
