"""The attacks of the reliability benchmark: a few of each, and what counts as a fault."""

import warnings

import numpy as np
import pytest

pytest.importorskip("resource")  # the attacks fork

import hrca
from benchmarks.reliability import attacks


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attacks.Setting(tmp_path_factory.mktemp("attacks"))


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_attacks_end_well(setting, name):
    attack, _ = attacks.ATTACKS[name]
    ends = {attacks.outcome(attack, setting, seed) for seed in range(3)}
    assert ends <= {attacks.RIGHT, attacks.REFUSED}


def test_other_answers_and_errors_are_faults(setting, monkeypatch):
    assert attacks.outcome(attacks.odd_query, setting, 0) in (attacks.RIGHT, attacks.REFUSED)
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
