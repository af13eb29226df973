"""The attacks of the reliability benchmark: a few of each, and what counts as a fault."""

import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("resource")  # the attacks fork

import hrca
from benchmarks.reliability import attacks


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attacks.Setting(tmp_path_factory.mktemp("attacks"))


def test_attacks_end_well(tmp_path):
    command = [sys.executable, "-m", "benchmarks.reliability.attacks", "--fraction", "0.01", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "attacks.csv")
    assert list(rows["attack"]) == list(attacks.ATTACKS)
    assert (rows["right"] + rows["raised"] == rows["tried"]).all(), rows["example"].tolist() + [done.stderr]


def test_a_process_that_does_not_end_is_a_fault(setting, monkeypatch):
    monkeypatch.setattr(attacks, "MAX_WRITE_S", 0.01)
    assert attacks.outcome(attacks.full_disk, setting, 0) == f"exit status {-signal.SIGKILL}"
    assert attacks.outcome(attacks.kill, setting, 0).startswith("RuntimeError: A write without an attack")


def test_other_answers_and_errors_are_faults(setting, monkeypatch):
    assert attacks.outcome(attacks.odd_query, setting, 0) in (attacks.RIGHT, attacks.RAISED)
    monkeypatch.setattr(hrca.HRCA, "load", lambda folder: setting.model)
    monkeypatch.setattr(setting, "answers", np.zeros_like(setting.answers))
    assert attacks.outcome(attacks.damaged_model, setting, 0) == "other answers"
    monkeypatch.setattr(hrca.HRCA, "load", lambda folder: {}["key"])
    assert attacks.outcome(attacks.damaged_model, setting, 0).startswith("KeyError")
    monkeypatch.setattr(hrca.HRCA, "load", lambda folder: np.zeros(3).reshape(2, 2))
    assert attacks.outcome(attacks.damaged_model, setting, 0).startswith("ValueError of")


def test_a_file_with_a_part_of_the_results_is_a_fault(setting):
    path = attacks._new_file(setting)
    setting.model.predict(path, **attacks.QUIET)
    assert attacks._state_of(setting, path, {"hrca"}) == attacks.RIGHT
    assert "a part of the results" in attacks._state_of(setting, path, set())
