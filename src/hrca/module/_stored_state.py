"""Write states to files and read them again. Nothing in a file is executed.

A state is a nest of plain values, arrays and tensors. Arrays and tensors are written as safetensors, all other values
as JSON. A digest of both shows whether a file has changed since it was written.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

# First character of the keys that mark a value for which JSON has no form.
MARK = "$"


class DamagedFileError(ValueError):
    """A file is not what was written: it is cut off, changed or of another kind."""


def encode_state(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return a state as JSON has it; arrays and tensors are moved to `tensors`.

    Parameters
    ----------
    value
        None, a number, a string, an array, a tensor, or a list, tuple or mapping of them.
    path
        Name of the value. The names of its tensors start with it.
    tensors
        The arrays and tensors of the state by name. This function adds to it.

    Returns
    -------
    Values of JSON alone. :func:`decode_state` restores the state.

    Raises
    ------
    TypeError
        If the state holds another type.

    Examples
    --------
    >>> encode_state({"rates": (0.5, float("inf"))}, "state", {})
    {'rates': {'$tuple': [0.5, {'$float': 'inf'}]}}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, Mapping):
        return _encode_mapping(value, path, tensors)
    if isinstance(value, list | tuple):
        items = [encode_state(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biuf":
        items = [encode_state(item, f"{path}/{i}", tensors) for i, item in enumerate(value.ravel().tolist())]
        return {"$objects": items, "shape": list(value.shape), "is_text": value.dtype.kind == "U"}
    if isinstance(value, np.ndarray):
        return {"$array": _add_tensor(tensors, path, torch.from_numpy(_native(value)))}
    if isinstance(value, Tensor):
        return {"$tensor": _add_tensor(tensors, path, value.detach())}
    raise TypeError(
        f"A state must consist of numbers, strings, arrays and tensors, but {path} is a {type(value).__name__}."
    )


def _encode_mapping(value: Mapping[Any, Any], path: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    items = [(key, encode_state(item, f"{path}/{key}", tensors)) for key, item in value.items()]
    if all(isinstance(key, str) and not key.startswith(MARK) for key in value):
        return dict(items)
    return {"$dict": [[encode_state(key, path, tensors), item] for key, item in items]}


def _add_tensor(tensors: dict[str, Tensor], path: str, tensor: Tensor) -> str:
    while path in tensors:
        path += "'"  # the keys 1 and "1" of a dictionary give the same path
    tensors[path] = tensor
    return path


def _native(array: np.ndarray) -> np.ndarray:
    # `np.ascontiguousarray` would give an array without dimensions one
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def decode_state(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Restore what :func:`encode_state` returned.

    Parameters
    ----------
    value
        Values of JSON.
    tensors
        The tensors by name.

    Returns
    -------
    The state. Its arrays and tensors share no memory with `tensors`.

    Raises
    ------
    DamagedFileError
        If the values are not those of :func:`encode_state`.

    Examples
    --------
    >>> decode_state({"$tuple": [0.5, {"$float": "inf"}]}, {})
    (0.5, inf)
    """
    try:
        return _decode(value, tensors)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise DamagedFileError(f"its values are not those of a state ({type(error).__name__}: {error})") from error


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), "")
    if not mark.startswith(MARK):
        return {key: _decode(item, tensors) for key, item in value.items()}
    content = value[mark]
    if mark == "$float":
        return float(content)
    if mark == "$tuple":
        return tuple(_decode(content, tensors))
    if mark == "$dict":
        return {_decode(key, tensors): _decode(item, tensors) for key, item in content}
    if mark == "$objects":
        objects = np.empty(len(content), dtype=object)
        objects[:] = _decode(content, tensors)
        return (objects.astype(str) if value["is_text"] else objects).reshape(value["shape"])
    if mark not in ("$array", "$tensor"):
        raise ValueError(f"unknown mark {mark}")
    tensor = tensors[content].clone()
    return tensor if mark == "$tensor" else tensor.numpy()


def canonical_json(document: Any) -> str:
    """Return the text of a JSON document that its digest is computed from; it keeps the order of the keys."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def content_digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a text and of names, types, shapes and bytes of tensors, as 64 hexadecimal digits.

    Parameters
    ----------
    text
        The text.
    tensors
        The tensors by name; their order is irrelevant.
    """
    sha = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        sha.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        flat = value.detach().cpu().reshape(-1).contiguous()
        if flat.stride() != (1,):  # of at most one element, which torch calls contiguous with any stride
            flat = flat.clone(memory_format=torch.contiguous_format)
        sha.update(flat.view(torch.uint8).numpy().data)
    return sha.hexdigest()


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, and wait until they are on the disk.

    Parameters
    ----------
    tensors
        The tensors by name.
    path
        The file.
    metadata
        Texts by name.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    separate: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if value.untyped_storage().data_ptr() in storages:
            value = value.clone()  # safetensors takes no tensors that share memory
        storages.add(value.untyped_storage().data_ptr())
        separate[name] = value
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(separate, str(path), metadata=dict(metadata or {}))
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(mode)  # safetensors puts a file in its place that no other user can read
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Tensors on the CPU, and texts, by name.

    Raises
    ------
    DamagedFileError
        If the file is not a safetensors file.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise DamagedFileError(str(error).splitlines()[0]) from error


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Give a name to write to. The file gets its own name when the block ends, and is removed if the block fails.

    Parameters
    ----------
    path
        The file's own name.

    Yields
    ------
    The name to write to, in the same folder.
    """
    temporary = path.with_name(f"{path.name}.unfinished")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
