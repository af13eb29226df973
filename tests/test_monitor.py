"""Watching a training: test cells, TensorBoard, the progress bar."""

import logging

import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, TINY, synthetic
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hrca


def new_model() -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY)


def test_cells() -> hrca.HRCA:
    """Other cells, genes shuffled, another column, one label that the reference lacks."""
    adata = synthetic(40, seed=3)
    adata = adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()
    adata.obs["annotation"] = adata.obs.pop("cell_type").astype(object)
    adata.obs.iloc[:4, 0] = "type 9"
    adata.obs.iloc[4, 0] = "Unknown"
    adata.obs.iloc[5, 0] = None
    return adata


test_cells.__test__ = False


def test_test_cells_are_scored_at_each_interval(tmp_path):
    model, cells = new_model(), test_cells()
    before = cells.copy()
    options = {"test_adata": cells, "test_labels_key": "annotation", "checkpoint_dir": tmp_path}
    model.finetune(5, lr=1e-2, checkpoint_interval=2, **options, **QUIET)
    scores = model.test_scores
    assert list(scores["epoch"]) == [2, 4, 5]
    assert (scores["n_unseen"] == 4).all()
    assert (scores["n_obs"] == 34).all()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "test_scores.csv"), scores)
    for epoch in (2, 4, 5):
        table = pd.read_csv(tmp_path / f"confusion_{epoch:06d}.csv", index_col=0)
        assert table.to_numpy().sum() == 38
        assert (tmp_path / f"confusion_{epoch:06d}.png").stat().st_size > 1000
    pd.testing.assert_frame_equal(cells.obs, before.obs)
    assert not cells.uns
    table = pd.read_csv(tmp_path / "confusion_000005.csv", index_col=0)
    right = sum(table.loc[label, label] for label in model.labels if label in table)
    assert scores["accuracy"].iloc[-1] == pytest.approx(right / 34)


def test_test_cells_change_nothing_of_the_training():
    watched = new_model()
    watched.finetune(4, test_adata=test_cells(), test_labels_key="annotation", checkpoint_interval=1, **QUIET)
    alone = new_model()
    alone.finetune(4, **QUIET)
    assert watched.model_id_ == alone.model_id_
    assert alone.test_scores.empty


def test_labels_that_are_all_unseen_are_counted():
    cells = test_cells()
    cells.obs["annotation"] = "type 9"
    model = new_model()
    model.finetune(1, test_adata=cells, test_labels_key="annotation", checkpoint_interval=1, **QUIET)
    assert model.test_scores[["epoch", "n_unseen"]].to_numpy().tolist() == [[1, 40]]


@pytest.mark.parametrize(
    ("column", "words"), [("nothing", "got 'nothing'"), (None, r"got 'cell_type'; it has \['annotation'\]")]
)
def test_a_missing_column_is_refused_before_training(column, words):
    model = new_model()
    with pytest.raises(ValueError, match=words):
        model.finetune(1, test_adata=test_cells(), test_labels_key=column, **QUIET)
    assert not model.is_trained


def test_scores_survive_a_file(tmp_path):
    model = new_model()
    model.finetune(2, test_adata=test_cells(), test_labels_key="annotation", checkpoint_interval=1, **QUIET)
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(hrca.HRCA.load(tmp_path / "model").test_scores, model.test_scores)


def read_log(folder) -> EventAccumulator:
    log = EventAccumulator(str(folder))
    log.Reload()
    return log


def test_tensorboard_has_what_the_history_has(tmp_path):
    model = new_model()
    model.pretrain(2, tensorboard=True, checkpoint_dir=tmp_path, **QUIET)
    options = {"test_adata": test_cells(), "test_labels_key": "annotation", "checkpoint_interval": 1}
    model.finetune(3, tensorboard=True, checkpoint_dir=tmp_path, **options, **QUIET)
    for phase, n_epochs in (("pretrain", 2), ("finetune", 3)):
        log = read_log(tmp_path / "tensorboard" / phase)
        for name in ("train_loss", "validation_loss", "train_reconstruction_loss", "lr"):
            events = log.Scalars(f"{phase}/{name}")
            assert [event.step for event in events] == list(range(1, n_epochs + 1))
            np.testing.assert_allclose(
                [event.value for event in events], model.history[f"{phase}_{name}"].iloc[:, 0], rtol=1e-6
            )
    accuracy = [event.value for event in log.Scalars("finetune/test_accuracy")]
    np.testing.assert_allclose(accuracy, model.test_scores["accuracy"], rtol=1e-6)
    assert {"finetune/train_accuracy", "finetune/train_classification_loss"} <= set(log.Tags()["scalars"])
    assert log.Tags()["images"] == ["finetune/test_confusion"]


def test_history_is_kept_beside_another_logger(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    model = new_model()
    model.train(2, 2, logger=CSVLogger(tmp_path), **QUIET)
    assert len(model.history["finetune_train_loss"]) == 2


def test_progress_shows_phase_epoch_loss_and_rate(capsys):
    new_model().train(1, 2, accelerator="cpu", lr_schedule="plateau")
    shown = capsys.readouterr()
    text = shown.out + shown.err
    for words in ("pretrain 1/1", "finetune 2/2", "loss=", "lr=0.001"):
        assert words in text


def test_the_number_of_epochs_is_said_and_why(caplog, monkeypatch):
    # scvi's rule bites above 20,000 cells; more than there should be in a test
    monkeypatch.setattr("hrca.train._schedule.get_max_epochs_heuristic", lambda n_obs, epochs_cap: epochs_cap // 100)
    with caplog.at_level(logging.INFO, logger="hrca"):
        new_model().finetune(**QUIET)
    assert "finetune: 2 epochs, the Training Document's number, 200, scaled down by scvi-tools' rule" in caplog.text


def test_scvis_rule_scales_the_documents_epochs():
    from hrca.train._schedule import specified_epochs
    from hrca.train._trainingplans import FinetunePlan, PretrainPlan

    assert specified_epochs(PretrainPlan, "pretrain", 500) == 1000
    assert specified_epochs(PretrainPlan, "pretrain", 20_000) == 1000
    assert specified_epochs(FinetunePlan, "finetune", 100_000) == 40
