"""Misfit of a query's clusters to the labels, on simulated clusters."""

import numpy as np
import pytest
from scipy import optimize
from simulated import random_profiles

from hrca.prediction._cluster_misfit import (
    N_COMMON_LABELS,
    N_LIKELY_LABELS,
    LabelProfiles,
    cluster_misfit,
    common_labels,
    mixture_misfit,
)
from hrca.prediction._cluster_novelty import MIN_MISFIT, cluster_novel_probabilities, misfit_features
from hrca.prediction._query_clusters import QueryClusters


def clusters_of(sums: np.ndarray) -> QueryClusters:
    return QueryClusters(np.zeros(0, dtype=int), np.full(len(sums), 100), sums)


def test_the_misfit_is_0_for_the_right_label_whatever_the_sampling_error():
    profiles = random_profiles(4, 2000)
    rng = np.random.default_rng(1)
    reference = np.stack([rng.multinomial(200_000, row) for row in profiles])
    sums = np.stack([rng.multinomial(20_000, row) for row in profiles]).astype(float)
    estimated = (reference + 0.1) / (reference + 0.1).sum(axis=1, keepdims=True)
    misfit = cluster_misfit(clusters_of(sums), LabelProfiles(estimated, reference, np.ones(2000, dtype=bool)))
    np.testing.assert_array_equal(misfit.argmin(axis=1), np.arange(4))
    assert np.diag(misfit).max() < 0.05
    assert misfit[~np.eye(4, dtype=bool)].min() > 0.5


def test_the_misfit_is_the_variance_of_log_factors():
    rng = np.random.default_rng(0)
    profile = rng.dirichlet(np.full(3000, 5.0))
    factors = np.exp(rng.normal(0, 0.6, 3000))
    sums = np.round(1e9 * profile * factors / (profile * factors).sum())[None]
    found = cluster_misfit(
        clusters_of(sums), LabelProfiles(profile[None], 1e9 * profile[None], np.ones(3000, dtype=bool))
    )
    # the pseudocounts of a tenth of the mean shrink the log ratios by about a tenth
    assert 0.8 * 0.36 < found.item() < 0.36


def test_genes_that_are_not_used_do_not_matter():
    profiles = random_profiles(3, 50)
    sums, used = 1e5 * profiles[[0, 1]], np.arange(50) < 30
    changed = np.where(used, sums, 7e5 * np.random.default_rng(0).random((2, 50)))
    first, second = (
        cluster_misfit(clusters_of(x), LabelProfiles(np.where(used, profiles, 0), 1e6 * profiles, used))
        for x in (sums, changed)
    )
    np.testing.assert_allclose(first, second)


def test_a_mixture_of_labels_fits_though_no_label_does():
    profiles = random_profiles(4, 2000)
    labels = LabelProfiles(profiles, 1e6 * profiles, np.ones(2000, dtype=bool))
    fractions = np.array([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0]])
    sums = np.round(1e6 * fractions @ profiles)
    assert cluster_misfit(clusters_of(sums), labels)[0].min() > 0.2
    np.testing.assert_allclose(mixture_misfit(clusters_of(sums), fractions, labels), 0, atol=1e-3)
    # the mixture of one label is the label
    own = cluster_misfit(clusters_of(sums), labels)
    np.testing.assert_allclose(mixture_misfit(clusters_of(sums), np.eye(4)[[2, 3]], labels), [own[0, 2], own[1, 3]])


def many_labels(n_labels: int) -> tuple[QueryClusters, LabelProfiles]:
    """Clusters of every third label, and one of a type that no label has."""
    profiles = random_profiles(n_labels + 1, 400)
    rng = np.random.default_rng(0)
    sums = np.stack([rng.multinomial(20_000, row) for row in [*profiles[:-1:3], profiles[-1]]]).astype(float)
    return clusters_of(sums), LabelProfiles(profiles[:-1], 1e5 * profiles[:-1], np.ones(400, dtype=bool))


def test_of_many_labels_some_are_compared_with_every_cluster_and_the_likely_ones_with_their_own():
    clusters, labels = many_labels(200)
    misfit = cluster_misfit(clusters, labels)
    is_compared, is_common = ~np.isnan(misfit), common_labels(200)
    assert is_common.sum() == N_COMMON_LABELS
    assert is_compared[:, is_common].all()
    n_others = is_compared[:, ~is_common].sum(axis=1)
    assert n_others.max() <= N_LIKELY_LABELS
    np.testing.assert_array_equal(np.nanargmin(misfit[:-1], axis=1), np.arange(0, 200, 3))


def novel_probabilities(misfit: np.ndarray, clusters: QueryClusters, is_common: np.ndarray) -> np.ndarray:
    features = misfit_features(misfit, np.nanmin(misfit, axis=1), clusters.n_cells, 1, is_common)
    return cluster_novel_probabilities(features, clusters.n_cells)


def test_of_many_labels_those_that_are_compared_have_the_misfit_of_a_full_comparison(monkeypatch):
    clusters, labels = many_labels(200)
    some = cluster_misfit(clusters, labels)
    novel = novel_probabilities(some, clusters, common_labels(200))
    monkeypatch.setattr("hrca.prediction._cluster_misfit.N_COMMON_LABELS", 200)
    every = cluster_misfit(clusters, labels)
    is_compared = ~np.isnan(some)
    np.testing.assert_array_equal(some[is_compared], every[is_compared])
    np.testing.assert_allclose(novel, novel_probabilities(every, clusters, np.ones(200, dtype=bool)), atol=0.05)
    assert novel[-1] > 0.5
    assert novel[:-1].max() < 0.1


def test_the_median_is_over_the_common_labels_also_where_all_clusters_have_the_same_likely_ones():
    clusters, labels = many_labels(100)
    one_type = QueryClusters(np.zeros(0, dtype=int), np.full(5, 100), np.tile(clusters.sums[[3]], (5, 1)))
    misfit, is_common = cluster_misfit(one_type, labels), common_labels(100)
    assert (~np.isnan(misfit)).all(axis=0).sum() > N_COMMON_LABELS
    features = misfit_features(misfit, np.nanmin(misfit, axis=1), one_type.n_cells, 1, is_common)
    best = np.log(np.nanmin(misfit, axis=1) + MIN_MISFIT)
    assert not is_common[np.nanargmin(misfit[0])]
    np.testing.assert_allclose(features[:, 2], best - np.median(np.log(misfit[:, is_common] + MIN_MISFIT), axis=1))


@pytest.mark.parametrize("n_labels", [N_COMMON_LABELS, N_COMMON_LABELS + 1])
def test_every_label_is_compared_up_to_the_maximum(n_labels):
    misfit = cluster_misfit(*many_labels(n_labels))
    assert (~np.isnan(misfit)).all() == (n_labels == N_COMMON_LABELS)


def test_the_misfit_solves_the_equation_of_its_docstring():
    clusters, labels = many_labels(6)
    background = clusters.sums.sum(axis=0) / clusters.sums.sum()
    roots = np.empty((len(clusters.sums), 6))
    for i, observed in enumerate(clusters.sums):
        a = 0.1 * observed.sum() * (labels.profiles.mean(axis=0) + background) / 2 + 0.5
        for k in range(6):
            expected = observed.sum() * labels.profiles[k]
            larger = np.maximum(observed, expected)
            variance = larger / (larger + a) ** 2 + (expected / (expected + a)) ** 2 / (labels.sums[k] + 0.5)
            y = np.log((observed + a) / (expected + a))
            y -= np.average(y, weights=1 / (variance + 0.5))
            moment = lambda x, y=y, v=variance: ((y**2 - v - x) / (x + v) ** 2).sum()  # noqa: E731
            # the lower bound, where the errors explain all of the variance
            roots[i, k] = optimize.brentq(moment, 1e-4, 10) if moment(1e-4) > 0 else 1e-4
    found = cluster_misfit(clusters, labels)
    assert found.min() < 1e-3
    assert found.max() > 1
    np.testing.assert_allclose(found, roots, rtol=1e-3, atol=2e-4)


def test_the_misfit_of_a_cluster_does_not_depend_on_the_others():
    clusters, labels = many_labels(6)
    fractions = np.random.default_rng(1).dirichlet(np.ones(6), len(clusters.sums))
    together = mixture_misfit(clusters, fractions, labels)
    alone = [mixture_misfit(clusters, fractions[[i]], labels, slice(i, i + 1)).item() for i in range(len(together))]
    np.testing.assert_array_equal(together, alone)


def test_misfits_are_float64():
    profiles = random_profiles(3, 50)
    clusters, labels = clusters_of(1e5 * profiles), LabelProfiles(profiles, 1e6 * profiles, np.ones(50, dtype=bool))
    assert cluster_misfit(clusters, labels).dtype == float
    assert mixture_misfit(clusters, np.eye(3), labels).dtype == float


def test_a_label_that_is_left_out_changes_the_background_alone():
    clusters, labels = many_labels(6)
    others = np.arange(6) != 4
    fractions = np.random.default_rng(1).dirichlet(np.ones(6), len(clusters.n_cells)) * others
    kept = LabelProfiles(labels.profiles[others], labels.sums[others], labels.used)
    np.testing.assert_allclose(
        mixture_misfit(clusters, fractions, labels, left_out=4),
        mixture_misfit(clusters, fractions[:, others], kept),
        rtol=1e-4,
    )
