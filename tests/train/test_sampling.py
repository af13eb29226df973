"""Cells that stand for all of a large reference."""

import numpy as np
import pytest

from hrca.train._sampling import LabelSampler, n_sampled_cells, sample_stratified, stratified_numbers

CODES = np.repeat([0, 1, 2, 3, 4, 5], [400, 100, 20, 1, 2, 3])


def test_an_epoch_draws_as_many_cells_of_each_label():
    sampler = LabelSampler(CODES, 5)
    assert len(sampler) == n_sampled_cells(CODES, 5) == 5 + 5 + 5 + 1 + 2 + 3
    assert n_sampled_cells(CODES, None) == n_sampled_cells(CODES) == len(CODES)
    assert n_sampled_cells(CODES, 7, 5, None) == len(sampler)
    first, second = list(sampler), list(sampler)
    for drawn in (first, second):
        assert len(drawn) == len(set(drawn)) == len(sampler)
        assert np.bincount(CODES[drawn]).tolist() == [5, 5, 5, 1, 2, 3]
    assert set(first) != set(second)


@pytest.mark.parametrize("n_drawn", [6, 10, 57, 300, 525])
def test_draws_are_in_proportion_and_each_label_has_one(n_drawn):
    n_cells = np.bincount(CODES)
    numbers = stratified_numbers(n_cells, n_drawn)
    assert numbers.sum() == n_drawn
    assert (numbers >= 1).all()
    assert (numbers <= n_cells).all()
    assert (abs(numbers - np.maximum(n_drawn * n_cells / len(CODES), 1))[1:] <= 1).all()


def test_more_labels_than_draws_have_one_each():
    assert stratified_numbers(np.full(7, 3), 4).tolist() == [1] * 7
    assert stratified_numbers(np.full(7, 3), None).tolist() == [3] * 7


def test_an_epoch_of_part_of_the_cells_is_stratified_and_drawn_anew():
    sampler = LabelSampler(CODES, None, 263)
    assert len(sampler) == 263
    first, second = list(sampler), list(sampler)
    for drawn in (first, second):
        assert len(set(drawn)) == 263
        assert np.bincount(CODES[drawn]).tolist() == stratified_numbers(np.bincount(CODES), 263).tolist()
    assert set(first) != set(second)
    # both limits together: each label has its share of the smaller numbers
    assert np.bincount(CODES[list(LabelSampler(CODES, 20, 33))]).tolist() == [10, 9, 10, 1, 1, 2]


def test_the_cells_that_train_are_a_fixed_part_of_each_label():
    cells = np.arange(0, 2 * len(CODES), 2)
    chosen = sample_stratified(cells, CODES, max_per_label=20)
    assert np.bincount(CODES[chosen // 2]).tolist() == [20, 20, 20, 1, 2, 3]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, sample_stratified(cells, CODES, max_per_label=20))
    assert len(sample_stratified(cells, CODES, n_drawn=263)) == 263
    np.testing.assert_array_equal(sample_stratified(cells, CODES), cells)
    assert sample_stratified(cells[:0], CODES[:0], n_drawn=5).tolist() == []
