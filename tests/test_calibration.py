"""Temperature, biases and stray labels, against scipy and simulated cells."""

import numpy as np
import pytest
import torch
from conftest import calibrated_by_hand
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax

from hrca.metrics import calibration_error
from hrca.module._calibration import Calibration


def simulated(n: int, temperature=lambda depth: np.exp(0.5 + 0.2 * np.log(depth / 100)), seed: int = 0):
    """Cells that claim too much, by a temperature: log-probabilities, depth, true labels."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(np.log(10), np.log(2000), n))
    honest = rng.normal(size=(n, 4)) * 2
    codes = np.array([rng.choice(4, p=row) for row in softmax(honest, axis=1)])
    return log_softmax(honest * temperature(depth)[:, None], axis=1), depth, codes


def fitted(log_probabilities, depth, codes, n_cells=None, by_label=False) -> Calibration:
    calibration = Calibration(log_probabilities.shape[1])
    cells = (torch.from_numpy(x) for x in (log_probabilities, depth, codes))
    calibration.fit(*cells, n_cells or len(codes), by_label=by_label)
    return calibration


def calibrated(calibration: Calibration, log_probabilities, depth) -> np.ndarray:
    return calibration(torch.from_numpy(log_probabilities), torch.from_numpy(depth)).numpy()


def test_without_a_fit_probabilities_stay_as_they_are():
    log_probabilities, depth, _ = simulated(20)
    depth[:2] = 0, 1e9
    np.testing.assert_allclose(calibrated(Calibration(4), log_probabilities, depth), log_probabilities, atol=1e-12)


@pytest.mark.parametrize("by_label", [False, True])
def test_the_fit_is_the_minimum_that_scipy_finds(by_label):
    log_probabilities, depth, codes = simulated(300)
    ends = np.quantile(depth, [0.01, 0.99])
    x, highest = np.log(np.clip(depth, *ends) / 100), log_probabilities.max(axis=1)
    known = np.column_stack([np.ones(300), x, x**2, highest, highest * x])
    codes[:30] = (codes[:30] + 1) % 4
    spreads = np.array([1, 0.3, 0.1, 0.5, 0.5, 2] + ([1.0] * 4 + [0.5] * 4 + [0.2] * 16) * by_label)

    def loss(chosen):
        bias = 0
        if by_label:
            drawn = np.maximum(log_probabilities, -8) @ chosen[14:].reshape(4, 4).T
            bias = chosen[6:10] + x[:, None] * chosen[10:14] + drawn
        scaled, stray = log_probabilities / np.exp(known @ chosen[:5])[:, None] + bias, expit(chosen[5])
        right = softmax(scaled, axis=1)[np.arange(300), codes]
        prior = np.square((chosen - np.eye(len(spreads))[5] * -4) / spreads).sum()
        return -np.mean(np.log((1 - stray) * right + stray / 4)) + prior / 2 / 30

    calibration = fitted(log_probabilities, depth, codes, n_cells=30, by_label=by_label)
    own = [*calibration.temperature_coef.tolist(), logit(calibration.outlier_rate.item())]
    own += (
        [*calibration.dirichlet_bias.flatten().tolist(), *calibration.dirichlet_weight.flatten().tolist()]
        if by_label
        else []
    )
    start = np.zeros(len(spreads))
    found = minimize(loss, start, method="BFGS", options={"gtol": 1e-8})
    assert loss(np.array(own)) < found.fun + 1e-6
    np.testing.assert_allclose(own, found.x, atol=0.02)
    assert by_label == bool(calibration.dirichlet_bias.any()) == bool(calibration.dirichlet_weight.any())
    np.testing.assert_allclose(calibration.depth_range, ends, rtol=1e-6)


def test_each_cell_is_calibrated_as_decision_4_says():
    log_probabilities, depth, codes = simulated(300)
    codes[::3] = 2
    calibration = fitted(log_probabilities, depth, codes, by_label=True)
    depth[0], log_probabilities[1] = 1e6, log_softmax([0.0, -3.0, -20.0, -400.0])
    for first in (calibration.temperature_coef[0].item(), 5.0, -5.0):  # the last two beyond what it may be
        calibration.temperature_coef[0] = first
        expected = [calibrated_by_hand(calibration, row, n) for row, n in zip(log_probabilities, depth, strict=True)]
        np.testing.assert_allclose(np.exp(calibrated(calibration, log_probabilities, depth)), expected, rtol=1e-4)


def test_labels_that_are_mistaken_for_one_another_draw_each_other():
    honest, depth, codes = simulated(20_000, temperature=lambda depth: np.ones_like(depth))
    # between the first two labels, too much is made of a difference
    claimed = honest.copy()
    claimed[:, :2] += honest[:, :2] - honest[:, :2].mean(axis=1, keepdims=True)
    claimed = log_softmax(claimed, axis=1)
    errors = []
    for by_label in (False, True):
        calibration = fitted(claimed, depth, codes, by_label=by_label)
        errors.append(np.abs(np.exp(calibrated(calibration, claimed, depth)) - np.exp(honest)).mean())
    assert errors[1] < 0.6 * errors[0]
    mixing = calibration.dirichlet_weight
    assert min(mixing[0, 1], mixing[1, 0]) > 0.2 > mixing[2:].abs().max()


def test_a_label_that_is_said_too_often_is_said_less():
    honest, depth, codes = simulated(20_000, temperature=lambda depth: np.ones_like(depth))
    shift = np.array([0.0, 0.0, 0.0, 1.0]) * (1 + 0.3 * np.log(depth / 100))[:, None]
    calibration = fitted(log_softmax(honest + shift, axis=1), depth, codes, by_label=True)
    bias = calibration.dirichlet_bias - calibration.dirichlet_bias.mean(dim=1, keepdim=True)
    np.testing.assert_allclose(bias[0], [0.25, 0.25, 0.25, -0.75], atol=0.1)
    np.testing.assert_allclose(bias[1], 0.3 * np.array([0.25, 0.25, 0.25, -0.75]), atol=0.1)
    after = np.exp(calibrated(calibration, log_softmax(honest + shift, axis=1), depth))
    assert calibration_error(codes, after.argmax(axis=1), after.max(axis=1)) < 0.015


def test_unsure_cells_may_claim_too_much_where_sure_ones_do_not():
    honest, depth, codes = simulated(20_000, temperature=lambda depth: np.ones_like(depth))
    highest = honest.max(axis=1, keepdims=True)
    claimed = log_softmax(honest * (1 - 0.5 * highest), axis=1)  # the less sure, the more too sure
    calibration = fitted(claimed, depth, codes)
    before, after = np.exp(claimed), np.exp(calibrated(calibration, claimed, depth))
    errors = [calibration_error(codes, said.argmax(axis=1), said.max(axis=1)) for said in (before, after)]
    assert errors[1] < 0.02 < errors[0] / 2


def test_cells_that_claim_too_much_by_depth_are_found_out():
    calibration = fitted(*simulated(20_000))
    np.testing.assert_allclose(calibration.temperature_coef, [0.5, 0.2, 0, 0, 0], atol=0.06)
    log_probabilities, depth, codes = simulated(20_000, seed=1)
    for deep in (True, False):
        cells = (depth > 200) == deep
        errors = []
        for said in (log_probabilities, calibrated(calibration, log_probabilities, depth)):
            said = np.exp(said[cells])
            errors.append(calibration_error(codes[cells], said.argmax(axis=1), said.max(axis=1)))
        assert errors[1] < 0.02 < errors[0]


@pytest.mark.parametrize("share", [0.0, 0.15])
def test_labels_that_nothing_explains_are_counted(share):
    log_probabilities, depth, codes = simulated(20_000)
    strays = np.random.default_rng(2).random(len(codes)) < share
    codes[strays] = np.random.default_rng(3).integers(4, size=strays.sum())
    calibration = fitted(log_probabilities, depth, codes)
    np.testing.assert_allclose(calibration.temperature_coef, [0.5, 0.2, 0, 0, 0], atol=0.12)
    np.testing.assert_allclose(calibration.outlier_rate, share, atol=0.02)
    highest = 1 - 0.75 * calibration.outlier_rate.item()
    assert calibrated(calibration, log_probabilities, depth).max() <= np.log(highest) + 1e-6


def test_the_labels_stay_as_they_are_and_probabilities_sum_to_one():
    calibration = fitted(*simulated(200, temperature=lambda depth: np.exp(2 + 0 * depth)))
    log_probabilities, depth, _ = simulated(2000, seed=1)
    after = calibrated(calibration, log_probabilities, depth)
    np.testing.assert_array_equal(after.argsort(axis=1), log_probabilities.argsort(axis=1))
    np.testing.assert_allclose(np.exp(after).sum(axis=1), 1)


def test_few_cells_teach_little():
    log_probabilities, depth, codes = simulated(5, temperature=lambda depth: np.exp(2 + 0 * depth))
    few, many = (
        fitted(*(np.concatenate([x] * 100) for x in (log_probabilities, depth, codes)), n_cells=n).temperature_coef
        for n in (1, 500)
    )
    assert few.abs().sum() < many.abs().sum()
    assert few.abs().max() < 2


def test_beyond_the_depths_that_taught_it_the_temperature_stays():
    log_probabilities, depth, codes = simulated(500)
    calibration = fitted(log_probabilities, depth, codes)
    low, high = calibration.depth_range.double().numpy()
    row = log_probabilities[:1].repeat(4, axis=0)
    at = calibrated(calibration, row, np.array([1.0, low, high, 1e6]))
    np.testing.assert_allclose(at[0], at[1])
    np.testing.assert_allclose(at[2], at[3])
    assert np.abs(at[0] - at[3]).max() > 0.01
