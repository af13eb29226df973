"""From counts to the network's input: corruption (training only), then the one normalisation in the code.

No ``from __future__ import annotations`` here: the tests check the shapes in the signatures.
"""

import zlib
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Corruption = Literal["thin", "mask", "none"]

CORRUPTIONS: tuple[str, ...] = get_args(Corruption)

# Counts per cell after normalisation: the published code's and scanpy's usual 1e4.
TARGET_SUM = 1e4

# The published code hides 70 % of the entries of every cell in both phases (docs/published_code.md, row 8).
MASK_RATE = 0.7

# Thinning goes down to this many counts a cell, the sparsest that HRCA is for (10 to 200 counts). On a reference of a
# median of 29 counts, thinning to a fixed fraction, 1 in 200, emptied most cells (docs/decisions/0001).
MIN_THINNED_DEPTH = 10


def log_normalize(counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_genes"]:
    """Return log1p of the counts per 10,000 of each cell.

    A gene that is absent from a query counts 0, so the sum runs over the genes that are present.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes).

    Returns
    -------
    log1p(1e4 x / sum(x)), shape (n_obs, n_genes); zeros for a cell without counts.

    Notes
    -----
    Equal to scanpy's ``normalize_total(target_sum=1e4)`` and ``log1p``. The published code divides 0 by 0 for an
    empty cell, which turns every parameter into NaN (docs/published_code.md, row 10); here it is a cell of zeros.

    Examples
    --------
    >>> import torch
    >>> log_normalize(torch.tensor([[1.0, 3.0], [0.0, 0.0]])).round(decimals=3)
    tensor([[7.8240, 8.9230],
            [0.0000, 0.0000]])
    """
    total = counts.sum(dim=1, keepdim=True)
    return torch.log1p(counts * (TARGET_SUM / total.where(total > 0, 1.0)))


def mask_counts(
    counts: Float[Tensor, "n_obs n_genes"], keep: Bool[Tensor, "n_obs n_genes"]
) -> Float[Tensor, "n_obs n_genes"]:
    """Set the counts to zero where `keep` is False."""
    return counts * keep


def thin_counts(
    counts: Float[Tensor, "n_obs n_genes"],
    kept_fraction: Float[Tensor, "n_obs 1"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n_obs n_genes"]:
    """Keep each count of a cell with the same probability: what sequencing it less deeply would give.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes).
    kept_fraction
        Probability that a count is kept, shape (n_obs, 1), in [0, 1].
    generator
        Source of the randomness; torch's own if None.

    Returns
    -------
    Thinned counts, shape (n_obs, n_genes).
    """
    thinned = torch.zeros_like(counts)
    # Zeros stay zeros: drawing only for the rest makes it as fast as the data are sparse.
    rows, genes = counts.nonzero(as_tuple=True)
    thinned[rows, genes] = torch.binomial(counts[rows, genes], kept_fraction[rows, 0], generator=generator)
    return thinned


def thin_to_depth(counts: Float[Tensor, "n_obs n_genes"], depth: float, draw: int) -> Float[Tensor, "n_obs n_genes"]:
    """Thin cells to a depth, each by a draw of its own: the same whichever cells stand beside it.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), each cell with more than `depth`.
    depth
        Expected counts of a thinned cell.
    draw
        Number of the draw: another one gives other counts.

    Returns
    -------
    Thinned counts, shape (n_obs, n_genes).
    """
    rows = counts.cpu().numpy()
    thinned = np.zeros_like(rows)
    for row, into in zip(rows, thinned, strict=True):
        genes = np.flatnonzero(row)
        rng = np.random.default_rng((zlib.crc32(row.tobytes()), draw))
        into[genes] = rng.binomial(row[genes].astype(np.int64), depth / row.sum())
    return torch.from_numpy(thinned).to(counts)


def corrupt(
    counts: Float[Tensor, "n_obs n_genes"],
    corruption: Corruption,
    generator: torch.Generator | None = None,
    query_depth_quantiles: Float[Tensor, " n_quantiles"] | None = None,
    thinnest: int = MIN_THINNED_DEPTH,
) -> Float[Tensor, "n_obs n_genes"]:
    """Make cells sparser than they are, as training does.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes).
    corruption
        "thin": each cell is brought to a depth that is log-uniform between its own and `thinnest`; a cell with fewer
        counts stays as it is. "mask": each entry is hidden with probability 0.7, as in the published code. "none": the
        counts as they are.
    generator
        Source of the randomness; torch's own if None.
    query_depth_quantiles
        Evenly spaced quantiles of the depth of a query's cells: "thin" brings cells to depths drawn from these; a cell
        with fewer counts stays as it is. None: see "thin".
    thinnest
        Counts that "thin" goes down to; see there.

    Returns
    -------
    Corrupted counts, shape (n_obs, n_genes).
    """
    if corruption == "none":
        return counts
    if corruption == "mask":
        uniform = torch.rand(counts.shape, generator=generator, device=counts.device, dtype=counts.dtype)
        return mask_counts(counts, uniform > MASK_RATE)
    uniform = torch.rand((len(counts), 1), generator=generator, device=counts.device, dtype=counts.dtype)
    total = counts.sum(dim=1, keepdim=True)
    if query_depth_quantiles is not None:
        depth = _at_quantile(query_depth_quantiles, uniform)
        return thin_counts(counts, (depth / total.clamp(min=1)).clamp(max=1), generator)
    kept_fraction = (thinnest / total.clamp(min=thinnest)) ** uniform
    return thin_counts(counts, kept_fraction, generator)


def _at_quantile(
    quantiles: Float[Tensor, " n_quantiles"], probability: Float[Tensor, "n_obs 1"]
) -> Float[Tensor, "n_obs 1"]:
    position = probability * (len(quantiles) - 1)
    below = position.long().clamp(max=len(quantiles) - 2)
    return torch.lerp(quantiles[below], quantiles[below + 1], position - below)
