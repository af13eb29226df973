"""History and progress bar."""

import scvi
from conftest import QUIET, TINY, synthetic
from lightning.pytorch.loggers import CSVLogger

import hrca


def new_model() -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY)


def test_history_is_kept_beside_another_logger(tmp_path):
    model = new_model()
    model.train(2, pretrain_epochs=2, logger=CSVLogger(tmp_path), **QUIET)
    assert len(model.history["finetune_train_loss"]) == 2


def test_progress_shows_phase_epoch_loss_and_rate(capsys):
    new_model().train(2, pretrain_epochs=1, accelerator="cpu", lr_schedule="plateau")
    shown = capsys.readouterr()
    text = shown.out + shown.err
    for words in ("pretrain 1/1", "finetune 2/2", "loss=", "lr=0.001"):
        assert words in text
