"""Pseudo-random bits that depend on nothing but the counts of a cell."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ._sparse_counts import SparseCounts

# Odd multipliers and shifts of SplitMix64 (Steele et al. 2014), as signed integers.
GOLDEN, MIX_1, MIX_2 = (value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
SHIFTS = (30, 27, 31)

# A float64 has 53 bits: the sum of a number of 52 bits and one half is exact.
N_FLOAT_BITS = 52


def hash_entries(counts: SparseCounts, seed: int) -> Tensor:
    """Return the hash of gene and count of each entry, int64, shape (n_entries,).

    Parameters
    ----------
    counts
        Raw counts.
    seed
        Seed of the hash.
    """
    return hash_bits(counts.genes.long() * GOLDEN + counts.values.long() + _signed(seed * MIX_2))


def hash_cells(entry_hashes: Tensor, counts: SparseCounts) -> Tensor:
    """Return the hash of each cell, int64, shape (n_obs,), the same for any order of its entries.

    Parameters
    ----------
    entry_hashes
        From :func:`hash_entries`.
    counts
        Raw counts.
    """
    return F.pad(entry_hashes.cumsum(0), (1, 0)).index_select(0, counts.offsets).diff() * MIX_1


def hash_bits(values: Tensor) -> Tensor:
    """Mix the bits of integers of 64 bits, as SplitMix64 does.

    Parameters
    ----------
    values
        The integers, int64, of any shape.
    """
    for shift, factor in zip(SHIFTS, (MIX_1, MIX_2, 1), strict=True):
        values = (values ^ _shift_right(values, shift)) * factor
    return values


def uniform_from_hashes(hashes: Tensor, numbers: range) -> Tensor:
    """Derive pseudo-random numbers from hashes.

    Parameters
    ----------
    hashes
        Hashes, int64, shape (n_obs,).
    numbers
        Positions in the sequence of numbers of each hash, from 0.

    Returns
    -------
    Uniform numbers in (0, 1), float64, shape (n_obs, len(numbers)).

    Examples
    --------
    >>> import torch
    >>> uniform_from_hashes(torch.tensor([1, 2]), range(2)).round(decimals=2)
    tensor([[0.5700, 0.7500],
            [0.5900, 0.7500]], dtype=torch.float64)
    >>> uniform_from_hashes(torch.tensor([1, 2]), range(1, 2)).round(decimals=2)
    tensor([[0.7500],
            [0.7500]], dtype=torch.float64)
    """
    steps = (torch.tensor(numbers, device=hashes.device) + 1) * GOLDEN
    bits = _shift_right(hash_bits(hashes[:, None] + steps), 64 - N_FLOAT_BITS)
    return (bits.double() + 0.5) / 2.0**N_FLOAT_BITS


def _shift_right(values: Tensor, shift: int) -> Tensor:
    """Shift integers of 64 bits as if they had no sign."""
    # a shift of signed integers repeats the sign; the mask removes it
    return values >> shift & ((1 << (64 - shift)) - 1)


def _signed(value: int) -> int:
    """Return the lowest 64 bits of an integer as a signed integer."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)
