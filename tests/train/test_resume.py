"""The state from which a phase continues."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scvi
from conftest import TINY

from hrca.train._callbacks import EpochHistory
from hrca.train._config import PhaseConfig
from hrca.train._resume import model_identity, model_state, network_sizes, resume_phase
from hrca.train._splitting import Split

SPLIT = Split(0.9, np.array([0, 2]), np.array([1]), "digest")
IDENTITY = {"labels": ["A", "B"], "genes": ["x"]}


@pytest.fixture(autouse=True)
def no_seed(monkeypatch):
    """The checkpoints below are made before the seed of the tests is set."""
    monkeypatch.setattr(scvi.settings, "_seed", None)


def checkpoint(phase: str, *, complete: bool, **changes) -> dict:
    return {
        "phase": phase,
        "epoch": 3,
        "complete": complete,
        "module": {"weight": 1},
        "max_epochs": 5,
        "callbacks": {EpochHistory().state_key: {"epochs": {"loss": [2.0, 1.0]}}},
        "random_states": {"torch": 0},
        "model_state": model_state(SPLIT, {"pretrain_loss": [9.0]}, IDENTITY, config(phase)),
        **changes,
    }


def config(phase: str, batch_size: int = 32, **plan_kwargs) -> PhaseConfig:
    return PhaseConfig(
        name=phase,
        title=phase,
        max_epochs=5,
        batch_size=batch_size,
        train_size=0.9,
        plan_kwargs={"lr_schedule": "plateau", "lr": 1e-3, **plan_kwargs},
        checkpoint_dir=Path("run"),
        checkpoint_interval=1,
        resume=True,
        num_workers=0,
        tensorboard=False,
        callbacks=(),
        trainer_kwargs={},
    )


def resume(phase: str, state: dict, *, settings: dict | None = None, **changes):
    given = {"split": SPLIT, "max_epochs": 5, **changes}
    return resume_phase(state, config(phase, **settings or {}), given.pop("identity", IDENTITY), **given)


def test_an_unfinished_phase_continues_with_its_split_and_history():
    resumed = resume("finetune", checkpoint("finetune", complete=False))
    assert not resumed.is_complete
    assert resumed.history == {"pretrain_loss": [9.0]}
    assert resumed.weights is resumed.random_states is None
    np.testing.assert_array_equal(resumed.split.train, SPLIT.train)


def test_a_finished_phase_is_restored():
    resumed = resume("finetune", checkpoint("finetune", complete=True))
    assert resumed.is_complete
    assert resumed.history == {"pretrain_loss": [9.0], "finetune_loss": [2.0, 1.0]}
    assert resumed.weights == {"weight": 1}
    assert resumed.random_states == {"torch": 0}


def test_finetuning_starts_from_the_end_of_pretraining():
    resumed = resume("finetune", checkpoint("pretrain", complete=True))
    assert not resumed.is_complete
    assert resumed.history == {"pretrain_loss": [9.0, 2.0, 1.0]}
    assert resumed.weights is not None


def test_pretraining_has_ended_once_finetuning_has_begun():
    resumed = resume("pretrain", checkpoint("finetune", complete=False))
    assert resumed.is_complete
    assert resumed.weights is None


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        (checkpoint("finetune", complete=False), {"identity": {**IDENTITY, "genes": ["y"]}}, "with other genes"),
        (
            checkpoint("finetune", complete=False),
            {"split": replace(SPLIT, train_size=0.5)},
            "`train_size=0.9`, got `.*0.5`",
        ),
        (
            checkpoint("finetune", complete=False),
            {"split": replace(SPLIT, validation_size=0.05)},
            "trained with `train_size=0.9`, got `train_size=0.9, validation_size=0.05`",
        ),
        (
            checkpoint("finetune", complete=False),
            {"settings": {"lr_schedule": "one_cycle"}},
            "trained with `lr_schedule='plateau'`, got 'one_cycle'",
        ),
        (checkpoint("finetune", complete=False), {"settings": {"batch_size": 64}}, "`batch_size=32`, got 64"),
        (checkpoint("finetune", complete=False), {"settings": {"lr": 0.01}}, "`lr=0.001`, got 0.01"),
        (checkpoint("finetune", complete=True), {"settings": {"lr": 0.01}}, "`lr=0.001`, got 0.01"),
        (checkpoint("finetune", complete=True), {"settings": {"batch_size": 64}}, "`batch_size=32`, got 64"),
        (checkpoint("pretrain", complete=False), {}, "must follow pre-training, which has not ended"),
    ],
)
def test_a_checkpoint_that_does_not_fit_raises(state, changes, words):
    with pytest.raises(ValueError, match=words):
        resume("finetune", state, **changes)


def test_identity_and_sizes_are_those_of_the_model(tiny_model):
    sizes = network_sizes(tiny_model.module)
    assert {name: sizes[name] for name in TINY} == TINY
    assert set(sizes) == {*TINY, "dropout_rate", "classifier_dropout_rate"}
    identity = model_identity(tiny_model.module, tiny_model.gene_names, tiny_model.labels, "digest")
    assert identity["labels"] == tiny_model.labels
    assert identity["counts or labels of the cells"] == "digest"
    assert identity["genes"] == list(tiny_model.gene_names)
    assert identity["matched genes"] == list(range(60))
    assert identity["matched depths"] is None


def test_a_default_length_does_not_continue_with_a_length_of_the_user():
    state = checkpoint("finetune", complete=False)
    state["model_state"]["settings"]["max_cells_per_epoch"] = 8960
    with pytest.raises(ValueError, match="are of a training without `max_epochs` or `pretrain_epochs`"):
        resume("finetune", state)
