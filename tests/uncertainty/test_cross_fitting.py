"""Cross-fitting: no fold model has seen the cells that it scores, and the networks of the model are unchanged."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from conftest import QUIET, TINY, synthetic
from lightning.pytorch.callbacks import Callback
from simulated import thinned_draws

import hrca
from hrca.model import _training_steps
from hrca.train import _phase
from hrca.uncertainty import _cross_fitting, _posthoc_fit


def new_model(adata=None, **sizes) -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(100) if adata is None else adata
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY, **sizes)


@pytest.fixture
def partly_labelled():
    adata = synthetic(100)
    labels = adata.obs["cell_type"].astype(object)
    labels.iloc[::5] = "Unknown"
    adata.obs["cell_type"] = labels
    return adata


@pytest.fixture
def testified(monkeypatch):
    """What was asked of each copy: its module's weights, the cells of its profiles, and those that it speaks of."""
    score_held_out, asked = _cross_fitting.score_held_out, []

    def recorded(module, reference, train, held_out):
        said = score_held_out(module, reference, train, held_out)
        asked.append((module, train, held_out, said))
        return said

    monkeypatch.setattr(_cross_fitting, "score_held_out", recorded)
    return asked


@pytest.fixture
def trained_on(monkeypatch):
    """The cells that each training was given, by phase: to train, and to validate."""
    prepare_batches, given = _training_steps.prepare_batches, {"pretrain": [], "finetune": []}

    def recorded(config, adata_manager, split, **settings):
        given[config.name].append((split.train, split.validation))
        return prepare_batches(config, adata_manager, split, **settings)

    monkeypatch.setattr(_training_steps, "prepare_batches", recorded)
    return given


def stop_in_all_phases(monkeypatch, stop: Callback) -> None:
    """Give the callback to each phase of each model; the user's callbacks do not reach the fold models."""
    prepare_phase = _training_steps.prepare_phase

    def stopped(config, *arguments, **settings):
        return prepare_phase(replace(config, callbacks=(*config.callbacks, stop)), *arguments, **settings)

    monkeypatch.setattr(_training_steps, "prepare_phase", stopped)


def parameters(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.module.parameters()])


@pytest.mark.parametrize("lr_schedule", ["one_cycle", "plateau"])
def test_no_copy_knows_the_cells_that_it_speaks_of(partly_labelled, testified, trained_on, lr_schedule):
    model = new_model(partly_labelled)
    model.train(2, pretrain_epochs=1, n_folds=4, train_size=0.8, lr_schedule=lr_schedule, **QUIET)
    labelled = np.flatnonzero(partly_labelled.obs["cell_type"] != "Unknown")
    assert len(testified) == 4
    assert len(trained_on["pretrain"]) == len(trained_on["finetune"]) == 5
    spoken_of = [set(held_out) for *_, held_out, _ in testified]
    assert set.union(*spoken_of) == set(labelled)
    assert sum(map(len, spoken_of)) == len(labelled)
    for (*_, held_out, _), (train, validation) in zip(testified, trained_on["pretrain"], strict=False):
        assert set(train) | set(validation) == set(range(100)) - set(held_out)
    for (_, profiles, held_out, _), (train, validation) in zip(testified, trained_on["finetune"], strict=False):
        assert not set(held_out) & (set(train) | set(validation) | set(profiles))
        assert set(train) | set(validation) == set(profiles) == set(labelled) - set(held_out)
        # with a plateau, validation cells choose the epoch; with a cycle they serve nothing
        assert set(validation) == (set(model.split_.validation) & set(profiles) if lr_schedule == "plateau" else set())
    np.testing.assert_array_equal(trained_on["finetune"][-1][0], np.intersect1d(model.split_.train, labelled))
    np.testing.assert_array_equal(trained_on["pretrain"][-1][0], model.split_.train)


@pytest.mark.parametrize("lr_schedule", ["one_cycle", "plateau"])
def test_the_networks_are_those_without_folds(lr_schedule):
    with_folds, without = new_model(), new_model()
    for model, n_folds in ((with_folds, 3), (without, None)):
        scvi.settings.seed = 0
        model.train(4, pretrain_epochs=2, n_folds=n_folds, lr_schedule=lr_schedule, **QUIET)
    torch.testing.assert_close(parameters(with_folds), parameters(without), rtol=0, atol=0)
    for name, frame in without.history.items():
        pd.testing.assert_frame_equal(with_folds.history[name], frame, check_exact=True)
    assert with_folds.split_.train.tolist() == without.split_.train.tolist()


def test_all_cells_teach_weights_calibration_and_sets(testified, monkeypatch):
    fit_pool_weights, taught = _posthoc_fit.fit_pool_weights, []

    def recorded(network, log_likelihood, depth, codes, n_cells):
        taught.append((n_cells, set(map(tuple, network.numpy().round(5)))))
        return fit_pool_weights(network, log_likelihood, depth, codes, n_cells)

    monkeypatch.setattr(_posthoc_fit, "fit_pool_weights", recorded)
    novelty_reference_for, kept = _training_steps.novelty_reference_for, []
    monkeypatch.setattr(
        _training_steps, "novelty_reference_for", lambda *args: kept.append(args) or novelty_reference_for(*args)
    )
    model = new_model()
    model.train(5, pretrain_epochs=1, n_folds=4, lr=1e-2, **QUIET)
    assert len(kept) == 1  # novelty is nothing that a copy is asked for
    *parts, (n_cells, _) = taught
    assert n_cells == 100
    assert [n for n, _ in parts] == [75] * 4
    for (*_, said), (_, rows) in zip(testified, parts, strict=True):
        # what is calibrated of a fold was weighed as the others teach
        assert not rows & set(map(tuple, said.scores_for_weights.network.numpy().round(5)))
    assert model.module.calibration.dirichlet_bias.any()
    assert sorted(np.unique(model.conformal_scores_.cells)) == list(range(100))
    codes = np.array([model.labels.index(label) for label in model.adata.obs["cell_type"]])
    np.testing.assert_array_equal(model.conformal_scores_.codes, codes[model.conformal_scores_.cells])
    query = synthetic(30, seed=3)
    model.predict(query, coverage=0.9)
    assert query.uns["hrca"]["n_folds"] == 4
    assert query.obsm["hrca_set"].shape == (30, 3)


def test_a_copy_says_of_a_cell_what_it_would_say_of_a_query(testified):
    model = new_model()
    model.train(5, pretrain_epochs=1, n_folds=2, **QUIET)
    module, _, held_out, said = testified[0]
    n, x = len(held_out), torch.from_numpy(model.adata.X.toarray()[held_out])
    max_depth = float(module.count_likelihood.max_depth)
    shallow = (x.sum(dim=1) <= max_depth).numpy()
    assert 0 < shallow.sum() < n
    for cell, is_shallow, found in zip(x, shallow, said.scores_for_calibration.network[:n], strict=True):
        draws = [cell[None]] if is_shallow else thinned_draws(cell[None], max_depth)
        with torch.no_grad():
            judged = torch.stack([module.classify(draw).log_softmax(dim=1)[0] for draw in draws])
        np.testing.assert_allclose(found, judged.mean(dim=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(said.scores_for_calibration.depth[:n][shallow], x.sum(dim=1)[shallow])
    used, is_informative = np.ones(x.shape[1], dtype=bool), module.count_likelihood.is_informative.numpy() > 0
    profiles, expected = module.count_likelihood.log_profiles.exp().double().numpy(), np.zeros((n, 3))
    others = 1 / (1 + x.sum(dim=1).numpy() / 100)[:, None]
    for genes, share in ((used, others), (is_informative, 1 - others)):
        among = profiles[:, genes] / profiles[:, genes].sum(axis=1, keepdims=True)
        expected += share * (x.numpy()[:, genes] @ np.log(among).T)
    np.testing.assert_allclose(said.scores_for_calibration.log_likelihood[:n][shallow], expected[shallow], rtol=1e-4)
    np.testing.assert_array_equal(said.cells, np.tile(held_out, 10))


@pytest.mark.parametrize("settings", [{"train_size": 1.0}, {"count_likelihood": False}])
def test_folds_where_nothing_is_held_out_or_counted(settings):
    count_likelihood = settings.pop("count_likelihood", True)
    model = new_model(count_likelihood=count_likelihood)
    model.train(3, pretrain_epochs=1, n_folds=3, **settings, **QUIET)
    assert model.module.calibration.temperature_coef.any()
    query = synthetic(20, seed=4)
    probabilities = model.predict(query, soft=True, coverage=0.8).to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_of_a_large_reference_some_cells_are_asked_about(testified, monkeypatch):
    monkeypatch.setattr(_cross_fitting, "MAX_SCORED_CELLS", 20)
    new_model().train(1, pretrain_epochs=1, n_folds=3, **QUIET)
    assert [len(held_out) for *_, held_out, _ in testified] == [7, 7, 7]
    assert [len(profiles) for _, profiles, *_ in testified] == [66, 67, 67]


def test_save_and_load_keep_what_folds_taught(tmp_path):
    model = new_model()
    model.train(5, pretrain_epochs=1, n_folds=3, lr=1e-2, **QUIET)
    model.save(tmp_path / "model")
    loaded, query = hrca.HRCA.load(tmp_path / "model"), synthetic(20, seed=3)
    expected = model.predict(query.copy(), soft=True, coverage=0.9)
    pd.testing.assert_frame_equal(loaded.predict(query, soft=True, coverage=0.9), expected, check_exact=True)
    assert query.uns["hrca"]["n_folds"] == 3
    loaded = hrca.HRCA.load(tmp_path / "model", synthetic(100))
    with pytest.raises(ValueError, match="not trained on these labels before"):
        loaded.train(1, pretrain_epochs=1, n_folds=3, **QUIET)


@pytest.mark.parametrize("n_folds", [1, 0, -3, 2.5, 3.0, True, "5", 101])
def test_what_cannot_be_a_number_of_folds_raises_before_training(n_folds):
    model = new_model()
    for train in (
        lambda: model.train(1, pretrain_epochs=1, n_folds=n_folds, **QUIET),
        lambda: model.finetune(1, n_folds=n_folds, **QUIET),
    ):
        with pytest.raises(
            ValueError, match=r"`n_folds` must be a whole number from 2 to .* cells.*, got .* 5 is usual"
        ):
            train()
    assert model.history is None


def test_a_model_that_knows_the_labels_raises():
    model = new_model()
    model.train(1, pretrain_epochs=1, **QUIET)
    before = model.model_id_
    with pytest.raises(ValueError, match=r"was not trained on these labels before.*Make a new model"):
        model.train(1, pretrain_epochs=1, n_folds=3, **QUIET)
    assert model.model_id_ == before
    # a new classifier, and a Gene-AE that was trained on other cells
    new = hrca.HRCA.from_pretrained(model, synthetic(90, seed=7), "cell_type")
    new.finetune(1, n_folds=3, **QUIET)
    assert new.n_folds_ == 3
    # and without folds nothing of them is left
    new.finetune(1, **QUIET)
    assert new.n_folds_ is None
    assert not new.module.calibration.dirichlet_bias.any()


def test_copies_of_a_model_that_was_pretrained_share_its_gene_ae(tmp_path, trained_on):
    model = new_model()
    model.pretrain(2, checkpoint_dir=tmp_path, **QUIET)
    with pytest.raises(
        ValueError, match=r"was pre-trained on all of them before.*`train\(pretrain_epochs=0, n_folds=\)`"
    ):
        model.train(1, pretrain_epochs=1, n_folds=3, **QUIET)
    assert len(trained_on["pretrain"]) == 1
    model.train(1, pretrain_epochs=0, n_folds=3, checkpoint_dir=tmp_path, **QUIET)
    assert (len(trained_on["pretrain"]), len(trained_on["finetune"]), model.n_folds_) == (1, 4, 3)


class StopAt(Callback):
    """Break off at the beginning of the nth epoch that this process trains."""

    def __init__(self, epoch: int):
        self.left = epoch

    def on_train_epoch_start(self, *_):
        self.left -= 1
        if self.left < 0:
            raise InterruptedError


@pytest.mark.parametrize(
    ("epoch", "lr_schedule"),
    [
        (2, "one_cycle"),
        (3, "one_cycle"),
        (9, "plateau"),
        (12, "plateau"),
        (19, "one_cycle"),
        (26, "plateau"),
    ],
)
def test_a_training_that_was_broken_off_goes_on_to_the_same_bits(tmp_path, monkeypatch, epoch, lr_schedule):
    # epochs: 3 of pre-training and 4 of fine-tuning of each of three copies, then of the model
    options = {"n_folds": 3, "lr": 1e-2, "lr_schedule": lr_schedule, **QUIET}
    checkpoints = {"checkpoint_dir": tmp_path, "checkpoint_interval": 1}
    peace = new_model()
    peace.train(4, pretrain_epochs=3, **options)
    with monkeypatch.context() as patched:
        stop_in_all_phases(patched, StopAt(epoch))
        with pytest.raises(InterruptedError):
            new_model().train(4, pretrain_epochs=3, **options, **checkpoints)
    resumed = new_model()
    resumed.train(4, pretrain_epochs=3, **options, **checkpoints, resume=True)
    assert resumed.model_id_ == peace.model_id_  # weights of the networks, of the counts, and calibration
    np.testing.assert_array_equal(resumed.conformal_scores_.scores, peace.conformal_scores_.scores)


def test_checkpoints_of_other_folds_raise(tmp_path):
    options = {"checkpoint_dir": tmp_path, "resume": True, **QUIET}
    model = new_model()
    model.train(1, pretrain_epochs=1, n_folds=3, checkpoint_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match=r"fold-1 are of other folds\. Give the `n_folds` and the seed"):
        new_model().train(1, pretrain_epochs=1, n_folds=2, **options)
    with pytest.raises(ValueError, match=r"not started with `n_folds=4`, or .* fold-4 is not complete"):
        new_model().train(1, pretrain_epochs=1, n_folds=4, **options)
    with pytest.raises(ValueError, match=r"needs a `checkpoint_dir` without checkpoints of an earlier one"):
        new_model().train(1, pretrain_epochs=1, n_folds=3, checkpoint_dir=tmp_path, **QUIET)
    model.save(tmp_path / "model")
    for again in (new_model(), model, hrca.HRCA.load(tmp_path / "model", synthetic(100))):
        for train in (
            lambda again=again: again.train(1, pretrain_epochs=1, **options),
            lambda again=again: again.finetune(1, **options),
        ):
            with pytest.raises(
                ValueError, match=r"was started with `n_folds`, and can only continue with the same number"
            ):
                train()


def test_bars_say_which_fold_they_are_of(monkeypatch):
    progress, titles = _phase.PhaseProgress, []

    class Recorded(progress):
        def __init__(self, phase):
            titles.append(phase)
            super().__init__(phase)

    monkeypatch.setattr(_phase, "PhaseProgress", Recorded)
    model = new_model()
    model.train(1, pretrain_epochs=1, n_folds=2, accelerator="cpu")
    phases = ["pretrain", "finetune"]
    assert titles == [*(f"fold {fold}/2 {phase}" for fold in (1, 2) for phase in phases), *phases]


def test_old_checkpoints_raise_before_any_copy_is_trained(tmp_path, trained_on):
    new_model().finetune(1, checkpoint_dir=tmp_path, **QUIET)
    trained_on["finetune"].clear()
    for train in ("finetune", "train"):
        with pytest.raises(ValueError, match="needs a `checkpoint_dir` without checkpoints of an earlier one"):
            getattr(new_model(), train)(1, n_folds=3, checkpoint_dir=tmp_path, **QUIET)
    assert not trained_on["finetune"] + trained_on["pretrain"]


def test_the_same_object_goes_on_after_an_interruption(tmp_path):
    options = {"n_folds": 2, "checkpoint_dir": tmp_path, "checkpoint_interval": 1, **QUIET}
    peace = new_model()
    peace.train(4, pretrain_epochs=1, n_folds=2, **QUIET)
    model = new_model()
    with pytest.raises(InterruptedError):
        model.train(4, pretrain_epochs=1, callbacks=[StopAt(2)], **options)
    model.train(4, pretrain_epochs=1, resume=True, **options)
    assert model.model_id_ == peace.model_id_


def test_a_killed_training_without_a_seed_goes_on(tmp_path, monkeypatch):
    source = new_model(synthetic(90, seed=7))
    source.pretrain(1, **QUIET)
    options = {"n_folds": 3, "checkpoint_dir": tmp_path, "checkpoint_interval": 1, **QUIET}
    scvi.settings._seed = None  # the setter takes numbers only
    with monkeypatch.context() as patched:
        stop_in_all_phases(patched, StopAt(5))
        with pytest.raises(InterruptedError):
            hrca.HRCA.from_pretrained(source, synthetic(100), "cell_type").finetune(4, **options)
    resumed = hrca.HRCA.from_pretrained(source, synthetic(100), "cell_type")
    resumed.finetune(4, resume=True, **options)
    assert resumed.is_finetuned_


def test_the_users_logger_sees_the_model_alone(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path, name="run")
    new_model().train(3, pretrain_epochs=1, n_folds=2, logger=logger, **QUIET)
    epochs = pd.read_csv(tmp_path / "run" / "version_0" / "metrics.csv")["epoch"].dropna()
    assert epochs.is_monotonic_increasing
    assert epochs.value_counts().max() <= 3


def test_early_stopping_is_the_models_where_copies_have_nothing_to_stop_by():
    model = new_model()
    stopping = {"early_stopping": True, "early_stopping_monitor": "validation_loss", "early_stopping_patience": 1}
    model.train(5, pretrain_epochs=1, n_folds=2, **stopping, **QUIET)
    assert model.is_finetuned_


@pytest.mark.filterwarnings("ignore:A label needs at least 3 cells")
def test_the_only_cell_of_a_label_is_not_asked_about(testified):
    adata = synthetic(60)
    adata.obs["cell_type"] = [*adata.obs["cell_type"].iloc[:-1].astype(str), "rare"]
    new_model(adata).train(1, pretrain_epochs=1, n_folds=3, **QUIET)
    assert sorted(np.concatenate([held_out for *_, held_out, _ in testified])) == list(range(59))


@pytest.mark.parametrize("dense", [False, True])
def test_a_reference_on_disk(tmp_path, dense):
    in_memory = synthetic(60)
    if dense:
        in_memory.X = in_memory.X.toarray()
    in_memory.write_h5ad(tmp_path / "reference.h5ad")
    query, probabilities = synthetic(20, seed=3), []
    for adata in (in_memory, ad.read_h5ad(tmp_path / "reference.h5ad", backed="r")):
        model = new_model(adata)
        model.train(2, pretrain_epochs=1, n_folds=3, **QUIET)
        probabilities.append(model.predict(query, soft=True, key_added=None))
    # the cells of a batch are read from a file in another order, so that other counts are drawn
    pd.testing.assert_frame_equal(*probabilities, rtol=0.01, atol=0.001)
