"""Read a pickle without unpickling it.

A pickle is a program, and Python's unpickler runs it. This interpreter knows the few instructions that build strings,
numbers, lists, tuples and dictionaries. It raises an error for all others. It makes objects only by functions that the
caller gives.
"""

import pickletools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

# Instructions that push their argument, and those that push a constant.
LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINBYTES", "BINBYTES"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class StandIn(ABC):
    """A plain value in place of an object of another library. The instruction BUILD gives its state to `set_state`."""

    @abstractmethod
    def set_state(self, state: Any) -> None:
        """Take the state; raise a ValueError if it is not plain."""


def read_plain_pickle(
    data: bytes, names: Mapping[str, Any], from_persistent_id: Callable[[Any], Any] | None = None
) -> Any:
    """Return the plain values of a pickle.

    Parameters
    ----------
    data
        The pickle.
    names
        What the pickle may refer to, by module and name: a function that makes a plain value or a :class:`StandIn`, or
        a value. Nothing is imported.
    from_persistent_id
        Makes a value of a persistent id; None: the pickle may have none.

    Returns
    -------
    Strings, numbers, lists, tuples, dictionaries with strings and integers as keys, and what `names` makes.

    Raises
    ------
    ValueError
        If the pickle has another instruction, refers to another name, or is damaged.

    Examples
    --------
    >>> import pickle
    >>> read_plain_pickle(pickle.dumps({"B cell": [0, 1]}), {})
    {'B cell': [0, 1]}
    """
    machine = _Machine(names, from_persistent_id)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"its instructions do not fit each other ({type(error).__name__}: {error})") from error


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self, names: Mapping[str, Any], from_persistent_id: Callable[[Any], Any] | None):
        self.names, self.from_persistent_id = names, from_persistent_id
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Run one instruction."""
        stack = self.stack
        if name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in TUPLES:
            length = len(stack) - TUPLES[name]
            stack[length:] = [tuple(stack[length:])]
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._pop_to_mark()
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            self._set_items([stack.pop(-2), stack.pop()] if name == "SETITEM" else self._pop_to_mark())
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._make(name, argument)

    def _make(self, name: str, argument: Any) -> None:
        """Run an instruction that makes an object."""
        stack = self.stack
        if name == "GLOBAL":
            stack.append(self._look_up(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            module, attribute = stack.pop(-2), stack.pop()
            stack.append(self._look_up(f"{module}.{attribute}"))
        elif name == "REDUCE":
            function, arguments = stack.pop(-2), stack.pop()
            if not callable(function) or not isinstance(arguments, tuple):
                raise ValueError("it calls a value that is no function")
            stack.append(function(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], StandIn):
                stack[-1].set_state(state)
            elif not isinstance(stack[-1], dict):  # torch gives a dictionary of weights versions as attributes
                raise ValueError("it sets the state of a value that has none")
        elif name == "BINPERSID" and self.from_persistent_id is not None:
            stack.append(self.from_persistent_id(stack.pop()))
        else:
            raise ValueError(f"it has the instruction {name}, which plain values do not need")

    def _look_up(self, name: str) -> Any:
        if name not in self.names:
            raise ValueError(f"it refers to {name[:80]}, which plain values do not need")
        return self.names[name]

    def _pop_to_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def _set_items(self, items: list[Any]) -> None:
        keys = items[::2]
        # the hash of nested tuples can take forever
        if not isinstance(self.stack[-1], dict) or not all(isinstance(key, str | int) for key in keys):
            raise ValueError("the keys of a dictionary must be strings or integers")
        self.stack[-1].update(zip(keys, items[1::2], strict=True))
