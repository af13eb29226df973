"""Thinned draws of cells that depend on the counts of the cell alone, for all cells of a batch at once."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ._count_hash import GOLDEN, hash_bits, hash_cells, hash_entries
from ._sparse_counts import SparseCounts

# Random numbers are integers of 32 bits: the error of a probability is below 1e-9.
RANDOM_BITS, MAX_RANDOM = 32, 2**31 - 2

# The lower 32 bits of a hash permute the draws: 16 for the factor, 16 for the mask.
PERMUTATION_BITS = 16

# Counts are divided into pieces of at most 15: the number that stays of a piece is found by four comparisons.
MAX_PIECE, SEARCH_STEPS = 15, (8, 4, 2, 1)

# Cells above this multiple of the depth are first thinned to it, once for all draws: their pieces of 15 counts would
# take 20 ms a draw and 10^6 counts. It adds a thirty-second of a draw's variance to the mean of the draws. Not tuned.
MAX_DEPTH_RATIO = 32

# Seed of the draws. Any fixed number serves.
THINNING_SEED = 0


def thin_to_depth(counts: SparseCounts, depth: float, n_draws: int, seed: int = THINNING_SEED) -> SparseCounts:
    r"""Thin each cell several times to an expected depth (binomial thinning), reproducibly.

    The random numbers of a cell derive from its counts. The result is the same for any order and choice of the other
    cells.

    Parameters
    ----------
    counts
        Raw counts, each cell with more than `depth`.
    depth
        Expected counts of a thinned cell.
    n_draws
        Number of draws of each cell, a power of 2.
    seed
        Seed of the random numbers.

    Returns
    -------
    Thinned counts of n_draws x n_obs cells: the first draw of all cells, then the second, and so on.

    Raises
    ------
    ValueError
        If `n_draws` is not a power of 2.

    Notes
    -----
    A count stays with the probability p, the same for all counts of a cell. The number that stays of a piece of at most
    15 counts is the quantile of its binomial distribution at a uniform random number. The D draws of a piece take
    :math:`u, u + 1/D, \dots, u + (D - 1)/D` modulo 1, in an order of its own. Each draw is binomial, and independent
    between the genes. Together they are balanced: of a single count, pD draws have it, rounded up or down. Their mean
    therefore depends on u less than that of independent draws (Latin hypercube sampling). In the same order for all
    pieces, two genes would have the same covariance in all draws.
    """
    if n_draws < 1 or n_draws & (n_draws - 1):
        raise ValueError(f"`n_draws` must be a power of 2, got {n_draws}.")
    counts = _thin_excessive(counts, MAX_DEPTH_RATIO * depth, seed)
    pieces = _Pieces.of(counts)
    # on the CPU: MPS has no numbers of 64 bits
    thresholds = _thresholds(depth / counts.sums().cpu().double()).to(counts.device)
    random = pieces.random(counts, seed)
    uniform, factors, masks = random >> RANDOM_BITS, random.int() | 1, random.int() >> PERMUTATION_BITS
    step, draws = 2**RANDOM_BITS // n_draws, []
    for draw in range(n_draws):
        # an odd factor and a mask permute the numbers below a power of two
        position = (factors * draw ^ masks) & (n_draws - 1)
        # conversion to 32 bits takes the sum modulo 1; no number is as large as the thresholds of impossible numbers
        numbers = (uniform + position * step).int().clamp(max=MAX_RANDOM)
        draws.append(pieces.quantiles(numbers, thresholds))
    thinned = SparseCounts.concat([counts.with_values(kept).without_zeros() for kept in draws])
    return thinned.with_values(thinned.values.float())


def _thin_excessive(counts: SparseCounts, max_depth: float, seed: int) -> SparseCounts:
    """Thin the cells above a depth to this depth, once, by NumPy's binomial numbers."""
    depth = counts.sums()
    is_excessive = depth > max_depth
    if not is_excessive.any():
        return counts
    values, bounds = counts.values.double().cpu().numpy().astype(np.int64), counts.offsets.tolist()
    keys, kept_fractions = hash_cells(hash_entries(counts, seed), counts).tolist(), (max_depth / depth).tolist()
    for cell in is_excessive.nonzero()[:, 0].tolist():
        entries = slice(bounds[cell], bounds[cell + 1])
        rng = np.random.default_rng(keys[cell] % 2**64)
        values[entries] = rng.binomial(values[entries], kept_fractions[cell])
    return counts.with_values(torch.from_numpy(values).float().to(counts.device)).without_zeros()


@dataclass(frozen=True)
class _Pieces:
    """Counts divided into pieces of at most 15.

    Attributes
    ----------
    entries
        Entry of each piece, shape (n_pieces,); None if each entry is one piece.
    positions
        Number of the piece within its entry, shape (n_pieces,); 0 if each entry is one piece.
    cells
        Cell of each piece, int32, shape (n_pieces,).
    threshold_rows
        Position of the first threshold of each piece, int32, shape (n_pieces,); see :func:`_thresholds`.
    larger
        Pieces of 2 to 3, 4 to 7 and 8 to 15 counts.
    n_entries
        Number of entries.
    """

    entries: Tensor | None
    positions: Tensor
    cells: Tensor
    threshold_rows: Tensor
    larger: tuple[Tensor, ...]
    n_entries: int

    @classmethod
    def of(cls, counts: SparseCounts) -> "_Pieces":
        """Divide counts."""
        sizes, device = counts.values.int(), counts.device
        n_entries = len(sizes)
        cells = counts.cells()
        entries, positions = None, torch.zeros((), dtype=torch.int64, device=device)
        if n_entries and sizes.max() > MAX_PIECE:
            n_pieces = (sizes + MAX_PIECE - 1) // MAX_PIECE
            entries = torch.arange(n_entries, device=device).repeat_interleave(n_pieces)
            first = n_pieces.cumsum(0) - n_pieces
            positions = torch.arange(len(entries), device=device) - first.index_select(0, entries)
            sizes = (sizes.index_select(0, entries) - MAX_PIECE * positions).clamp(max=MAX_PIECE).int()
            cells = cells.index_select(0, entries)
        threshold_rows = (cells * MAX_PIECE + sizes - 1) * MAX_PIECE
        larger = tuple(((sizes >= 2**i) & (sizes < 2 ** (i + 1))).nonzero()[:, 0] for i in range(1, len(SEARCH_STEPS)))
        return cls(entries, positions, cells, threshold_rows, larger, n_entries)

    def random(self, counts: SparseCounts, seed: int) -> Tensor:
        """Return 64 random bits for each piece, int64, shape (n_pieces,)."""
        by_entry = hash_entries(counts, seed)
        of_cell = hash_cells(by_entry, counts)
        if self.entries is not None:
            by_entry = by_entry.index_select(0, self.entries)
        return hash_bits(by_entry + of_cell.index_select(0, self.cells) + self.positions * GOLDEN)

    def quantiles(self, uniform: Tensor, thresholds: Tensor) -> Tensor:
        """Return the number of counts that stay of each entry, int32, shape (n_entries,).

        Parameters
        ----------
        uniform
            Random integer of each piece, int32, shape (n_pieces,).
        thresholds
            From :func:`_thresholds`.
        """
        kept = (uniform >= thresholds.index_select(0, self.threshold_rows)).int()
        for i, pieces in enumerate(self.larger, start=1):
            if len(pieces):
                start, drawn = (values.index_select(0, pieces) for values in (self.threshold_rows, uniform))
                found = torch.zeros_like(start)
                for step in SEARCH_STEPS[-1 - i :]:
                    found += (drawn >= thresholds.index_select(0, start + found + (step - 1))) * step
                kept.index_copy_(0, pieces, found.int())
        if self.entries is None:
            return kept
        return torch.zeros(self.n_entries, dtype=kept.dtype, device=kept.device).index_add(0, self.entries, kept)


def _thresholds(kept_fraction: Tensor) -> Tensor:
    """Return distribution functions of binomial numbers, scaled to signed integers of 32 bits.

    Parameters
    ----------
    kept_fraction
        Probability of each cell that a count stays, shape (n_obs,).

    Returns
    -------
    For each cell, each size of a piece and each number below 15, the scaled probability of at most this number,
    flattened, int32, shape (n_obs x 15 x 15,).
    """
    numbers = torch.arange(MAX_PIECE + 1, dtype=torch.float64, device=kept_fraction.device)
    sizes, successes = numbers[1:, None], numbers[None, :MAX_PIECE]
    failures = (sizes - successes).clamp(min=0)
    log_choices = torch.lgamma(sizes + 1) - torch.lgamma(successes + 1) - torch.lgamma(failures + 1)
    choices = log_choices.exp().round() * (successes <= sizes)
    kept, lost = (fraction[:, None] ** numbers for fraction in (kept_fraction, 1 - kept_fraction))
    probabilities = choices * kept[:, None, :MAX_PIECE] * lost[:, failures.long()]
    cumulative = probabilities.cumsum(-1).masked_fill(successes >= sizes, 1.0)
    half = 2.0 ** (RANDOM_BITS - 1)
    scaled = (cumulative * 2 * half - half).floor().clamp(-half, half - 1).int()
    return scaled.flatten()
