"""Reads the data out of a pickle without being able to run anything.

A pickle is a program for a stack machine. This one knows the instructions that build containers,
numbers and strings; the instructions that call something reach only the few functions of a table,
all written here or by the caller. Python's own unpickler is not involved.
"""

import math
import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Protocol, cast

import numpy as np

from lipsync_jax.types import Argument, Foreign

_VALUES = frozenset(
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING "
    "BINSTRING SHORT_BINSTRING UNICODE BINUNICODE BINUNICODE8 SHORT_BINUNICODE BINBYTES "
    "BINBYTES8 SHORT_BINBYTES".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS = (str, bytes, int, float, type(None))
_MAX_ARGUMENTS = 32  # of a call, and parts of a key
_MAX_NAME = 1000  # characters of `module.name`
_MAX_BITS = 8192  # of a whole number
_ENTRY = 64  # bytes, about what an entry of a dict takes
SPARE = 64 << 20  # bytes that any file may make, however small


class UnreadableError(ValueError):
    """A file that is not read, and why: the rest of a sentence that begins with its name."""


@dataclass(frozen=True)
class Function:
    """What a pickle may call under a name of the table.

    Attributes:
        call: takes the arguments that the pickle gives and returns the object.
    """

    call: Callable[..., Foreign]


class Module(dict):
    """Attributes of an instance of a class that was not looked up."""


class _Dtype:
    """A NumPy dtype under construction: its byte order comes after it."""

    def __init__(self, code: str, *_: Argument) -> None:
        if not re.fullmatch("[biufc][0-9]{1,2}", code):
            raise UnreadableError("has a NumPy array of something else than numbers")
        self.dtype = np.dtype(code)

    def restore(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class Stream(Protocol):
    """What a pickle is read from, as `pickletools.genops` reads it."""

    def read(self, size: int, /) -> bytes:
        """Some bytes."""

    def readline(self) -> bytes:
        """A line."""


def load(
    stream: Stream,
    find: Callable[[str], Foreign],
    persistent: Callable[[Foreign], Foreign] | None,
    limit: int = SPARE,
) -> Foreign:
    """Reads one pickle; the stream is left behind its end.

    Args:
        stream: binary file, read from where it stands.
        find: `module.name` -> a Function or a constant; raises UnreadableError at any other.
        persistent: a persistent id -> the object it stands for; None where none is expected.
        limit: bytes that the results of its calls may have in all, views of the file not counted.
            A pickle can name one value again and again, so a small one could fill any memory.

    Returns:
        What was pickled, out of dict, list, tuple, str, bytes, numbers, None, NumPy arrays,
        Modules, and what `find` and `persistent` return.

    Raises:
        UnreadableError: the pickle wants more than to hold data.
        ValueError, IndexError, KeyError, TypeError, AttributeError: it is damaged.
    """
    machine = _Machine(find, persistent, limit)
    for opcode, argument, _ in pickletools.genops(cast(IO[bytes], stream)):
        machine.step(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    def __init__(
        self,
        find: Callable[[str], Foreign],
        persistent: Callable[[Foreign], Foreign] | None,
        limit: int,
    ) -> None:
        self.find, self.persistent, self.limit, self.left = find, persistent, limit, limit
        self.stack: list[Foreign] = []
        self.marks: list[int] = []
        self.memo: dict[int, Foreign] = {}

    def step(self, name: str, argument: Foreign) -> None:
        """Carries out one instruction."""
        if name in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > _MAX_BITS:
                raise UnreadableError("has a number of thousands of digits")
            self.stack.append(_CONSTANTS.get(name, argument))
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self.stack.append(tuple(self._take(_TUPLES[name])))
        elif name.endswith("PUT"):
            self.memo[argument] = self.stack[-1]
        elif name.endswith("GET"):
            self.stack.append(self.memo[argument])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name == "GLOBAL":
            self.stack.append(self.find(argument.replace(" ", ".")))
        elif hasattr(self, f"_{name.lower()}"):
            getattr(self, f"_{name.lower()}")()
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise UnreadableError(f"has a pickle instruction {name}, which checkpoints don't use")

    def _take(self, count: int) -> list[Foreign]:
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def _take_to_mark(self) -> list[Foreign]:
        return self._take(len(self.stack) - self.marks.pop())

    def _tuple(self) -> None:
        self.stack.append(tuple(self._take_to_mark()))

    def _append(self) -> None:
        self._extend(self._take(1))

    def _appends(self) -> None:
        self._extend(self._take_to_mark())

    def _setitem(self) -> None:
        self._update(self._take(2))

    def _setitems(self) -> None:
        self._update(self._take_to_mark())

    def _extend(self, items: list[Foreign]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("the pickle appends to what is no list")
        self.stack[-1].extend(items)

    def _update(self, items: list[Foreign]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise TypeError("the pickle sets items of what is no dict")
        self.stack[-1].update(pairs(list(zip(items[::2], items[1::2], strict=True))))

    def _stack_global(self) -> None:
        parts = self._take(2)
        if sum(map(len, parts)) > _MAX_NAME:
            raise UnreadableError("names something longer than names are")
        self.stack.append(self.find(".".join(parts)))

    def _reduce(self) -> None:
        function, arguments = self._take(2)
        if not isinstance(function, Function):
            raise UnreadableError("calls something that is no function of the format")
        if not isinstance(arguments, tuple) or len(arguments) > _MAX_ARGUMENTS:
            raise UnreadableError("calls a function of the format with what are no arguments")
        made = function.call(*arguments)
        if not any(made is argument for argument in arguments):
            self._spend(made)
        self.stack.append(made)

    _newobj = _reduce

    def _binpersid(self) -> None:
        # None raises the TypeError of a damaged file.
        self.stack.append(self.persistent(*self._take(1)))  # type: ignore[misc]

    def _build(self) -> None:
        (state,) = self._take(1)
        target = self.stack[-1]
        if isinstance(target, Module):
            self._spend(state)
            target.update(pairs(list(state.items())))
        elif isinstance(target, _Dtype):
            target.restore(state)
        elif isinstance(target, np.ndarray):
            _restore_array(target, state)
            self._spend(target)
        elif type(target) is not dict:  # attributes of an OrderedDict hold nothing of use
            raise UnreadableError("sets attributes of something that has none")

    def _spend(self, made: Foreign) -> None:
        if isinstance(made, np.ndarray):
            steps = zip(made.shape, made.strides, strict=True)
            extent = made.itemsize + sum((n - 1) * step for n, step in steps)
            # A plain view of the file takes no memory; one that repeats values does when copied.
            self.left -= made.nbytes if made.flags.owndata or made.nbytes > extent else 0
        elif isinstance(made, dict):
            self.left -= _ENTRY * len(made)
        elif isinstance(made, bytes):
            self.left -= len(made)
        if self.left < 0:
            raise UnreadableError(
                f"describes more than {self.limit >> 20} MB, far more than its size: it is made to "
                "fill the memory"
            )


def pairs(items: list[Foreign] | tuple = ()) -> dict[Foreign, Foreign]:
    """A dict of (key, value) pairs with plain keys."""
    found = {}
    for key, value in items:
        parts = key if isinstance(key, tuple) else (key,)
        # Hashing a deeply nested tuple would overflow the interpreter's stack.
        if len(parts) > _MAX_ARGUMENTS or not all(isinstance(k, _KEYS) for k in parts):
            raise TypeError("the pickle has a key that is no plain value")
        found[key] = value
    return found


def _restore_array(array: np.ndarray, state: tuple) -> None:
    """Fills the empty array of `_reconstruct` in place: others may refer to it already."""
    _, shape, kind, fortran, data = state
    if isinstance(data, str):  # as Python 2 wrote it
        data = data.encode("latin-1")
    if array.size or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array is restored twice or has no shape")
    if not isinstance(data, bytes) or math.prod(shape) * kind.dtype.itemsize != len(data):
        raise ValueError("an array and its data differ in size")
    # numpy's stub asks for a NumPy boolean, its own pickles have Python's.
    array.__setstate__((1, shape, kind.dtype, bool(fortran), data))  # type: ignore[arg-type]


def _scalar(kind: _Dtype, data: bytes | str) -> np.generic:
    data = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(data, kind.dtype)[0]


NAMES: Mapping[str, Foreign] = {
    "collections.OrderedDict": Function(pairs),
    "_codecs.encode": Function(lambda text, _="latin1": text.encode("latin-1")),
    "numpy.ndarray": None,
    "numpy.dtype": Function(_Dtype),
    **{
        f"numpy.{core}.multiarray.{name}": Function(call)
        for core in ("core", "_core")
        for name, call in (
            ("_reconstruct", lambda *_: np.empty(0, np.uint8)),
            ("scalar", _scalar),
        )
    },
}
