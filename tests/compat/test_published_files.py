"""Files of the published code: content and epochs are read, programs are never run."""

import errno
import os
import pickle
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hrca.compat._plain_arrays import read_state_dict
from hrca.compat._published_files import find_folder, newest_epoch, read_gene_names, read_labels, read_state
from hrca.compat._published_weights import load_published
from hrca.compat._state_keys import GENE_AE_KEYS, SE_CLASSIFIER_KEYS


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
    with pytest.raises(ValueError, match="must be a numpy array of names or labels, .*EMPTY_SET"):
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


class ForgedDtype:
    """A dtype whose state claims fields that it does not have: numpy would read memory that is not its own."""

    def __init__(self, code="V8"):
        self.code = code

    def __reduce__(self):
        return (np.dtype, (self.code, False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 2**40)}, 8, 1, 16))


class ForgedArray:
    """An array with another shape than it has items, or with a state of bytes."""

    def __init__(self, shape, items, code="O8"):
        self.state = (1, shape, np.dtype(code), False, items)

    def __reduce__(self):
        return (np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), self.state)


def scalar(code, content):
    """A number or string of numpy, as pickled."""

    class Scalar:
        def __reduce__(self):
            dtype = np.dtype(code) if isinstance(code, str) else code
            return (np._core.multiarray.scalar, (dtype, content))

    return Scalar()


def nested(depth):
    """A tuple of tuples whose hash and text take 2**depth steps."""
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


# the same tuple as the key of a dictionary, which Python cannot make in this century
LONG_HASH = b"".join(bytes([0x68, i, 0x68, i, 0x86, 0x94]) for i in range(60))


HOSTILE_PICKLES = {
    "forged dtype": ForgedDtype(),
    "forged dtype in a dictionary": {"a": ForgedDtype()},
    "fields of an integer": {"a": scalar(ForgedDtype("i8"), b"\0" * 8)},
    "short array": ForgedArray((2**40,), ["a"]),
    "array of bytes": ForgedArray((1,), b"\0" * 8),
    "array of numbers": ForgedArray((1,), b"\0" * 8, "i8"),
    "array in an array": np.array([np.array(["a"], dtype=object), 1], dtype=object),
    "truncated scalar": scalar("i8", b"\0"),
    "object as a scalar": scalar("O", b"\0" * 8),
    "character out of range": {scalar("U1", b"\xff\xff\xff\xff"): 0},
    "lone surrogate": {"\ud800": 0},
    "numbers with a fraction": {"a": 0.5},
    "nested": {"a": nested(60)},
    "mixed keys": {0: "a", "b": 1},
    "no codes": {"a": "b"},
    "codes with a gap": {"a": 0, "b": 2},
    "bytes": b"a",
}
HEADER = b"\x93NUMPY\x01\x00"


def npy(header: str, content: bytes) -> bytes:
    header = header.ljust(117) + "\n"
    return HEADER + len(header).to_bytes(2, "little") + header.encode() + content


OBJECT = "{'descr': '|O', 'fortran_order': False, 'shape': (), }"
HOSTILE_FILES = {
    "empty": b"",
    "no numpy": b"x" * 1000,
    "cut off": HEADER + b"\xff\xff",
    "code in the header": npy("__import__('os').abort()", b""),
    "deep header": npy("(" * 100, b""),
    "large shape": npy("{'descr': '<U8', 'fortran_order': False, 'shape': (1000000000000,), }", b"a" * 32),
    "large entry": npy("{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,), }", b"a" * 32),
    "entries of no bytes": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }", b""),
    "numbers": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8),
    "fields": npy("{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (1,), }", b"\0" * 8),
    "no character": npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }", b"\xff" * 4),
    "large memo": npy(OBJECT, b"\x80\x04Nr\xff\xff\xff\x7f."),
    "large string": npy(OBJECT, b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa."),
    "large number": npy(OBJECT, b"\x80\x04\x8b\xff\xff\xff\x7fa."),
    "long decimal": npy(OBJECT, b"I" + b"9" * 100_000 + b"\n."),
    "empty stack": npy(OBJECT, b"\x80\x04R."),
    "no mark": npy(OBJECT, b"\x80\x04t."),
    "no memo": npy(OBJECT, b"\x80\x04h\x05."),
    "list in itself": npy(OBJECT, b"\x80\x04]\x94h\x00a."),
    "module by name": npy(OBJECT, b"cos\nsystem\n(S'true'\ntR."),
    "long hash": npy(OBJECT, b"\x80\x04)\x94" + LONG_HASH + b"}h\x3cK\x00s."),
    "no end": npy(OBJECT, b"\x80\x04" + b"(" * 100_000),
}


def test_labels_as_numpy_1_wrote_them_are_read(tmp_path):
    labels = np.array({"a": np.int32(1), np.str_("β"): 0}, dtype=object)
    content = pickle.dumps(labels, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "dictionary.npy").write_bytes(npy(OBJECT, content))
    assert read_labels(tmp_path / "dictionary.npy") == ["β", "a"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("names", [["a", "bcd", "β"], ["a", "bcd"]])
def test_names_of_either_order_of_bytes_are_read(tmp_path, order, names):
    for kind in "US" if names[-1].isascii() else "U":
        np.save(tmp_path / "features.npy", np.array(names).astype(f"{order}{kind}4"))
        assert list(read_gene_names(tmp_path / "features.npy")) == names
    np.save(tmp_path / "features.npy", np.array(names, dtype=object))
    assert list(read_gene_names(tmp_path / "features.npy")) == names


@pytest.mark.parametrize("read", [read_labels, read_gene_names])
@pytest.mark.parametrize("name", [*HOSTILE_PICKLES, *HOSTILE_FILES])
def test_a_hostile_file_ends_in_a_value_error(tmp_path, name, read):
    path = tmp_path / "dictionary.npy"
    if name in HOSTILE_FILES:
        path.write_bytes(HOSTILE_FILES[name])
    else:
        content = np.empty((), dtype=object)
        content[()] = HOSTILE_PICKLES[name]
        np.save(path, content)
    with pytest.raises(ValueError, match="dictionary.npy must"):
        read(path)


def rewritten(path, change=None, compression=zipfile.ZIP_STORED, part="data.pkl") -> None:
    """Write an archive of torch again, with one part changed and every checksum right."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if change is not None:
        [name] = [name for name in parts if name.endswith(f"/{part}")]
        parts[name] = change(parts[name])
        assert parts[name] != zipfile.ZipFile(path).read(name)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def replaced(old: bytes, new: bytes):
    return lambda content: content.replace(old, new, 1)


def flagged(path, bit: int) -> None:
    """Set a bit in the flags of all entries, in both of their headers."""
    content = bytearray(path.read_bytes())
    for signature, position in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(signature), bytes(content)):
            content[match.start() + position] |= bit
    path.write_bytes(content)


def saved(path, state) -> None:
    torch.save(state, path)


# 2 x 3 numbers, pickled: offset 0, shape (2, 3), stride (3, 1)
SHAPE, STRIDE = b"K\x00K\x02K\x03\x86", b"K\x03K\x01\x86"
LARGE = b"\x8a\x06" + (2**40).to_bytes(6, "little")
HOSTILE_ARCHIVES = {
    "compressed": lambda path: rewritten(path, compression=zipfile.ZIP_DEFLATED),
    "bomb": lambda path: rewritten(path, lambda content: bytes(100_000_000), zipfile.ZIP_DEFLATED, "data/0"),
    "large shape": lambda path: rewritten(path, replaced(SHAPE, b"K\x00K\x02" + LARGE + b"\x86")),
    "large offset": lambda path: rewritten(path, replaced(SHAPE, b"K\x01K\x02K\x03\x86")),
    "repeated numbers": lambda path: rewritten(
        path, lambda data: data.replace(SHAPE, b"K\x00K\xffM\xff\xff\x86").replace(STRIDE, b"K\x00K\x00\x86")
    ),
    "negative stride": lambda path: rewritten(path, replaced(STRIDE, b"J\xff\xff\xff\xffK\x01\x86")),
    "no numbers": lambda path: rewritten(path, replaced(SHAPE, b"K\x00K\x00" + LARGE + b"\x86")),
    "other type": lambda path: rewritten(path, replaced(b"FloatStorage", b"DoubleStorage")),
    "unknown type": lambda path: rewritten(path, replaced(b"FloatStorage", b"QUInt8Storage")),
    "missing part": lambda path: rewritten(path, replaced(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007")),
    "path outside": lambda path: rewritten(path, replaced(b"X\x01\x00\x00\x000", b"X\x02\x00\x00\x00..")),
    "short part": lambda path: rewritten(path, lambda content: content[:-1], part="data/0"),
    "two pickles": lambda path: rewritten(path, lambda content: content[:20]),
    "other order": lambda path: rewritten(path, lambda content: b"big", part="byteorder"),
    "no torch": lambda path: zipfile.ZipFile(path, "w").close(),
    "list": lambda path: saved(path, [torch.zeros(3)]),
    "number": lambda path: saved(path, {"a": 1}),
    "sparse": lambda path: saved(path, {"a": torch.eye(3).to_sparse()}),
    "old format": lambda path: torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False),
    "empty": lambda path: path.write_bytes(b""),
    "encrypted": lambda path: flagged(path, 0x1),
    "strongly encrypted": lambda path: flagged(path, 0x40),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-30]),
}


def test_a_state_dict_is_read_as_torch_reads_it(tmp_path):
    shared = torch.arange(12.0)
    state = {
        "a": shared[:6].reshape(2, 3).T,
        "b": shared[3:],
        "c": torch.tensor(3),
        "d": torch.zeros(2, dtype=torch.bfloat16),
        "e": torch.nn.Parameter(torch.ones(2)),
        "f": torch.tensor([True, False]),
    }
    torch.save(state, tmp_path / "file")
    found = read_state_dict(tmp_path / "file")
    assert list(found) == list(state)
    for name, value in state.items():
        assert torch.equal(found[name], value)
        assert found[name].dtype == value.dtype


def test_weights_that_cannot_be_opened_raise_the_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "nothing.pth")
    with pytest.raises(IsADirectoryError):
        read_state_dict(tmp_path)


def test_an_error_of_the_disk_is_not_called_a_damaged_file(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(3)}, tmp_path / "file")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(zipfile.ZipFile, "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_state_dict(tmp_path / "file")


@pytest.mark.parametrize("name", HOSTILE_ARCHIVES)
def test_hostile_weights_end_in_a_value_error(tmp_path, name):
    path = tmp_path / "AE_1.pth"
    torch.save({"input_layer.0.layer.weight": torch.arange(6.0).reshape(2, 3)}, path)
    assert read_state_dict(path)["input_layer.0.layer.weight"].shape == (2, 3)
    HOSTILE_ARCHIVES[name](path)
    tracemalloc.start()
    with pytest.raises(ValueError, match="AE_1.pth must be a state dict and nothing else, but cannot be read as one"):
        read_state(path, GENE_AE_KEYS)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_every_changed_byte_of_weights_is_found_or_harmless(published):
    path, rng = published / "predictor_200.pth", np.random.default_rng(0)
    expected = read_state(path, SE_CLASSIFIER_KEYS)
    written = path.read_bytes()
    for position in rng.integers(0, len(written), 300):
        changed = bytearray(written)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = read_state(path, SE_CLASSIFIER_KEYS)
        except ValueError:
            continue
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_weights_that_imply_a_huge_network_raise_before_it_is_made(published):
    # every single matrix is small, but one of `n_hidden` by `n_latent` would be a million times a million
    state = torch.load(published / "AE_200.pth", weights_only=True)
    state["input_layer.0.layer.weight"] = torch.zeros(1_000_000, 60)
    state["input_layer.1.layer.weight"] = torch.zeros(1_000_000, 1)
    torch.save(state, published / "AE_200.pth")
    with pytest.raises(ValueError, match="must have the shapes that the other files imply"):
        load_published(published, n_heads=4)


def test_a_huge_number_in_a_key_raises(published):
    state = torch.load(published / "AE_200.pth", weights_only=True)
    state["enc.999999999999.norm.weight"] = torch.zeros(1)
    torch.save(state, published / "AE_200.pth")
    with pytest.raises(ValueError, match="must have the published networks' keys"):
        load_published(published, n_heads=4)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("input_layer.0.layer.weight", None, "must have those of all layers, but lack"),
        ("input_layer.0.layer.weight", torch.zeros(3), "must have those of all layers, but lack"),
        ("input_layer.1.layer.weight", torch.tensor(1.0), "must have those of all layers, but lack"),
        (
            "enc.0.norm.bias",
            torch.full((16,), float("nan")),
            "must be numbers, but are NaN or infinite",
        ),
    ],
)
def test_weights_that_are_none_raise(published, key, value, words):
    state = torch.load(published / "AE_200.pth", weights_only=True)
    if value is None:
        del state[key]
    else:
        state[key] = value
    torch.save(state, published / "AE_200.pth")
    with pytest.raises(ValueError, match=words):
        load_published(published, n_heads=4)


def test_a_changed_byte_of_labels_is_read_or_raises(published):
    path, rng = published / "dictionary.npy", np.random.default_rng(0)
    written = path.read_bytes()
    for position in rng.integers(0, len(written), 500):
        changed = bytearray(written)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            labels = read_labels(path)
        except ValueError as error:
            assert "dictionary.npy must" in str(error)
        else:
            assert len(labels) <= 3
            assert all(type(label) is str for label in labels)


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
