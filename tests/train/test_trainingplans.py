"""Optimiser and learning-rate schedule, against torch's own defaults and the specification's rule written out."""

import inspect

import pytest
import torch
from conftest import QUIET, TINY
from lightning.pytorch.callbacks import Callback

import hrca
from hrca.train._schedule import default_epochs, scaled_schedule
from hrca.train._trainingplans import FinetunePlan, PretrainPlan


class Trace(Callback):
    """Notes, for each epoch, the learning rate it ran with and the loss that the schedule then saw."""

    def __init__(self, monitor: str):
        self.monitor, self.rates, self.losses, self.defaults = monitor, [], [], {}

    def on_train_epoch_start(self, trainer, pl_module):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.defaults = trainer.optimizers[0].defaults

    def on_train_epoch_end(self, trainer, pl_module):
        self.losses.append(float(trainer.callback_metrics[self.monitor]))


def written_out_rates(losses: list[float], *, lr: float, factor: float, patience: int, hold: int) -> list[float]:
    """The specification's rule: after `hold` epochs, divide when the loss has not fallen for over `patience` epochs."""
    rates, best, bad = [], float("inf"), 0
    for epoch, loss in enumerate(losses):
        rates.append(lr)
        if epoch < hold:
            continue
        if loss < best * (1 - 1e-4):
            best, bad = loss, 0
        else:
            bad += 1
        if bad > patience:
            lr, bad = lr * factor, 0
    return rates


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
@pytest.mark.parametrize("train_size", [0.8, 1.0], ids=["monitors validation", "monitors training"])
def test_learning_rate_follows_the_specified_rule(reference, phase, train_size):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    trace = Trace("validation_loss" if train_size < 1 else "train_loss")
    schedule = {"lr": 0.05, "lr_factor": 0.5, "lr_patience": 1, "lr_hold_epochs": 4}
    getattr(model, phase)(25, train_size=train_size, callbacks=[trace], **schedule, **QUIET)
    expected = written_out_rates(trace.losses, lr=0.05, factor=0.5, patience=1, hold=4)
    assert trace.rates == pytest.approx(expected)
    assert trace.rates[:5] == [0.05] * 5
    assert trace.rates[-1] < 0.05, "the schedule never acted: this test would prove nothing"


@pytest.mark.parametrize(
    ("plan_cls", "max_epochs", "hold", "patience"),
    [
        (PretrainPlan, 1000, 200, 50),
        (PretrainPlan, 100, 20, 5),
        (FinetunePlan, 200, 20, 10),
        (FinetunePlan, 40, 4, 2),
        (FinetunePlan, 1, 0, 1),
    ],
)
def test_train_scales_the_specified_schedule(plan_cls, max_epochs, hold, patience):
    schedule = scaled_schedule(plan_cls, max_epochs)
    assert schedule == {"lr_hold_epochs": hold, "lr_patience": patience}


@pytest.mark.parametrize(
    ("plan_cls", "n_obs", "epochs"),
    # 400 and 700 steps of 128 cells; at least 10 epochs, at most the specification's
    [(PretrainPlan, 2560, 20), (FinetunePlan, 4480, 20), (FinetunePlan, 300, 200), (PretrainPlan, 1_000_000, 10)],
)
def test_a_training_without_a_number_of_epochs_takes_enough_steps(plan_cls, n_obs, epochs):
    assert default_epochs(plan_cls, n_obs, 128) == epochs


def test_the_specified_numbers_are_the_defaults():
    for method, numbers in (("pretrain", (50, 200)), ("finetune", (10, 20))):
        parameters = inspect.signature(getattr(hrca.HRCA, method)).parameters
        assert (parameters["lr_patience"].default, parameters["lr_hold_epochs"].default) == numbers
        assert parameters["lr"].default == 1e-3
        assert parameters["batch_size"].default is None


def test_adam_has_torchs_own_defaults(reference):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    trace = Trace("train_loss")
    hrca.HRCA(reference, **TINY).finetune(1, train_size=1.0, callbacks=[trace], **QUIET)
    expected = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]).defaults
    assert {name: trace.defaults[name] for name in ("lr", "betas", "eps", "weight_decay", "amsgrad")} == {
        name: expected[name] for name in ("lr", "betas", "eps", "weight_decay", "amsgrad")
    }


def test_clipping_under_mixed_precision_trains(reference):
    # torch has no fused Adam there
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(1, pretrain_epochs=1, gradient_clip_val=1.0, precision="bf16-mixed", **QUIET)
    assert all(torch.isfinite(parameter).all() for parameter in model.module.parameters())
