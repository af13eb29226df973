"""Probabilities of a query, against written-out pooling and calibration."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from conftest import calibrated_by_hand
from scipy import sparse
from simulated import N_GENES, N_LABELS, PRESENT, batched, prediction_module, query_counts, random_profiles

from hrca.module._calibration import Calibration
from hrca.module._count_likelihood import CountLikelihood, pool_log_scores
from hrca.module._module import HRCAModule
from hrca.module._networks import GeneAE, SEClassifier
from hrca.module._sparse_counts import MAX_SPARSE_FRACTION
from hrca.prediction import _probabilities
from hrca.prediction._forward import score_cells, shared_genes
from hrca.prediction._open_set import OpenSetScores
from hrca.prediction._probabilities import CellProbabilities, PredictionSettings, predict_probabilities

LABEL_SUMS = 1e5 * random_profiles(N_LABELS, N_GENES)


@pytest.fixture
def threads_of_torch() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def predict(module, counts, *, names=None, batch_size=10, present=PRESENT, label_sums=LABEL_SUMS, **settings):
    names = [str(i) for i in range(len(counts))] if names is None else names
    settings = {"platform_correction": True, "open_set": True, "calibrated": True} | settings
    return predict_probabilities(
        module, lambda bar: batched(counts, batch_size), names, present, label_sums, PredictionSettings(**settings)
    )


def test_without_a_fit_probabilities_are_pooled_and_calibrated_scores():
    module, counts = prediction_module(), query_counts(23)
    scores = score_cells(module, batched(counts, 10), shared_genes(module, PRESENT))
    raw = predict(module, counts, platform_correction=False, open_set=False, calibrated=False)
    weights = module.count_likelihood.pool_weights.double()
    pooled = pool_log_scores(scores.network, scores.log_likelihood, scores.depth, weights).log_softmax(dim=1)
    assert raw.log_probabilities.dtype == np.float32
    np.testing.assert_allclose(raw.log_probabilities, pooled, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(raw.depth, scores.depth)
    assert raw.platform_log_sd == 0
    assert raw.query_fit is None
    calibrated = predict(module, counts, platform_correction=False, open_set=False)
    np.testing.assert_array_equal(calibrated.has_counts, np.arange(23) > 0)
    assert not calibrated.probabilities[0].any()
    for cell in range(1, 23):
        expected = calibrated_by_hand(module.calibration, pooled[cell].numpy(), float(scores.depth[cell]))
        np.testing.assert_allclose(calibrated.probabilities[cell], expected, rtol=1e-3)


def test_the_result_does_not_depend_on_the_number_of_threads(threads_of_torch):
    # dense products of this size differ in their last bits with the number of threads
    n_genes, n_labels, n_obs = 300, 10, 5000
    profiles = 0.85 * random_profiles(1, n_genes, 5) + 0.15 * random_profiles(n_labels, n_genes)
    rng = np.random.default_rng(1)
    counts = rng.poisson(150 * profiles[np.arange(n_obs) % n_labels] * rng.lognormal(0, 0.5, n_genes))
    assert (counts > 0).mean() > MAX_SPARSE_FRACTION
    module = HRCAModule(
        GeneAE(n_genes=n_genes, n_hidden=32, n_latent=16, n_heads=2, n_layers=1, n_feedforward=16, dropout_rate=0.1),
        SEClassifier(n_latent=16, n_labels=n_labels, widths=(16, 8), dropout_rate=0.5),
        CountLikelihood(n_labels, n_genes),
    ).eval()
    module.count_likelihood.fit_profiles(profiles, np.ones(n_genes), 3000.0)
    results = []
    for n_threads in (1, 3, 4):
        threads_of_torch(n_threads)
        results.append(predict(module, counts, batch_size=512, present=np.ones(n_genes), label_sums=1e5 * profiles))
        assert torch.get_num_threads() == n_threads
    assert results[0].has_clusters
    for result in results[1:]:
        for name in ("log_probabilities", "depth", "novel_probability"):
            np.testing.assert_array_equal(getattr(result, name), getattr(results[0], name))


def test_an_unfitted_calibration_changes_no_probability():
    module, counts = prediction_module(), query_counts(23)
    module.calibration = Calibration(N_LABELS)
    raw, calibrated = (predict(module, counts, calibrated=c) for c in (False, True))
    np.testing.assert_allclose(raw.log_probabilities, calibrated.log_probabilities, atol=1e-6)


def test_platform_factors_are_fitted_to_the_query():
    module, counts = prediction_module(), query_counts(1200)
    cells = predict(module, counts, open_set=False)
    assert cells.platform_log_sd > 0.3
    # a gene that the query lacks, and one that the model hides
    assert not cells.query_fit.factors[[0, 7]].any()
    assert not cells.has_clusters
    without = predict(module, counts, platform_correction=False, open_set=False)
    assert np.abs(cells.log_probabilities - without.log_probabilities).max() > 0.01


@pytest.mark.parametrize("max_cells", [10_000, 900])
def test_the_result_depends_neither_on_the_batches_nor_on_the_order(max_cells, monkeypatch):
    monkeypatch.setattr(_probabilities, "MAX_SAMPLED_CELLS", max_cells)
    module, counts = prediction_module(), query_counts(1200)
    order = np.random.default_rng(1).permutation(1200)
    first = predict(module, counts)
    second = predict(module, counts[order], names=[str(i) for i in order], batch_size=77)
    assert first.has_clusters
    for name in ("log_probabilities", "depth", "novel_probability"):
        np.testing.assert_allclose(getattr(first, name)[order], getattr(second, name), rtol=1e-4, atol=1e-4)


def test_names_change_nothing_where_all_cells_are_sampled():
    module, counts = prediction_module(), query_counts(1200)
    first = predict(module, counts)
    second = predict(module, counts, names=[f"sample-{i}-1" for i in range(1200)])
    assert first.has_clusters
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-6)
    np.testing.assert_allclose(first.novel_probability, second.novel_probability, atol=1e-6)


def test_cells_that_were_not_sampled_are_read_again(monkeypatch):
    module, counts = prediction_module(), query_counts(1200)
    whole = predict(module, counts)
    monkeypatch.setattr(_probabilities, "MAX_SAMPLED_CELLS", 900)
    part = predict(module, counts)
    used = PRESENT & (np.arange(N_GENES) != 7)
    expected = part.query_fit.score_cells(sparse.csr_array(counts * used))
    # in single precision, sums over other batches differ
    np.testing.assert_allclose(part.open_set_scores.novel_probability, expected.novel_probability, rtol=1e-4)
    np.testing.assert_array_equal(part.open_set_scores.depth, whole.open_set_scores.depth)


def test_without_summed_counts_or_likelihood_nothing_is_fitted():
    module, counts = prediction_module(), query_counts(1200)
    assert predict(module, counts, label_sums=None).query_fit is None
    module.count_likelihood = None
    cells = predict(module, counts)
    assert cells.query_fit is None
    assert cells.label_fractions.shape == (1, N_LABELS)


def test_a_query_without_counts_has_no_fit():
    module = prediction_module()
    cells = predict(module, np.zeros((300, N_GENES), dtype=np.float32))
    assert cells.query_fit is None
    assert not cells.probabilities.any()
    assert not cells.label_fractions.any()


def test_probabilities_and_novel_probability_sum_to_one():
    log_probabilities = np.log(np.full((2, 4), 0.25, dtype=np.float32))
    fits = OpenSetScores(np.array([0.4, 0.4]), np.zeros(2, dtype=int), np.array([0.0, 3.0]), np.zeros(2))
    cells = CellProbabilities(log_probabilities, np.array([0.0, 3.0]), np.zeros((2, 4)), open_set_scores=fits)
    np.testing.assert_allclose(cells.probabilities, [[0] * 4, [0.15] * 4], rtol=1e-6)
    np.testing.assert_allclose(cells.known_probabilities, [[0] * 4, [0.25] * 4], rtol=1e-6)
    np.testing.assert_allclose(cells.probabilities[1].sum() + cells.novel_probability[1], 1, rtol=1e-6)
    assert cells.probabilities.dtype == np.float32


def test_each_branch_has_its_fractions_of_labels():
    module, counts = prediction_module(), query_counts(50)
    scores = score_cells(module, batched(counts, 10), shared_genes(module, PRESENT))
    fractions = predict(module, counts, platform_correction=False, open_set=False).label_fractions
    for branch, found in zip((scores.network, scores.log_likelihood), fractions, strict=True):
        np.testing.assert_allclose(found, np.bincount(branch.argmax(dim=1)[1:], minlength=N_LABELS) / 49)
    agree = (scores.network.argmax(dim=1) == scores.log_likelihood.argmax(dim=1))[1:]
    cells = predict(module, counts, platform_correction=False, open_set=False)
    assert cells.branch_agreement == pytest.approx(agree.double().mean().item())
