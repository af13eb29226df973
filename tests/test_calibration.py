"""Temperature and stray labels, against scipy and simulated cells; that a trained model has them and keeps them."""

import copy

import numpy as np
import pytest
import torch
from conftest import QUIET, TINY, synthetic
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

import hrca
from hrca import _held_out
from hrca._calibration import Calibration
from hrca.metrics import calibration_error


def simulated(n: int, temperature=lambda depth: np.exp(0.5 + 0.2 * np.log(depth / 100)), seed: int = 0):
    """Cells that claim too much, by a temperature: log-probabilities, depth, true labels."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(np.log(10), np.log(2000), n))
    honest = rng.normal(size=(n, 4)) * 2
    codes = np.array([rng.choice(4, p=row) for row in softmax(honest, axis=1)])
    return log_softmax(honest * temperature(depth)[:, None], axis=1), depth, codes


def fitted(log_probabilities, depth, codes, n_cells=None) -> Calibration:
    calibration = Calibration()
    calibration.fit(*(torch.from_numpy(x) for x in (log_probabilities, depth, codes)), n_cells or len(codes))
    return calibration


def calibrated(calibration: Calibration, log_probabilities, depth) -> np.ndarray:
    return calibration(torch.from_numpy(log_probabilities), torch.from_numpy(depth)).numpy()


def test_without_a_fit_probabilities_stay_as_they_are():
    log_probabilities, depth, _ = simulated(20)
    depth[:2] = 0, 1e9
    np.testing.assert_allclose(calibrated(Calibration(), log_probabilities, depth), log_probabilities, atol=1e-12)


def test_the_fit_is_the_minimum_that_scipy_finds():
    log_probabilities, depth, codes = simulated(300)
    ends = np.quantile(depth, [0.01, 0.99])
    log_depth = np.log(np.clip(depth, *ends) / 100)

    codes[:30] = (codes[:30] + 1) % 4

    def loss(chosen):
        scaled, stray = log_probabilities / np.exp(chosen[0] + chosen[1] * log_depth)[:, None], expit(chosen[2])
        right = [softmax(row)[code] for row, code in zip(scaled, codes, strict=True)]
        prior = chosen[0] ** 2 + (chosen[1] / 0.3) ** 2 + ((chosen[2] + 4) / 2) ** 2
        return -np.mean(np.log((1 - stray) * np.array(right) + stray / 4)) + prior / 2 / 30

    calibration = fitted(log_probabilities, depth, codes, n_cells=30)
    expected = minimize(loss, [0, 0, -4], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}).x
    np.testing.assert_allclose(calibration.log_temperature, expected[:2], atol=1e-3)
    np.testing.assert_allclose(calibration.stray_share, expit(expected[2]), atol=1e-3)
    np.testing.assert_allclose(calibration.depth_range, ends, rtol=1e-6)


def test_cells_that_claim_too_much_by_depth_are_found_out():
    calibration = fitted(*simulated(20_000))
    np.testing.assert_allclose(calibration.log_temperature, [0.5, 0.2], atol=0.04)
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
    np.testing.assert_allclose(calibration.log_temperature, [0.5, 0.2], atol=0.05)
    np.testing.assert_allclose(calibration.stray_share, share, atol=0.02)
    highest = 1 - 0.75 * calibration.stray_share.item()
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
        fitted(*(np.concatenate([x] * 100) for x in (log_probabilities, depth, codes)), n_cells=n).log_temperature
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


@pytest.mark.parametrize("count_evidence", [True, False])
def test_a_training_teaches_the_temperature_on_held_out_cells(reference, count_evidence, monkeypatch, tmp_path):
    judge_cells, judged = _held_out.judge_cells, []

    def recorded(module, batches, n_obs, present, **settings):
        batches = list(batches)
        profiles = None if module.evidence is None else module.evidence.log_profiles.clone()
        judged.append((np.concatenate([counts for _, counts in batches]), settings, profiles))
        return judge_cells(module, iter(batches), n_obs, present, **settings)

    fit_weights, taught = _held_out.fit_weights, []

    def recorded_fit(network, log_likelihood, depth, codes, n_cells):
        taught.append(set(map(tuple, network[:n_cells].numpy().round(4))))
        return fit_weights(network, log_likelihood, depth, codes, n_cells)

    monkeypatch.setattr(_held_out, "judge_cells", recorded)
    monkeypatch.setattr(_held_out, "fit_weights", recorded_fit)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY, count_evidence=count_evidence)
    model.train(2, 10, train_size=0.7, lr=1e-2, **QUIET)
    held_out = model.split_["validation"]
    assert all(settings == {"match_platform": False, "calibrated": False} for _, settings, _ in judged)
    # each part of the held-out cells, as they are and nine times thinned
    assert len(judged) == (5 if count_evidence else 1)
    assert sum(len(counts) for counts, *_ in judged) == 10 * len(held_out)
    as_they_are = np.concatenate([counts[: len(counts) // 10] for counts, *_ in judged])
    assert sorted(map(tuple, as_they_are)) == sorted(map(tuple, reference.X[held_out].toarray()))
    if count_evidence:
        # a part is weighed by what the others taught, a query by what all did
        *parts, every = taught
        assert len(parts) == 5
        assert all(part < every for part in parts)
        assert set.intersection(*parts) == set()
        profiles = judged[0][2]
        assert (profiles != model.module.evidence.log_profiles).any()  # these know the held-out cells, those do not
    assert (model.module.calibration.log_temperature != 0).all()

    query = synthetic(40, seed=5)
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    probabilities = loaded.predict(query, soft=True).to_numpy()
    np.testing.assert_array_equal(probabilities, model.predict(query, soft=True).to_numpy())
    np.testing.assert_array_equal(query.obs["hrca_confidence"], probabilities.max(axis=1))
    # the same without calibration, then a temperature for each cell
    raw = copy.deepcopy(model)
    raw.module.calibration = Calibration()
    line, stray, (low, high) = (x.numpy() for x in model.module.calibration.buffers())
    depth = query.X.toarray().sum(axis=1)
    seen = np.minimum(depth, float(model.module.evidence.deepest)) if count_evidence else depth
    temperature = np.exp(line[0] + line[1] * np.log(np.clip(seen, low, high) / 100))
    explained = softmax(np.log(raw.predict(query, soft=True).to_numpy()) / temperature[:, None], axis=1)
    expected = (1 - stray) * explained + stray / len(model.labels)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def test_without_held_out_cells_there_is_no_temperature(reference):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    # nor that of an earlier training
    model.module.calibration.log_temperature.fill_(1.0)
    model.module.calibration.stray_share.fill_(0.5)
    model.train(1, 1, train_size=1.0, **QUIET)
    assert (model.module.calibration.log_temperature == 0).all()
    assert model.module.calibration.stray_share == 0
