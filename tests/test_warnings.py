"""Warnings name the line outside HRCA."""

import inspect
import warnings

import pytest

from hrca import _warnings
from hrca._warnings import (
    DoubtfulPredictionWarning,
    HRCAWarning,
    annotate_sample_warnings,
    recorded_warnings,
    warn_user,
)


def record(function) -> warnings.WarningMessage:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    (message,) = caught
    return message


def test_a_direct_call_names_its_own_line():
    line = inspect.currentframe().f_lineno + 1
    message = record(lambda: warn_user("text"))
    assert (message.filename, message.lineno, str(message.message)) == (__file__, line, "text")
    assert message.category is HRCAWarning


@pytest.mark.parametrize(("name", "text"), [("a", "In sample 'a': text"), (0, "In sample 0: text"), (None, "text")])
def test_a_warning_names_its_sample(name, text):
    with annotate_sample_warnings(name):
        assert str(record(lambda: warn_user("text")).message) == text
    assert str(record(lambda: warn_user("text")).message) == "text"


def test_only_warnings_of_doubtful_predictions_are_recorded():
    with recorded_warnings() as recorded, annotate_sample_warnings("a"), pytest.warns(HRCAWarning):
        warn_user("text")
        warn_user("doubt", DoubtfulPredictionWarning)
    assert recorded == ["doubt"]
    with pytest.warns(DoubtfulPredictionWarning):
        warn_user("later", DoubtfulPredictionWarning)
    assert recorded == ["doubt"]


def test_frames_of_the_package_are_skipped_also_behind_foreign_ones(monkeypatch):
    # this file plays the package: the nested functions are its frames, `map` and `sorted` are foreign code between them
    monkeypatch.setattr(_warnings, "PACKAGE_DIR", "<package>")
    namespace = {"warn_user": warn_user}
    code = """
def inner(_):
    warn_user("text", FutureWarning)
    return 0

def outer():
    return sorted([1], key=inner)
"""
    exec(compile(code, "<package>/module.py", "exec"), namespace)
    line = inspect.currentframe().f_lineno + 1
    message = record(lambda: namespace["outer"]())
    assert (message.filename, message.lineno, message.category) == (__file__, line, FutureWarning)


def test_a_method_of_the_model_names_the_users_line(tiny_model, query):
    adapted = tiny_model.adapt(
        query, select=False, max_steps=1, batch_size=4, enable_progress_bar=False, accelerator="cpu"
    )
    with pytest.warns(UserWarning, match="already adapted") as caught:
        adapted.adapt(query, select=False, max_steps=1, batch_size=4, enable_progress_bar=False, accelerator="cpu")
    assert caught[0].filename == __file__
