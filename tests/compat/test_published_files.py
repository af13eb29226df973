"""Files of the published code: content and epochs are read, programs are never run."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hrca.compat._published_files import find_folder, newest_epoch, read_gene_names, read_labels
from hrca.compat._published_weights import load_published


def test_gene_names_are_strings(published):
    names = read_gene_names(published / "features.npy")
    assert list(names[:2]) == ["gene0", "gene1"]
    assert names.shape == (60,)


def test_the_newest_epoch_has_both_networks(published):
    (published / "AE_1000.pth").touch()
    assert newest_epoch(published) == 200
    (published / "predictor_1000.pth").touch()
    assert newest_epoch(published) == 1000


def test_networks_of_different_epochs_raise(published):
    (published / "AE_200.pth").rename(published / "AE_1000.pth")
    with pytest.raises(FileNotFoundError, match=r"has AE of \[1000\] and predictor of \[200\]"):
        newest_epoch(published)


def test_a_folder_is_itself(tmp_path):
    assert find_folder(str(tmp_path)) == tmp_path


def test_other_content_in_place_of_labels_raises(published):
    np.save(published / "dictionary.npy", np.array({"a", "b"}, dtype=object))
    with pytest.raises(ValueError, match="must hold labels and their codes, but holds a set"):
        read_labels(published / "dictionary.npy")
    np.save(published / "dictionary.npy", np.array(3))
    with pytest.raises(ValueError, match="must hold labels and their codes, but holds a int"):
        read_labels(published / "dictionary.npy")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({0: "a", 1: "b", 2: "c"}, id="by code"),
        pytest.param({label: np.int64(code) for code, label in enumerate("abc")}, id="numpy codes"),
        pytest.param(list("abc"), id="a list"),
    ],
)
def test_labels_are_read_from_dictionaries_and_lists(published, content):
    np.save(published / "dictionary.npy", content)
    assert read_labels(published / "dictionary.npy") == list("abc")


class Program:
    """A pickle that creates a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.mark.parametrize("name", ["AE_200.pth", "predictor_200.pth", "features.npy", "dictionary.npy"])
def test_a_file_that_is_a_program_raises_and_is_not_run(published, name):
    program = Program(published / "it ran")
    if name.endswith(".pth"):
        (published / name).write_bytes(pickle.dumps(program, protocol=2))
    else:
        np.save(published / name, np.array(program, dtype=object))
    with pytest.raises(ValueError, match=name.split("_")[0]):
        load_published(published, n_heads=4)
    assert not (published / "it ran").exists()


@pytest.mark.parametrize("name", ["AE_200.pth", "predictor_200.pth", "features.npy", "dictionary.npy"])
def test_a_missing_file_is_named(published, name):
    (published / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.split("_200")[0]):
        load_published(published, n_heads=4)


def test_neither_a_folder_nor_a_repository_raises():
    with pytest.raises(FileNotFoundError, match="must be a folder, or the id of a Hugging Face repository"):
        load_published("no such/folder/at all")


def test_a_hugging_face_repository_is_read_from_its_cache(published, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `hub` is not installed")
    # the layout of a repository that huggingface_hub has downloaded
    repository = tmp_path / "cache" / "models--owner--name"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for path in published.glob("*.np*"):
        path.rename(snapshot / path.name)
    for path in published.glob("*.pth"):
        path.rename(snapshot / path.name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(load_published("owner/name", n_heads=4).labels) == 3
