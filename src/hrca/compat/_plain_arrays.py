"""Read .npy files of names and .pth files of weights as plain values; nothing in them is executed.

numpy and torch also read such files. But numpy can read objects only by running a pickle, and both take memory for the
sizes that a file claims before they look at what it has.
"""

import errno
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from ._plain_pickle import StandIn, read_plain_pickle

# The header that numpy writes for an array of strings, integers or objects.
NPY_HEADER = re.compile(
    r"\{'descr': '([<>|=])([USiu]\d{1,9}|O)', 'fortran_order': (?:False|True), "
    r"'shape': \((|\d{1,18},|\d{1,18}(?:, \d{1,18}){1,31})\), \} *\n"
)
# Bit of an entry's flags in the zip format (APPNOTE 4.4.4).
ENCRYPTED = 0x1

STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.BoolStorage": torch.bool,
}


def _value(order: str, code: str, content: bytes) -> str | int:
    """Return a string or integer of numpy; `code` is its kind and size."""
    kind, size, is_big = code[0], int(code[1:]) * (4 if code[0] == "U" else 1), order == ">"
    if kind not in "USiu" or size != len(content) or size == 0:
        raise ValueError("it has values of another size than it claims")
    if kind == "U":
        # numpy itself fails on characters that no text has
        return content.decode("utf-32-be" if is_big else "utf-32-le").rstrip("\0")
    if kind == "S":
        return content.decode("ascii").rstrip("\0")
    return int.from_bytes(content, "big" if is_big else "little", signed=kind == "i")


class _Dtype(StandIn):
    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not re.fullmatch(r"[USiu]\d{1,4}|O8?", code):
            raise ValueError("it has values that are neither strings nor integers")
        self.code, self.order = code, "<"

    def set_state(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]
        if self.order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise ValueError("it has values of several fields")


class _Array(StandIn):
    """An array of objects: its shape and its items in order."""

    def __init__(self, kind: None, shape: tuple[int, ...], code: bytes):
        self.items: list[Any] = []
        self.shape: tuple[int, ...] = (-1,)

    def set_state(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, _, items = state
        if not isinstance(dtype, _Dtype) or not dtype.code.startswith("O") or not isinstance(items, list):
            raise ValueError("it has an array that is not one of objects")
        self.items, self.shape = items, shape


def _scalar(dtype: _Dtype, content: bytes) -> str | int:
    return _value(dtype.order, dtype.code, content)


# numpy 2 renamed numpy.core to numpy._core
NPY_NAMES = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": None,
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
}


def read_npy(path: Path) -> Any:
    """Read a .npy file of strings or integers, or of one object of them.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    A list of the entries in order; for an array without dimensions, its only entry.

    Raises
    ------
    ValueError
        If the file has other content.
    """
    content = path.read_bytes()
    start = {b"\x93NUMPY\x01\x00": 10, b"\x93NUMPY\x02\x00": 12}.get(content[:8])
    if start is None:
        raise ValueError("it is not a .npy file")
    end = start + int.from_bytes(content[8:start], "little")
    header = NPY_HEADER.fullmatch(content[start : min(end, start + 10_000)].decode("latin1"))
    if header is None:
        raise ValueError("it is not an array of strings, integers or objects")
    order, code, lengths = header.groups()
    shape = tuple(int(length) for length in re.findall(r"\d+", lengths))
    if code == "O":
        entries = _object_entries(read_plain_pickle(content[end:], NPY_NAMES), shape)
    else:
        size = int(code[1:]) * (4 if code[0] == "U" else 1)
        if size == 0 or math.prod(shape) * size != len(content) - end:
            raise ValueError(f"it claims {math.prod(shape)} entries, but has {len(content) - end} bytes")
        entries = [_value(order, code, content[i : i + size]) for i in range(end, len(content), size)]
    return entries if shape else entries[0]


def _object_entries(array: Any, shape: tuple[int, ...]) -> list[Any]:
    items = array.items if isinstance(array, _Array) else None
    if items is None or array.shape != shape or len(items) != math.prod(shape):
        raise ValueError("its objects are not the array that it claims")
    return items


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict that :func:`torch.save` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Tensors by name.

    Raises
    ------
    ValueError
        If the file is not a state dict and nothing else.
    OSError
        If the file cannot be read.
    """
    # a file that cannot be opened keeps its OSError
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _StateDictReader(archive, path.stat().st_size).read()
        # zipfile raises NotImplementedError for a newer version of the format, patched data or strong encryption
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise ValueError(str(error)) from error
        except OSError as error:
            # a damaged file can name a position before its start; other errors are those of the disk
            if error.errno != errno.EINVAL:
                raise
            raise ValueError(str(error)) from error


class _StateDictReader:
    """Reader of one archive; all tensors together take no more memory than the file."""

    def __init__(self, archive: zipfile.ZipFile, n_bytes: int):
        self.archive, self.n_left = archive, n_bytes
        self.storages: dict[tuple[torch.dtype, str], torch.Tensor] = {}
        entries = archive.infolist()
        # torch never compresses; what is small on the disk cannot become large in memory
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which `torch.save` never does")
        if any(entry.flag_bits & ENCRYPTED for entry in entries):
            raise ValueError("it is encrypted, which `torch.save` never does")
        if sum(entry.file_size for entry in entries) > n_bytes:
            raise ValueError("its parts claim more bytes than the file has")
        roots = [entry.filename.removesuffix("data.pkl") for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("it is not a file of `torch.save`")
        self.root = roots[0]

    def read(self) -> dict[str, torch.Tensor]:
        names = {
            **STORAGES,
            "collections.OrderedDict": dict,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": lambda tensor, requires_grad, hooks: tensor,
        }
        if f"{self.root}byteorder" in self.archive.namelist() and self._part("byteorder") != b"little":
            raise ValueError("its numbers are not in the order of bytes of common processors")
        state = read_plain_pickle(self._part("data.pkl"), names, self._storage)
        if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise ValueError(f"it holds a {type(state).__name__} of other values than tensors")
        return {str(name): value for name, value in state.items()}

    def _part(self, name: str) -> bytes:
        try:
            return self.archive.read(f"{self.root}{name}")
        except KeyError as error:
            raise ValueError(f"its part {name[:80]} is missing") from error

    def _storage(self, identity: tuple[Any, ...]) -> tuple[torch.dtype, str]:
        kind, dtype, key, _, _ = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise ValueError("it refers to something else than its weights")
        return dtype, key

    def _tensor(
        self, storage: Any, offset: int, shape: Any, stride: Any, requires_grad: bool, hooks: Any, metadata: Any = None
    ) -> torch.Tensor:
        numbers = self._numbers(*storage)
        plain = [offset, *shape, *stride]
        if not all(type(number) is int and number >= 0 for number in plain) or len(shape) != len(stride):
            raise ValueError("a shape is not one of positive integers")
        self.n_left -= math.prod(shape) * numbers.itemsize
        last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
        if 0 in shape or self.n_left < 0 or last >= len(numbers):
            raise ValueError("a tensor claims more numbers than the file has, or none")
        return numbers.as_strided(shape, stride, offset).clone()

    def _numbers(self, dtype: torch.dtype, key: str) -> torch.Tensor:
        if (dtype, key) not in self.storages:
            self.storages[dtype, key] = torch.frombuffer(bytearray(self._part(f"data/{key}")), dtype=dtype)
        return self.storages[dtype, key]
