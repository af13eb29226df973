"""Checkpoints: a training that is killed and goes on equals one that was left in peace."""

import json
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from conftest import QUIET, ROOT, TINY, synthetic
from lightning.pytorch.callbacks import Callback

import hrca
from hrca.train._checkpoints import newest_checkpoint, read_checkpoint, write_checkpoint
from hrca.train._random_states import get_random_states, set_random_states

N_KILLS = 20


@pytest.mark.slow
def test_a_training_killed_twenty_times_equals_an_uninterrupted_one(tmp_path):
    script = ROOT / "tests" / "killed_training.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path), str(N_KILLS)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert sum(result["kills"].values()) >= N_KILLS
    assert min(result["kills"].values()) > 0, f"one phase was never interrupted: {result['kills']}"
    assert result["killed"]["model_id"] == result["peace"]["model_id"]
    assert result["killed"]["labels"] == result["peace"]["labels"]
    assert result["killed"]["history"] == result["peace"]["history"]
    assert min(result["peace"]["history"]["finetune_lr"]) < 1e-3, "the schedule never acted: it was not tested"


def new_model(adata=None, sizes=TINY) -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(100) if adata is None else adata
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **sizes)


class StopAt(Callback):
    """Break off at the beginning of an epoch, as an error would."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise InterruptedError


def broken_off(folder, phase="pretrain", epoch=5, lr_schedule="plateau") -> None:
    model = new_model()
    options = {"checkpoint_dir": folder, "checkpoint_interval": 2, "lr_schedule": lr_schedule, **QUIET}
    if phase == "finetune":
        model.pretrain(2, **options)
    with pytest.raises(InterruptedError):
        getattr(model, phase)(8, callbacks=[StopAt(epoch)], **options)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written(tmp_path):
    broken_off(tmp_path, "finetune")
    assert names(tmp_path) == [
        "finetune-000002.ckpt",
        "finetune-000004.ckpt",
        "pretrain-000002.ckpt",
    ]
    assert newest_checkpoint(tmp_path)["epoch"] == 4
    assert newest_checkpoint(tmp_path)["phase"] == "finetune"


@pytest.mark.parametrize("lr_schedule", ["one_cycle", "plateau"])
def test_resuming_in_the_same_process_equals_going_on(tmp_path, lr_schedule):
    options = {"lr_schedule": lr_schedule, **QUIET}
    broken_off(tmp_path, lr_schedule=lr_schedule)
    resumed = new_model()
    resumed.train(4, pretrain_epochs=8, checkpoint_dir=tmp_path, resume=True, **options)
    peace = new_model()
    peace.train(4, pretrain_epochs=8, **options)
    assert resumed.model_id_ == peace.model_id_
    for name, frame in peace.history.items():
        pd.testing.assert_frame_equal(resumed.history[name], frame, check_exact=True)


def test_another_schedule_cannot_go_on(tmp_path):
    broken_off(tmp_path)
    with pytest.raises(ValueError, match=r"with `lr_schedule='plateau'`, got 'one_cycle'. Give the same"):
        new_model().train(4, pretrain_epochs=8, checkpoint_dir=tmp_path, resume=True, **QUIET)


def test_a_cycle_cannot_end_elsewhere(tmp_path):
    broken_off(tmp_path, lr_schedule="one_cycle")
    with pytest.raises(ValueError, match=r"of a cycle of 8 epochs, which cannot end after 11\. Give the same"):
        new_model().train(4, pretrain_epochs=11, checkpoint_dir=tmp_path, resume=True, **QUIET)


def test_a_finished_training_is_not_trained_again(tmp_path):
    first = new_model()
    first.train(3, pretrain_epochs=3, checkpoint_dir=tmp_path, **QUIET)
    second = new_model()
    second.train(3, pretrain_epochs=3, checkpoint_dir=tmp_path, resume=True, callbacks=[StopAt(0)], **QUIET)
    assert second.model_id_ == first.model_id_
    cells = synthetic(20, seed=5)
    expected = first.predict(cells, soft=True, key_added=None)
    pd.testing.assert_frame_equal(second.predict(cells, soft=True, key_added=None), expected, check_exact=True)
    assert set(second.history) == set(first.history)
    assert len(second.history["finetune_train_loss"]) == 3


@pytest.mark.parametrize("is_ended", [True, False])
def test_a_training_of_other_settings_is_not_resumed(tmp_path, is_ended):
    if is_ended:
        new_model().pretrain(4, lr_schedule="plateau", checkpoint_dir=tmp_path, **QUIET)
    else:
        broken_off(tmp_path)
    options = {"lr_schedule": "plateau", "checkpoint_dir": tmp_path, "resume": True, **QUIET}
    for changed, words in (({"lr": 0.1}, "`lr=0.001`, got 0.1"), ({"batch_size": 64}, "`batch_size=128`, got 64")):
        with pytest.raises(ValueError, match=f"trained with {words}. Give the same to continue, or another"):
            new_model().pretrain(8 if not is_ended else 4, **changed, **options)
    model = new_model()
    scvi.settings.seed = 5
    with pytest.raises(ValueError, match="trained with `scvi.settings.seed=0`, got 5"):
        model.pretrain(8 if not is_ended else 4, **options)


def test_weights_from_a_checkpoint_are_not_fine_tuned(tmp_path):
    model = new_model()
    model.pretrain(2, checkpoint_dir=tmp_path, **QUIET)
    model.finetune(1, **QUIET)
    model.pretrain(2, checkpoint_dir=tmp_path, resume=True, **QUIET)
    with pytest.raises(ValueError, match="must be trained on labels before it predicts"):
        model.predict(synthetic(5))


def test_a_new_training_does_not_mix_with_an_old_one(tmp_path):
    broken_off(tmp_path)
    before = names(tmp_path)
    with pytest.raises(ValueError, match=r"has \['pretrain-000002.ckpt', 'pretrain-000004.ckpt'\].*`resume=True`"):
        new_model().pretrain(1, checkpoint_dir=tmp_path, **QUIET)
    assert names(tmp_path) == before


def test_test_scores_survive_a_resumed_end(tmp_path):
    first, test = new_model(), {"test_adata": synthetic(20, seed=5)}
    first.finetune(2, checkpoint_dir=tmp_path, checkpoint_interval=1, **test, **QUIET)
    second = new_model()
    second.finetune(2, checkpoint_dir=tmp_path, checkpoint_interval=1, resume=True, **test, **QUIET)
    pd.testing.assert_frame_equal(second.test_scores, first.test_scores)


class WithState(Callback):
    """Holds what cannot be read back without running code."""

    def state_dict(self):
        return {"value": np.float64(1)}


def test_a_users_callback_does_not_spoil_a_checkpoint(tmp_path):
    new_model().pretrain(2, checkpoint_dir=tmp_path, callbacks=[WithState()], **QUIET)
    assert newest_checkpoint(tmp_path)["epoch"] == 2


def test_more_epochs_of_a_phase_that_has_ended_are_warned_of(tmp_path):
    new_model().pretrain(2, checkpoint_dir=tmp_path, **QUIET)
    model = new_model()
    with pytest.warns(UserWarning, match=r"ended after 2 epochs; it is not trained for 5.*pretrain\(3\)") as record:
        model.pretrain(5, checkpoint_dir=tmp_path, resume=True, **QUIET)
    assert record[0].filename == __file__
    assert len(model.history["pretrain_train_loss"]) == 2


def test_more_epochs_than_before_go_on(tmp_path):
    broken_off(tmp_path)
    model = new_model()
    model.pretrain(11, checkpoint_dir=tmp_path, resume=True, **QUIET)
    assert len(model.history["pretrain_train_loss"]) == 11


def test_resuming_from_nothing_begins(tmp_path):
    model = new_model()
    with pytest.warns(UserWarning, match=r"the folder '.*new' has none: a new training starts") as record:
        model.train(1, pretrain_epochs=2, checkpoint_dir=tmp_path / "new", resume=True, **QUIET)
    assert len(record) == 1
    assert record[0].filename == __file__
    assert len(model.history["pretrain_train_loss"]) == 2


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    broken_off(tmp_path)
    assert names(tmp_path) == ["pretrain-000002.ckpt", "pretrain-000004.ckpt"]
    newest = tmp_path / "pretrain-000004.ckpt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=r"pretrain-000004.ckpt is damaged and skipped"):
        assert newest_checkpoint(tmp_path)["epoch"] == 2


def test_a_damaged_checkpoint_warns_once_and_names_the_users_line(tmp_path):
    broken_off(tmp_path)
    newest = tmp_path / "pretrain-000004.ckpt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("default")
        new_model().train(1, pretrain_epochs=4, lr_schedule="plateau", checkpoint_dir=tmp_path, resume=True, **QUIET)
    damaged = [warning for warning in record if "is damaged and skipped" in str(warning.message)]
    assert [Path(warning.filename).name for warning in damaged] == ["test_checkpoints.py"]


def test_a_checkpoint_that_is_a_program_is_not_run(tmp_path):
    class Program:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "it ran"),))

    torch.save({"phase": Program()}, tmp_path / "pretrain-000009.ckpt")
    with pytest.warns(UserWarning, match="damaged"):
        assert newest_checkpoint(tmp_path) is None
    assert not (tmp_path / "it ran").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        new_model().pretrain(1, checkpoint_dir=tmp_path / "file", **QUIET)


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path):
    resource = pytest.importorskip("resource", reason="no limit on the size of files")
    path = tmp_path / "pretrain-000002.ckpt"
    write_checkpoint({"epoch": 2}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"must be written to .*File too large.*resume=True"):
            write_checkpoint({"epoch": 2, "weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_checkpoint(path) == {"epoch": 2}
    assert names(tmp_path) == ["pretrain-000002.ckpt"]


def test_every_changed_byte_of_a_checkpoint_is_found(tmp_path):
    broken_off(tmp_path)
    newest, rng = tmp_path / "pretrain-000004.ckpt", np.random.default_rng(0)
    written = newest.read_bytes()
    length = 8 + int.from_bytes(written[:8], "little")  # of the header, with the state
    positions = [*range(8), *rng.integers(8, length, 40), *rng.integers(length, len(written), 60)]
    for position in positions:
        changed = bytearray(written)
        changed[position] ^= 1 << int(rng.integers(8))
        newest.write_bytes(changed)
        with pytest.raises(ValueError, match="."):
            read_checkpoint(newest)
    newest.write_bytes(written)
    assert read_checkpoint(newest)["epoch"] == 4


def test_a_training_with_a_damaged_checkpoint_goes_on_from_the_one_before(tmp_path):
    broken_off(tmp_path)
    newest = tmp_path / "pretrain-000004.ckpt"
    changed = bytearray(newest.read_bytes())
    changed[-1000] ^= 64  # a bit of a weight, which every reader of the file format takes
    newest.write_bytes(changed)
    resumed = new_model()
    with pytest.warns(UserWarning, match="pretrain-000004.ckpt is damaged and skipped: its content is not what was"):
        resumed.train(1, pretrain_epochs=8, lr_schedule="plateau", checkpoint_dir=tmp_path, resume=True, **QUIET)
    peace = new_model()
    peace.train(1, pretrain_epochs=8, lr_schedule="plateau", **QUIET)
    assert resumed.model_id_ == peace.model_id_


def test_a_checkpoint_of_another_format_raises(tmp_path, monkeypatch):
    broken_off(tmp_path)
    monkeypatch.setattr("hrca.train._checkpoints.CHECKPOINT_FORMAT", 2)
    with pytest.raises(ValueError, match=r"must have format 2, but .*-000004.ckpt has format 1: another version"):
        new_model().pretrain(8, checkpoint_dir=tmp_path, resume=True, **QUIET)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("genes", "other genes"),
        ("labels", "other labels"),
        ("sizes", "other sizes"),
        ("count_likelihood", "other count likelihood"),
        ("query", "other matched genes and matched depths"),
        ("train_size", "train_size=0.9.*got `train_size=0.8`"),
    ],
)
def test_a_checkpoint_of_another_model_raises(tmp_path, change, words):
    broken_off(tmp_path)
    adata = synthetic(100)
    if change == "genes":
        adata.var_names = adata.var_names[::-1]
    elif change == "labels":
        adata.obs["cell_type"] = adata.obs["cell_type"].str.upper()
    sizes = {"sizes": {**TINY, "n_hidden": 33}, "count_likelihood": {**TINY, "count_likelihood": False}}.get(
        change, TINY
    )
    train_size = 0.8 if change == "train_size" else 0.9
    model = new_model(adata, sizes)
    if change == "query":
        model.match_query(synthetic(20, seed=5)[:, :50].copy())
    with pytest.raises(ValueError, match=words):
        model.pretrain(8, train_size=train_size, checkpoint_dir=tmp_path, resume=True, **QUIET)


def test_finetuning_does_not_start_on_half_a_pretraining(tmp_path):
    broken_off(tmp_path)
    with pytest.raises(ValueError, match="Fine-tuning must follow pre-training"):
        new_model().finetune(1, checkpoint_dir=tmp_path, resume=True, **QUIET)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resume": True}, "needs the `checkpoint_dir`"),
        ({"checkpoint_interval": 0}, "at least 1, got 0"),
        ({"max_epochs": 0}, "`max_epochs` must be at least 1, got 0"),
    ],
)
def test_bad_arguments_raise(arguments, words):
    with pytest.raises(ValueError, match=words):
        new_model().pretrain(**{"max_epochs": 1, **arguments}, **QUIET)


def test_random_states_go_back_to_where_they_were():
    states = get_random_states()
    draws = [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()]
    set_random_states(states)
    assert [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()] == draws
