"""Counts are recovered from normalised values in each cell, or not at all."""

import numpy as np
from scipy import sparse

from hrca.data._inverses import MAX_SMALLEST_COUNT, invert_to_counts


def recovered(values, transformation=""):
    counts = invert_to_counts(sparse.csr_array(np.asarray(values)), transformation)
    return None if counts is None else counts.toarray().tolist()


def test_the_smallest_integers_in_the_ratios_of_each_cell_are_the_counts():
    assert recovered([[0.2, 0.3, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]) == [[2, 3, 0], [1, 0, 1], [0, 0, 0]]


def test_a_cell_whose_smallest_count_is_large_is_not_recovered():
    smallest = MAX_SMALLEST_COUNT
    assert recovered([[smallest / 100, (smallest + 1) / 100]]) == [[smallest, smallest + 1]]
    assert recovered([[(smallest + 1) / 100, (smallest + 2) / 100]]) is None


def test_one_cell_that_is_not_in_the_ratio_of_integers_prevents_all():
    assert recovered([[1.0, 2.0], [1.0, np.pi]]) is None


def test_no_value_and_values_too_large_for_an_exponential_are_not_inverted():
    assert recovered([[0.0, 0.0]]) is None
    assert recovered([[60.0, 1.0]], "log1p") is None


def test_fractions_beside_a_tiny_value_are_not_integers():
    fractions = np.random.default_rng(0).random((1, 50))
    assert recovered(np.c_[[[1e-9]], fractions]) is None
