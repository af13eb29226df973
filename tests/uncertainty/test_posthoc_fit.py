"""Pooling weights, calibration and conformal scores that a training fits to held-out cells."""

import copy

import numpy as np
import pytest
import torch
from conftest import QUIET, TINY, calibrated_by_hand, synthetic
from scipy import sparse

import hrca
from hrca.data._reference_cells import ReferenceCells
from hrca.module._calibration import Calibration
from hrca.module._count_likelihood import fit_pool_weights, prior_pool_weights
from hrca.train._splitting import Split
from hrca.uncertainty import _held_out, _posthoc_fit
from hrca.uncertainty._conformal import aps_scores
from hrca.uncertainty._held_out import score_held_out
from hrca.uncertainty._posthoc_fit import fit_posthoc, novelty_reference_for


def set_up(adata, **settings) -> hrca.HRCA:
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY, **settings)


@pytest.fixture
def partly_labelled(reference):
    """A model of a reference of which a fifth has no label, and the labels."""
    labels = reference.obs["cell_type"].astype(object)
    labels.iloc[::5] = "Unknown"
    reference.obs["cell_type"] = labels
    return set_up(reference), labels.to_numpy()


@pytest.fixture
def recorded_fits(monkeypatch) -> list[dict]:
    """The arguments of each fit of pooling weights, in order."""
    fits = []

    def recorded(network, log_likelihood, depth, codes, n_cells):
        fits.append(
            {
                "network": network,
                "log_likelihood": log_likelihood,
                "depth": depth,
                "codes": codes,
                "n_cells": n_cells,
            }
        )
        return fit_pool_weights(network, log_likelihood, depth, codes, n_cells)

    monkeypatch.setattr(_posthoc_fit, "fit_pool_weights", recorded)
    return fits


def test_profiles_are_those_of_all_labelled_cells(partly_labelled):
    model, labels = partly_labelled
    model.train(2, pretrain_epochs=1, **QUIET)
    is_labelled, x = labels != "Unknown", model.adata.X.toarray()
    sums = np.stack([x[labels == label].sum(axis=0) for label in model.labels]).astype(float)
    mean = (sums / sums.sum(axis=1, keepdims=True)).mean(axis=0) + 0.01 / sums.sum() / x.shape[1]
    expected = sums + 0.3 * x.shape[1] * mean / mean.sum()
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.module.count_likelihood.log_profiles.exp(), expected, rtol=1e-5)
    trained_on = np.intersect1d(model.split_.train, np.flatnonzero(is_labelled))
    depth = x[trained_on].sum(axis=1)
    assert float(model.module.count_likelihood.max_depth) == pytest.approx(np.quantile(depth, 0.9))


def test_pooling_weights_are_fitted_to_labelled_held_out_cells(partly_labelled, recorded_fits):
    model, labels = partly_labelled
    model.train(2, pretrain_epochs=1, train_size=0.7, **QUIET)
    held_out, trained_on = (
        cells[labels[cells] != "Unknown"] for cells in (model.split_.validation, model.split_.train)
    )
    codes = np.array([model.labels.index(label) if label != "Unknown" else 3 for label in labels])
    reference = ReferenceCells(model.adata.X, codes, 3)
    expected = score_held_out(copy.deepcopy(model.module), reference, trained_on, held_out)
    fit = recorded_fits[-1]
    assert fit["n_cells"] == len(held_out) > 10
    np.testing.assert_array_equal(fit["codes"], np.tile(codes[held_out], 10))
    for name in ("network", "log_likelihood", "depth"):
        torch.testing.assert_close(fit[name], getattr(expected.scores_for_weights, name))
    weights = model.module.count_likelihood.pool_weights
    np.testing.assert_allclose(weights, fit_pool_weights(**fit), rtol=1e-6, err_msg="the fitted weights are not kept")
    assert (weights != prior_pool_weights()).any()


def test_without_held_out_cells_pooling_weights_are_the_prior(reference):
    model = set_up(reference)
    model.train(1, pretrain_epochs=1, train_size=1.0, **QUIET)
    assert model.module.count_likelihood.is_fitted
    np.testing.assert_array_equal(model.module.count_likelihood.pool_weights, prior_pool_weights())


def test_a_second_training_fits_its_own_weights(reference):
    model = set_up(reference)
    model.train(1, pretrain_epochs=1, **QUIET)
    count_likelihood = model.module.count_likelihood
    weights, profiles = count_likelihood.pool_weights.clone(), count_likelihood.log_profiles.clone()
    model.finetune(5, lr=1e-2, **QUIET)
    assert (model.module.count_likelihood.pool_weights != weights).any()
    np.testing.assert_array_equal(model.module.count_likelihood.log_profiles, profiles)


@pytest.mark.parametrize("count_likelihood", [True, False])
def test_the_calibration_is_fitted_to_held_out_cells(reference, count_likelihood, recorded_fits, monkeypatch, tmp_path):
    score_cells, calls = _held_out.score_cells, []

    def recorded(module, batches, present):
        batches = list(batches)
        profiles = None if module.count_likelihood is None else module.count_likelihood.log_profiles.clone()
        calls.append((sparse.vstack([counts for _, counts in batches]).toarray(), profiles))
        return score_cells(module, iter(batches), present)

    monkeypatch.setattr(_held_out, "score_cells", recorded)
    model = set_up(reference, count_likelihood=count_likelihood)
    model.train(10, pretrain_epochs=2, train_size=0.7, lr=1e-2, **QUIET)
    held_out = model.split_.validation
    ((counts, profiles),) = calls
    # the held-out cells as they are, and nine times thinned, down to 3 counts
    counts = counts.reshape(10, len(held_out), -1)
    np.testing.assert_array_equal(counts[0], reference.X[held_out].toarray())
    depths = counts.sum(axis=2)
    assert depths[1:].min() < 10
    # log-uniform between its own counts and 3: as many below the geometric mean as above
    assert (depths[1:] < np.sqrt(3 * depths[0])).mean() == pytest.approx(0.5, abs=0.1)
    if count_likelihood:
        # a part is pooled with weights that the others taught, a query with weights of all
        *parts, every = [set(map(tuple, fit["network"][: fit["n_cells"]].numpy().round(4))) for fit in recorded_fits]
        assert len(parts) == 5
        assert all(part < every for part in parts)
        assert set.intersection(*parts) == set()
        # the final profiles include the held-out cells, those of the scores do not
        assert (profiles != model.module.count_likelihood.log_profiles).any()
    assert (model.module.calibration.temperature_coef != 0).all()
    check_calibrated_by_hand(model, tmp_path / "model")


def check_calibrated_by_hand(model: hrca.HRCA, folder) -> None:
    """A saved and loaded model predicts the same, and as the calibration of decision 4, applied cell by cell."""
    query = synthetic(40, seed=5)
    model.save(folder)
    probabilities = hrca.HRCA.load(folder).predict(query, soft=True).to_numpy()
    np.testing.assert_array_equal(probabilities, model.predict(query, soft=True).to_numpy())
    np.testing.assert_array_equal(query.obs["hrca_confidence"], probabilities.max(axis=1))
    uncalibrated = copy.deepcopy(model)
    uncalibrated.module.calibration = Calibration(len(model.labels))
    depth, count_likelihood = query.X.toarray().sum(axis=1), model.module.count_likelihood
    if count_likelihood is not None:
        depth = np.minimum(depth, float(count_likelihood.max_depth))
    log_probabilities = np.log(uncalibrated.predict(query, soft=True).to_numpy())
    cells = zip(log_probabilities, depth, strict=True)
    expected = [calibrated_by_hand(model.module.calibration, *cell) for cell in cells]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def test_without_held_out_cells_the_calibration_is_the_identity(reference):
    model = set_up(reference)
    # of an earlier training
    model.module.calibration.temperature_coef.fill_(1.0)
    model.module.calibration.outlier_rate.fill_(0.5)
    model.train(1, pretrain_epochs=1, train_size=1.0, **QUIET)
    assert (model.module.calibration.temperature_coef == 0).all()
    assert model.module.calibration.outlier_rate == 0
    assert model.conformal_scores_ is None


def untrained(**settings) -> tuple[hrca.HRCA, ReferenceCells, Split]:
    model = set_up(synthetic(120), **settings)
    reference = ReferenceCells(model.adata.X, np.arange(120) % 3, 3)
    validation = np.arange(0, 120, 4)
    return model, reference, Split(0.75, np.setdiff1d(np.arange(120), validation), validation, "digest")


@pytest.mark.parametrize("count_likelihood", [True, False])
def test_the_returned_fit_is_the_one_in_the_module(count_likelihood):
    model, reference, split = untrained(count_likelihood=count_likelihood)
    module = model.module
    fit = fit_posthoc(module, reference, split)
    for name, values in fit.calibration.state_dict().items():
        torch.testing.assert_close(module.calibration.state_dict()[name], values, rtol=0, atol=0)
    if count_likelihood:
        torch.testing.assert_close(module.count_likelihood.pool_weights, fit.pool_weights, rtol=0, atol=0)
    else:
        assert fit.pool_weights is None
    conformal = fit.conformal_scores
    np.testing.assert_array_equal(np.unique(conformal.cells), split.validation)
    np.testing.assert_array_equal(conformal.codes, reference.codes[conformal.cells])
    np.testing.assert_allclose(conformal.probabilities.sum(axis=1), 1, rtol=1e-5)
    # a score lies between those of the lowest and the highest random number
    rows = np.arange(len(conformal.codes)), conformal.codes
    for bound, sign in ((np.zeros(len(rows[0])), 1), (np.ones(len(rows[0])), -1)):
        assert (sign * (conformal.scores - aps_scores(conformal.probabilities, bound)[rows]) > -1e-5).all()


def test_scores_of_folds_replace_those_of_validation_cells():
    model, reference, split = untrained()
    folds = [np.arange(fold, 120, 3) for fold in range(3)]
    fold_scores = [
        score_held_out(copy.deepcopy(model.module), reference, np.setdiff1d(np.arange(120), cells), cells)
        for cells in folds
    ]
    without = fit_posthoc(copy.deepcopy(model.module), reference, split)
    fit = fit_posthoc(model.module, reference, split, fold_scores)
    np.testing.assert_array_equal(np.unique(fit.conformal_scores.cells), np.arange(120))
    assert fit.calibration.dirichlet_bias.any()
    assert not without.calibration.dirichlet_bias.any()
    depth = reference.counts[split.train].toarray().sum(axis=1)
    assert float(model.module.count_likelihood.max_depth) == pytest.approx(np.quantile(depth, 0.9))


def test_unlabelled_validation_cells_are_left_out():
    model, reference, split = untrained()
    codes = reference.codes.copy()
    codes[split.validation[:10]] = 3
    fit = fit_posthoc(model.module, ReferenceCells(reference.counts, codes, 3), split)
    np.testing.assert_array_equal(np.unique(fit.conformal_scores.cells), split.validation[10:])


def test_the_reference_of_novelty_has_the_labelled_cells():
    model, reference, _ = untrained()
    codes = np.where(np.arange(120) < 20, 3, reference.codes)
    novelty_reference = novelty_reference_for(model.module, ReferenceCells(reference.counts, codes, 3))
    x = reference.counts.toarray()
    np.testing.assert_array_equal(novelty_reference.counts.toarray(), x[20:])
    np.testing.assert_array_equal(novelty_reference.codes, codes[20:])
    assert novelty_reference.max_depth == pytest.approx(np.quantile(x[20:].sum(axis=1), 0.9))


def test_a_part_of_many_held_out_cells_is_scored_and_all_cells_make_the_profiles(reference, monkeypatch, recorded_fits):
    monkeypatch.setattr(_posthoc_fit, "MAX_VALIDATION_CELLS", 9)
    model = set_up(reference)
    model.train(1, pretrain_epochs=1, train_size=0.5, **QUIET)
    assert len(model.split_.validation) > 40
    assert recorded_fits[-1]["n_cells"] == 9
    assert np.bincount(recorded_fits[-1]["codes"]).tolist() == [30, 30, 30]
    x, labels = model.adata.X.toarray(), model.adata.obs["cell_type"].to_numpy()
    sums = np.stack([x[labels == label].sum(axis=0) for label in model.labels])
    np.testing.assert_array_equal(model.novelty_reference_.sums, sums)
