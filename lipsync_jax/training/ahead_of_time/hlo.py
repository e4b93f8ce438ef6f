"""Reads the text of a compiled XLA program (HLO) into computations and instructions."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

_COMMENT = re.compile(r"/\*.*?\*/")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_TILE = re.compile(r"T\(([\d,]+)\)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_BRANCH = re.compile(r"(?:true|false)_computation=%?([\w.\-]+)")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONSTANT = re.compile(r"s\d+\[\]")


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of an instruction's result.

    Attributes:
        dtype: as HLO names it, e.g. `f32`.
        shape: sizes.
        layout: minor-to-major order, tiles and memory space, as HLO prints them.
    """

    dtype: str
    shape: tuple[int, ...]
    layout: str = ""

    @property
    def item_bits(self) -> int:
        """Returns the bits of one element; 0 for tokens."""
        if self.dtype == "pred":
            return 8
        digits = re.search(r"\d+", self.dtype)
        return int(digits[0]) if digits else 0

    @property
    def bytes(self) -> int:
        """Returns the bytes of the elements alone."""
        return -(-math.prod(self.shape) * self.item_bits // 8)

    @property
    def stored_bytes(self) -> int:
        """Returns the bytes in the device's main memory, with the padding of TPU tiles."""
        if "S(" in self.layout:  # another memory space, on the chip
            return 0
        tile = _TILE.search(self.layout)
        if not tile or not self.shape:
            return self.bytes
        order = [int(axis) for axis in self.layout.partition(":")[0].split(",") if axis]
        sizes = list(self.shape)
        tile_sizes = [int(size) for size in tile[1].split(",")]
        for axis, size in zip(order, reversed(tile_sizes), strict=False):
            sizes[axis] = -(-sizes[axis] // size) * size
        return -(-math.prod(sizes) * self.item_bits // 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: unique in its program.
        opcode: e.g. `fusion`.
        arrays: of the result, several for a tuple.
        operands: names of instructions of the same computation.
        literal: the text between the parentheses, e.g. a constant's value.
        attributes: the rest of the line.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    literal: str
    attributes: str

    def attribute(self, name: str) -> str:
        """Returns an attribute without spaces or braces inside, e.g. `dim_labels`; else ""."""
        found = re.search(rf"\b{name}=%?([^\s,]+)", self.attributes)
        return found[1] if found else ""

    def braces(self, name: str) -> str:
        """Returns what an attribute has between braces, e.g. of `window`; else ""."""
        found = re.search(rf"\b{name}=\{{([^}}]*)\}}", self.attributes)
        return found[1] if found else ""

    @property
    def op_name(self) -> str:
        """Returns the path of the JAX operation that the instruction was made of."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    @property
    def called(self) -> tuple[str, ...]:
        """Returns the computations that the instruction runs, but for those of each element."""
        if self.opcode == "while":
            return (self.attribute("body"),)
        if self.opcode == "conditional":
            branches = _BRANCHES.search(self.attributes)
            if branches:
                return tuple(name.strip().lstrip("%") for name in branches[1].split(","))
            return tuple(_BRANCH.findall(self.attributes))
        if self.opcode in ("fusion", "call", "async-start"):
            name = self.attribute("calls") or self.attribute("to_apply")
            return (name,) if name else ()
        return ()


@dataclasses.dataclass(frozen=True)
class Step:
    """An instruction at its place in the program.

    Attributes:
        instruction: that runs.
        computation: the computation that it is of.
        times: how often it runs in one call of the program.
        in_loop: whether it is in the body of a loop.
    """

    instruction: Instruction
    computation: str
    times: int
    in_loop: bool


class Program:
    """A compiled program.

    Args:
        text: `jax.stages.Compiled.as_text()`.

    Attributes:
        computations: name -> instruction's name -> instruction.
        entry: name of the first computation.
        unknown_loops: loops whose number of turns is not in the program; each counts as one turn.
    """

    def __init__(self, text: str) -> None:
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry, self.unknown_loops = "", 0
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            line = _COMMENT.sub("", line) if "/*" in line else line
            if found := _INSTRUCTION.match(line):
                instruction = _parse(found[1], found[2])
                if instruction:
                    current[instruction.name] = instruction
            elif line[:1] not in ("", " ", "}") and (found := _COMPUTATION.match(line)):
                current = self.computations[found[2]] = {}
                self.entry = found[2] if found[1] else self.entry

    def instructions(self) -> Iterator[tuple[str, Instruction]]:
        """Yields every instruction of the text with its computation's name, fused ones too."""
        for name, computation in self.computations.items():
            for instruction in computation.values():
                yield name, instruction

    def operand_arrays(self, computation: str, instruction: Instruction) -> list[Array]:
        """Returns the arrays that an instruction takes."""
        known = self.computations[computation]
        return [
            array for name in instruction.operands if name in known for array in known[name].arrays
        ]

    @functools.cached_property
    def steps(self) -> Sequence[Step]:
        """Returns what runs: loops and calls unrolled, fusions whole, all branches taken."""
        return tuple(self._walk(self.entry, 1, False))

    def _walk(self, computation: str, times: int, in_loop: bool) -> Iterator[Step]:
        for instruction in self.computations.get(computation, {}).values():
            turns, looped = times, in_loop
            if instruction.opcode == "while":
                turns, looped = times * self._trip_count(instruction), True
            if instruction.opcode in ("while", "conditional", "call"):
                for called in instruction.called:
                    yield from self._walk(called, turns, looped)
            else:
                yield Step(instruction, computation, times, in_loop)

    def _trip_count(self, loop: Instruction) -> int:
        if known := _TRIP_COUNT.search(loop.attributes):
            return int(known[1])
        # A counter from 0 is compared with a constant, of the condition or of a fusion in it.
        condition = self.computations.get(loop.attribute("condition"), {})
        constants = [
            int(inner.literal)
            for computation in (
                condition,
                *(self.computations.get(n, {}) for x in condition.values() for n in x.called),
            )
            for inner in computation.values()
            if inner.opcode == "constant" and inner.literal.isdigit()
        ]
        if not constants:
            self.unknown_loops += 1
        return max(constants, default=1)


def window(instruction: Instruction) -> Mapping[str, list[str]]:
    """Returns the window of a convolution, by name: `size` -> ["3", "3"], `pad` -> ["1_1", ...]."""
    pairs = (entry.partition("=") for entry in instruction.braces("window").split())
    return {name: values.split("x") for name, _, values in pairs}


def _parse(name: str, text: str) -> Instruction | None:
    """Parses `SHAPE opcode(operands), attributes`; None for anything else."""
    end = _closing(text, 0) + 1 if text.startswith("(") else text.find(" ")
    opcode = _OPCODE.match(text, end)
    if end <= 0 or not opcode:
        return None
    close = _closing(text, opcode.end() - 1)
    inside = text[opcode.end() : close]
    return Instruction(
        name,
        opcode[1],
        tuple(_arrays(text[:end])),
        tuple(_operand_names(inside)),
        inside,
        text[close + 1 :],
    )


def _arrays(text: str) -> Iterator[Array]:
    for dtype, sizes, layout in _ARRAY.findall(text):
        yield Array(dtype, tuple(int(size) for size in sizes.split(",") if size), layout)


def _operand_names(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for position, character in enumerate(text + ","):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and not depth:
            words = text[start:position].split()
            if words:
                yield words[-1].lstrip("%")  # older versions print the shape before the name
            start = position + 1


def _closing(text: str, start: int) -> int:
    """Returns the position of the parenthesis that closes the one at `start`; -1 without one."""
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "(":
            depth += 1
        elif text[position] == ")":
            depth -= 1
            if not depth:
                return position
    return -1
