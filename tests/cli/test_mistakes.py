"""Mistakes of users end in one or two lines and a code, and faults of HRCA in their traceback."""

import inspect
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import typing

import pytest
from conftest import ROOT, synthetic
from shell import FAST, call, section

import hrca
from hrca.cli import COMMANDS, main
from hrca.cli._errors import ExitCode, is_raised_by_hrca
from hrca.cli._shell_words import PHRASES, in_shell_words

TRAIN = ["--reference", "reference.h5ad", "--labels-key", "cell_type", *FAST]

NO_REFERENCE = ["--reference", "no.h5ad", "--labels-key", "cell_type", "--out", "{new}/a.h5ad"]

# What only a user of Python can do; a message may have it within a command that runs Python.
PYTHON_WORDS = re.compile(r"setup_anndata|model\.save|pass that|pass the AnnData|\bor None\b|`adata\S* = ")

# Words of the error for values of flags that are invalid whatever the files hold.
INVALID_TRAINING = {
    "--max-epochs": {"0": "at least 1, got 0"},
    "--pretrain-epochs": {"-1": "at least 0, got -1"},
    "--batch-size": {"0": "at least 1, got 0", "1": "at least 2 cells"},
    "--lr": {"0": "above 0, got 0.0", "nan": "above 0, got nan"},
    "--lr-schedule": {"cosine": "one of ['one_cycle', 'plateau'], got 'cosine'"},
    "--corruption": {"noise": "one of ['thin', 'mask', 'none'], got 'noise'"},
    "--train-size": {"1.5": "above 0 and at most 1, got 1.5"},
    "--validation-size": {"2": "from 0 to 1"},
    "--n-samples-per-label": {"0": "at least 1"},
    "--max-cells-per-label": {"0": "at least 1, got 0"},
    "--n-folds": {"1": "whole number from 2 to the number of labelled cells, got 1"},
    "--checkpoint-interval": {"0": "at least 1, got 0", "5": "needs a `--checkpoint-dir`"},
    "--checkpoint-dir": {"text.h5ad": "needs a folder"},
    "--num-workers": {"-1": "at least 0, got -1"},
    "--plan-kwargs": {'{"a": 1}': "must hold some of", "1": "a JSON object"},
    "--datasplitter-kwargs": {'{"a": 1}': "must hold some of"},
    "--trainer-kwargs": {'{"precision": "x"}': "Precision 'x' is invalid", '{"max_epochs": 2}': "its own flag"},
    "--size": {"huge": "one of ['specification'"},
    "--n-hidden": {"0": "at least 1, got 0"},
    "--n-latent": {"0": "at least 1, got 0", "30": "a multiple of `--n-heads`"},
    "--n-heads": {"0": "at least 1, got 0"},
    "--n-layers": {"0": "at least 1, got 0"},
    "--n-feedforward": {"0": "at least 1, got 0"},
    "--classifier-widths": {"0": "at least 1", "a": "whole numbers"},
    "--dropout-rate": {"2": "from 0 to 1, got 2.0"},
    "--classifier-dropout-rate": {"-1": "from 0 to 1, got -1.0"},
    "--gene-map": {"none.csv": "There is no file 'none.csv'"},
    "--unlabeled-category": {"": "must not be empty, got ''", " ": "must not be empty, got ' '"},
    "--labels-hierarchy": {"none.csv": "There is no file 'none.csv'"},
    "--seed": {"-1": "from 0 to 4294967295, got -1"},
    "--device": {"nvidia": "auto, cpu, gpu, mps"},
    "--threads": {"0": "at least 1, got 0"},
}
INVALID_PREDICTION = {
    "--key-added": {"a/b": "without '/', got 'a/b'"},
    "--coverage": {"90": "between 0 and 1, got 90.0"},
    "--level": {"-1": "from 0, the coarsest, got -1"},
    "--min-confidence": {"2": "from 0 to 1, got 2.0"},
    "--novelty-fpr": {"0": "between 0 and 1, got 0.0"},
    "--ontology-terms": {"none.csv": "There is no file 'none.csv'"},
    "--indices": {"none.txt": "There is no file 'none.txt'"},
    "--prediction-batch-size": {"0": "at least 1, got 0"},
    **{name: INVALID_TRAINING[name] for name in ("--gene-map", "--seed", "--device", "--threads")},
}
INVALID_REPORT = {"--microns-per-unit": {"0": "positive, got 0.0", "nan": "positive, got nan"}}

# The files of a command that do not exist, and its flags with invalid values.
BEFORE_FILES = {
    "train": (["no.h5ad", "--labels-key", "x", "--out", "{new}/model"], INVALID_TRAINING),
    "annotate": (
        ["no.h5ad", "--reference", "no.h5ad", "--labels-key", "x"],
        {**INVALID_TRAINING, **INVALID_PREDICTION},
    ),
    "annotate by a model": (["no.h5ad", "--model", "no_model"], INVALID_PREDICTION),
    "evaluate": (
        ["no.h5ad", "--model", "no_model", "--labels-key", "x"],
        {name: INVALID_PREDICTION[name] for name in ("--prediction-batch-size", "--seed", "--device", "--threads")},
    ),
    "report": (["no.h5ad", "--out", "{new}/r.html"], {**INVALID_REPORT, "--threads": INVALID_TRAINING["--threads"]}),
    "check": (
        ["no.h5ad", "--labels-key", "x"],
        {name: INVALID_TRAINING[name] for name in ("--gene-map", "--unlabeled-category", "--threads")},
    ),
    "demo": (["--data", "no_folder"], {name: INVALID_TRAINING[name] for name in ("--seed", "--threads")}),
}

# Flags whose text or number can only be wrong for some files, or for which any is right.
ANY_VALUE = {
    *(
        "layer",
        "reference_layer",
        "table",
        "labels_key",
        "true_labels_key",
        "sample_key",
        "title",
    ),
    # files and folders, whose mistakes are below
    *("reference", "model", "out", "csv", "save_model", "query", "genes_of", "pictures", "data", "queries", "cells"),
    "path",
}

# arguments; exit code; words of the message
MISTAKES = {
    "no such query": (["annotate", "nothing.h5ad", "--model", "model"], 3, "There is no file 'nothing.h5ad'"),
    "no such reference": (
        ["annotate", "query.h5ad", "--reference", "no.h5ad", "--labels-key", "cell_type", "--out", "{new}/a.h5ad"],
        3,
        "There is no file 'no.h5ad'",
    ),
    "no such column": (
        ["train", "reference.h5ad", "--labels-key", "celltype", "--out", "{new}/model"],
        3,
        "`--labels-key` must name a column",
    ),
    "no such folder of a model": (
        ["annotate", "query.h5ad", "--model", "empty", "--out", "{new}/a.h5ad"],
        3,
        "'empty'",
    ),
    "no shared gene, with a model": (
        ["annotate", "foreign.h5ad", "--model", "model", "--out", "{new}/a.h5ad"],
        3,
        "the model's genes",
    ),
    "no shared gene, with a reference": (["annotate", "foreign.h5ad", *TRAIN, "--out", "{new}/a.h5ad"], 3, "genes"),
    "values that are no counts": (
        ["annotate", "logged.h5ad", "--model", "model", "--out", "{new}/a.h5ad"],
        3,
        "counts",
    ),
    "a file of text": (["check", "text.h5ad"], 3, "Cells must be an h5ad, h5mu or 10x h5 file"),
    "a table as a query": (
        ["annotate", "table.csv", "--model", "model", "--out", "{new}/a.h5ad"],
        3,
        """`python -c "import scanpy; scanpy.read_csv('table.csv').write_h5ad('table.h5ad')"`""",
    ),
    "a file of no bytes": (["annotate", "zero.h5ad", "--model", "model"], 3, "'zero.h5ad' is empty"),
    "a query without cells, with a model": (
        ["annotate", "no_cells.h5ad", "--model", "model", "--out", "{new}/a.h5ad"],
        3,
        "got 0 cells",
    ),
    "a query without cells, with a reference": (
        ["annotate", "no_cells.h5ad", *TRAIN, "--out", "{new}/a.h5ad"],
        3,
        "got 0 cells",
    ),
    "a table for --out": (
        ["annotate", "query.h5ad", "--model", "model", "--out", "{new}/o.csv"],
        3,
        "`--out` is an h5ad file or a folder; for a table use `--csv`",
    ),
    "an h5ad file for --csv": (
        ["annotate", "query.h5ad", "--model", "model", "--out", "{new}/a.h5ad", "--csv", "{new}/o.h5ad"],
        3,
        "`--csv` is a csv file or a folder; for the cells use `--out`",
    ),
    "a model and a reference": (
        ["annotate", "query.h5ad", "--model", "model", "--reference", "reference.h5ad"],
        2,
        "--reference and --model exclude each other",
    ),
    "labels that are numbers": (
        ["train", "numbers.h5ad", "--labels-key", "cell_type", "--out", "{new}/model"],
        3,
        """`python -c "import hrca; adata = hrca.io.read_cells('numbers.h5ad'); """,
    ),
    "a layer of the reference that is not there": (
        ["annotate", "query.h5ad", *TRAIN, "--reference-layer", "none", "--out", "{new}/a.h5ad"],
        3,
        "`--reference-layer` must name",
    ),
    "a layer of the query that is not there": (
        ["annotate", "query.h5ad", *TRAIN, "--layer", "none", "--out", "{new}/a.h5ad"],
        3,
        "`--layer` must name",
    ),
    # the reference is not there: what follows is checked before it is read
    "a size that is not there, before the reference": (
        ["annotate", "query.h5ad", *NO_REFERENCE, "--size", "huge"],
        3,
        "`--size` must be one of",
    ),
    "a confidence in per cent, before the reference": (
        ["annotate", "query.h5ad", *NO_REFERENCE, "--min-confidence", "90"],
        3,
        "`--min-confidence` must be from 0 to 1, got 90.0.",
    ),
    "a device that is not there, before the reference": (
        ["annotate", "query.h5ad", *NO_REFERENCE, "--device", "nvidia"],
        3,
        "`--device` must be auto, cpu, gpu, mps",
    ),
    "arguments that are not JSON, before the reference": (
        ["annotate", "query.h5ad", *NO_REFERENCE, "--trainer-kwargs", "{{bad"],
        3,
        "`--trainer-kwargs`: Arguments must be a JSON object",
    ),
    "a hierarchy that is not there, before the reference": (
        ["annotate", "query.h5ad", *NO_REFERENCE, "--labels-hierarchy", "nothing.obo"],
        3,
        "`--labels-hierarchy`: There is no file 'nothing.obo'",
    ),
    "a damaged file": (["check", "damaged.h5ad"], 4, "truncated"),
    "an empty folder": (["check", "empty"], 3, "must be a zarr store"),
    "a model in place of cells": (
        ["check", "model", "--model", "model"],
        3,
        "'model' must hold cells, but is the folder of a model. Name a file or folder with cells.",
    ),
    "a label that is missing": (
        ["train", "gaps.h5ad", "--labels-key", "cell_type", "--out", "{new}/model"],
        3,
        "`--allow-missing-labels`",
    ),
    "a file that is read-only": (["annotate", "{new}/read_only.h5ad", "--model", "model"], 4, "`--out FILE`"),
    "a folder that is read-only": (
        ["annotate", "query.h5ad", "--model", "model", "--out", "{new}/read_only/a.h5ad"],
        4,
        "is read-only",
    ),
    "a file where a folder should be": (
        ["annotate", "query.h5ad", "--model", "model", "--out", "query.h5ad/a.h5ad"],
        4,
        "query.h5ad",
    ),
    "a copy that exists": (
        ["annotate", "query.h5ad", "--model", "model", "--out", "reference.h5ad"],
        4,
        "`--overwrite` replaces it",
    ),
    "a model that exists": (
        ["train", "reference.h5ad", "--labels-key", "cell_type", "--out", "model"],
        4,
        "`--overwrite` replaces the model",
    ),
    "results into the query by --out": (
        ["annotate", "query.h5ad", "--model", "model", "--out", "query.h5ad", "--overwrite"],
        3,
        "the query itself",
    ),
    "one file for two queries": (
        ["annotate", "query.h5ad", "reference.h5ad", "--model", "model", "--out", "{new}/a.h5ad"],
        3,
        "2 queries need a folder",
    ),
    "two queries of one name": (
        ["annotate", "query.h5ad", "query.zarr", "--model", "model", "--out", "{new}"],
        3,
        "'query' is there twice",
    ),
    "no model": (["annotate", "query.h5ad"], 2, "--reference FILE --labels-key COLUMN, or --model"),
    "no column": (["annotate", "query.h5ad", "--reference", "reference.h5ad"], 2, "--reference needs --labels-key"),
    "training options for a trained model": (
        ["annotate", "query.h5ad", "--model", "model", "--max-epochs", "3", "--lr", "0.1"],
        2,
        "--max-epochs, --lr would do nothing",
    ),
    "an option that is not there": (["annotate", "query.h5ad", "--modle", "model"], 2, "--modle"),
    "a word where a number should be": (["demo", "--seed", "one"], 2, "'--seed'"),
    "a command that is not there": (["annotated", "query.h5ad"], 2, "annotated"),
    "coverage in per cent": (
        ["annotate", "query.h5ad", "--model", "model", "--coverage", "90", "--out", "{new}/a.h5ad"],
        3,
        "`--coverage` must be between 0 and 1",
    ),
    "a level without a hierarchy": (
        ["annotate", "query.h5ad", "--model", "model", "--level", "0", "--out", "{new}/a.h5ad"],
        3,
        "`--level` needs a hierarchy",
    ),
    "a GPU that is not there": (
        ["annotate", "query.h5ad", "--model", "model", "--device", "cuda:9", "--out", "{new}/a.h5ad"],
        3,
        "`--device` must be one that PyTorch can use",
    ),
    "a device of another name": (
        ["evaluate", "query.h5ad", "--model", "model", "--labels-key", "known", "--device", "nvidia"],
        3,
        "`--device` must be auto, cpu, gpu, mps",
    ),
    "a choice about a file that is not asked for": (
        ["annotate", "query.h5ad", "--model", "model", "--keep-novel-labels", "--out", "{new}/a.h5ad"],
        2,
        "--keep-novel-labels needs --csv",
    ),
    "no thread": (["check", "query.h5ad", "--threads", "0"], 3, "`--threads` must be at least 1"),
    "resume without checkpoints": (
        ["train", "reference.h5ad", "--labels-key", "cell_type", "--out", "{new}/model", *FAST, "--resume"],
        3,
        "`--resume` needs the `--checkpoint-dir`",
    ),
    "a size that is not there": (
        ["train", "reference.h5ad", "--labels-key", "cell_type", "--out", "{new}/model", "--size", "huge"],
        3,
        "`--size` must be one of",
    ),
    "arguments that are not JSON": (
        ["train", "reference.h5ad", "--labels-key", "cell_type", "--out", "{new}/model", "--plan-kwargs", "lr=1"],
        3,
        "must be a JSON object",
    ),
    "a table of genes of other names": (
        ["check", "query.h5ad", "--model", "model", "--gene-map", "nothing.csv"],
        3,
        "nothing.csv",
    ),
    "an evaluation by a column that is not there": (
        ["evaluate", "query.h5ad", "--model", "model", "--labels-key", "truth"],
        3,
        "`--labels-key` must name a column",
    ),
    "information on a file without results": (["info", "query.h5ad"], 3, "have an annotation"),
    "genes of cells without a shared gene": (
        ["train", "reference.h5ad", "--labels-key", "cell_type", "--out", "{new}/model", "--genes-of", "foreign.h5ad"],
        3,
        "The cells must share genes with the reference, but have none of its 60. Genes of the cells: ['other0'",
    ),
    "information on a folder of other files": (["info", "."], 3, "has no file 'model.json' and is not a zarr store"),
    "a report on a file without results": (["report", "query.h5ad", "--out", "{new}/report.html"], 3, "an annotation"),
    "a table that is not there": (["check", "query.h5ad", "--table", "table"], 3, "`--table` names a table"),
    "a file in place of a model's folder": (
        ["train", "reference.h5ad", "--labels-key", "cell_type", "--out", "text.h5ad", "--overwrite"],
        4,
        "`--out` needs a folder, but 'text.h5ad' is a file",
    ),
    "genes of a file that is not there": (
        ["train", "reference.h5ad", "--labels-key", "cell_type", "--out", "{new}/model", "--genes-of", "no.h5ad"],
        3,
        "There is no file 'no.h5ad'",
    ),
    "a query to match that is not there": (
        ["train", "reference.h5ad", "--labels-key", "cell_type", "--out", "{new}/model", "--query", "no.h5ad"],
        3,
        "There is no file 'no.h5ad'",
    ),
    "a report in place of a folder": (["report", "query.h5ad", "--out", "empty"], 4, "but 'empty' is a folder"),
    "a report in place of the cells": (
        ["report", "query.h5ad", "--out", "query.h5ad"],
        3,
        "another file than the cells",
    ),
    "a report of another format": (["report", "query.h5ad", "--out", "{new}/r.pdf"], 3, "must end with .html"),
    "pictures in a file": (
        ["report", "query.h5ad", "--out", "{new}/r.html", "--pictures", "text.h5ad"],
        4,
        "`--pictures` needs a folder, but 'text.h5ad' is a file",
    ),
    "a demo into a file": (["demo", "--out", "text.h5ad"], 4, "`--out` needs a folder, but 'text.h5ad' is a file"),
    "a label for the unlabelled cells of no column": (
        ["check", "query.h5ad", "--unlabeled-category", "none"],
        3,
        "Name the column by `--labels-key`",
    ),
    "labels of a query": (
        ["check", "query.h5ad", "--model", "model", "--labels-key", "known"],
        3,
        "Leave out one of the two",
    ),
    "an argument of a schedule that is not chosen": (
        ["annotate", "query.h5ad", *NO_REFERENCE, "--plan-kwargs", '{{"lr_patience": 5}}'],
        3,
        "needs `--lr-schedule plateau`, got 'one_cycle'",
    ),
    "the folder of another demo": (["demo", "--data", "empty"], 3, "poa_scrna_moffitt.h5ad and poa_merfish_b0.06.h5ad"),
}


@pytest.fixture
def new(tmp_path):
    """A folder for results, with a file and a folder that are read-only."""
    (tmp_path / "read_only").mkdir()
    (tmp_path / "read_only.h5ad").touch()
    yield tmp_path
    (tmp_path / "read_only").chmod(0o755)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_or_two_lines_and_a_code(mistake, files, new, capsys, monkeypatch):
    monkeypatch.chdir(files)
    (new / "read_only.h5ad").write_bytes((files / "query.h5ad").read_bytes())
    for path in (new / "read_only.h5ad", new / "read_only"):
        path.chmod(stat.S_IREAD | stat.S_IEXEC)
    arguments, code, words = MISTAKES[mistake]
    result = call(capsys, *(argument.format(new=new) for argument in arguments))
    errors = [line for line in result.err.splitlines() if line.startswith("hrca: ")]
    assert (result.code, result.out) == (code, "")
    assert 1 <= len(errors) <= 2, result.err
    assert words in errors[0]
    assert not PYTHON_WORDS.search(re.sub(r"`python -c [^`]*`", "", result.err))
    # nothing of an unfinished run is left
    assert {path.name for path in new.iterdir()} <= {"read_only", "read_only.h5ad", "model"}
    assert not list(new.rglob("*.tmp"))


@pytest.mark.parametrize("command", BEFORE_FILES)
def test_an_invalid_value_is_found_before_a_file_is_opened(command, files, new, capsys, monkeypatch):
    monkeypatch.chdir(files)
    arguments, invalid = BEFORE_FILES[command]
    for flag, values in invalid.items():
        for value, words in values.items():
            given = [argument.format(new=new) for argument in arguments]
            result = call(capsys, command.split()[0], *given, flag, value)
            assert result.code == (ExitCode.FILES if flag == "--checkpoint-dir" else ExitCode.INPUT), result.err
            assert words in result.err and flag in result.err, (flag, value, result.err)
            assert "no.h5ad" not in result.err and "no_model" not in result.err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_flag_with_a_value_is_checked_or_takes_any(command):
    invalid = {name for given, (_, flags) in BEFORE_FILES.items() if given.split()[0] == command for name in flags}
    parameters = inspect.signature(getattr(COMMANDS[command], command)).parameters
    for name, parameter in parameters.items():
        kinds = {typing.get_args(parameter.annotation)[0], *typing.get_args(typing.get_args(parameter.annotation)[0])}
        if bool in kinds or name in ANY_VALUE or (command == "report" and name == "key_added"):
            continue
        assert "--" + name.replace("_", "-") in invalid, name


@pytest.mark.parametrize(
    "given", [{"max_epochs": 0}, {"batch_size": 1}, {"lr": -1.0}, {"n_folds": 1}, {"pretrain_epochs": -1}]
)
def test_an_invalid_value_has_the_sentence_of_python(given, files, tmp_path, capsys):
    ((name, value),) = given.items()
    model = hrca.HRCA.load(files / "model", adata=synthetic(100))
    with pytest.raises(ValueError, match=name) as error:
        model.train(**given)
    flag = f"--{name.replace('_', '-')}"
    result = call(capsys, "train", "no.h5ad", "--labels-key", "x", "--out", tmp_path / "m", flag, value)
    sentence = in_shell_words(str(error.value), {name: [flag]}).split(". ")[0]
    # what the shell cannot know: the number of cells
    assert sentence.split(", got")[0].split(" cells, ")[0] in result.err


def test_a_real_process_ends_in_the_same_way(files):
    result = subprocess.run(
        [sys.executable, "-m", "hrca", "annotate", "nothing.h5ad", "--model", "model"],
        cwd=files,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == "hrca: error: There is no file 'nothing.h5ad'.\n"


def test_a_xenium_folder_needs_a_package(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "spatialdata_io", None)  # as if it were not installed
    result = call(capsys, "check", files / "xenium")
    assert result.code == ExitCode.MISSING_PACKAGE
    assert "pip install 'hrca[io]'" in result.err
    assert result.err.count("\n") == 1


def test_a_fault_shows_its_traceback(files, monkeypatch):
    def faulty(*args):
        return {}["no such key"]

    monkeypatch.setattr("hrca.cli._inputs.file_format", faulty)
    with pytest.raises(KeyError, match="no such key"):
        main(["check", str(files / "query.h5ad")])


def test_an_interruption_has_the_code_of_the_signal(files, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("hrca.cli._inputs.file_format", interrupted)
    result = call(capsys, "check", files / "query.h5ad")
    assert (result.code, result.err) == (130, "hrca: interrupted\n")


def error_of(function) -> Exception:
    try:
        function()
    except ValueError as error:
        return error
    raise AssertionError


def test_errors_of_input_are_told_from_faults():
    from hrca.cli._values import parse_widths
    from hrca.metrics._inputs import np as numpy

    assert is_raised_by_hrca(error_of(lambda: parse_widths("a")))
    assert not is_raised_by_hrca(error_of(lambda: int("a")))
    assert not is_raised_by_hrca(error_of(lambda: numpy.zeros(3) + numpy.zeros(4)))
    assert not is_raised_by_hrca(ValueError("never raised"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`layer` has none", "`--layer` or `--reference-layer` has none"),
        ("`key_added=None` writes nothing", "`key_added=None` writes nothing"),
        ("`open_set=False`", "`--no-open-set`"),
        ("`open_set=True`", "`open_set=True`"),
        ("`adata.X` and `model.train()`", "`adata.X` and `model.train()`"),
    ],
)
def test_messages_speak_of_flags(text, expected):
    flags = {"layer": ["--layer", "--reference-layer"], "open_set": ["--no-open-set"], "key_added": ["--key-added"]}
    assert in_shell_words(text, flags) == expected


@pytest.mark.parametrize("pattern", PHRASES)
def test_a_phrase_that_is_replaced_is_one_of_the_functions(pattern):
    sources = "".join(path.read_text() for path in (ROOT / "src" / "hrca").rglob("*.py") if path.parent.name != "cli")
    assert re.search(pattern, re.sub(r'"\n\s*f?"', "", sources))


def test_the_command_of_a_message_mends_the_file(files, tmp_path, capsys, monkeypatch):
    adata = section()
    adata.X = adata.X.log1p()  # from which the counts can be recovered
    adata.write_h5ad(tmp_path / "log1p.h5ad")
    monkeypatch.chdir(tmp_path)
    arguments = ["annotate", "log1p.h5ad", "--model", files / "model", "--out", "new.h5ad"]
    results = [call(capsys, *arguments), call(capsys, "check", "log1p.h5ad")]
    commands = [re.search(r"`(python -c [^`]*)`", result.err)[1] for result in results]
    assert [result.code for result in results] == [ExitCode.INPUT] * 2
    assert commands[0] == commands[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, *shlex.split(commands[0])[1:]], env=environment, check=True, timeout=300)
    assert call(capsys, "check", "log1p_mended.h5ad", "--model", files / "model").code == ExitCode.DONE


def test_a_table_becomes_cells_by_the_command_of_the_message(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it's a table.csv").write_bytes((files / "table.csv").read_bytes())
    result = call(capsys, "check", "it's a table.csv")
    command = shlex.split(re.search(r"`(python -c [^`]*)`", result.err)[1])
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=300)
    assert call(capsys, "check", "it's a table.h5ad", "--model", files / "model").code == ExitCode.DONE


def test_labels_with_few_cells_are_named_once(files, tmp_path, capsys, monkeypatch, caplog):
    monkeypatch.chdir(files)
    result = call(capsys, "annotate", "query.h5ad", *TRAIN, "--out", tmp_path / "a.h5ad")
    assert result.code == 0
    assert caplog.text.count("Labels with fewer than 300 cells (type") == 1


def test_check_notes_classes_of_quality_control_in_words_of_the_shell(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    result = call(capsys, "check", "quality.h5ad", "--labels-key", "cell_type")
    assert result.code == 0
    note, few = [line for line in result.out.splitlines() if line.startswith("  note: ")]
    assert few.startswith("  note: Labels with fewer than 300 cells (")
    # the notes are not logged as well
    assert result.err == ""
    assert "`obs['cell_type']` has ['Ambiguous'], which look like classes of quality control" in note
    assert "adata = hrca.io.read_cells('quality.h5ad'); adata = adata[~adata.obs['cell_type'].isin(['Am" in note
    assert "`--unlabeled-category Ambiguous`" in note
    from_json, _ = json.loads(call(capsys, "check", "quality.h5ad", "--labels-key", "cell_type", "--json").out)["notes"]
    assert note == f"  note: {from_json}"


def test_a_warning_has_a_remedy_of_the_shell(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(files)
    result = call(capsys, "annotate", "query.h5ad", "--reference", "quality.h5ad", *TRAIN[2:], "--out", tmp_path / "a")
    assert result.code == 0
    (warning,) = [line for line in result.err.splitlines() if "classes of quality control" in line]
    assert "adata = hrca.io.read_cells('quality.h5ad'); adata = adata[~adata.obs['cell_type'].isin(['Am" in warning
    assert "`--unlabeled-category Ambiguous`" in warning
