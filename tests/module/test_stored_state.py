"""States are read as they were written; files of another kind raise an error."""

import json
import math
import stat

import numpy as np
import pytest
import torch

from hrca.module._stored_state import (
    DamagedFileError,
    canonical_json,
    content_digest,
    decode_state,
    encode_state,
    read_tensors,
    unfinished,
    write_tensors,
)

STATE = {
    "plain": [None, True, 3, -0.1, "é\n", []],
    "nested": {"empty": {}, "tuple": (1, (2.5, "a"), [])},
    "not finite": [float("inf"), -float("inf")],
    "keys": {0: "a", "0": "b", (1, 2): "c", "$array": "d"},
    "mark": {"$float": "not a float"},
    "objects": np.array([["a", None], ["b", 1.5]], dtype=object),
    "text": np.array(["a", "bc"]),
    "scalars": [np.float32(0.1), np.int64(4), np.bool_(True), np.str_("s")],
    "no dimensions": np.array(1.5, dtype=np.float32),
    "nothing": np.zeros((0, 3), dtype=np.int32),
    "transposed": np.arange(6).reshape(2, 3).T,
    "big endian": np.arange(3, dtype=">i4"),
    "tensors": {0: torch.arange(3), "0": torch.ones((), dtype=torch.bfloat16)},
}


def test_a_state_goes_through_a_file_unchanged(tmp_path):
    tensors = {}
    text = canonical_json(encode_state(STATE, "state", tensors))
    write_tensors(tensors, tmp_path / "file", {"text": text})
    read, metadata = read_tensors(tmp_path / "file")
    assert content_digest(metadata["text"], read) == content_digest(text, tensors)
    found = decode_state(json.loads(metadata["text"]), read)
    tensors = found.pop("tensors")
    assert torch.equal(tensors[0], torch.arange(3))
    assert (tensors["0"].dtype, tensors["0"].shape) == (torch.bfloat16, ())
    np.testing.assert_equal(found, {name: value for name, value in STATE.items() if name != "tensors"})
    assert list(found) == [name for name in STATE if name != "tensors"]
    assert isinstance(found["nested"]["tuple"], tuple)
    assert (found["no dimensions"].dtype, found["no dimensions"].shape) == (np.float32, ())


def test_nan_goes_through():
    encoded = encode_state(float("nan"), "state", {})
    canonical_json(encoded)
    assert math.isnan(decode_state(encoded, {}))


def test_a_read_state_does_not_follow_the_file(tmp_path):
    array = {"$array": "a"}
    tensors = {"a": torch.zeros(2)}
    found = decode_state(array, tensors)
    tensors["a"][0] = 1
    assert found[0] == 0


def test_what_needs_code_is_not_written():
    with pytest.raises(TypeError, match="but state/history/0 is a set"):
        encode_state({"history": [{1}]}, "state", {})


@pytest.mark.parametrize(
    "value",
    [
        {"$array": "missing"},
        {"$unknown": 1},
        {"$float": "x"},
        {"$dict": [1]},
        {"$dict": [[[], 1]]},
        {"$objects": [1], "is_text": False, "shape": [2]},
        {"$objects": 1},
        {"$tuple": 3},
    ],
)
def test_values_that_are_no_state_are_damaged(value):
    with pytest.raises(DamagedFileError):
        decode_state([value], {})


def test_a_digest_tells_names_types_shapes_and_bytes_apart():
    tensors = {"a": torch.zeros(4), "b": torch.zeros(2, 2)}
    others = [
        {"a": torch.zeros(4), "c": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32), "b": torch.zeros(2, 2)},
        {"a": torch.zeros(2, 2), "b": torch.zeros(4)},
        {"a": torch.tensor([0, 0, 0, -0.0]), "b": torch.zeros(2, 2)},
        {"a": torch.zeros(4)},
    ]
    digests = {content_digest("text", found) for found in [tensors, *others]} | {content_digest("texts", tensors)}
    assert len(digests) == 7
    assert content_digest("", {"a": torch.ones(1)}) == content_digest("", {"a": torch.ones(()).expand(1)})


def test_tensors_that_share_memory_are_written(tmp_path):
    shared = torch.arange(6.0)
    write_tensors({"all": shared, "half": shared[:3], "columns": shared.reshape(2, 3).T}, tmp_path / "file")
    read, _ = read_tensors(tmp_path / "file")
    assert torch.equal(read["half"], shared[:3])
    assert torch.equal(read["columns"], shared.reshape(2, 3).T)


def test_others_may_read_the_file_as_any_file(tmp_path):
    (tmp_path / "any").touch()
    write_tensors({"a": torch.zeros(1)}, tmp_path / "file")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "any").stat().st_mode)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"PK\x03\x04" * 100, b"\xff" * 100, (8).to_bytes(8, "little") + b"{{{{{{{{"]
)
def test_another_kind_of_file_is_damaged(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DamagedFileError):
        read_tensors(tmp_path / "file")


def test_a_file_that_fails_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("earlier")
    with pytest.raises(InterruptedError), unfinished(path) as temporary:
        temporary.write_text("half")
        raise InterruptedError
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "earlier"
