"""Transforms of raw counts: log-normalisation, masking and binomial thinning, dense and sparse."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import sparse
from sklearn.preprocessing import normalize
from torch import Tensor

from ._sparse_counts import SparseCounts

Corruption = Literal["thin", "mask", "none"]

CORRUPTIONS: tuple[str, ...] = get_args(Corruption)

CountsT = TypeVar("CountsT", Float[Tensor, "n_obs n_genes"], SparseCounts)

CsrT = TypeVar("CsrT", sparse.csr_array, sparse.csr_matrix)

# Counts per cell after normalisation: 1e4, as in the published code and in scanpy's tutorials.
TARGET_SUM = 1e4

# Fraction of a cell's entries that the published code masks in both phases (docs/published_code.md, row 8).
MASK_RATE = 0.7

# Counts of a cell below which thinning does not go: HRCA is meant for cells of 10 to 200 counts. Thinning to a fixed
# fraction, 1 in 200, emptied most cells of a reference with a median of 29 counts (docs/decisions/0001).
MIN_THINNED_DEPTH = 10

# Number of counts of an entry that are kept or dropped by one uniform number each; torch draws the rest. A binomial of
# torch takes 50 ns, a uniform number 3 ns (one thread), and 3 of 4 entries of a sequenced cell have at most 3 counts.
N_SINGLE_DRAWS = 3


def log_normalize(counts: CountsT) -> CountsT:
    r"""Return the log-normalised expression of each cell.

    A gene that the query lacks has count 0. The sum therefore runs over the genes that are present.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), dense or sparse; the result is of the same kind.

    Returns
    -------
    Log of one plus the counts per 10,000, shape (n_obs, n_genes); zeros for a cell without counts.

    Notes
    -----
    .. math:: \tilde x_g = \log\Big(1 + 10^4 \, \frac{x_g}{\sum_h x_h}\Big)

    Equal to scanpy's ``normalize_total(target_sum=1e4)`` followed by ``log1p``. The published code divides 0 by 0 for a
    cell without counts, which turns every parameter into NaN (docs/published_code.md, row 10).

    Examples
    --------
    >>> import torch
    >>> log_normalize(torch.tensor([[1.0, 3.0], [0.0, 0.0]])).round(decimals=3)
    tensor([[7.8240, 8.9230],
            [0.0000, 0.0000]])
    """
    total = _depth(counts)
    scale = TARGET_SUM / total.where(total > 0, 1.0)
    if isinstance(counts, SparseCounts):
        return counts.with_values(torch.log1p(counts.values * counts.by_entry(scale)))
    return torch.log1p(counts * scale[:, None])


def _depth(counts: Float[Tensor, "n_obs n_genes"] | SparseCounts) -> Float[Tensor, " n_obs"]:
    return counts.sums() if isinstance(counts, SparseCounts) else counts.sum(dim=1)


def keep_genes(counts: CountsT, gene_mask: Float[Tensor, " n_genes"]) -> CountsT:
    """Set the counts of genes outside a mask to zero.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), dense or sparse; the result is of the same kind, with the same entries.
    gene_mask
        1 for a gene that stays, 0 for the others, shape (n_genes,).
    """
    if isinstance(counts, SparseCounts):
        return counts.with_values(counts.values * gene_mask[counts.genes])
    return counts * gene_mask


def log_normalize_sparse(counts: CsrT, target_sum: float) -> CsrT:
    """Return the log-normalised expression of each cell, for a sparse matrix.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes).
    target_sum
        Counts of each cell after normalisation.

    Returns
    -------
    Log of one plus the counts per `target_sum`, shape (n_obs, n_genes); zeros for a cell without counts.

    Notes
    -----
    :func:`log_normalize` multiplies by ``target_sum / total``; this divides by the total first. The two differ in the
    last bit, and recorded novelty scores depend on it.

    Examples
    --------
    >>> log_normalize_sparse(sparse.csr_array([[1.0, 3.0], [0.0, 0.0]]), 1e4).toarray().round(3)
    array([[7.824, 8.923],
           [0.   , 0.   ]])
    """
    return (normalize(counts, norm="l1") * target_sum).log1p()


def mask_counts(counts: Float[Tensor, "*shape"], keep: Bool[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Set the counts to zero where `keep` is False.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), or those of the entries of sparse cells.
    keep
        Entries that stay, of the same shape.

    Returns
    -------
    Masked counts, of the same shape.
    """
    return counts * keep


def thin_counts(
    counts: CountsT, kept_fraction: Float[Tensor, " n_obs"], generator: torch.Generator | None = None
) -> CountsT:
    """Keep each count of a cell with the same probability (binomial thinning), by torch's random numbers.

    The result is distributed like the counts of the same cell at a lower sequencing depth.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), dense or sparse; the result is of the same kind.
    kept_fraction
        Probability of keeping a count, shape (n_obs,), in [0, 1].
    generator
        Source of the random numbers; torch's default generator if None.

    Returns
    -------
    Thinned counts, shape (n_obs, n_genes).
    """
    if isinstance(counts, SparseCounts):
        drawn = _draw_binomial(counts.values, counts.by_entry(kept_fraction), generator)
        return _drop_zeros(counts.with_values(drawn))
    thinned = torch.zeros_like(counts)
    # Zeros stay zeros. Drawing only for the other entries saves time in proportion to the sparsity.
    rows, genes = counts.nonzero(as_tuple=True)
    thinned[rows, genes] = _draw_binomial(counts[rows, genes], kept_fraction[rows], generator)
    return thinned


def _drop_zeros(counts: SparseCounts) -> SparseCounts:
    """Drop stored zeros. On an accelerator they stay, since counting them would wait."""
    return counts.without_zeros() if counts.device.type == "cpu" else counts


def _draw_binomial(
    counts: Float[Tensor, " n_entries"], probability: Float[Tensor, " n_entries"], generator: torch.Generator | None
) -> Float[Tensor, " n_entries"]:
    """Return binomial draws, on a CPU one by one for the first counts of an entry."""
    if counts.device.type != "cpu":
        return torch.binomial(counts, probability, generator=generator)
    uniform = torch.rand((N_SINGLE_DRAWS, len(counts)), generator=generator)
    drawn = torch.zeros_like(counts)
    for n_before, draw in enumerate(uniform):
        drawn += (draw < probability) & (counts > n_before)
    is_large = (counts > N_SINGLE_DRAWS).nonzero()[:, 0]
    rest = counts[is_large] - N_SINGLE_DRAWS
    drawn[is_large] += torch.binomial(rest, probability[is_large], generator=generator)
    return drawn


def thin_sparse(counts: CsrT, kept_fraction: float | np.ndarray, rng: np.random.Generator) -> CsrT:
    """Keep each count of a cell with the same probability (binomial thinning), by NumPy's random numbers.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes).
    kept_fraction
        Probability of keeping a count, in [0, 1]: one for all cells, or one for each, shape (n_obs,).
    rng
        Source of the random numbers: one draw for each stored entry, in their order.

    Returns
    -------
    Thinned counts, shape (n_obs, n_genes). Entries that became 0 stay stored; call ``eliminate_zeros()`` to drop them.

    Examples
    --------
    >>> counts = sparse.csr_array([[100.0, 0.0], [20.0, 4.0]])
    >>> thin_sparse(counts, np.array([0.5, 1.0]), np.random.default_rng(0)).toarray()
    array([[51.,  0.],
           [20.,  4.]])
    """
    by_entry = np.repeat(kept_fraction, np.diff(counts.indptr)) if np.ndim(kept_fraction) else kept_fraction
    thinned = counts.copy()
    thinned.data = _thin_values(counts.data, by_entry, rng)
    return thinned


def _thin_values(
    values: np.ndarray, kept_fraction: float | np.floating | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    return rng.binomial(values.astype(np.int64), kept_fraction).astype(values.dtype)


def corrupt(
    counts: CountsT,
    corruption: Corruption,
    generator: torch.Generator | None = None,
    query_depth_quantiles: Float[Tensor, " n_quantiles"] | None = None,
    min_depth: int = MIN_THINNED_DEPTH,
) -> CountsT:
    """Make cells sparser, as training does.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes), dense or sparse; the result is of the same kind.
    corruption
        "thin": thin each cell to a depth drawn log-uniformly between `min_depth` and its own; a shallower cell stays
        unchanged. "mask": set each entry to 0 with probability 0.7, as in the published code. "none": no change.
    generator
        Source of the random numbers; torch's default generator if None.
    query_depth_quantiles
        Evenly spaced quantiles of the depth of a query's cells, in counts, shape (n_quantiles,). "thin" then draws the
        depths from this distribution; a shallower cell stays unchanged. None: log-uniform depths.
    min_depth
        Smallest depth for "thin" without `query_depth_quantiles`, in counts.

    Returns
    -------
    Corrupted counts, shape (n_obs, n_genes).
    """
    if corruption == "none":
        return counts
    values = counts.values if isinstance(counts, SparseCounts) else counts
    shape = values.shape if corruption == "mask" else (len(counts),)
    uniform = torch.rand(shape, generator=generator, device=values.device, dtype=values.dtype)
    if corruption == "mask":
        masked = mask_counts(values, uniform > MASK_RATE)
        return _drop_zeros(counts.with_values(masked)) if isinstance(counts, SparseCounts) else masked
    total = _depth(counts)
    if query_depth_quantiles is not None:
        depth = _interpolate_quantiles(query_depth_quantiles, uniform)
        return thin_counts(counts, (depth / total.clamp(min=1)).clamp(max=1), generator)
    return thin_counts(counts, (min_depth / total.clamp(min=min_depth)) ** uniform, generator)


def _interpolate_quantiles(
    quantiles: Float[Tensor, " n_quantiles"], probability: Float[Tensor, " n_obs"]
) -> Float[Tensor, " n_obs"]:
    position = probability * (len(quantiles) - 1)
    below = position.long().clamp(max=len(quantiles) - 2)
    return torch.lerp(quantiles[below], quantiles[below + 1], position - below)
