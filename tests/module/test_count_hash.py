"""Pseudo-random numbers from counts: against a scalar SplitMix64, and their distribution."""

import numpy as np
import torch
from conftest import synthetic
from scipy import sparse, stats

from hrca.module._count_hash import GOLDEN, hash_bits, hash_cells, hash_entries, uniform_from_hashes
from hrca.module._sparse_counts import SparseCounts

MASK = 2**64 - 1


def splitmix64(value: int) -> int:
    """The output function of SplitMix64 in integers of any size."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def cell_hashes(counts: sparse.csr_array, seed: int = 0) -> torch.Tensor:
    entries = SparseCounts.from_csr(counts)
    return hash_cells(hash_entries(entries, seed), entries)


def test_bits_are_mixed_as_in_splitmix64():
    values = np.random.default_rng(0).integers(-(2**63), 2**63, 50)
    expected = [splitmix64(int(value) & MASK) for value in values]
    assert [int(value) & MASK for value in hash_bits(torch.from_numpy(values))] == expected


def test_numbers_are_the_upper_bits_of_the_sequence():
    found = uniform_from_hashes(torch.tensor([7, -7]), range(3, 5))
    expected = [[splitmix64((value + (i + 1) * GOLDEN) & MASK) / 2**64 for i in range(3, 5)] for value in (7, -7)]
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_numbers_are_uniform_and_independent():
    numbers = uniform_from_hashes(torch.arange(20_000), range(4)).numpy()
    assert ((numbers > 0) & (numbers < 1)).all()
    assert min(stats.kstest(column, "uniform").pvalue for column in numbers.T) > 1e-3
    correlations = np.corrcoef(numbers.T) - np.eye(4)
    # four standard errors
    assert np.abs(correlations).max() < 4 / np.sqrt(20_000)


def test_the_hash_of_a_cell_depends_on_its_counts_alone():
    counts = sparse.csr_array(synthetic(50).X.astype(np.float32))
    hashes = cell_hashes(counts)
    np.testing.assert_array_equal(cell_hashes(counts[10:]), hashes[10:])
    assert len(set(hashes.tolist())) == 50
    assert not (cell_hashes(counts, seed=1) == hashes).any()
