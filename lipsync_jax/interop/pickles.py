"""Reads the data of a pickle without executing code.

A pickle is a program for a stack machine. This module implements the instructions that build
containers, numbers and strings; instructions that call a function reach only the functions of a
table, which are defined here or by the caller. Python's unpickler is not used.
"""

import math
import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Protocol, cast

import numpy as np

from lipsync_jax.types import Argument, Untrusted

_VALUE_OPCODES = frozenset(
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING "
    "BINSTRING SHORT_BINSTRING UNICODE BINUNICODE BINUNICODE8 SHORT_BINUNICODE BINBYTES "
    "BINBYTES8 SHORT_BINBYTES".split()
)
_CONSTANT_OPCODES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY_CONTAINER_OPCODES = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLE_OPCODES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEY_TYPES = (str, bytes, int, float, type(None))
_MAX_ARGUMENTS = 32  # of a call, and parts of a key
_MAX_NAME = 1000  # characters of `module.name`
_MAX_BITS = 8192  # of a whole number
_DICT_ENTRY_BYTES = 64  # approximate memory of an entry of a dict
BASE_MEMORY_LIMIT = 64 << 20  # bytes, allowed for files of any size


class UnreadableError(ValueError):
    """Why a file is not read: the rest of a sentence that begins with the file's name."""


@dataclass(frozen=True)
class AllowedFunction:
    """A function that a pickle may call.

    Attributes:
        call: the function, from the pickle's arguments to the object.
    """

    call: Callable[..., Untrusted]


class ScriptModule(dict):
    """Attributes of an instance of a class that is not imported."""


class _Dtype:
    """A NumPy dtype under construction: the byte order follows in the pickle."""

    def __init__(self, code: str, *_: Argument) -> None:
        if not re.fullmatch("[biufc][0-9]{1,2}", code):
            raise UnreadableError("has a NumPy array of a type that is not numeric")
        self.dtype = np.dtype(code)

    def restore(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class Stream(Protocol):
    """The file protocol of `pickletools.genops`."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes."""

    def readline(self) -> bytes:
        """Returns a line."""


def load(
    stream: Stream,
    find_class: Callable[[str], Untrusted],
    persistent_load: Callable[[Untrusted], Untrusted] | None,
    memory_limit: int = BASE_MEMORY_LIMIT,
) -> Untrusted:
    """Reads one pickle; afterwards the stream is at the pickle's end.

    Args:
        stream: binary file, read from its current position.
        find_class: `module.name` -> an AllowedFunction or a constant; raises UnreadableError for
            other names.
        persistent_load: a persistent id -> its object; None where no persistent id is expected.
        memory_limit: bytes that the results of all calls may have, without views of the file: a
            small pickle can repeat one value until the memory is full.

    Returns:
        The pickled object, of dict, list, tuple, str, bytes, numbers, None, NumPy arrays,
        ScriptModules, and the results of `find_class` and `persistent_load`.

    Raises:
        UnreadableError: the pickle does more than describe data.
        ValueError, IndexError, KeyError, TypeError, AttributeError: the pickle is damaged.
    """
    unpickler = _RestrictedUnpickler(find_class, persistent_load, memory_limit)
    for opcode, argument, _ in pickletools.genops(cast(IO[bytes], stream)):
        unpickler.step(opcode.name, argument)
    return unpickler.stack.pop()


class _RestrictedUnpickler:
    def __init__(
        self,
        find_class: Callable[[str], Untrusted],
        persistent_load: Callable[[Untrusted], Untrusted] | None,
        limit: int,
    ) -> None:
        self.find_class, self.persistent_load, self.limit, self.bytes_left = (
            find_class,
            persistent_load,
            limit,
            limit,
        )
        self.stack: list[Untrusted] = []
        self.marks: list[int] = []
        self.memo: dict[int, Untrusted] = {}

    def step(self, name: str, argument: Untrusted) -> None:
        """Executes one instruction."""
        if name in _VALUE_OPCODES:
            if isinstance(argument, int) and argument.bit_length() > _MAX_BITS:
                raise UnreadableError("has a number of thousands of digits")
            self.stack.append(_CONSTANT_OPCODES.get(name, argument))
        elif name in _EMPTY_CONTAINER_OPCODES:
            self.stack.append(_EMPTY_CONTAINER_OPCODES[name]())
        elif name in _TUPLE_OPCODES:
            self.stack.append(tuple(self._pop_items(_TUPLE_OPCODES[name])))
        elif name.endswith("PUT"):
            self.memo[argument] = self.stack[-1]
        elif name.endswith("GET"):
            self.stack.append(self.memo[argument])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name == "GLOBAL":
            self.stack.append(self.find_class(argument.replace(" ", ".")))
        elif hasattr(self, f"_{name.lower()}"):
            getattr(self, f"_{name.lower()}")()
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise UnreadableError(f"has a pickle instruction {name}, which checkpoints don't use")

    def _pop_items(self, count: int) -> list[Untrusted]:
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def _pop_items_to_mark(self) -> list[Untrusted]:
        return self._pop_items(len(self.stack) - self.marks.pop())

    def _tuple(self) -> None:
        self.stack.append(tuple(self._pop_items_to_mark()))

    def _append(self) -> None:
        self._extend(self._pop_items(1))

    def _appends(self) -> None:
        self._extend(self._pop_items_to_mark())

    def _setitem(self) -> None:
        self._update(self._pop_items(2))

    def _setitems(self) -> None:
        self._update(self._pop_items_to_mark())

    def _extend(self, items: list[Untrusted]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("the pickle appends to an object that is no list")
        self.stack[-1].extend(items)

    def _update(self, items: list[Untrusted]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise TypeError("the pickle sets items of an object that is no dict")
        self.stack[-1].update(dict_from_pairs(list(zip(items[::2], items[1::2], strict=True))))

    def _stack_global(self) -> None:
        parts = self._pop_items(2)
        if sum(map(len, parts)) > _MAX_NAME:
            raise UnreadableError("has a name of more than 1000 characters")
        self.stack.append(self.find_class(".".join(parts)))

    def _reduce(self) -> None:
        function, arguments = self._pop_items(2)
        if not isinstance(function, AllowedFunction):
            raise UnreadableError("calls an object that is no function of the format")
        if not isinstance(arguments, tuple) or len(arguments) > _MAX_ARGUMENTS:
            raise UnreadableError("calls a function of the format with invalid arguments")
        result = function.call(*arguments)
        if not any(result is argument for argument in arguments):
            self._charge_memory(result)
        self.stack.append(result)

    _newobj = _reduce

    def _binpersid(self) -> None:
        # None raises the TypeError of a damaged file.
        self.stack.append(self.persistent_load(*self._pop_items(1)))  # type: ignore[misc]

    def _build(self) -> None:
        (state,) = self._pop_items(1)
        target = self.stack[-1]
        if isinstance(target, ScriptModule):
            self._charge_memory(state)
            target.update(dict_from_pairs(list(state.items())))
        elif isinstance(target, _Dtype):
            target.restore(state)
        elif isinstance(target, np.ndarray):
            _restore_array(target, state)
            self._charge_memory(target)
        elif type(target) is not dict:  # attributes of an OrderedDict are ignored
            raise UnreadableError("sets attributes of an object without attributes")

    def _charge_memory(self, value: Untrusted) -> None:
        if isinstance(value, np.ndarray):
            steps = zip(value.shape, value.strides, strict=True)
            extent = value.itemsize + sum((n - 1) * step for n, step in steps)
            # A plain view of the file takes no memory; a view that repeats values does when copied.
            self.bytes_left -= value.nbytes if value.flags.owndata or value.nbytes > extent else 0
        elif isinstance(value, dict):
            self.bytes_left -= _DICT_ENTRY_BYTES * len(value)
        elif isinstance(value, bytes):
            self.bytes_left -= len(value)
        if self.bytes_left < 0:
            raise UnreadableError(
                f"describes more than {self.limit >> 20} MB, far more than the file's size, "
                "and would fill the memory"
            )


def dict_from_pairs(items: list[Untrusted] | tuple = ()) -> dict[Untrusted, Untrusted]:
    """Builds a dict from (key, value) pairs with plain keys."""
    result = {}
    for key, value in items:
        parts = key if isinstance(key, tuple) else (key,)
        # Hashing a deeply nested tuple would overflow the interpreter's stack.
        if len(parts) > _MAX_ARGUMENTS or not all(isinstance(k, _KEY_TYPES) for k in parts):
            raise TypeError("the pickle has a key that is no plain value")
        result[key] = value
    return result


def _restore_array(array: np.ndarray, state: tuple) -> None:
    """Fills the empty array of `_reconstruct` in place: other objects may refer to the array."""
    _, shape, kind, fortran, data = state
    if isinstance(data, str):  # as Python 2 wrote it
        data = data.encode("latin-1")
    if array.size or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array is restored twice or has no shape")
    if not isinstance(data, bytes) or math.prod(shape) * kind.dtype.itemsize != len(data):
        raise ValueError("an array and its data differ in size")
    # NumPy's stub requires a NumPy boolean; NumPy's pickles have Python's.
    array.__setstate__((1, shape, kind.dtype, bool(fortran), data))  # type: ignore[arg-type]


def _scalar(kind: _Dtype, data: bytes | str) -> np.generic:
    data = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(data, kind.dtype)[0]


ALLOWED_GLOBALS: Mapping[str, Untrusted] = {
    "collections.OrderedDict": AllowedFunction(dict_from_pairs),
    "_codecs.encode": AllowedFunction(lambda text, _="latin1": text.encode("latin-1")),
    "numpy.ndarray": None,
    "numpy.dtype": AllowedFunction(_Dtype),
    **{
        f"numpy.{core}.multiarray.{name}": AllowedFunction(call)
        for core in ("core", "_core")
        for name, call in (
            ("_reconstruct", lambda *_: np.empty(0, np.uint8)),
            ("scalar", _scalar),
        )
    },
}
