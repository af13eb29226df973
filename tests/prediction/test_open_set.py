"""The probability of none of the labels, on simulated queries with and without a type that the reference lacks."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import expit
from simulated import depths_of, likelihood_of, random_profiles

from hrca.module._count_likelihood import CountLikelihood
from hrca.prediction._cluster_novelty import cluster_novel_probabilities, misfit_features
from hrca.prediction._open_set import MAX_PLATFORM_LOG_SD, fit_query
from hrca.prediction._platform_likelihood import QueryCellSample

N_TYPES, N_TYPE_GENES = 7, 300


def query(
    *, novel_fraction: float, log_sd: float = 0.4, n_cells: int = 1800, depth: int = 300
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells of six types of the reference and of one that it lacks, on another platform.

    Returns
    -------
    Profiles of the six types, counts, and a mask of the cells of the seventh.
    """
    rng = np.random.default_rng(0)
    profiles = random_profiles(N_TYPES, N_TYPE_GENES)
    n_novel = round(novel_fraction * n_cells)
    types = np.concatenate([rng.integers(N_TYPES - 1, size=n_cells - n_novel), np.full(n_novel, N_TYPES - 1)])
    elsewhere = profiles * np.exp(rng.normal(0, log_sd, N_TYPE_GENES)) * np.exp(rng.normal(0, 0.2, profiles.shape))
    elsewhere /= elsewhere.sum(axis=1, keepdims=True)
    return profiles[:-1], rng.multinomial(depth, elsewhere[types]).astype(np.float32), types == N_TYPES - 1


def fit(profiles: np.ndarray, counts: np.ndarray, mask: np.ndarray | None = None, **settings: bool):
    mask = np.ones(profiles.shape[1]) if mask is None else mask
    count_likelihood, x = likelihood_of(profiles), torch.from_numpy(counts).double()
    cells = QueryCellSample(sparse.csr_array(counts), count_likelihood(x), depths_of(count_likelihood, x))
    settings = {"platform_correction": True, "open_set": True} | settings
    return fit_query(count_likelihood, cells, mask, 1e6 * profiles, **settings)


@pytest.mark.parametrize("novel_fraction", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("platform_correction", [False, True])
def test_cells_of_an_absent_type_are_probably_novel(novel_fraction, platform_correction):
    profiles, counts, is_novel = query(novel_fraction=novel_fraction)
    fits = fit(profiles, counts, platform_correction=platform_correction).score_cells(sparse.csr_array(counts))
    assert (fits.novel_probability[is_novel] > 0.5).mean() > 0.9
    assert (fits.novel_probability[~is_novel] > 0.5).mean() < 0.05


@pytest.mark.parametrize("log_sd", [0.0, 0.4, 1.0])
def test_on_any_platform_cells_of_the_labels_are_not_novel(log_sd):
    profiles, counts, _ = query(novel_fraction=0, log_sd=log_sd)
    fits = fit(profiles, counts).score_cells(sparse.csr_array(counts))
    assert (fits.novel_probability > 0.5).mean() < 0.02
    assert fits.novel_probability.mean() < 0.1


def test_an_absent_type_does_not_change_the_factors():
    profiles, counts, is_novel = query(novel_fraction=0.5)
    whole, known = (np.log(fit(profiles, x).factors) for x in (counts, counts[~is_novel]))
    assert np.std(whole - known) < 0.3 * np.std(known)


def test_factors_stay_where_few_cells_are_of_the_labels():
    # 40 known cells of six types: fewer than three types have ten
    profiles, counts, is_novel = query(novel_fraction=0.8, n_cells=200, log_sd=0.8)
    fitted = fit(profiles, counts)
    novel = fitted.score_cells(sparse.csr_array(counts)).novel_probability
    assert np.log(fitted.factors).std() > 0.3
    assert (novel[is_novel] > 0.5).mean() > 0.9
    assert (novel[~is_novel] > 0.5).mean() < 0.3


def test_factors_beyond_the_limit_are_discarded():
    profiles, counts, _ = query(novel_fraction=0, log_sd=2.5)
    fitted = fit(profiles, counts)
    assert fitted.discarded_log_sd > MAX_PLATFORM_LOG_SD
    np.testing.assert_array_equal(fitted.factors, np.ones(N_TYPE_GENES))
    trusted = fit(profiles, counts, open_set=False)
    assert trusted.discarded_log_sd == 0
    assert np.log(trusted.factors).std() > MAX_PLATFORM_LOG_SD


def test_without_open_set_or_with_few_cells_no_cell_is_novel():
    profiles, counts, _ = query(novel_fraction=0.5)
    for fitted in (fit(profiles, counts, open_set=False), fit(profiles, counts[-150:])):
        fits = fitted.score_cells(sparse.csr_array(counts))
        assert fitted.clusters is None
        assert not fits.novel_probability.any()
        assert (fits.deviance >= 0).all()


def test_without_correction_the_factors_are_those_of_the_mask():
    profiles, counts, _ = query(novel_fraction=0)
    mask = (np.arange(N_TYPE_GENES) % 3 > 0).astype(float)
    np.testing.assert_array_equal(
        fit(profiles, counts * mask.astype(np.float32), mask, platform_correction=False).factors, mask
    )


def test_a_cell_without_counts_has_the_mean_of_the_clusters():
    profiles, counts, _ = query(novel_fraction=0.3)
    fitted = fit(profiles, counts)
    fits = fitted.score_cells(sparse.csr_array((1, N_TYPE_GENES), dtype=np.float32))
    weights = fitted.clusters.n_cells / fitted.clusters.n_cells.sum()
    assert fits.novel_probability.item() == pytest.approx(weights @ fitted.novel_probabilities)
    assert fits.depth.item() == fits.deviance.item() == 0


def test_one_label_alone_has_no_open_set():
    profiles, counts, _ = query(novel_fraction=0.3)
    count_likelihood = CountLikelihood(1, N_TYPE_GENES).double()
    x = torch.from_numpy(counts).double()
    cells = QueryCellSample(sparse.csr_array(counts), count_likelihood(x), depths_of(count_likelihood, x))
    mask = np.ones(N_TYPE_GENES)
    fitted = fit_query(count_likelihood, cells, mask, profiles[:1], platform_correction=True, open_set=True)
    assert fitted.clusters is None
    np.testing.assert_array_equal(fitted.factors, mask)


def novel_probabilities(misfit: np.ndarray, mixed: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    """Novel probabilities of clusters of one run, each compared with all labels."""
    features = misfit_features(misfit, mixed, n_cells, 1, np.ones(misfit.shape[1], dtype=bool))
    return cluster_novel_probabilities(features, n_cells)


def test_the_probabilities_are_adjusted_to_their_own_mean():
    rng = np.random.default_rng(0)
    misfit, n_cells = rng.lognormal(-1, 1, (12, 5)), rng.integers(20, 200, 12)
    found = novel_probabilities(misfit, misfit.min(axis=1), n_cells)
    log_misfit = np.sort(np.log(misfit + 0.02), axis=1)
    best = log_misfit[:, 0]
    order = np.argsort(best)
    quantile = np.interp(0.1, np.cumsum(n_cells[order]) / n_cells.sum(), best[order])
    base = (12 * quantile - 3 * 1.5) / 15
    odds = 0.82 * best + 2.28 * (best - base) + 1.72 * (best - np.median(log_misfit[:, 1:], axis=1)) - 1.83
    mean = (np.average(found, weights=n_cells) + 0.5 * 0.15) / 1.5
    expected = expit(odds - np.log(0.2 / 0.8) + np.log(mean / (1 - mean)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_larger_misfit_is_more_novel():
    misfit = np.tile([0.2, 2.0, 2.5], (6, 1))
    misfit[0, 0] = 0.9
    novel = novel_probabilities(misfit, misfit.min(axis=1), np.full(6, 50))
    assert novel[0] > novel[1:].max()
    mixed = misfit.min(axis=1)
    mixed[0] = 0.2
    np.testing.assert_allclose(np.ptp(novel_probabilities(misfit, mixed, np.full(6, 50))), 0, atol=1e-9)
