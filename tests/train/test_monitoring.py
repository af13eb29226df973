"""Reports on a running training: test cells, TensorBoard."""

import sys

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scvi
from conftest import QUIET, TINY, synthetic
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hrca
from hrca.train._callbacks import EpochHistory
from hrca.train._monitoring import MonitorTestSet, TensorBoard


def new_model() -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY)


def labelled_cells() -> ad.AnnData:
    """40 other cells, genes shuffled, labels in another column: 4 of a label that the reference lacks, 2 without."""
    adata = synthetic(40, seed=3)
    adata = adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()
    adata.obs["annotation"] = adata.obs.pop("cell_type").astype(object)
    adata.obs.iloc[:4, 0] = "type 9"
    adata.obs.iloc[4, 0] = "Unknown"
    adata.obs.iloc[5, 0] = None
    return adata


def test_cells_are_scored_at_each_interval(tmp_path):
    model, cells = new_model(), labelled_cells()
    before, figures = cells.copy(), plt.get_fignums()
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
    assert plt.get_fignums() == figures
    pd.testing.assert_frame_equal(cells.obs, before.obs)
    assert not cells.uns
    table = pd.read_csv(tmp_path / "confusion_000005.csv", index_col=0)
    right = sum(table.loc[label, label] for label in model.labels if label in table)
    assert scores["accuracy"].iloc[-1] == pytest.approx(right / 34)


def test_evaluation_changes_nothing_of_the_training():
    monitored = new_model()
    monitored.finetune(4, test_adata=labelled_cells(), test_labels_key="annotation", checkpoint_interval=1, **QUIET)
    alone = new_model()
    alone.finetune(4, **QUIET)
    assert monitored.model_id_ == alone.model_id_
    assert alone.test_scores.empty


def test_labels_that_are_all_unseen_are_counted():
    cells = labelled_cells()
    cells.obs["annotation"] = "type 9"
    model = new_model()
    model.finetune(1, test_adata=cells, test_labels_key="annotation", checkpoint_interval=1, **QUIET)
    assert model.test_scores[["epoch", "n_unseen"]].to_numpy().tolist() == [[1, 40]]


@pytest.mark.parametrize(
    ("column", "words"), [("nothing", "got 'nothing'"), (None, r"got 'cell_type'; it has \['annotation'\]")]
)
def test_a_missing_column_raises_before_training(column, words):
    model = new_model()
    with pytest.raises(ValueError, match=words):
        model.finetune(1, test_adata=labelled_cells(), test_labels_key=column, **QUIET)
    assert not model.is_trained


def test_scores_survive_a_file(tmp_path):
    model = new_model()
    model.finetune(2, test_adata=labelled_cells(), test_labels_key="annotation", checkpoint_interval=1, **QUIET)
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(hrca.HRCA.load(tmp_path / "model").test_scores, model.test_scores)


def read_log(folder) -> EventAccumulator:
    log = EventAccumulator(str(folder))
    log.Reload()
    return log


def test_tensorboard_has_what_the_history_has(tmp_path):
    model = new_model()
    model.pretrain(2, tensorboard=True, checkpoint_dir=tmp_path, **QUIET)
    options = {"test_adata": labelled_cells(), "test_labels_key": "annotation", "checkpoint_interval": 1}
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


@pytest.mark.parametrize("train", ["pretrain", "finetune", "train"])
def test_a_missing_tensorboard_is_reported_before_training(train, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    model = new_model()
    options = {"n_folds": 2} if train == "train" else {}
    with pytest.raises(ImportError, match=r'pip install "hrca\[tensorboard\]"'):
        getattr(model, train)(tensorboard=True, checkpoint_dir=tmp_path / "run", **options, **QUIET)
    assert not model.is_trained
    assert not (tmp_path / "run").exists()


def test_the_callback_itself_needs_tensorboard(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="tensorboard"):
        TensorBoard(tmp_path, "finetune", EpochHistory(), None)


def test_evaluations_continue_after_a_resumed_training():
    monitor, resumed = (
        MonitorTestSet(lambda: pd.Categorical([]), pd.Series([], dtype=object), [], interval=1, folder=None)
        for _ in range(2)
    )
    monitor.evaluations.append({"epoch": 1, "n_unseen": 0})
    resumed.load_state_dict(monitor.state_dict())
    assert resumed.evaluations == [{"epoch": 1, "n_unseen": 0}]
