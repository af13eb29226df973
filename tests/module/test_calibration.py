"""Calibration, against scipy and simulated cells."""

import numpy as np
import pytest
import torch
from conftest import calibrated_by_hand
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax

from hrca.metrics import calibration_error
from hrca.module._calibration import Calibration


def simulated(n: int, temperature=lambda depth: np.exp(0.5 + 0.2 * np.log(depth / 100)), seed: int = 0):
    """Cells that are overconfident by a temperature: log-probabilities, depth, true labels."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(np.log(10), np.log(2000), n))
    calibrated_scores = rng.normal(size=(n, 4)) * 2
    codes = np.array([rng.choice(4, p=row) for row in softmax(calibrated_scores, axis=1)])
    return log_softmax(calibrated_scores * temperature(depth)[:, None], axis=1), depth, codes


def fitted(log_probabilities, depth, codes, n_cells=None, by_label=False) -> Calibration:
    calibration = Calibration(log_probabilities.shape[1])
    cells = (torch.from_numpy(x) for x in (log_probabilities, depth, codes))
    calibration.fit(*cells, n_cells or len(codes), by_label=by_label)
    return calibration


def calibrated(calibration: Calibration, log_probabilities, depth) -> np.ndarray:
    return calibration(torch.from_numpy(log_probabilities), torch.from_numpy(depth)).numpy()


def test_without_a_fit_probabilities_stay_unchanged():
    log_probabilities, depth, _ = simulated(20)
    depth[:2] = 0, 1e9
    np.testing.assert_allclose(calibrated(Calibration(4), log_probabilities, depth), log_probabilities, atol=1e-12)


@pytest.mark.parametrize("by_label", [False, True])
def test_the_fit_is_the_minimum_that_scipy_finds(by_label):
    log_probabilities, depth, codes = simulated(300)
    ends = np.quantile(depth, [0.01, 0.99])
    x, highest = np.log(np.clip(depth, *ends) / 100), log_probabilities.max(axis=1)
    terms = np.column_stack([np.ones(300), x, x**2, highest, highest * x])
    codes[:30] = (codes[:30] + 1) % 4
    prior_sds = np.array([1, 0.3, 0.1, 0.5, 0.5, 2] + ([1.0] * 4 + [0.5] * 4 + [0.2] * 16) * by_label)

    def loss(parameters):
        bias = 0
        if by_label:
            coupled = np.maximum(log_probabilities, -8) @ parameters[14:].reshape(4, 4).T
            bias = parameters[6:10] + x[:, None] * parameters[10:14] + coupled
        scaled, rate = log_probabilities / np.exp(terms @ parameters[:5])[:, None] + bias, expit(parameters[5])
        likelihood = softmax(scaled, axis=1)[np.arange(300), codes]
        penalty = np.square((parameters - np.eye(len(prior_sds))[5] * -4) / prior_sds).sum()
        return -np.mean(np.log((1 - rate) * likelihood + rate / 4)) + penalty / 2 / 30

    calibration = fitted(log_probabilities, depth, codes, n_cells=30, by_label=by_label)
    own = [*calibration.temperature_coef.tolist(), logit(calibration.outlier_rate.item())]
    if by_label:
        own += calibration.dirichlet_bias.flatten().tolist() + calibration.dirichlet_weight.flatten().tolist()
    start = np.zeros(len(prior_sds))
    found = minimize(loss, start, method="BFGS", options={"gtol": 1e-8})
    assert loss(np.array(own)) < found.fun + 1e-6
    np.testing.assert_allclose(own, found.x, atol=0.02)
    assert by_label == bool(calibration.dirichlet_bias.any()) == bool(calibration.dirichlet_weight.any())
    np.testing.assert_allclose(calibration.depth_range, ends, rtol=1e-6)


def test_each_cell_is_calibrated_by_the_formula_of_decision_4():
    log_probabilities, depth, codes = simulated(300)
    codes[::3] = 2
    calibration = fitted(log_probabilities, depth, codes, by_label=True)
    depth[0], log_probabilities[1] = 1e6, log_softmax([0.0, -3.0, -20.0, -400.0])
    for first in (calibration.temperature_coef[0].item(), 5.0, -5.0):  # the last two beyond the bounds
        calibration.temperature_coef[0] = first
        expected = [calibrated_by_hand(calibration, row, n) for row, n in zip(log_probabilities, depth, strict=True)]
        np.testing.assert_allclose(np.exp(calibrated(calibration, log_probabilities, depth)), expected, rtol=1e-4)


def test_the_coupling_matrix_corrects_a_pair_of_confused_labels():
    calibrated_scores, depth, codes = simulated(20_000, temperature=lambda depth: np.ones_like(depth))
    # the difference between the first two labels is exaggerated
    overconfident = calibrated_scores.copy()
    overconfident[:, :2] += calibrated_scores[:, :2] - calibrated_scores[:, :2].mean(axis=1, keepdims=True)
    overconfident = log_softmax(overconfident, axis=1)
    errors = []
    for by_label in (False, True):
        calibration = fitted(overconfident, depth, codes, by_label=by_label)
        errors.append(np.abs(np.exp(calibrated(calibration, overconfident, depth)) - np.exp(calibrated_scores)).mean())
    assert errors[1] < 0.6 * errors[0]
    weight = calibration.dirichlet_weight
    assert min(weight[0, 1], weight[1, 0]) > 0.2 > weight[2:].abs().max()


def test_the_bias_corrects_a_label_that_is_predicted_too_often():
    calibrated_scores, depth, codes = simulated(20_000, temperature=lambda depth: np.ones_like(depth))
    shift = np.array([0.0, 0.0, 0.0, 1.0]) * (1 + 0.3 * np.log(depth / 100))[:, None]
    calibration = fitted(log_softmax(calibrated_scores + shift, axis=1), depth, codes, by_label=True)
    bias = calibration.dirichlet_bias - calibration.dirichlet_bias.mean(dim=1, keepdim=True)
    np.testing.assert_allclose(bias[0], [0.25, 0.25, 0.25, -0.75], atol=0.1)
    np.testing.assert_allclose(bias[1], 0.3 * np.array([0.25, 0.25, 0.25, -0.75]), atol=0.1)
    after = np.exp(calibrated(calibration, log_softmax(calibrated_scores + shift, axis=1), depth))
    assert calibration_error(codes, after.argmax(axis=1), after.max(axis=1)) < 0.015


def test_overconfidence_of_uncertain_cells_alone_is_corrected():
    calibrated_scores, depth, codes = simulated(20_000, temperature=lambda depth: np.ones_like(depth))
    highest = calibrated_scores.max(axis=1, keepdims=True)
    overconfident = log_softmax(
        calibrated_scores * (1 - 0.5 * highest), axis=1
    )  # the less confident, the more overconfident
    calibration = fitted(overconfident, depth, codes)
    before, after = np.exp(overconfident), np.exp(calibrated(calibration, overconfident, depth))
    errors = [calibration_error(codes, p.argmax(axis=1), p.max(axis=1)) for p in (before, after)]
    assert errors[1] < 0.02 < errors[0] / 2


def test_overconfidence_that_depends_on_depth_is_corrected():
    calibration = fitted(*simulated(20_000))
    np.testing.assert_allclose(calibration.temperature_coef, [0.5, 0.2, 0, 0, 0], atol=0.06)
    log_probabilities, depth, codes = simulated(20_000, seed=1)
    for deep in (True, False):
        cells = (depth > 200) == deep
        errors = []
        for scores in (log_probabilities, calibrated(calibration, log_probabilities, depth)):
            probabilities = np.exp(scores[cells])
            confidence, labels = probabilities.max(axis=1), probabilities.argmax(axis=1)
            errors.append(calibration_error(codes[cells], labels, confidence))
        assert errors[1] < 0.02 < errors[0]


@pytest.mark.parametrize("outlier_rate", [0.0, 0.15])
def test_the_outlier_rate_is_recovered(outlier_rate):
    log_probabilities, depth, codes = simulated(20_000)
    outliers = np.random.default_rng(2).random(len(codes)) < outlier_rate
    codes[outliers] = np.random.default_rng(3).integers(4, size=outliers.sum())
    calibration = fitted(log_probabilities, depth, codes)
    np.testing.assert_allclose(calibration.temperature_coef, [0.5, 0.2, 0, 0, 0], atol=0.12)
    np.testing.assert_allclose(calibration.outlier_rate, outlier_rate, atol=0.02)
    highest = 1 - 0.75 * calibration.outlier_rate.item()
    assert calibrated(calibration, log_probabilities, depth).max() <= np.log(highest) + 1e-6


def test_the_order_of_labels_stays_and_probabilities_sum_to_one():
    calibration = fitted(*simulated(200, temperature=lambda depth: np.exp(2 + 0 * depth)))
    log_probabilities, depth, _ = simulated(2000, seed=1)
    after = calibrated(calibration, log_probabilities, depth)
    np.testing.assert_array_equal(after.argsort(axis=1), log_probabilities.argsort(axis=1))
    np.testing.assert_allclose(np.exp(after).sum(axis=1), 1)


def test_few_cells_leave_the_coefficients_near_zero():
    log_probabilities, depth, codes = simulated(5, temperature=lambda depth: np.exp(2 + 0 * depth))
    few, many = (
        fitted(*(np.concatenate([x] * 100) for x in (log_probabilities, depth, codes)), n_cells=n).temperature_coef
        for n in (1, 500)
    )
    assert few.abs().sum() < many.abs().sum()
    assert few.abs().max() < 2


def test_beyond_the_depths_of_the_fit_the_temperature_is_constant():
    log_probabilities, depth, codes = simulated(500)
    calibration = fitted(log_probabilities, depth, codes)
    low, high = calibration.depth_range.double().numpy()
    row = log_probabilities[:1].repeat(4, axis=0)
    at = calibrated(calibration, row, np.array([1.0, low, high, 1e6]))
    np.testing.assert_allclose(at[0], at[1])
    np.testing.assert_allclose(at[2], at[3])
    assert np.abs(at[0] - at[3]).max() > 0.01
