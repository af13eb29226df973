"""Scores of held-out cells, against NumPy: profiles, likelihoods, averaged draws, distribution of the depths."""

import numpy as np
import pytest
import scvi
import torch
from conftest import TINY, synthetic
from scipy import sparse
from scipy.special import log_softmax
from simulated import thinned_draws

import hrca
from hrca.data._reference_cells import ReferenceCells
from hrca.module._module import HRCAModule
from hrca.uncertainty import _held_out
from hrca.uncertainty._held_out import HeldOutScores, max_network_depth, score_held_out

N_OBS, N_LABELS = 120, 3
HELD_OUT = np.arange(0, N_OBS, 4)


def untrained_module(**settings) -> HRCAModule:
    """A module with the random weights of one seed."""
    scvi.settings.seed = 0
    adata = synthetic(N_OBS)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY, **settings).module


@pytest.fixture
def module() -> HRCAModule:
    return untrained_module()


@pytest.fixture
def reference() -> ReferenceCells:
    """Cells of which a tenth has no label."""
    codes = np.arange(N_OBS) % N_LABELS
    codes[5::10] = N_LABELS
    return ReferenceCells(synthetic(N_OBS).X, codes, N_LABELS)


@pytest.fixture
def train(reference) -> np.ndarray:
    return np.setdiff1d(reference.labelled, HELD_OUT)


@pytest.fixture
def batches(monkeypatch) -> dict[str, np.ndarray]:
    """The counts that were scored for weights and for the calibration, filled by :func:`score_held_out`."""
    thinned_batches, seen = _held_out._thinned_batches, {}

    def recorded(module, counts, min_depth):
        parts = [counts for _, counts in thinned_batches(module, counts, min_depth)]
        seen["weights" if min_depth == 10 else "calibration"] = np.concatenate(parts)
        return thinned_batches(module, counts, min_depth)

    monkeypatch.setattr(_held_out, "_thinned_batches", recorded)
    return seen


def profiles_by_hand(x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Profiles of the labels, smoothed towards the mean of all labels' fractions (docs/decisions/0003)."""
    sums = np.stack([x[codes == label].sum(axis=0) for label in range(N_LABELS)]).astype(float)
    mean = (sums / sums.sum(axis=1, keepdims=True)).mean(axis=0) + 0.01 / sums.sum() / x.shape[1]
    smoothed = sums + 0.3 * x.shape[1] * mean / mean.sum()
    return smoothed / smoothed.sum(axis=1, keepdims=True)


def log_likelihood_by_hand(x: np.ndarray, profiles: np.ndarray, is_informative: np.ndarray) -> np.ndarray:
    """Weighted mean of two multinomial log-likelihoods: of all genes, and of the informative ones among themselves."""
    depth, result = x.sum(axis=1), np.zeros((len(x), N_LABELS))
    for genes, weight in ((slice(None), 1 / (1 + depth / 100)), (is_informative, 1 - 1 / (1 + depth / 100))):
        among = profiles[:, genes] / profiles[:, genes].sum(axis=1, keepdims=True)
        result += weight[:, None] * (x[:, genes] @ np.log(among).T)
    return result


def classify(module: HRCAModule, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return log_softmax(module.classify(torch.from_numpy(x)).double().numpy(), axis=1)


def test_each_cell_has_a_row_at_ten_depths(module, reference, train, batches):
    held_out = np.intersect1d(HELD_OUT, reference.labelled)
    scores = score_held_out(module, reference, train, held_out)
    np.testing.assert_array_equal(scores.cells.reshape(10, -1), np.tile(held_out, (10, 1)))
    np.testing.assert_array_equal(scores.codes, reference.codes[scores.cells])
    assert scores.n_cells == len(held_out)
    x = reference.counts[held_out].toarray()
    for counts in batches.values():
        counts = counts.reshape(10, *x.shape)
        np.testing.assert_array_equal(counts[0], x)
        assert (counts[1:] <= x).all()
        # thinning keeps each count with the same probability: the fractions of the genes stay
        by_gene = counts[1:].sum(axis=(0, 1)) / counts[1:].sum()
        np.testing.assert_allclose(by_gene, x.sum(axis=0) / x.sum(), atol=0.01)


@pytest.mark.parametrize(("scores_for", "min_depth"), [("weights", 10), ("calibration", 3)])
def test_depths_are_log_uniform_between_a_minimum_and_the_cells_own(
    module, reference, train, batches, scores_for, min_depth
):
    score_held_out(module, reference, train, HELD_OUT)
    depth = batches[scores_for].reshape(10, len(HELD_OUT), -1).sum(axis=2)
    position = np.log(depth[1:].clip(1) / min_depth) / np.log(depth[0] / min_depth)
    np.testing.assert_allclose(np.quantile(position, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)


def test_depths_are_drawn_from_those_of_a_matched_query(module, reference, train, batches):
    gene_mask = (np.arange(60) < 45).astype(np.float32)
    module.set_query_match(gene_mask, np.linspace(20, 30, 101).astype(np.float32))
    score_held_out(module, reference, train, HELD_OUT)
    for counts in batches.values():
        assert (counts[:, 45:] == 0).all()
        depth = counts.reshape(10, len(HELD_OUT), -1).sum(axis=2)
        deep = depth[0] > 30
        assert deep.sum() > 20
        assert depth[1:, deep].mean() == pytest.approx(25, abs=1)


def test_scores_for_weights_are_those_of_network_and_profiles_without_the_held_out_cells(
    module, reference, train, batches
):
    scores = score_held_out(module, reference, train, HELD_OUT).scores_for_weights
    x, is_informative = batches["weights"], module.count_likelihood.is_informative.numpy() > 0
    assert 0 < is_informative.sum() < 60
    profiles = profiles_by_hand(reference.counts[train].toarray(), reference.codes[train])
    np.testing.assert_allclose(scores.network, classify(module, x), atol=1e-4)
    np.testing.assert_allclose(scores.log_likelihood, log_likelihood_by_hand(x, profiles, is_informative), rtol=1e-4)
    np.testing.assert_array_equal(scores.depth, x.sum(axis=1))


def test_scores_for_the_calibration_are_those_of_a_query(module, reference, train, batches):
    scores = score_held_out(module, reference, train, HELD_OUT).scores_for_calibration
    x, is_informative = batches["calibration"], module.count_likelihood.is_informative.numpy() > 0
    depth, max_depth = x.sum(axis=1), np.quantile(reference.counts[train].toarray().sum(axis=1), 0.9)
    assert float(module.count_likelihood.max_depth) == pytest.approx(max_depth)
    profiles = profiles_by_hand(reference.counts[train].toarray(), reference.codes[train])
    expected = log_likelihood_by_hand(x, profiles, is_informative) * np.minimum(max_depth / depth.clip(1), 1)[:, None]
    np.testing.assert_allclose(scores.log_likelihood, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores.depth, np.minimum(depth, max_depth), rtol=1e-6)
    # deeper cells than nine tenths of the training cells: the mean of thinned draws
    deep = depth > max_depth
    assert 0 < deep.sum() < len(deep) / 2
    np.testing.assert_allclose(scores.network[~deep], classify(module, x[~deep]), atol=1e-4)
    draws = thinned_draws(torch.from_numpy(x[deep]), float(module.count_likelihood.max_depth)).numpy()
    np.testing.assert_allclose(
        scores.network[deep], np.mean([classify(module, draw) for draw in draws], axis=0), atol=1e-4
    )


def test_held_out_cells_do_not_contribute_to_profiles(module, reference, train):
    score_held_out(module, reference, train, HELD_OUT)
    profiles = module.count_likelihood.log_profiles.clone()
    expected = profiles_by_hand(reference.counts[train].toarray(), reference.codes[train])
    np.testing.assert_allclose(profiles.exp(), expected, rtol=1e-5)
    x = reference.counts.toarray()
    x[HELD_OUT] = 7
    score_held_out(module, ReferenceCells(x, reference.codes, N_LABELS), train, HELD_OUT)
    np.testing.assert_array_equal(module.count_likelihood.log_profiles, profiles)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_scores_do_not_depend_on_the_container(module, reference, train, container):
    expected = score_held_out(module, reference, train, HELD_OUT)
    dense = ReferenceCells(container(reference.counts.toarray()), reference.codes, N_LABELS)
    scores = score_held_out(module, dense, train, HELD_OUT)
    for name in ("network", "log_likelihood", "depth"):
        for branch in ("scores_for_weights", "scores_for_calibration"):
            torch.testing.assert_close(getattr(getattr(scores, branch), name), getattr(getattr(expected, branch), name))


def test_without_a_count_likelihood_only_the_network_is_scored(reference, train):
    module = untrained_module(count_likelihood=False)
    scores = score_held_out(module, reference, train, HELD_OUT)
    assert scores.scores_for_weights is None
    assert scores.scores_for_calibration.log_likelihood is None
    x = reference.counts[HELD_OUT].toarray()
    np.testing.assert_allclose(scores.scores_for_calibration.network[: len(x)], classify(module, x), atol=1e-4)
    parts = [scores.subset(scores.cells % 8 == 0), scores.subset(scores.cells % 8 == 4)]
    assert HeldOutScores.concat(parts).scores_for_weights is None


def test_subsets_are_concatenated_in_all_attributes(module, reference, train):
    scores = score_held_out(module, reference, train, HELD_OUT)
    order = np.argsort(scores.cells % 8 == 0, kind="stable")
    joined = HeldOutScores.concat([scores.subset(scores.cells % 8 != 0), scores.subset(scores.cells % 8 == 0)])
    np.testing.assert_array_equal(joined.cells, scores.cells[order])
    np.testing.assert_array_equal(joined.codes, scores.codes[order])
    for branch in ("scores_for_weights", "scores_for_calibration"):
        for name in ("network", "log_likelihood", "depth"):
            expected = getattr(getattr(scores, branch), name)[order]
            torch.testing.assert_close(getattr(getattr(joined, branch), name), expected)


@pytest.mark.parametrize("empty_first", [True, False])
def test_a_part_without_cells_adds_nothing(module, reference, train, empty_first):
    scores = score_held_out(module, reference, train, HELD_OUT)
    empty = score_held_out(module, reference, train, np.zeros(0, dtype=int))
    assert len(empty.cells) == len(empty.scores_for_calibration.depth) == 0
    joined = HeldOutScores.concat([empty, scores] if empty_first else [scores, empty])
    np.testing.assert_array_equal(joined.cells, scores.cells)
    torch.testing.assert_close(joined.scores_for_weights.log_likelihood, scores.scores_for_weights.log_likelihood)


def test_the_maximum_depth_is_a_quantile_of_counts_on_the_genes_used(module, reference):
    module.gene_mask[20:] = 0
    depth = reference.counts[:, :20].toarray().sum(axis=1)
    assert max_network_depth(module, reference.counts, np.arange(50)) == pytest.approx(np.quantile(depth[:50], 0.9))
    assert max_network_depth(module, 0 * reference.counts, np.arange(50)) == 1
