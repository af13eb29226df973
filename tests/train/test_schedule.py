"""Number of epochs."""

import logging

import scvi
from conftest import QUIET, TINY, synthetic

import hrca
from hrca.train._schedule import specified_epochs
from hrca.train._trainingplans import FinetunePlan, PretrainPlan


def new_model() -> hrca.HRCA:
    scvi.settings.seed = 0
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    return hrca.HRCA(adata, **TINY)


def test_the_number_of_epochs_is_logged_with_its_reason(caplog, monkeypatch):
    # scvi-tools' rule applies above 20,000 cells, more than a test should have
    monkeypatch.setattr("hrca.train._schedule.get_max_epochs_heuristic", lambda n_obs, epochs_cap: epochs_cap // 100)
    with caplog.at_level(logging.DEBUG, logger="hrca"):
        new_model().finetune(**QUIET)
    assert "finetune: 2 epochs, the number of the specification, 200, scaled down by scvi-tools' rule" in caplog.text


def test_scvi_tools_rule_scales_the_specified_epochs():
    assert specified_epochs(PretrainPlan, "pretrain", 500) == 1000
    assert specified_epochs(PretrainPlan, "pretrain", 20_000) == 1000
    assert specified_epochs(FinetunePlan, "finetune", 100_000) == 40
