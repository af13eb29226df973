"""Each parameter of Python that changes a result has a flag, and each such flag a parameter."""

import inspect
import re
from pathlib import Path

import pytest
from shell import call

import hrca
from hrca.cli import COMMANDS
from hrca.cli._flags import Flag, add_flags, arguments_of, changed_flags, flag_names
from hrca.cli._prediction_flags import CHECK_FLAGS, EVALUATE_FLAGS, GROUP_FLAGS, PREDICT_FLAGS
from hrca.cli._training_flags import MODEL_FLAGS, SETUP_FLAGS, TRAIN_FLAGS
from hrca.cli._values import parse_hierarchy, read_positions, read_text_table

# The function, its flags, the commands that take them, and its parameters that are no such flags, with the reason.
GROUPS = {
    "setup": (
        hrca.HRCA.setup_anndata,
        SETUP_FLAGS,
        ("annotate", "train"),
        {"adata": "an argument", "kwargs": "scvi's"},
    ),
    "model": (
        hrca.HRCA.__init__,
        MODEL_FLAGS,
        ("annotate", "train"),
        {"self": "", "adata": "an argument", "registry": "of a loaded model"},
    ),
    "train": (
        hrca.HRCA.train,
        TRAIN_FLAGS,
        ("annotate", "train"),
        {
            "self": "",
            "query": "--query, --match-query",
            "accelerator": "--device",
            "devices": "--device",
            "callbacks": "objects of Python",
        },
    ),
    "predict": (
        hrca.HRCA.predict,
        PREDICT_FLAGS,
        ("annotate",),
        {"self": "", "adata": "an argument", "soft": "both are written", "enable_progress_bar": "--quiet"},
    ),
    "evaluate": (
        hrca.HRCA.evaluate,
        EVALUATE_FLAGS,
        ("evaluate",),
        {"self": "", "adata": "an argument", "labels_key": "an option that must be given"},
    ),
    "groups": (
        hrca.io.write_groups,
        GROUP_FLAGS,
        ("annotate",),
        {"adata": "an argument", "path": "--csv", "key_added": "that of predict"},
    ),
    "check": (hrca.pp.check, CHECK_FLAGS, ("check",), {"adata": "an argument", "model": "an option of its own"}),
}


@pytest.mark.parametrize("group", GROUPS)
def test_parameters_and_flags_are_the_same(group):
    function, flags, _, others = GROUPS[group]
    assert sorted([*(flag.parameter for flag in flags), *others]) == sorted(inspect.signature(function).parameters)


@pytest.mark.parametrize("group", GROUPS)
def test_defaults_are_the_same(group):
    function, flags, _, _ = GROUPS[group]
    parameters = inspect.signature(function).parameters
    arguments = arguments_of(flags, {flag.key: flag.default for flag in flags})
    expected = {name: parameters[name].default for name in arguments}
    # keywords of the Trainer have no default
    expected |= {name: None for name, p in parameters.items() if p.kind is p.VAR_KEYWORD and name in arguments}
    assert arguments == expected


@pytest.mark.parametrize("group", GROUPS)
def test_the_commands_take_all_flags_of_their_functions(group):
    _, flags, commands, _ = GROUPS[group]
    for name in commands:
        parameters = inspect.signature(getattr(COMMANDS[name], name)).parameters
        assert {flag.key for flag in flags} <= set(parameters)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_whole_flags(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    result = call(capsys, command, "--help")
    assert result.code == 0
    assert f"hrca {command}" in result.out.split("Examples")[1]
    assert "…" not in result.out


def test_the_exit_codes_are_in_the_help_and_the_docs(capsys):
    from conftest import ROOT

    from hrca.cli._errors import ExitCode

    page, text = (ROOT / "docs" / "command_line.md").read_text(), " ".join(call(capsys, "--help").out.split())
    assert [int(code) for code in re.findall(r"(\d+) [a-z]", text.split("Exit codes: ")[1])] == list(ExitCode)
    for code in ExitCode:
        assert f"| {code} |" in page


def test_a_flag_of_two_groups_is_taken_once_and_that_of_the_command_replaces_it():
    flag = Flag("alpha", int | None, None, "A number.", "Numbers")

    @add_flags((flag,), (flag, Flag("beta", str, "b", "A text.", "Texts", name="second")))
    def command(path: Path, *, alpha: int, **flags): ...

    parameters = inspect.signature(command).parameters
    assert list(parameters) == ["path", "alpha", "second"]
    assert parameters["alpha"].default is inspect.Parameter.empty
    assert flag_names(command) == {"alpha": ["--alpha"], "beta": ["--second"]}


def test_changed_flags_are_named_as_a_user_writes_them():
    assert changed_flags(MODEL_FLAGS, {flag.key: flag.default for flag in MODEL_FLAGS} | {"n_latent": 16}) == [
        "--n-latent"
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "a,b\nc,d\n", {"a": "b", "c": "d"}),
        ("a.tsv", "a, 1\tb\n", {"a, 1": "b"}),
        ("a.json", '{"a": "b"}', {"a": "b"}),
        ("a.csv", "\ufeffa,b\n", {"a": "b"}),
        ("a.csv", 'NA,"b\nc"\n', {"NA": "b\nc"}),
        ("a.json", '\ufeff{"a": "b"}', {"a": "b"}),
    ],
)
def test_tables_are_read(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_text_table(tmp_path / name) == expected
    assert parse_hierarchy(str(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("a.csv", text) for text in ("a,b,c\n", "", "a,b\nc\n", "a,b\nc,d,e\n", "a\n")),
        *(("a.json", text) for text in ("[1]", "{")),
    ],
)
def test_tables_of_another_form_raise(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        read_text_table(tmp_path / name)


def test_headings_of_a_hierarchy_raise(tmp_path):
    (tmp_path / "tree.csv").write_text("child,parent\nCD4 T,T\n")
    with pytest.raises(ValueError, match="has headings"):
        parse_hierarchy(str(tmp_path / "tree.csv"))


def test_positions_are_read(tmp_path):
    path = tmp_path / "cells.txt"
    path.write_text("\ufeff3\n1\n", encoding="utf-8")
    assert read_positions(path) == [3, 1]
    path.write_text("cell3\n")
    with pytest.raises(ValueError, match=r"cells\.txt"):
        read_positions(path)
