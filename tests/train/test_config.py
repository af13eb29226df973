"""Settings of a phase."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback

import hrca
from hrca.train._config import PhaseConfig, configs_for_train
from hrca.train._schedule import MAX_CELLS_PER_LABEL
from hrca.train._trainer_arguments import check_trainer_arguments
from hrca.train._trainingplans import FinetunePlan, PretrainPlan

PLANS = {"pretrain": PretrainPlan, "finetune": FinetunePlan}


def arguments(method: str, **changes) -> dict:
    """The arguments of a training method by name, at their defaults."""
    parameters = inspect.signature(getattr(hrca.HRCA, method)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return {**defaults, "trainer_kwargs": {}, **changes}


def config(**changes) -> PhaseConfig:
    return PhaseConfig.from_arguments("finetune", FinetunePlan, arguments("finetune", **changes))


def test_each_argument_reaches_its_place():
    callback = Callback()
    settings = config(
        lr=0.5, encoder_lr=0.1, checkpoint_dir="run", callbacks=[callback], devices=2, trainer_kwargs={"precision": 16}
    )
    assert settings.plan_kwargs["lr"] == 0.5
    assert settings.plan_kwargs["encoder_lr"] == 0.1
    assert settings.checkpoint_dir == Path("run")
    assert settings.callbacks == (callback,)
    assert settings.trainer_kwargs == {"accelerator": "auto", "devices": 2, "precision": 16}
    assert (settings.title, settings.lr_schedule, settings.train_size) == ("finetune", "plateau", 0.9)


@pytest.mark.parametrize("method", ["pretrain", "finetune"])
def test_the_plan_gets_each_of_its_arguments(method):
    plan = PLANS[method]
    accepted = set(inspect.signature(plan.__init__).parameters) - {"self", "module", "monitor"}
    given = set(PhaseConfig.from_arguments(method, plan, arguments(method)).plan_kwargs)
    assert given == accepted & set(inspect.signature(getattr(hrca.HRCA, method)).parameters)


def test_a_fold_model_has_neither_the_users_callbacks_nor_logger():
    settings = config(callbacks=[Callback()], tensorboard=True, trainer_kwargs={"logger": 1, "early_stopping": True})
    fold = settings.for_fold("fold 1/2", Path("fold-1"), has_validation=True)
    assert (fold.title, fold.callbacks, fold.tensorboard) == ("fold 1/2 finetune", (), False)
    assert fold.trainer_kwargs == {"accelerator": "auto", "devices": "auto", "early_stopping": True}
    assert "early_stopping" not in settings.for_fold("fold 1/2", None, has_validation=False).trainer_kwargs
    assert fold.plan_kwargs == settings.plan_kwargs


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corruption": "noise"}, "`corruption` must be one of"),
        ({"lr_schedule": "cosine"}, "`lr_schedule` must be one of"),
        ({"max_epochs": 0}, "`max_epochs` must be at least 1, got 0"),
        ({"max_cells_per_label": 0}, "`max_cells_per_label` must be at least 1 or None, got 0"),
        ({"checkpoint_interval": 0}, "`checkpoint_interval` must be at least 1"),
        *(
            ({"plan_kwargs": {"lr": lr}}, f"`lr` must be a number above 0, got {lr!r}")
            for lr in (0, -1, float("nan"), float("inf"), "0.1")
        ),
        ({"plan_kwargs": {"encoder_lr": -1}}, "`encoder_lr` must be a number above 0, got -1"),
        ({"batch_size": 1}, "A batch must have at least 2 cells, but `batch_size` is 1"),
        ({"num_workers": -1}, "`num_workers` must be at least 0, got -1"),
        ({"train_size": 0.0}, "`train_size` must be above 0 and at most 1, got 0.0"),
        ({"validation_size": 2}, "`validation_size` must be from 0 to 1 - `train_size`, got 2"),
        ({"resume": True}, "`resume=True` needs the `checkpoint_dir`"),
        ({"freeze_encoder_epochs": 1, "trainer_kwargs": {"strategy": "ddp"}}, "ddp_find_unused_parameters_true"),
    ],
)
def test_settings_out_of_range_raise(changes, words):
    with pytest.raises(ValueError, match=words):
        config(**changes).check()
    config().check()


@pytest.mark.parametrize("given", [{"plan_kwargs": {"lr_patience": 5}}, {"plan_kwargs": {"lr_factor": 0.5}}])
def test_an_argument_of_the_plateau_needs_its_schedule(given):
    [(name, value)] = given["plan_kwargs"].items()
    words = f"`{name}={value}` needs `lr_schedule='plateau'`, got 'one_cycle'. Choose 'plateau', or leave out `{name}`."
    with pytest.raises(ValueError, match=words):
        configs_for_train(arguments("train", **given), PLANS, n_obs=10, n_labelled=10)
    configs_for_train(arguments("train", lr_schedule="plateau", **given), PLANS, n_obs=10, n_labelled=10)


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_an_argument_of_the_plateau_is_checked_in_each_phase(phase):
    with pytest.raises(ValueError, match="`lr_hold_epochs=3` needs `lr_schedule='plateau'`"):
        PhaseConfig.from_arguments(phase, PLANS[phase], arguments(phase, lr_schedule="one_cycle", lr_hold_epochs=3))
    PhaseConfig.from_arguments(phase, PLANS[phase], arguments(phase, lr_schedule="one_cycle"))


def test_epochs_of_pretraining_are_named():
    with pytest.raises(ValueError, match="`pretrain_epochs` must be at least 0, got -1"):
        configs_for_train(arguments("train", pretrain_epochs=-1), PLANS, n_obs=10, n_labelled=10)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"precision": "x"}, ValueError, "arguments that Lightning's Trainer takes, but: Precision 'x' is invalid"),
        ({"gradient_clip_val": "a"}, ValueError, "`gradient_clip_val` should be an int or a float"),
        ({"none_such": 1}, TypeError, "There is no argument `none_such`"),
    ],
)
def test_arguments_that_make_no_trainer_raise(given, error, words):
    with pytest.raises(error, match=words):
        check_trainer_arguments({"accelerator": "cpu", **given})
    check_trainer_arguments({"accelerator": "cpu", "precision": "bf16-mixed", "early_stopping": True})


def test_train_has_two_phases_with_default_epochs():
    first, last = configs_for_train(arguments("train", batch_size=100), PLANS, n_obs=1000, n_labelled=500)
    assert (first.name, first.max_epochs) == ("pretrain", 400 * 100 // 1000)
    assert (last.name, last.max_epochs) == ("finetune", 700 * 100 // 500)
    assert not last.trainer_kwargs["early_stopping"]


def test_default_epochs_of_a_large_reference_draw_a_fixed_number_of_cells():
    first, last = configs_for_train(arguments("train", batch_size=100), PLANS, n_obs=10**6, n_labelled=10**6)
    assert (first.max_epochs, first.max_cells_per_epoch) == (10, 400 * 100 // 10)
    assert (last.max_epochs, last.max_cells_per_epoch) == (10, 700 * 100 // 10)
    assert (first.max_cells_per_label, last.max_cells_per_label) == (None, MAX_CELLS_PER_LABEL)


@pytest.mark.parametrize("given", [{"max_epochs": 3}, {"pretrain_epochs": 3}])
def test_epochs_of_a_user_are_over_all_cells(given):
    first, last = configs_for_train(arguments("train", **given), PLANS, n_obs=10**6, n_labelled=10**6)
    assert first.max_cells_per_epoch is None
    assert (last.max_cells_per_epoch is None) == ("max_epochs" in given)


def test_train_without_pretraining_has_one_phase():
    (only,) = configs_for_train(arguments("train", pretrain_epochs=0), PLANS, n_obs=10, n_labelled=10)
    assert only.name == "finetune"


def test_a_plateau_of_default_length_stops_early_unless_told():
    given = arguments("train", lr_schedule="plateau")
    first, last = configs_for_train(given, PLANS, n_obs=10, n_labelled=10)
    patience = last.plan_kwargs["lr_patience"]
    assert last.trainer_kwargs["early_stopping_patience"] == 2 * patience + 1
    assert "early_stopping" not in first.trainer_kwargs
    given["trainer_kwargs"] = {"early_stopping": False}
    assert configs_for_train(given, PLANS, n_obs=10, n_labelled=10)[1].trainer_kwargs["early_stopping"] is False
    for change in ({"max_epochs": 3}, {"train_size": 1.0}):
        last = configs_for_train({**given, "trainer_kwargs": {}, **change}, PLANS, n_obs=10, n_labelled=10)[1]
        assert not last.trainer_kwargs.get("early_stopping")


def test_early_stopping_of_a_user_has_the_same_patience_in_a_cycle():
    given = arguments("train", trainer_kwargs={"early_stopping": True})
    last = configs_for_train(given, PLANS, n_obs=10, n_labelled=10)[1]
    assert last.trainer_kwargs["early_stopping"]
    assert last.trainer_kwargs["early_stopping_patience"] == 2 * last.plan_kwargs["lr_patience"] + 1


def test_callbacks_and_logger_are_of_the_last_phase():
    callback = Callback()
    given = arguments("train", callbacks=[callback], trainer_kwargs={"logger": 1, "precision": 16})
    first, last = configs_for_train(given, PLANS, n_obs=10, n_labelled=10)
    assert (first.callbacks, last.callbacks) == ((), (callback,))
    assert "logger" not in first.trainer_kwargs
    assert first.trainer_kwargs["precision"] == last.trainer_kwargs["precision"] == 16


def test_numpys_integers_are_epochs():
    config(max_epochs=np.int64(3)).check()
