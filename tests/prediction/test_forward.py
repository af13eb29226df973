"""Batched forward passes, against whole ones and written-out pooling."""

import numpy as np
import pytest
import torch
from conftest import calibrated_by_hand
from simulated import depths_of, random_profiles, two_multinomials

from hrca.module._calibration import Calibration
from hrca.module._count_likelihood import CountLikelihood, pool_log_scores
from hrca.module._module import HRCAModule
from hrca.module._networks import GeneAE, SEClassifier
from hrca.prediction._forward import BranchScores, CellProbabilities, predict_probabilities, run, score_cells
from hrca.prediction._platform_factors import fit_platform, platform_log_likelihood

N_OBS, N_GENES, N_LABELS, MAX_DEPTH = 23, 40, 4, 300.0
PRESENT = np.arange(N_GENES) % 5 != 0


@pytest.fixture
def module() -> HRCAModule:
    """A module with random networks, a fitted count likelihood, and one gene hidden."""
    module = HRCAModule(
        GeneAE(n_genes=N_GENES, n_hidden=16, n_latent=8, n_heads=2, n_layers=1, n_feedforward=8, dropout_rate=0.1),
        SEClassifier(n_latent=8, n_labels=N_LABELS, widths=(6, 4), dropout_rate=0.5),
        CountLikelihood(N_LABELS, N_GENES),
    ).eval()
    module.count_likelihood.fit_profiles(random_profiles(N_LABELS, N_GENES), np.ones(N_GENES), MAX_DEPTH)
    module.gene_mask[7] = 0
    module.count_likelihood.is_informative[::3] = 0
    module.calibration.temperature_coef[:] = torch.tensor([0.3, 0.1, 0.0, -0.1, 0.0])
    module.calibration.outlier_rate.fill_(0.1)
    return module


@pytest.fixture
def networks(module) -> HRCAModule:
    """The same module without a count likelihood."""
    module.count_likelihood = None
    return module


@pytest.fixture
def counts() -> np.ndarray:
    """Counts of a query, zero for absent genes; the first cell is empty, the second deep."""
    rng = np.random.default_rng(0)
    codes = np.arange(N_OBS) % N_LABELS
    rates = 100 * random_profiles(N_LABELS, N_GENES)[codes] * rng.lognormal(0, 0.8, N_GENES)
    rates[1] *= 20
    counts = (rng.poisson(rates) * PRESENT).astype(np.float32)
    counts[0] = 0
    return counts


def batched(counts: np.ndarray, size: int):
    for start in range(0, len(counts), size):
        rows = slice(start, min(start + size, len(counts)))
        yield rows, counts[rows]


def used_genes() -> np.ndarray:
    return PRESENT & (np.arange(N_GENES) != 7)


def test_run_yields_rows_outputs_and_counts_of_each_batch(counts):
    seen = list(run(lambda x: x.double() * 2, batched(counts, 10)))
    assert [rows for rows, _, _ in seen] == [slice(0, 10), slice(10, 20), slice(20, 23)]
    assert all(output.dtype == np.float32 for _, output, _ in seen)
    np.testing.assert_array_equal(np.concatenate([output for _, output, _ in seen]), 2 * counts)
    np.testing.assert_array_equal(np.concatenate([batch for _, _, batch in seen]), counts)


def test_run_records_no_gradients(counts):
    weight = torch.ones(N_GENES, requires_grad=True)
    (_, output, _), *_ = run(lambda x: x * weight, batched(counts, 10))
    assert isinstance(output, np.ndarray)


@pytest.mark.parametrize("batch_size", [1, 10, 100])
def test_without_a_count_likelihood_the_scores_are_the_classifiers(networks, counts, batch_size):
    scores = score_cells(networks, batched(counts, batch_size), N_OBS, PRESENT, platform_correction=True)
    expected = networks.classify(torch.from_numpy(counts)).log_softmax(dim=1).detach()
    assert scores.network.dtype == torch.float64
    np.testing.assert_allclose(scores.network, expected, rtol=1e-5, atol=1e-6)
    assert scores.log_likelihood is None
    np.testing.assert_array_equal(scores.depth, counts[:, used_genes()].sum(axis=1))
    assert scores.platform_log_sd == 0


def test_without_correction_the_likelihood_is_of_two_multinomials_at_the_clipped_depth(module, counts):
    scores = score_cells(module, batched(counts, 10), N_OBS, PRESENT, platform_correction=False)
    used, depth = used_genes(), counts[:, used_genes()].sum(axis=1)
    profiles = np.where(used, module.count_likelihood.log_profiles.double().exp().numpy(), 1e-300)
    expected = two_multinomials(module.count_likelihood, counts * used, profiles)
    expected *= (np.minimum(depth, MAX_DEPTH) / np.maximum(depth, 1))[:, None]
    relative = scores.log_likelihood - scores.log_likelihood[:, :1]
    np.testing.assert_allclose(relative, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(scores.depth, np.minimum(depth, MAX_DEPTH))
    assert depth.max() > MAX_DEPTH
    assert scores.platform_log_sd == 0


def test_correction_fits_platform_factors_to_all_cells(module, counts):
    scores = score_cells(module, batched(counts, 10), N_OBS, PRESENT, platform_correction=True)
    likelihood = CountLikelihood(N_LABELS, N_GENES).double()
    likelihood.load_state_dict(module.count_likelihood.state_dict())
    x, used = torch.from_numpy(counts * used_genes()).double(), torch.from_numpy(used_genes()).double()
    query = likelihood, likelihood(x), depths_of(likelihood, x)
    factors = fit_platform(*query, x.sum(dim=0), used)
    log_likelihood, depth = platform_log_likelihood(*query, factors)
    np.testing.assert_allclose(scores.log_likelihood, log_likelihood, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(scores.depth, depth)
    assert scores.platform_log_sd == pytest.approx(factors[used > 0].log().std(correction=0).item(), rel=1e-4)
    assert scores.platform_log_sd > 0.1


def test_the_scores_depend_neither_on_the_batches_nor_on_the_order(module, counts):
    order = np.random.default_rng(1).permutation(N_OBS)
    first = score_cells(module, batched(counts, 4), N_OBS, PRESENT, platform_correction=True)
    second = score_cells(module, batched(counts[order], 9), N_OBS, PRESENT, platform_correction=True)
    for name in ("network", "log_likelihood", "depth"):
        np.testing.assert_allclose(getattr(first, name)[order], getattr(second, name), rtol=1e-5, atol=1e-6)


def test_a_query_without_any_gene_of_the_model_has_no_counts(module):
    batches = batched(np.zeros((3, N_GENES), dtype=np.float32), 2)
    scores = score_cells(module, batches, 3, np.zeros(N_GENES), platform_correction=True)
    assert not scores.depth.any()
    assert scores.platform_log_sd == 0
    assert scores.log_likelihood.isfinite().all()


@pytest.mark.parametrize("platform_correction", [False, True])
def test_probabilities_are_pooled_and_calibrated_scores(module, counts, platform_correction):
    settings = {"platform_correction": platform_correction}
    scores = score_cells(module, batched(counts, 10), N_OBS, PRESENT, **settings)
    raw = predict_probabilities(module, batched(counts, 10), N_OBS, PRESENT, calibrated=False, **settings)
    weights = module.count_likelihood.pool_weights.double()
    pooled = pool_log_scores(scores.network, scores.log_likelihood, scores.depth, weights).log_softmax(dim=1)
    assert raw.log_probabilities.dtype == np.float32
    np.testing.assert_allclose(raw.log_probabilities, pooled, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(raw.depth, scores.depth)
    assert raw.platform_log_sd == scores.platform_log_sd
    calibrated = predict_probabilities(module, batched(counts, 10), N_OBS, PRESENT, **settings)
    np.testing.assert_array_equal(calibrated.has_counts, np.arange(N_OBS) > 0)
    assert not calibrated.probabilities[0].any()
    for cell in range(1, N_OBS):
        expected = calibrated_by_hand(module.calibration, pooled[cell].numpy(), float(scores.depth[cell]))
        np.testing.assert_allclose(calibrated.probabilities[cell], expected, rtol=1e-3)


def test_an_unfitted_calibration_changes_no_probability(networks, counts):
    networks.calibration = Calibration(N_LABELS)
    batches = [batched(counts, 10) for _ in range(2)]
    raw, calibrated = (
        predict_probabilities(networks, b, N_OBS, PRESENT, platform_correction=False, calibrated=c)
        for b, c in zip(batches, (False, True), strict=True)
    )
    np.testing.assert_allclose(raw.log_probabilities, calibrated.log_probabilities, atol=1e-6)


def test_a_cell_without_counts_has_probabilities_of_zero():
    cells = CellProbabilities(np.log(np.full((2, 4), 0.25, dtype=np.float32)), np.array([0.0, 3.0]), 0.0)
    np.testing.assert_allclose(cells.probabilities, [[0] * 4, [0.25] * 4], rtol=1e-6)
    assert cells.probabilities.dtype == np.float32


def random_scores(n_obs: int, seed: int, *, with_counts: bool = True) -> BranchScores:
    rng = np.random.default_rng(seed)
    network, log_likelihood = (torch.from_numpy(rng.normal(size=(n_obs, 3))).log_softmax(dim=1) for _ in range(2))
    depth = torch.from_numpy(rng.integers(1, 500, n_obs).astype(float))
    return BranchScores(network, log_likelihood if with_counts else None, depth, 0.5)


def test_pooled_scores_are_log_probabilities():
    scores, weights = random_scores(6, 0), torch.randn(2, 2)
    pooled = scores.pool(weights)
    np.testing.assert_allclose(pooled.exp().sum(dim=1), 1)
    logits = pool_log_scores(scores.network, scores.log_likelihood, scores.depth, weights.double())
    torch.testing.assert_close(pooled, logits.log_softmax(dim=1))
    with pytest.raises(ValueError, match="`pool_weights` must be given"):
        scores.pool(None)


def test_without_a_likelihood_pooling_returns_the_classifiers_scores():
    scores = random_scores(6, 0, with_counts=False)
    assert scores.pool(None) is scores.network
    assert scores.pool(torch.zeros(2, 2)) is scores.network


@pytest.mark.parametrize("with_counts", [False, True])
@pytest.mark.parametrize("rows", [np.array([4, 0, 2]), np.arange(6) % 2 == 0], ids=["indices", "mask"])
def test_a_subset_has_the_scores_of_these_cells(rows, with_counts):
    scores = random_scores(6, 0, with_counts=with_counts)
    subset = scores.subset(rows)
    np.testing.assert_array_equal(subset.network, scores.network.numpy()[rows])
    np.testing.assert_array_equal(subset.depth, scores.depth.numpy()[rows])
    if with_counts:
        np.testing.assert_array_equal(subset.log_likelihood, scores.log_likelihood.numpy()[rows])
    else:
        assert subset.log_likelihood is None


@pytest.mark.parametrize("with_counts", [False, True])
def test_concatenated_subsets_are_the_whole(with_counts):
    scores = random_scores(6, 0, with_counts=with_counts)
    whole = BranchScores.concat([scores.subset(np.arange(2)), scores.subset(np.arange(2, 6))])
    torch.testing.assert_close(whole.network, scores.network)
    torch.testing.assert_close(whole.depth, scores.depth)
    if with_counts:
        torch.testing.assert_close(whole.log_likelihood, scores.log_likelihood)
    else:
        assert whole.log_likelihood is None
