"""A run of a phase: interruptions, random numbers, messages, and what stays in memory."""

import gc
import logging
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import scvi
import torch
from conftest import QUIET, TINY, synthetic
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

import hrca
from hrca.train._adaptation import SoftLabelledCells


def new_model() -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY)


class Interrupt(Callback):
    """Press Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch: int):
        self.epoch = epoch
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.weights.append({name: value.clone() for name, value in pl_module.module.state_dict().items()})

    def on_train_batch_end(self, trainer, *_):
        if trainer.current_epoch == self.epoch:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
@pytest.mark.parametrize("schedule", ["plateau", "one_cycle"])
def test_ctrl_c_leaves_the_weights_of_a_whole_epoch(query, phase, schedule):
    model, interrupt = new_model(), Interrupt(2)
    model.pretrain(1, **QUIET)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        getattr(model, phase)(5, batch_size=32, lr_schedule=schedule, callbacks=[interrupt], **QUIET)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not any(module.training for module in model.module.modules())
    assert not model.is_finetuned_
    losses = model.history[f"{phase}_validation_loss"].iloc[-2:, 0]
    kept = interrupt.weights[int(np.argmin(losses)) if schedule == "plateau" else 1]
    assert all(torch.equal(value, kept[name]) for name, value in model.module.state_dict().items())
    latent = [model.get_latent_representation(query) for _ in range(2)]
    np.testing.assert_array_equal(*latent)
    assert model.model_id_
    # and it can be trained
    model.finetune(1, **QUIET)
    assert model.is_finetuned_


def test_ctrl_c_voids_the_post_hoc_parts_of_an_earlier_training():
    model = new_model()
    model.train(1, pretrain_epochs=1, **QUIET)
    assert model.novelty_reference_ is not None
    with pytest.raises(KeyboardInterrupt):
        model.finetune(2, callbacks=[Interrupt(0)], **QUIET)
    assert model.novelty_reference_ is model.conformal_scores_ is model.n_folds_ is None
    with pytest.raises(ValueError, match="must be trained on labels"):
        model.predict(synthetic(10))


def test_ctrl_c_in_an_adaptation_leaves_the_model(tiny_model, query):
    before = tiny_model.predict(query, soft=True, key_added=None)
    with pytest.raises(KeyboardInterrupt):
        tiny_model.adapt(query, select=False, max_steps=20, batch_size=16, callbacks=[Interrupt(0)], **QUIET)
    assert tiny_model.is_finetuned_
    assert tiny_model.predict(query, soft=True, key_added=None).equals(before)


class Cancel(Callback):
    """Raise KeyboardInterrupt, as a library does in a thread."""

    def on_train_batch_end(self, *_):
        raise KeyboardInterrupt


def test_an_interruption_in_a_thread_is_one():
    model, seen = new_model(), []

    def train():
        try:
            model.pretrain(2, callbacks=[Cancel()], **QUIET)
        except (KeyboardInterrupt, SystemExit, ValueError) as error:
            seen.append(type(error))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [KeyboardInterrupt]
    assert not model.module.training


class Exit(Callback):
    """End the process, which is not an interruption."""

    def on_train_batch_end(self, *_):
        sys.exit(3)


def test_an_exit_is_an_exit():
    with pytest.raises(SystemExit):
        new_model().pretrain(2, callbacks=[Exit()], **QUIET)


class Fail(Callback):
    """An error of a user's callback."""

    def on_train_batch_end(self, *_):
        raise RuntimeError("of the user")


def test_an_error_is_not_printed(capsys):
    model = new_model()
    with pytest.raises(RuntimeError, match="of the user"):
        model.pretrain(2, callbacks=[Fail()], **QUIET)
    assert capsys.readouterr().out == ""
    assert not model.module.training


def states() -> tuple:
    return torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].astype(np.int64))


@pytest.mark.parametrize("step", ["train", "folds", "pretrain", "finetune", "adapt", "load"])
def test_the_global_generators_stay_as_they_were(step, query, tmp_path):
    model = new_model()
    if step in ("adapt", "load"):
        model.train(1, pretrain_epochs=1, **QUIET)
        model.save(tmp_path / "model")
    before = states()
    {
        "train": lambda: model.train(1, pretrain_epochs=1, **QUIET),
        "folds": lambda: model.train(1, pretrain_epochs=1, n_folds=2, **QUIET),
        "pretrain": lambda: model.pretrain(1, **QUIET),
        "finetune": lambda: model.finetune(1, **QUIET),
        "adapt": lambda: model.adapt(query, select=False, max_steps=2, batch_size=4, **QUIET),
        "load": lambda: hrca.HRCA.load(tmp_path / "model"),
    }[step]()
    for first, second in zip(before, states(), strict=True):
        assert torch.equal(first, second)


def test_the_generators_stay_after_an_error():
    model = new_model()
    before = states()
    with pytest.raises(RuntimeError, match="of the user"):
        model.pretrain(2, callbacks=[Fail()], **QUIET)
    for first, second in zip(before, states(), strict=True):
        assert torch.equal(first, second)


class Draws(Callback):
    """Note the state of torch's generator at the start of a phase."""

    def __init__(self):
        self.states = []

    def on_train_start(self, *_):
        self.states.append(torch.get_rng_state())


def test_a_second_phase_goes_on_with_the_random_numbers_of_the_first():
    model, draws = new_model(), Draws()
    for _ in range(2):
        model.pretrain(1, callbacks=[draws], **QUIET)
    assert not torch.equal(*draws.states)


def test_a_seed_between_two_phases_counts():
    weights = []
    for n_epochs in (1, 3):
        model = new_model()
        model.pretrain(n_epochs, **QUIET)
        scvi.settings.seed = 5
        draws = Draws()
        model.pretrain(1, callbacks=[draws], **QUIET)
        weights.append(draws.states[0])
    assert torch.equal(*weights)


def test_no_trainer_and_no_cells_stay_in_memory(query):
    model = new_model()
    gc.collect()
    n_before = sum(issubclass(type(thing), Trainer) for thing in gc.get_objects())
    model.train(1, pretrain_epochs=1, **QUIET)
    adapted = model.adapt(query, select=False, max_steps=2, batch_size=4, **QUIET)
    assert model.trainer is adapted.trainer is None
    # before a collection: these are copies of the reference and the query
    assert not any(issubclass(type(thing), SoftLabelledCells) for thing in gc.get_objects())
    gc.collect()
    assert sum(issubclass(type(thing), Trainer) for thing in gc.get_objects()) == n_before


def test_a_huge_batch_allocates_nothing():
    model = new_model()
    model.pretrain(1, batch_size=10**12, **QUIET)
    assert model.is_trained


SCRIPT = """
import hrca, sys
sys.path.insert(0, {tests!r})
from conftest import TINY, synthetic
reference, query = synthetic(100), synthetic(40, seed=2)
hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
model = hrca.HRCA(reference, **TINY)
model.train(1, pretrain_epochs=1, query=query, accelerator="cpu", enable_progress_bar=False)
for _ in range(3):
    model.predict(query, enable_progress_bar=False)
    model.get_latent_representation(query)
model.adapt(query, select=False, max_steps=2, batch_size=4, accelerator="cpu", enable_progress_bar=False)
"""


def test_a_session_shows_the_lines_of_hrca_and_no_others(request):
    tests = str(request.config.rootpath / "tests")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(tests=tests)], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    for words in ("GPU", "TPU", "litlogger", "Trainer.fit", "Deprecat", "deprecat", "estimate number", "downloaded"):
        assert words not in done.stderr
    phases = ("pretrain", "finetune", "adapt")
    assert [line.split(":")[0] for line in lines if line.startswith(phases)] == [p for p in phases for _ in range(2)]
    # the reference's, the query's before training, and the query's once genes have a weight
    checks = [line for line in lines if "counts from X" in line]
    assert len(checks) == len(set(checks)) == 3
    assert len(lines) - len(checks) - 6 <= 3, lines


def test_messages_go_to_the_handlers_of_the_user(caplog, capsys):
    with caplog.at_level(logging.INFO, logger="hrca"):
        new_model().pretrain(1, **QUIET)
    assert "pretrain: 1 epoch of 91 cells, about 1 s on this CPU." in caplog.text
    assert "pretrain: ended after 1 epoch in" in caplog.text
    assert "pretrain" not in capsys.readouterr().err


def test_a_level_of_lightning_that_a_user_chose_stays():
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        new_model().pretrain(1, **QUIET)
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(level)


def test_warnings_of_the_user_are_not_hidden():
    class Old(Callback):
        def on_train_start(self, *_):
            warnings.warn("of the user", DeprecationWarning, stacklevel=1)

    with pytest.warns(DeprecationWarning, match="of the user"):
        new_model().pretrain(1, callbacks=[Old()], **QUIET)
