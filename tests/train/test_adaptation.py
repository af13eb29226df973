"""Adaptation to a query: what the batches hold, what is trained, what stays as it was."""

import copy

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from conftest import QUIET, TINY, synthetic
from lightning.pytorch.callbacks import Callback
from scipy import sparse
from scvi import REGISTRY_KEYS
from simulated import network_scores

import hrca
from hrca._warnings import DoubtfulPredictionWarning, warn_user
from hrca.data._alignment import GeneAlignment, make_selector
from hrca.data._batches import aligned_batches
from hrca.model import _training_steps
from hrca.module._calibration import Calibration
from hrca.module._losses import smoothed_cross_entropy
from hrca.module._module import TARGETS_KEY
from hrca.prediction._probabilities import CellProbabilities, PredictionSettings
from hrca.train import _adaptation
from hrca.train._adaptation import (
    MixedBatches,
    SoftLabelledCells,
    gather_cells,
    query_targets,
    reason_not_to_adapt,
    reason_to_discard,
    reference_targets,
)
from hrca.train._trainingplans import AdaptPlan

ADAPT = {"select": False, "max_steps": 5, "batch_size": 16, **QUIET}


@pytest.fixture
def query(query) -> ad.AnnData:
    """Conftest's query at a fifth of its depth, so that no cell is beyond doubt; the cell 5 is still empty."""
    query.X.data = np.random.default_rng(5).binomial(query.X.data.astype(int), 0.2).astype(np.float32)
    query.X.eliminate_zeros()
    return query


def soft(model, adata, **kwargs) -> np.ndarray:
    return model.predict(adata, soft=True, key_added=None, **kwargs).to_numpy()


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def aligned(model, adata) -> np.ndarray:
    """The oracle of alignment: pandas."""
    frame = pd.DataFrame(adata.X.toarray(), columns=adata.var_names)
    return frame.reindex(columns=model.gene_names, fill_value=0).to_numpy(dtype=np.float32)


# Batches -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_cells_are_taken_dense_in_the_order_asked_for(container, dtype):
    counts = np.random.default_rng(0).poisson(2.0, (6, 4)).astype(dtype)
    targets = np.random.default_rng(1).dirichlet(np.ones(3), 6).astype(np.float32)
    rows = np.array([4, 0, 4])
    taken = SoftLabelledCells(container(counts), targets).take(rows)
    assert set(taken) == {REGISTRY_KEYS.X_KEY, TARGETS_KEY}
    assert all(value.dtype == torch.float32 for value in taken.values())
    np.testing.assert_array_equal(taken[REGISTRY_KEYS.X_KEY], counts[rows])
    np.testing.assert_array_equal(taken[TARGETS_KEY], targets[rows])


@pytest.mark.parametrize("n_labels", [2, 7])
def test_reference_targets_are_the_smoothed_labels_of_fine_tuning(n_labels):
    codes = np.random.default_rng(0).integers(n_labels, size=20)
    targets = reference_targets(codes, n_labels, 0.1)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(targets.argmax(axis=1), codes)
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(20, n_labels))).float()
    cross_entropy = -(torch.from_numpy(targets) * logits.log_softmax(dim=1)).sum(dim=1).mean()
    expected = smoothed_cross_entropy(logits, torch.from_numpy(codes), 0.1)
    assert float(cross_entropy) == pytest.approx(float(expected), rel=1e-6)


def test_query_targets_weigh_each_cell_by_its_confidence():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], dtype=np.float32)
    targets = query_targets(probabilities)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[0.25, 0.125, 0.125], [0, 1, 0]])


def mixed(seed=0, **kwargs) -> list[dict[str, torch.Tensor]]:
    """Reference cells of 1 count for the label 0, query cells of 2 for the label 1; the second gene is the cell."""
    parts = [
        SoftLabelledCells(
            np.column_stack([np.full(n_obs, which + 1.0), np.arange(n_obs)]),
            reference_targets(np.full(n_obs, which), 2, 0.0),
        )
        for which, n_obs in enumerate((30, 40))
    ]
    settings = {"batch_size": 8, "n_steps": 50, **kwargs}
    return list(MixedBatches(*parts, seed=seed, **settings).train_dataloader())


@pytest.mark.parametrize(("batch_size", "n_steps"), [(8, 50), (4, 1)])
def test_batches_are_half_reference_and_half_query(batch_size, n_steps):
    batches = mixed(batch_size=batch_size, n_steps=n_steps)
    assert len(batches) == n_steps
    for batch in batches:
        origin = batch[REGISTRY_KEYS.X_KEY][:, 0]
        assert len(origin) == batch_size
        assert (origin == 1).sum() == (origin == 2).sum() == batch_size // 2
        # each cell beside its own targets
        np.testing.assert_array_equal(batch[TARGETS_KEY].argmax(dim=1), origin - 1)


def test_every_cell_of_both_sides_is_drawn_sooner_or_later():
    drawn = torch.cat([batch[REGISTRY_KEYS.X_KEY] for batch in mixed(n_steps=100)])
    for which, n_obs in enumerate((30, 40)):
        assert set(drawn[drawn[:, 0] == which + 1, 1].tolist()) == set(range(n_obs))


def test_batches_are_the_same_by_seed():
    first, again, other = (
        torch.stack([batch[REGISTRY_KEYS.X_KEY] for batch in mixed(seed=seed)]) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_collected_cells_are_sparse_aligned_and_in_order(query):
    genes = pd.Index([f"gene{i}" for i in range(60)])
    chosen = np.random.default_rng(0).random(query.n_obs) < 0.4
    chosen[10:20] = False  # a batch without any
    source = query.var_names.get_indexer(genes)
    match = GeneAlignment(make_selector(source, query.n_vars), source >= 0)
    batches = aligned_batches(query.X, match, batch_size=10, source="X")
    collected = gather_cells(batches, chosen)
    assert isinstance(collected, sparse.csr_array)
    expected = pd.DataFrame(query.X.toarray(), columns=query.var_names).reindex(columns=genes, fill_value=0)
    np.testing.assert_array_equal(collected.toarray(), expected.to_numpy()[chosen])


# Training ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def given(monkeypatch) -> list[tuple[SoftLabelledCells, SoftLabelledCells]]:
    """Reference and query as `adapt` hands them to the batches."""
    seen = []

    class Recorded(MixedBatches):
        def __init__(self, reference, query, **kwargs):
            seen.append((reference, query))
            super().__init__(reference, query, **kwargs)

    monkeypatch.setattr(_adaptation, "MixedBatches", Recorded)
    return seen


def test_the_query_is_trained_on_as_the_model_judges_it_before_calibration(tiny_model, query, given):
    tiny_model.adapt(query, **ADAPT)
    reference_cells, query_cells = given[0]
    judged = np.arange(query.n_obs) != 5  # the empty cell
    np.testing.assert_array_equal(query_cells.counts.toarray(), aligned(tiny_model, query)[judged])
    raw = copy.copy(tiny_model)
    raw.module = copy.deepcopy(tiny_model.module)
    raw.module.calibration = Calibration(len(raw.labels))
    probabilities = soft(raw, query)[judged]
    np.testing.assert_allclose(query_cells.targets, probabilities * probabilities.max(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(reference_cells.counts.toarray(), tiny_model.adata.X.toarray())
    labels = np.asarray(tiny_model.labels)[reference_cells.targets.argmax(axis=1)]
    np.testing.assert_array_equal(labels, tiny_model.adata.obs["cell_type"])
    np.testing.assert_allclose(reference_cells.targets.max(axis=1), 0.9)


def test_reference_cells_without_a_label_take_no_part(reference, query, given):
    labels = reference.obs["cell_type"].astype(object)
    labels.iloc[::4] = "Unknown"
    reference.obs["cell_type"] = labels
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    model.adapt(query, **ADAPT)
    np.testing.assert_array_equal(given[0][0].counts.toarray(), reference.X.toarray()[labels != "Unknown"])


def test_of_a_large_query_cells_are_drawn(tiny_model, query, given, monkeypatch):
    monkeypatch.setattr(_adaptation, "MAX_ADAPTED_CELLS", 10)
    for seed in (0, 0, 1):
        scvi.settings.seed = seed
        tiny_model.adapt(query, **ADAPT)
    first, again, other = (query_cells.counts.toarray() for _, query_cells in given)
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape == (10, 60)
    assert (first != other).any()
    # some of the query's cells that have counts, in its order, each once
    cells = [tuple(cell) for cell in aligned(tiny_model, query)]
    positions = [cells.index(tuple(cell)) for cell in first]
    assert positions == sorted(set(positions))
    assert 5 not in positions


def test_the_original_stays_as_it_is(tiny_model, query):
    before, model_id = state(tiny_model.module), tiny_model.model_id_
    history = {name: frame.copy() for name, frame in tiny_model.history.items()}
    predicted, matrix = soft(tiny_model, query), query.X.copy()
    adapted = tiny_model.adapt(query, **ADAPT)
    after = state(tiny_model.module)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert tiny_model.model_id_ == model_id != adapted.model_id_
    assert set(tiny_model.history) == set(history)
    for name, frame in tiny_model.history.items():
        pd.testing.assert_frame_equal(frame, history[name])
    np.testing.assert_array_equal(soft(tiny_model, query), predicted)
    assert not tiny_model.module.training
    assert all(parameter.requires_grad for parameter in tiny_model.module.parameters())
    assert not (query.X != matrix).nnz
    assert not query.uns
    assert not list(query.obs)


def test_the_adapted_model_has_trained_both_networks_and_predicts(tiny_model, query):
    adapted = tiny_model.adapt(query, **ADAPT)
    before, after = dict(tiny_model.module.named_parameters()), dict(adapted.module.named_parameters())
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    for name in ("log_profiles", "pool_weights", "max_depth"):
        assert torch.equal(
            getattr(adapted.module.count_likelihood, name), getattr(tiny_model.module.count_likelihood, name)
        )
    assert isinstance(adapted, hrca.HRCA)
    assert adapted.module.is_adapted
    assert not tiny_model.module.is_adapted
    assert not adapted.module.training
    assert adapted.labels == tiny_model.labels
    labels = adapted.predict(query)
    assert query.uns["hrca"]["model_id"] == adapted.model_id_
    assert (labels == "Unknown").sum() == 1
    assert np.abs(soft(adapted, query) - soft(tiny_model, query)).max() > 1e-4
    assert set(tiny_model.history) < set(adapted.history)
    new = {"adapt_train_loss", "adapt_train_reconstruction_loss", "adapt_train_classification_loss", "adapt_lr"}
    assert new <= set(adapted.history)
    assert np.isfinite(adapted.history["adapt_train_loss"].to_numpy()).all()


def test_adaptation_is_reproducible_by_seed(tiny_model, query):
    probabilities = []
    for seed in (3, 3, 4):
        scvi.settings.seed = seed
        probabilities.append(soft(tiny_model.adapt(query, **ADAPT), query))
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    assert np.abs(probabilities[0] - probabilities[2]).max() > 1e-4


class Steps:
    """The learning rates of each step, and its batch."""

    def __init__(self, monkeypatch):
        self.rates, self.sizes, training_step = [], [], AdaptPlan.training_step

        def recorded(plan, batch, *args, **kwargs):
            self.rates.append([group["lr"] for group in plan.trainer.optimizers[0].param_groups])
            self.sizes.append(len(batch[REGISTRY_KEYS.X_KEY]))
            assert plan.module.training
            return training_step(plan, batch, *args, **kwargs)

        monkeypatch.setattr(AdaptPlan, "training_step", recorded)


def test_the_learning_rate_rises_and_falls_once(tiny_model, query, monkeypatch):
    steps = Steps(monkeypatch)
    adapted = tiny_model.adapt(query, select=False, max_steps=30, batch_size=8, lr=1e-3, **QUIET)
    rates = np.array(steps.rates)
    assert rates.shape == (30, 2)
    assert steps.sizes == [8] * 30
    np.testing.assert_array_equal(rates[:, 0], rates[:, 1])
    turn = rates[:, 0].argmax()
    assert rates[turn, 0] == pytest.approx(1e-3)
    assert 0 < turn < 15
    assert (np.diff(rates[: turn + 1, 0]) > 0).all()
    assert (np.diff(rates[turn:, 0]) < 0).all()
    assert rates[0, 0] < 1e-3 / 10
    assert rates[-1, 0] < rates[0, 0]
    # ten steps an epoch
    np.testing.assert_allclose(adapted.history["adapt_lr"].to_numpy().ravel(), [*rates[10::10, 0], 4e-9])


@pytest.mark.parametrize(("max_steps", "batch_size"), [(1, 4), (2, 6), (3, 4), (4, 100)])
def test_few_steps_and_small_batches_train_too(tiny_model, query, max_steps, batch_size, monkeypatch):
    steps = Steps(monkeypatch)
    adapted = tiny_model.adapt(query, select=False, max_steps=max_steps, batch_size=batch_size, **QUIET)
    assert steps.sizes == [batch_size] * max_steps
    assert np.isfinite(soft(adapted, query)).all()


def test_the_adapted_model_does_not_hold_on_to_the_query(tiny_model, query):
    adapted = tiny_model.adapt(query, **ADAPT)
    assert adapted.trainer is None


def test_a_callback_sees_every_step(tiny_model, query):
    class Watch(Callback):
        n_batches = 0

        def on_train_batch_end(self, *_):
            self.n_batches += 1

    watch = Watch()
    tiny_model.adapt(query, select=False, max_steps=3, callbacks=[watch], **QUIET)
    assert watch.n_batches == 3


def test_reference_and_query_learn_from_their_targets(tiny_model, query):
    # the network comes to say what network and counts together had said of the query
    targets = query_targets(soft(tiny_model, query))
    adapted = tiny_model.adapt(query, select=False, max_steps=60, batch_size=32, lr=1e-2, **QUIET)
    losses = []
    for model in (tiny_model, adapted):
        with torch.no_grad():
            log_p = model.module.classify(torch.from_numpy(aligned(model, query))).log_softmax(dim=1).numpy()
        losses.append(-(targets * log_p).sum(axis=1).mean())
    assert losses[1] < 0.9 * losses[0]
    assert adapted.evaluate(tiny_model.adata, "cell_type")["accuracy"] > 0.9


def test_an_adapted_network_sees_deep_cells_whole(tiny_model, query):
    adapted = tiny_model.adapt(query, **ADAPT)
    deep = torch.from_numpy(aligned(tiny_model, query)) * 30
    assert bool((deep.sum(dim=1) > tiny_model.module.count_likelihood.max_depth)[np.arange(37) != 5].all())
    with torch.no_grad():
        for model, whole in ((tiny_model, False), (adapted, True)):
            says = network_scores(model.module, deep)
            assert torch.allclose(says, model.module.classify(deep).log_softmax(dim=1), atol=1e-5) is whole


def test_adaptation_of_an_adapted_model_and_further_training(reference, query):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    adapted = model.adapt(query, **ADAPT)
    with pytest.warns(UserWarning, match="already adapted"):
        twice = adapted.adapt(query, **ADAPT)
    assert len(twice.history["adapt_lr"]) == 2
    assert adapted.training_warnings_["adapt"] == []
    assert "already adapted" in twice.training_warnings_["adapt"][0]
    with pytest.warns(UserWarning, match="already adapted"):
        twice.predict(query, enable_progress_bar=False)
    assert "already adapted" in query.uns["hrca"]["warnings"][0]
    assert len({model.model_id_, adapted.model_id_, twice.model_id_}) == 3
    before = state(adapted.module)
    twice.finetune(1, **QUIET)
    # trained on labels again, it is as any model
    twice.adapt(query, **ADAPT)
    assert all(torch.equal(value, before[name]) for name, value in state(adapted.module).items())


@pytest.mark.parametrize("kind", ["matched", "without count evidence"])
def test_other_models_are_adapted_too(reference, query, kind):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY, count_likelihood=kind == "matched")
    model.train(1, pretrain_epochs=1, query=query if kind == "matched" else None, **QUIET)
    adapted = model.adapt(query, **ADAPT)
    assert adapted.query_match_ == model.query_match_
    assert torch.equal(adapted.module.gene_mask, model.module.gene_mask)
    judged = np.arange(37) != 5
    np.testing.assert_allclose(soft(adapted, query)[judged].sum(axis=1), 1, rtol=1e-5)


def test_a_layer_of_the_query_is_adapted_to_when_it_is_named(tiny_model, query, given):
    expected = aligned(tiny_model, query)[np.arange(37) != 5]
    query.layers["counts"] = query.X.copy()
    query.X = np.log1p(query.X)
    tiny_model.adapt(query, layer="counts", **ADAPT)
    np.testing.assert_array_equal(given[0][1].counts.toarray(), expected)


def test_an_adapted_model_survives_a_file(tiny_model, query, tmp_path):
    adapted = tiny_model.adapt(query, **ADAPT)
    adapted.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    assert loaded.model_id_ == adapted.model_id_
    assert loaded.module.is_adapted
    np.testing.assert_array_equal(soft(loaded, query), soft(adapted, query))
    assert set(loaded.history) == set(adapted.history)
    with pytest.raises(ValueError, match="loaded without"):
        loaded.adapt(query, **ADAPT)
    with_reference = hrca.HRCA.load(tmp_path / "model", synthetic(100))
    with pytest.warns(UserWarning, match="already adapted"):
        twice = with_reference.adapt(query, **ADAPT)
    assert len(twice.history["adapt_lr"]) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_steps": 0}, "`max_steps` must be at least 1.*got 0 and 16"),
        ({"batch_size": 2}, "`batch_size` at least 4 and even, got 5 and 2"),
        ({"batch_size": 7}, "`batch_size` at least 4 and even, got 5 and 7"),
    ],
)
def test_too_few_steps_or_cells_raise(tiny_model, query, settings, words):
    with pytest.raises(ValueError, match=words):
        tiny_model.adapt(query, **{**ADAPT, **settings})


@pytest.mark.parametrize("phases", [0, 1])
def test_a_model_that_is_not_fine_tuned_raises(reference, query, phases):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    if phases:
        model.pretrain(1, **QUIET)
    with pytest.raises(ValueError, match="must be trained on labels"):
        model.adapt(query, **ADAPT)


def without_counts(query: ad.AnnData) -> ad.AnnData:
    query.X = sparse.csr_matrix(query.shape, dtype=np.float32)
    return query


def of_another_species(query: ad.AnnData) -> ad.AnnData:
    query.var_names = "ENSMUSG" + query.var_names
    return query


def log_normalised(query: ad.AnnData) -> ad.AnnData:
    query.X = np.log1p(query.X)
    return query


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (without_counts, "must have cells with counts on the model's genes, but its 37 cells have none"),
        (of_another_species, "must have enough of the model's genes"),
        (log_normalised, "log1p of counts"),
    ],
)
def test_a_query_that_cannot_be_adapted_to_raises(tiny_model, query, broken, words):
    before = state(tiny_model.module)
    with pytest.raises(ValueError, match=words):
        tiny_model.adapt(broken(query), **ADAPT)
    assert all(torch.equal(value, before[name]) for name, value in state(tiny_model.module).items())
    assert tiny_model.is_finetuned_


def test_an_adaptation_that_fails_leaves_the_original_ready(tiny_model, query, monkeypatch):
    def stop(*_):
        raise RuntimeError("stopped")

    before = soft(tiny_model, query)
    monkeypatch.setattr(AdaptPlan, "on_train_batch_end", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        tiny_model.adapt(query, **ADAPT)
    np.testing.assert_array_equal(soft(tiny_model, query), before)


# The choice between both models --------------------------------------------------------------------------------------


def test_a_model_is_adapted_unless_a_fifth_of_the_query_is_novel():
    assert reason_not_to_adapt(0.2, 0.6) is None
    assert reason_not_to_adapt(0.45, 0.6).startswith("The model was not adapted: 45% of the query's cells")


def test_a_model_is_not_adapted_if_the_agreement_cannot_rise_enough():
    assert reason_not_to_adapt(0.0, 0.95) is None
    reason = reason_not_to_adapt(0.0, 0.97)
    assert "already agree on 97% of the query's cells, so that adaptation cannot add the 5%" in reason


def test_an_adapted_model_is_kept_if_the_branches_agree_more():
    assert reason_to_discard(0.6, 0.65 + 1e-9) is None
    reason = reason_to_discard(0.6, 0.64)
    assert "agree on 60% of the query's cells, and on 64% after" in reason


@pytest.mark.parametrize(("min_gain", "is_kept"), [(-1.0, True), (0.05, False)])
def test_the_choice_returns_a_copy_of_one_of_both_models(tiny_model, query, min_gain, is_kept, monkeypatch):
    monkeypatch.setattr(_adaptation, "MIN_AGREEMENT_GAIN", min_gain)
    # a rate at which no label changes
    before, settings = state(tiny_model.module), {**ADAPT, "select": True, "lr": 1e-9}
    query = hard_query(query)
    if is_kept:
        chosen = tiny_model.adapt(query, **settings)
    else:
        with pytest.warns(UserWarning, match="The adaptation was discarded"):
            chosen = tiny_model.adapt(query, **settings)
    assert bool(chosen.module.is_adapted) is is_kept
    assert chosen.module is not tiny_model.module
    same = all(torch.equal(value, before[name]) for name, value in state(chosen.module).items())
    assert same is not is_kept
    assert chosen.is_finetuned_
    assert chosen.model_id_ != ""
    if not is_kept:
        assert chosen.model_id_ == tiny_model.model_id_
        np.testing.assert_array_equal(soft(chosen, query), soft(tiny_model, query))


def hard_query(query: ad.AnnData) -> ad.AnnData:
    """The same with a third of its cells at random rates, about which the branches disagree."""
    query = query.copy()
    counts, rng = query.X.toarray(), np.random.default_rng(0)
    counts[::3] = rng.poisson(0.4, counts[::3].shape)
    query.X = sparse.csr_matrix(counts)
    return query


def test_before_and_after_are_compared_under_the_same_platform_factors(tiny_model, monkeypatch):
    # a sixth of the cells are of a type that the reference lacks, and change the factors of a fit without open set
    query, rng = synthetic(1200, seed=5), np.random.default_rng(0)
    counts = rng.binomial(query.X.toarray().astype(int), 0.4)
    counts[:200] = rng.poisson(np.repeat([0.1, 0.7], 30), (200, 60))
    query.X = sparse.csr_matrix(counts.astype(np.float32))
    opened = tiny_model._open_query(query, None)
    with_open_set, without = (
        tiny_model._predict_probabilities(
            opened, PredictionSettings(platform_correction=True, open_set=value, calibrated=False)
        )
        for value in (True, False)
    )
    assert with_open_set.branch_agreement != without.branch_agreement
    compared = []
    monkeypatch.setattr(_training_steps, "reason_to_discard", lambda *values: compared.extend(values))
    # the "adapted" model is the same model, so that only the factors can differ
    tiny_model._better_model(tiny_model._copy(), opened, with_open_set)
    assert compared == [with_open_set.branch_agreement] * 2


def test_a_model_of_one_branch_is_adapted_without_a_choice(reference, query):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, count_likelihood=False, **TINY)
    model.train(2, pretrain_epochs=1, **QUIET)
    chosen = model.adapt(query, **{**ADAPT, "select": True})
    assert chosen.module.is_adapted


def test_a_query_on_which_the_branches_agree_is_not_adapted_to(tiny_model, monkeypatch):
    monkeypatch.setattr(AdaptPlan, "training_step", None)
    with pytest.warns(UserWarning, match="already agree on 100% of the query's cells"):
        chosen = tiny_model.adapt(synthetic(60, seed=7), **{**ADAPT, "select": True})
    assert not chosen.module.is_adapted


def test_a_query_without_counts_raises_with_the_choice_too(tiny_model, query):
    with pytest.raises(ValueError, match="must have cells with counts on the model's genes"):
        tiny_model.adapt(without_counts(query), **{**ADAPT, "select": True})


def test_a_query_of_novel_cells_is_not_adapted_to(tiny_model, query, monkeypatch):
    monkeypatch.setattr(CellProbabilities, "novel_fraction", 0.6)
    with pytest.warns(UserWarning, match="The model was not adapted: 60% of the query's cells are probably of types"):
        chosen = tiny_model.adapt(query, **{**ADAPT, "select": True})
    assert not chosen.module.is_adapted
    assert chosen.module is not tiny_model.module


class Doubt(Callback):
    """Warns of a reason to doubt predictions when the training ends."""

    def on_train_end(self, trainer, pl_module):
        warn_user("a doubt", DoubtfulPredictionWarning)


@pytest.mark.filterwarnings("ignore:a doubt")
def test_the_warnings_of_a_training_are_those_of_its_phases(reference, query):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.pretrain(1, callbacks=[Doubt()], **QUIET)
    assert model.training_warnings_ == {"pretrain": ["a doubt"]}
    model.finetune(1, **QUIET)
    assert model.training_warnings_ == {"pretrain": ["a doubt"], "finetune": []}
    adapted = model.adapt(query, callbacks=[Doubt()], **ADAPT)
    assert adapted.training_warnings_ == {"pretrain": ["a doubt"], "finetune": [], "adapt": ["a doubt"]}
    adapted.finetune(1, **QUIET)
    assert adapted.training_warnings_ == {"pretrain": ["a doubt"], "finetune": []}
    adapted.train(1, pretrain_epochs=1, **QUIET)
    assert adapted.training_warnings_ == {"finetune": []}
