"""The phases: what they train, on which cells, what they leave."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from conftest import QUIET, TINY, synthetic
from lightning.pytorch.callbacks import Callback

import hrca


def new_model(adata, labels_key="cell_type", **arguments) -> hrca.HRCA:
    hrca.HRCA.setup_anndata(adata, labels_key=labels_key)
    return hrca.HRCA(adata, **TINY, **arguments)


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(first: dict, second: dict) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Only what an optimiser moves: batch statistics change without one."""
    return {name: value.detach().clone() for name, value in module.named_parameters()}


class SeenCells(Callback):
    """Notes which labels and how many cells each epoch trains on, and in which mode and with which gradients."""

    def __init__(self):
        self.codes, self.sizes, self.training, self.classifier_trains = set(), [], set(), set()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.codes |= set(batch["labels"].ravel().tolist())
        self.sizes.append(len(batch["X"]))
        self.training.add(all(module.training for module in pl_module.module.modules()))
        self.classifier_trains.add(any(p.requires_grad for p in pl_module.module.se_classifier.parameters()))


def test_pretraining_leaves_the_classifier_and_its_statistics_alone(reference):
    model = new_model(reference)
    before, encoder = state(model.module.se_classifier), weights(model.module.gene_ae)
    model.pretrain(2, **QUIET)
    assert equal(before, state(model.module.se_classifier))
    after = weights(model.module.gene_ae)
    assert [name for name in encoder if torch.equal(encoder[name], after[name])] == []


def test_finetuning_after_pretraining_trains_both_networks_in_training_mode(reference):
    model = new_model(reference)
    model.pretrain(1, **QUIET)
    before, seen = weights(model.module), SeenCells()
    model.finetune(2, callbacks=[seen], **QUIET)
    assert seen.training == {True}
    assert seen.classifier_trains == {True}
    after = weights(model.module)
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    assert not model.module.training


def test_unlabelled_cells_take_part_in_pretraining_only(reference):
    labels = reference.obs["cell_type"].astype(object)
    labels.iloc[::4] = "Unknown"
    reference.obs["cell_type"] = labels
    model = new_model(reference)
    assert sorted(model.labels) == ["type 0", "type 1", "type 2"]
    seen = {}
    for phase in ("pretrain", "finetune"):
        seen[phase] = SeenCells()
        getattr(model, phase)(1, train_size=1.0, callbacks=[seen[phase]], **QUIET)
    assert seen["pretrain"].codes == {0, 1, 2, 3}
    assert sum(seen["pretrain"].sizes) == 100
    assert seen["finetune"].codes == {0, 1, 2}
    assert sum(seen["finetune"].sizes) == 75


def test_default_epochs_of_fine_tuning_are_by_the_labelled_cells(reference, monkeypatch):
    reference.obs["cell_type"] = reference.obs["cell_type"].astype(object)
    reference.obs.loc[reference.obs_names[20:], "cell_type"] = "Unknown"
    asked = []
    monkeypatch.setattr(hrca.HRCA, "_train_phases", lambda model, configs, *_: asked.append(configs[-1].max_epochs))
    for batch_size in (2, 4):
        hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
        hrca.HRCA(reference, **TINY).train(pretrain_epochs=0, batch_size=batch_size)
    assert asked == [round(700 * 2 / 20), round(700 * 4 / 20)]


def test_both_phases_share_one_split(reference):
    model = new_model(reference)
    model.pretrain(1, **QUIET)
    first = model.split_
    model.finetune(1, **QUIET)
    assert model.split_ is first
    assert sorted([*first.train, *first.validation]) == list(range(100))
    with pytest.raises(ValueError, match=r"train_size=0.9.*train_size=0.5"):
        model.finetune(1, train_size=0.5, **QUIET)


class Losses(Callback):
    """Notes the monitored loss and the weights after each epoch; ruins the epochs from the sixth on."""

    def __init__(self):
        self.losses, self.states = [], []

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 6:
            for parameter in pl_module.module.parameters():
                parameter.data += 3.0

    def on_train_epoch_end(self, trainer, pl_module):
        self.losses.append(float(trainer.callback_metrics["validation_loss"]))
        self.states.append(state(pl_module.module))


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_the_weights_of_the_best_epoch_are_kept(reference, phase):
    model, losses = new_model(reference), Losses()
    getattr(model, phase)(9, callbacks=[losses], **QUIET)
    best = int(np.argmin(losses.losses))
    assert best < 8, "the last epoch was the best: this test would prove nothing"
    # count branch and calibration are filled when training is over
    later = ("count_likelihood.", "calibration.")
    kept = {name: value for name, value in state(model.module).items() if not name.startswith(later)}
    assert equal(kept, losses.states[best])


def test_history_has_both_phases_under_lasting_names(tiny_model):
    parts = ["loss", "reconstruction_loss"]
    expected = {f"pretrain_{mode}_{part}" for mode in ("train", "validation") for part in parts}
    parts += ["classification_loss", "accuracy"]
    expected |= {f"finetune_{mode}_{part}" for mode in ("train", "validation") for part in parts}
    assert expected <= set(tiny_model.history)
    assert len(tiny_model.history["pretrain_train_loss"]) == 3
    assert len(tiny_model.history["finetune_validation_accuracy"]) == 30


def test_a_second_run_of_a_phase_goes_on_in_the_history(reference):
    model = new_model(reference)
    model.pretrain(2, **QUIET)
    first = model.history["pretrain_train_loss"].copy()
    model.pretrain(3, **QUIET)
    frame = model.history["pretrain_train_loss"]
    assert list(frame.index) == [0, 1, 2, 3, 4]
    pd.testing.assert_frame_equal(frame.iloc[:2], first)


def test_the_same_seed_gives_the_same_weights_and_predictions(query):
    models = []
    for _ in range(2):
        scvi.settings.seed = 7
        model = new_model(synthetic(100))
        model.train(2, pretrain_epochs=2, **QUIET)
        models.append(model)
    assert equal(state(models[0].module), state(models[1].module))
    assert models[0].model_id_ == models[1].model_id_
    first, second = (model.predict(query, soft=True, key_added=None) for model in models)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    scvi.settings.seed = 8
    other = new_model(synthetic(100))
    other.train(2, pretrain_epochs=2, **QUIET)
    assert other.model_id_ != models[0].model_id_


@pytest.mark.parametrize("n_obs", [65, 66])
def test_a_last_batch_of_one_or_two_cells_is_left_out(n_obs):
    model, seen = new_model(synthetic(n_obs)), SeenCells()
    model.finetune(2, train_size=1.0, batch_size=32, callbacks=[seen], **QUIET)
    assert seen.sizes == [32, 32] * 2


@pytest.mark.filterwarnings("ignore:A label needs at least 3 cells")
def test_fewer_cells_than_a_batch_train():
    model = new_model(synthetic(7))
    model.train(1, pretrain_epochs=1, train_size=1.0, **QUIET)
    assert model.is_trained


@pytest.mark.parametrize("corruption", ["thin", "mask", "none"])
def test_each_corruption_trains(reference, corruption):
    model = new_model(reference)
    model.train(1, pretrain_epochs=1, corruption=corruption, **QUIET)
    assert all(torch.isfinite(parameter).all() for parameter in model.module.parameters())


def test_a_reference_with_empty_cells_trains(reference):
    counts = reference.X.tolil()
    counts[::5] = 0
    reference.X = counts.tocsr()
    model = new_model(reference)
    model.train(2, pretrain_epochs=2, **QUIET)
    assert all(torch.isfinite(parameter).all() for parameter in model.module.parameters())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"corruption": "dropout"}, r"one of \['thin', 'mask', 'none'\], got 'dropout'"),
        ({"train_size": 0.0}, "above 0 and at most 1, got 0.0"),
        ({"train_size": 1.1}, "above 0 and at most 1, got 1.1"),
        ({"batch_size": 1}, "at least 2 cells.*`batch_size` is 1"),
        ({"lr": -1}, "`lr` must be a number above 0, got -1"),
    ],
)
def test_bad_arguments_raise(reference, arguments, words):
    model = new_model(reference)
    with pytest.raises(ValueError, match=words):
        model.train(1, pretrain_epochs=1, **arguments, **QUIET)
    assert not model.is_trained


@pytest.mark.parametrize("train_size", [0.9, 1.0])
@pytest.mark.parametrize("count_likelihood", [True, False])
def test_a_learning_rate_at_which_the_loss_diverges_is_warned_of(reference, train_size, count_likelihood):
    model = new_model(reference, count_likelihood=count_likelihood)
    cause = "Labels then come from the count likelihood alone" if count_likelihood else "Its labels are guesses"
    message = f"The classifier has learned nothing in finetune: .*{cause}: train a new model with a lower `lr`"
    with pytest.warns(UserWarning, match=message) as record:
        model.train(8, pretrain_epochs=1, lr=100, batch_size=32, train_size=train_size, **QUIET)
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new_model(synthetic(100)).train(1, pretrain_epochs=1, **QUIET)


def test_a_query_in_the_place_of_epochs_raises(reference, query):
    model = new_model(reference)
    with pytest.raises(TypeError, match=r"`max_epochs` must be .*, got AnnData.*`train\(query=adata\)`"):
        model.train(query)
    with pytest.raises(TypeError, match="`pretrain_epochs` must be a whole number or None, got 1.5"):
        model.train(1, pretrain_epochs=1.5)
    with pytest.raises(TypeError, match="`max_epochs` must be a whole number or None, got '5'"):
        model.train("5")
    with pytest.raises(TypeError, match="`batch_size` must be a whole number or None, got 1.5"):
        model.train(1, batch_size=1.5)
    for phase in (model.pretrain, model.finetune):
        with pytest.raises(TypeError, match="`max_epochs` must be a whole number or None, got AnnData"):
            phase(query)
    assert not model.is_trained
    model.train(np.int64(1), pretrain_epochs=np.int64(0), **QUIET)


@pytest.mark.filterwarnings("ignore:A label needs at least 3 cells")
@pytest.mark.filterwarnings("ignore:Last batch will have a small size of [12] samples")
def test_two_labelled_cells_are_enough_and_one_is_not():
    adata = synthetic(6)
    adata.obs["cell_type"] = ["a", "b", *["Unknown"] * 4]
    model = new_model(adata)
    model.finetune(1, train_size=1.0, **QUIET)
    # of which one is labelled
    model.split_ = replace(model.split_, train=np.array([0, 2, 3]))
    with pytest.raises(ValueError, match="there is 1 to train on"):
        model.finetune(1, train_size=1.0, **QUIET)


def test_labels_are_needed_before_pretraining_starts(reference):
    model = new_model(reference, labels_key=None)
    assert model.labels == []
    with pytest.raises(ValueError, match="Fine-tuning needs labels.*labels_key"):
        model.train(1, pretrain_epochs=1, **QUIET)
    assert not model.is_trained
    model.pretrain(1, **QUIET)
    assert model.get_latent_representation().shape == (100, 16)
    with pytest.raises(ValueError, match="trained on labels"):
        model.predict(reference)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"n_latent": 10, "n_heads": 4}, "multiple of `n_heads`, got 10 and 4; 8 would do"),
        ({"n_layers": 0}, "at least 1"),
        ({"classifier_widths": (16, 0)}, "at least 1"),
        ({"classifier_widths": ()}, "at least one stage"),
    ],
)
def test_sizes_that_make_no_network_raise(reference, sizes, words):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    with pytest.raises(ValueError, match=words):
        hrca.HRCA(reference, **{**TINY, **sizes})


@pytest.mark.parametrize("size", ["laptop", hrca.SIZES["laptop"]], ids=["its name", "without the stars"])
def test_a_size_in_the_place_of_the_registry_raises(reference, size):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    with pytest.raises(TypeError, match=r"scvi-tools' registry .* `HRCA\(adata, size=\"laptop\"\)"):
        hrca.HRCA(reference, size)


def test_a_long_run_is_announced_with_its_estimate(reference, monkeypatch):
    monkeypatch.setattr("hrca.train._phase.LONG_RUN_HOURS", 0.0)
    model = new_model(reference)
    with pytest.warns(UserWarning, match=r"pretrain of 1 epoch of 91 cells will take about \S+ h on this CPU.*size="):
        model.pretrain(1, **QUIET)


def test_a_short_run_is_not(reference):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "`isinstance", FutureWarning)
        new_model(reference).pretrain(1, **QUIET)


def test_a_diverged_training_is_not_passed_off_as_trained(reference):
    model = new_model(reference)
    with pytest.raises(ValueError, match="The loss must be finite.*Lower `lr`"):
        model.finetune(2, lr=1e30, **QUIET)
    assert not model.is_finetuned_


def test_pretraining_again_makes_the_labels_void(reference, query):
    model = new_model(reference)
    model.train(1, pretrain_epochs=1, **QUIET)
    before = model.model_id_
    model.pretrain(1, **QUIET)
    assert model.model_id_ != before
    with pytest.raises(ValueError, match="trained on labels"):
        model.predict(query)


def test_no_pretraining_is_a_choice(reference):
    model = new_model(reference)
    model.train(1, pretrain_epochs=0, **QUIET)
    assert "pretrain_train_loss" not in model.history


def test_a_frozen_encoder_needs_a_strategy_that_allows_it(reference):
    with pytest.raises(ValueError, match="ddp_find_unused_parameters_true"):
        new_model(reference).finetune(1, freeze_encoder_epochs=1, strategy="ddp", **QUIET)


def test_arguments_without_effect_raise(reference):
    model = new_model(reference)
    with pytest.raises(ValueError, match="`test_labels_key` needs the `test_adata`"):
        model.finetune(1, test_labels_key="cell_type")
    for method in (model.pretrain, model.finetune, model.train):
        with pytest.raises(ValueError, match="`checkpoint_interval` needs a `checkpoint_dir`, got 7"):
            method(1, checkpoint_interval=7)
    assert not model.is_trained
