"""Losses of the classifier."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def smoothed_cross_entropy(
    logits: Float[Tensor, "n_obs n_labels"], labels: Int[Tensor, " n_obs"], smoothing: float
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy against labels that give `smoothing` to the n_labels - 1 others.

    torch spreads its smoothing over all labels, the true one included; the published code does not, hence the factor
    (docs/published_code.md, row 11).

    Parameters
    ----------
    logits
        Shape (n_obs, n_labels), at least two labels.
    labels
        Index of the true label, shape (n_obs,).
    smoothing
        Probability given away, in [0, 1].

    Returns
    -------
    A scalar.
    """
    n_labels = logits.shape[1]
    return F.cross_entropy(logits, labels, label_smoothing=smoothing * n_labels / (n_labels - 1))
