"""Folds of cross-fitting."""

import numpy as np

from hrca.uncertainty._cross_fitting import stratified_folds


def test_the_cells_of_each_label_are_divided_evenly():
    codes = np.repeat([0, 1, 2], [11, 6, 3])
    folds = stratified_folds(codes, 5, 0)
    assert sorted(np.concatenate(folds)) == list(range(20))
    counts = np.array([np.bincount(codes[fold], minlength=3) for fold in folds])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert any((a != b).any() for a, b in zip(folds, stratified_folds(codes, 5, 1), strict=True))
