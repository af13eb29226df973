"""Training on references that have more cells than the default training draws."""

import logging

import numpy as np
import pytest
import scvi
from conftest import QUIET, TINY, synthetic
from lightning.pytorch.callbacks import Callback
from scipy import sparse

import hrca
from hrca.train import _schedule
from hrca.train._trainingplans import FinetunePlan, PretrainPlan

N_OBS = 400


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Default training of 20 and 30 steps in epochs of at least 5 times a part of the cells."""
    monkeypatch.setattr(_schedule, "MIN_EPOCHS", 5)
    monkeypatch.setattr(PretrainPlan, "default_steps", 20)
    monkeypatch.setattr(FinetunePlan, "default_steps", 30)


def model(adata=None, **settings) -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(N_OBS) if adata is None else adata
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY, **settings)


class Cells(Callback):
    """The labels and the number of cells of each epoch, training and validation."""

    def __init__(self, stop_after=None):
        self.epochs, self.n_validation, self.stop_after = [], [], stop_after

    def on_train_epoch_start(self, trainer, pl_module):
        """Start an epoch."""
        if self.stop_after == len(self.epochs):
            raise KeyboardInterrupt
        self.epochs.append([])
        self.n_validation.append(0)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Note the labels of a batch."""
        self.epochs[-1] += batch["labels"].ravel().tolist()

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        """Count the cells of a batch."""
        self.n_validation[-1] += len(batch["labels"])


def test_steps_decide_and_each_label_has_its_share():
    cells = Cells()
    trained = model()
    trained.train(batch_size=10, callbacks=[cells], **QUIET)
    assert [len(epoch) for epoch in cells.epochs] == [60] * 5
    assert all(np.bincount(np.array(epoch, dtype=int)).tolist() == [20, 20, 20] for epoch in cells.epochs)
    # of 361 training cells an epoch draws 60, and of 39 validation cells as many in proportion
    assert cells.n_validation == [6] * 5
    assert len(trained.history["pretrain_train_loss"]) == 5
    assert len(trained.split_.validation) == 39
    assert trained.conformal_scores_ is not None


def test_the_same_time_for_any_number_of_cells():
    n_steps = []
    for n_obs in (400, 1200):
        cells = Cells()
        model(synthetic(n_obs)).train(batch_size=10, callbacks=[cells], **QUIET)
        n_steps.append(len(cells.epochs) * len(cells.epochs[0]))
    assert n_steps[0] == n_steps[1]


def test_a_number_of_epochs_is_over_all_cells():
    cells = Cells()
    model().train(2, batch_size=10, callbacks=[cells], **QUIET)
    # the last batch of one cell is dropped
    assert [len(epoch) for epoch in cells.epochs] == [360] * 2
    assert cells.n_validation == [39] * 2


def test_few_cells_of_a_label_train_and_the_log_says_so(caplog):
    cells = Cells()
    trained = model()
    with caplog.at_level(logging.INFO, logger="hrca"):
        trained.train(2, pretrain_epochs=1, batch_size=10, max_cells_per_label=15, callbacks=[cells], **QUIET)
    assert [len(epoch) for epoch in cells.epochs] == [45] * 2
    assert "45 of 361 cells, at most 15 of a label (`max_cells_per_label`), train the networks" in caplog.text
    # profiles and novelty are those of all cells
    whole = model()
    whole.train(2, pretrain_epochs=1, batch_size=10, **QUIET)
    name = "count_likelihood.log_profiles"
    np.testing.assert_array_equal(trained.module.state_dict()[name], whole.module.state_dict()[name])
    np.testing.assert_array_equal(trained.novelty_reference_.sums, whole.novelty_reference_.sums)


def test_a_killed_default_training_continues_bit_for_bit(tmp_path):
    settings = {"batch_size": 10, "checkpoint_dir": tmp_path, "checkpoint_interval": 1, **QUIET}
    whole = model()
    whole.train(batch_size=10, **QUIET)
    with pytest.raises(KeyboardInterrupt):
        model().train(callbacks=[Cells(stop_after=3)], **settings)
    resumed = model()
    resumed.train(resume=True, **settings)
    for name, frame in whole.history.items():
        np.testing.assert_array_equal(resumed.history[name].to_numpy(), frame.to_numpy())
    for name, value in whole.module.state_dict().items():
        np.testing.assert_array_equal(resumed.module.state_dict()[name].numpy(), value.numpy(), err_msg=name)


@pytest.mark.parametrize("kind", ["array", "dense", "doubled entries", "csc"])
def test_every_kind_of_matrix_trains_alike(kind):
    adata = synthetic(100)
    expected = model(adata.copy())
    expected.train(2, pretrain_epochs=2, corruption="none", batch_size=32, **QUIET)
    if kind == "array":
        adata.X = sparse.csr_array(adata.X)
    elif kind == "dense":
        adata.X = adata.X.toarray()
    elif kind == "csc":
        adata.X = adata.X.tocsc()
    else:
        x = adata.X
        halves = np.repeat(x.data, 2)
        halves[::2] -= 1
        halves[1::2] = 1
        adata.X = sparse.csr_matrix((halves, np.repeat(x.indices, 2), 2 * x.indptr), shape=x.shape)
    found = model(adata)
    found.train(2, pretrain_epochs=2, corruption="none", batch_size=32, **QUIET)
    for name in expected.history:
        np.testing.assert_allclose(found.history[name].to_numpy(), expected.history[name].to_numpy(), rtol=1e-4)
