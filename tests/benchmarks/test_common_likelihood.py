"""The likelihood baselines."""

import numpy as np
import pytest
from scipy import sparse, stats

from benchmarks.common.baselines import likelihood
from hrca.module._profiles import class_profiles


def test_negative_binomial_matches_scipy():
    rng = np.random.default_rng(0)
    profiles = rng.dirichlet(np.ones(30), size=4)
    counts = rng.poisson(20 * profiles[rng.integers(4, size=12)]).astype(float)
    mean = counts.sum(axis=1)[:, None, None] * profiles
    size = likelihood.NB_SIZE
    expected = stats.nbinom.logpmf(counts[:, None], size, size / (size + mean)).sum(axis=2)
    found = likelihood.negative_binomial(sparse.csr_matrix(counts), profiles)
    # up to a constant of the cell
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-6)


def test_platform_factors_find_a_gene_that_is_detected_twice_as_well():
    rng = np.random.default_rng(0)
    profiles = rng.dirichlet(np.ones(30), size=2)
    factors = np.ones(30)
    factors[3] = 2
    counts = sparse.csr_matrix(rng.poisson(1000 * (profiles * factors)[rng.integers(2, size=200)]).astype(float))
    fitted = likelihood.platform_profiles(counts, profiles, likelihood.multinomial) / profiles
    others = np.delete(fitted, 3, axis=1)
    assert fitted[:, 3] / np.median(others, axis=1) == pytest.approx([2, 2], rel=0.1)


def test_profiles_are_smoothed_by_one_count_a_gene():
    profiles = likelihood.class_profiles(sparse.csr_matrix([[4.0, 0.0], [0.0, 4.0]]), np.array([0, 1]), 2)
    np.testing.assert_allclose(profiles, [[5 / 6, 1 / 6], [1 / 6, 5 / 6]])


def test_profiles_are_those_of_hrca_with_other_constants(reference):
    counts, codes = reference.X, np.arange(reference.n_obs) % 3
    expected = class_profiles(counts, codes, 3, pseudocount=likelihood.PROFILE_PSEUDOCOUNT, trace_counts=1.0)
    np.testing.assert_allclose(likelihood.class_profiles(counts, codes, 3), expected, rtol=1e-12)
