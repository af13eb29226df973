"""Divergences of the profiles of labels, by their definition."""

import numpy as np
from simulated import random_profiles

from hrca.annotation._label_pairs import divergences, normalize_log_profiles


def test_divergences_are_symmetric_and_those_of_kullback_and_leibler():
    profiles = random_profiles(5, 12)
    expected = [[((p - q) * np.log(p / q)).sum() / 2 for q in profiles] for p in profiles]
    np.testing.assert_allclose(divergences(np.log(profiles), slice(1, 4)), expected[1:4], atol=1e-14)


def test_profiles_of_any_sum_are_normalised():
    profiles = random_profiles(3, 12)
    scaled = np.log(profiles * [[2.0], [5.0], [1.0]])
    np.testing.assert_allclose(np.exp(normalize_log_profiles(scaled)), profiles / profiles.sum(axis=1, keepdims=True))
