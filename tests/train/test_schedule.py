"""Number of epochs."""

import logging

import scvi
from conftest import QUIET, TINY, synthetic

import hrca
from hrca.train._schedule import scaled_epochs


def new_model() -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY)


def test_the_number_of_epochs_is_logged_with_its_reason(caplog, monkeypatch):
    # scvi-tools' rule applies above 20,000 cells, more than a test should have
    monkeypatch.setattr("hrca.train._schedule.scaled_epochs", lambda document_epochs, n_obs: document_epochs // 100)
    with caplog.at_level(logging.INFO, logger="hrca"):
        new_model().finetune(**QUIET)
    assert "finetune: 2 epochs, the Training Document's number, 200, scaled down by scvi-tools' rule" in caplog.text


def test_scvi_tools_rule_scales_the_specified_epochs():
    assert scaled_epochs(1000, 500) == 1000
    assert scaled_epochs(1000, 20_000) == 1000
    assert scaled_epochs(200, 100_000) == 40
