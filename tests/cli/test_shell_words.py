"""Messages of Python in the words of the shell."""

import ast
import logging
import re

import pytest
from conftest import ROOT

from hrca._messages import LastResortHandler
from hrca.cli import COMMANDS
from hrca.cli._flags import flag_names
from hrca.cli._prediction_flags import PREDICT_FLAGS
from hrca.cli._run import redirect_output
from hrca.cli._shell_words import message_text, naming_file, speak_flags

SOURCE = ROOT / "src" / "hrca"

# What a value in a message is, where it is code of Python.
VALUES = {"column": "`adata.obs['x']`", "name": "adata.obs['x']", "config.name": "finetune", "n_missing": "5"}

# A call of Python, or a variable, in code that is no command of the shell.
PYTHON = re.compile(r"`(?!python -c )[^`]*\b(?:adata|model|HRCA|predict|setup_anndata|reference)\b[.,(\[][^`]*`")


def text_of(node: ast.AST) -> str:
    """The text of a string in a source, with values in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return VALUES.get(ast.unparse(node.value), "0")
    return ""


def messages() -> list[str]:
    """The texts of warnings and log messages that the functions below the commands can give."""
    texts = []
    for path in sorted(SOURCE.rglob("*.py")):
        # no command calls the functions of the specification
        if path.parent.name == "compat":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                texts += [text_of(node.args[0])] if name in ("warn_user", "info", "warning") else []
            elif isinstance(node, ast.Return | ast.Yield) and path.stem in (
                *("_prediction_warnings", "_validation_notes", "_validate_reference"),
            ):
                texts += [text_of(node.value)] if node.value is not None else []
    return sorted({text for text in texts if text})


def test_there_are_messages_of_each_kind():
    found = messages()
    assert len(found) > 30
    assert sum("`predict(novelty_fpr=0.05)`" in text for text in found) == 1
    assert sum("which look like classes of quality control" in text for text in found) == 1


@pytest.mark.parametrize("text", messages(), ids=lambda text: text[:40])
def test_no_message_names_a_call_or_a_variable_of_python(text):
    names = {name: flags for command in COMMANDS for name, flags in flag_names(command_of(command)).items()}
    with speak_flags(names):
        assert not PYTHON.search(message_text(text))


def command_of(name: str):
    return getattr(COMMANDS[name], name)


# Modules of the commands whose messages name flags, and the commands that run them; others are run by all.
RUN_BY = {
    "_outputs": ("annotate",),
    "annotate": ("annotate",),
    "_model": ("annotate", "train"),
    "_checks": ("annotate", "train", "evaluate"),
    "_run_report": ("report",),
}


def raised_texts(path) -> list[str]:
    """The texts of the errors in a module."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    calls = [node.exc for node in nodes if isinstance(node.exc, ast.Call) and node.exc.args]
    return [text_of(call.args[0]) for call in calls]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_message_names_no_flag_of_another_command(command):
    flags = flag_names(command_of(command))
    own = {name for names in flags.values() for name in names}
    texts = messages()
    for path in sorted(SOURCE.rglob("*.py")):
        if path.parent.name != "compat" and command in RUN_BY.get(path.stem, tuple(COMMANDS)):
            texts += raised_texts(path)
    assert len(texts) > 200
    with speak_flags(flags):
        named = {text: set(re.findall(r"`(--[a-z][a-z-]*)", message_text(text))) for text in texts}
    assert {text: names - own for text, names in named.items() if names - own} == {}


def test_a_command_without_a_flag_leaves_the_words_of_python():
    text = "a GPU (`accelerator='gpu'`)"
    for command, expected in (("train", "a GPU (`--device gpu`)"), ("demo", text), ("check", text)):
        with speak_flags(flag_names(command_of(command))):
            assert message_text(text) == expected


def test_stored_warnings_name_the_command_that_has_the_flag():
    text = "`predict(novelty_fpr=0.05)`, in the shell `hrca annotate --novelty-fpr 0.05`, labels such cells 'Unknown'."
    expected = "`hrca annotate --novelty-fpr 0.05` labels such cells 'Unknown'."
    with speak_flags(flag_names(command_of("info"))), naming_file(None, PREDICT_FLAGS, command="hrca annotate"):
        assert message_text(text) == expected
        assert message_text("of `platform_correction=False`.") == "of `hrca annotate --no-platform-correction`."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "`predict(novelty_fpr=0.05)`, in the shell `hrca annotate --novelty-fpr 0.05`, labels such cells "
            "'Unknown'.",
            "`--novelty-fpr 0.05` labels such cells 'Unknown'.",
        ),
        ("Compare with `platform_correction=False`.", "Compare with `--no-platform-correction`."),
        ("`adata.obs_names` are not unique", "`obs_names` are not unique"),
        ("fewer of `adata.obs['cell type']`", "fewer of `obs['cell type']`"),
        ('(`HRCA(adata, size="laptop")`)', "(`--size laptop`)"),
        ("a GPU (`accelerator='gpu'`)", "a GPU (`--device gpu`)"),
        (
            "Another `checkpoint_dir` starts anew; `model.finetune(5)` adds the rest.",
            "Another `--checkpoint-dir` starts anew.",
        ),
        ("all 5 (`max_cells_per_label`)", "all 5 (`--max-cells-per-label`)"),
    ],
)
def test_a_message_has_the_words_of_the_shell(text, expected):
    with speak_flags(flag_names(command_of("annotate"))):
        assert message_text(text) == expected


def test_log_messages_have_the_words_of_the_shell_while_a_command_runs(capsys, monkeypatch):
    logger = logging.getLogger("hrca")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logger, "handlers", [LastResortHandler()])
    with speak_flags(flag_names(command_of("annotate"))), redirect_output({}):
        logger.warning("`labels_hierarchy` has parents for %s", ["x"])
    logger.warning("`labels_hierarchy` of Python")
    assert capsys.readouterr().err == "`--labels-hierarchy` has parents for ['x']\n`labels_hierarchy` of Python\n"
