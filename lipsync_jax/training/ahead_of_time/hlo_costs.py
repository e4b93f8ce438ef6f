"""Counts what a compiled program does: arithmetic, memory traffic, collectives, convolutions."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lipsync_jax.training.ahead_of_time import hlo
from lipsync_jax.training.ahead_of_time.hlo import Array, Instruction, Program, Step

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
SMALL = 65536  # bytes below which a collective costs its latency
# Instructions that move no data: names of other instructions' results, or the end of a pair.
_FREE = frozenset(
    "parameter get-tuple-element tuple bitcast constant after-all partition-id replica-id "
    "opt-barrier iota".split()
)
# Instructions that read of their first operand as much as they return.
_SLICES = ("dynamic-slice", "slice", "gather")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_GEMM_CONTRACTION = re.compile(r'"lhs_contracting_dimensions":\["?([\d",]*)"?\]')


@dataclasses.dataclass(frozen=True)
class Collective:
    """Collectives of one kind, size class and place.

    Attributes:
        kind: one of COLLECTIVES.
        in_loop: whether they are in the body of a loop.
        small: whether each has less than SMALL bytes.
        count: how often they run in one call of the program.
        bytes: of all of them together, on one device.
    """

    kind: str
    in_loop: bool
    small: bool
    count: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Operation:
    """What one instruction costs in a call of the program, on one device.

    Attributes:
        opcode: of the instruction, with the product that it holds: `fusion(convolution)`.
        result: the largest array of the result, e.g. `f32[8,96,96,32]`.
        op_name: the path of the JAX operation.
        times: how often it runs.
        flops: of convolutions and matrix products.
        bytes: of main memory read and written.
        cycles: the compiler's own estimate; 0 where the compiler gives none.
    """

    opcode: str
    result: str
    op_name: str
    times: int
    flops: int
    bytes: int
    cycles: int


def operations(program: Program) -> list[Operation]:
    """Returns the instructions that cost something, in the order of the program."""
    found = []
    for step in program.steps:
        instruction, times = step.instruction, step.times
        if instruction.opcode in _FREE or instruction.opcode.endswith(("-done", "-update")):
            continue
        products = list(_products(program, step.computation, instruction))
        kind = instruction.opcode
        if kind in ("fusion", "custom-call") and products:
            kind += f"({products[0][0]})"
        cycles = _CYCLES.search(instruction.attributes)
        found.append(
            Operation(
                kind,
                _describe(max(instruction.arrays, key=lambda x: x.bytes, default=None)),
                instruction.op_name,
                times,
                times * sum(flops for _, flops in products),
                times * _traffic(program, step),
                times * int(cycles[1]) if cycles else 0,
            )
        )
    return found


def collectives(program: Program) -> list[Collective]:
    """Returns the collectives by kind, place and size, the most bytes first."""
    counts: collections.Counter[tuple[str, bool, bool]] = collections.Counter()
    totals: collections.Counter[tuple[str, bool, bool]] = collections.Counter()
    for step in program.steps:
        for kind, size in _collectives_of(program, step.computation, step.instruction):
            key = kind, step.in_loop, size < SMALL
            counts[key] += step.times
            totals[key] += step.times * size
    found = [Collective(*key, counts[key], totals[key]) for key in counts]
    return sorted(found, key=lambda x: -x.bytes)


def convolution_dtypes(program: Program) -> dict[str, int]:
    """Returns `f32 x bf16 -> f32` -> number of convolutions in the text of the program."""
    found: collections.Counter = collections.Counter()
    for computation, instruction in program.instructions():
        if instruction.opcode == "convolution" or "dim_labels=" in instruction.attributes:
            dtypes = [x.dtype for x in program.operand_arrays(computation, instruction)[:2]]
            found[f"{' x '.join(dtypes)} -> {instruction.arrays[0].dtype}"] += 1
    return dict(found.most_common())


def _describe(array: Array | None) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]" if array else ""


def _collectives_of(
    program: Program, computation: str, instruction: Instruction, kind: str = ""
) -> Iterator[tuple[str, int]]:
    """Yields kind and bytes of an instruction's collectives; a fusion may hold one."""
    if instruction.opcode in ("fusion", "async-start"):
        for called in instruction.called:
            # A TPU's reduce-scatter is a fusion of an all-reduce and a slice.
            fused = "reduce-scatter" if called.startswith("all-reduce-scatter") else kind
            for inner in program.computations.get(called, {}).values():
                yield from _collectives_of(program, called, inner, fused)
        return
    found = instruction.opcode.removesuffix("-start")
    if found in COLLECTIVES:
        operands = sum(x.bytes for x in program.operand_arrays(computation, instruction))
        result = sum(x.bytes for x in instruction.arrays)
        if instruction.opcode != found and found != "all-reduce":
            result -= operands  # the result of a start repeats the operands
        yield kind or found, max(operands, result)


def _products(
    program: Program, computation: str, instruction: Instruction
) -> Iterator[tuple[str, int]]:
    """Yields kind and floating-point operations of an instruction's convolutions and products."""
    if instruction.opcode == "fusion":
        for called in instruction.called:
            for inner in program.computations.get(called, {}).values():
                yield from _products(program, called, inner)
        return
    operands = program.operand_arrays(computation, instruction)
    if instruction.opcode == "convolution":
        image, kernel, result = operands[0], operands[1], instruction.arrays[0]
        yield "convolution", _convolution_flops(instruction, image, kernel, result)
    elif instruction.opcode == "dot":
        axes = [int(x) for x in instruction.braces("lhs_contracting_dims").split(",") if x]
        yield "dot", _product_flops(instruction.arrays[0], operands[0], axes)
    elif instruction.opcode == "custom-call":
        if "dim_labels=" in instruction.attributes:
            arrays = _library_convolution_arrays(instruction, operands)
            yield "convolution", _convolution_flops(instruction, *arrays)
        elif found := _GEMM_CONTRACTION.search(instruction.attributes):
            axes = [int(x) for x in re.findall(r"\d+", found[1])]
            yield "dot", _product_flops(instruction.arrays[0], operands[0], axes)


def _product_flops(result: Array, left: Array, axes: Sequence[int]) -> int:
    return 2 * math.prod(result.shape) * math.prod(left.shape[axis] for axis in axes)


def _convolution_flops(instruction: Instruction, image: Array, kernel: Array, result: Array) -> int:
    """Counts products with elements of the input alone, not with padding or dilation."""
    image_axes, kernel_axes, result_axes = _axes(instruction)
    sizes = hlo.window(instruction)
    positions = 1
    for number in range(len(sizes.get("size", ()))):
        outputs = result.shape[result_axes[str(number)]]
        inputs = image.shape[image_axes[str(number)]]

        def value(name: str, default: str, number: int = number) -> str:
            return sizes[name][number] if name in sizes else default

        before = int(value("pad", "0_0").partition("_")[0])
        at = (
            np.arange(outputs)[:, None] * int(value("stride", "1"))
            + np.arange(int(value("size", "1"))) * int(value("rhs_dilate", "1"))
            - before
        )
        dilation = int(value("lhs_dilate", "1"))
        valid = (at >= 0) & (at <= (inputs - 1) * dilation) & (at % dilation == 0)
        positions *= int(valid.sum())
    outer = result.shape[result_axes["b"]] * result.shape[result_axes["f"]]
    return 2 * positions * outer * kernel.shape[kernel_axes["i"]]


def _library_convolution_arrays(
    instruction: Instruction, operands: Sequence[Array]
) -> tuple[Array, Array, Array]:
    """Returns input, kernel and result of the convolution of which a GPU library computes a part.

    The window and the axes of a gradient are those of the convolution forward.
    """
    target = instruction.attributes.partition('custom_call_target="')[2].partition('"')[0]
    computed, first, second = instruction.arrays[0], operands[0], operands[1]
    if "BackwardFilter" in target:
        return first, computed, second
    if "BackwardInput" in target:
        return computed, second, first
    return first, second, computed


def _axes(instruction: Instruction) -> tuple[Mapping[str, int], ...]:
    """Returns the axes of input, kernel and result by their labels, e.g. of `b01f_01io->b01f`."""
    inputs, _, result = instruction.attribute("dim_labels").partition("->")
    image, _, kernel = inputs.partition("_")
    return tuple({label: axis for axis, label in enumerate(x)} for x in (image, kernel, result))


def _traffic(program: Program, step: Step) -> int:
    """Returns the bytes of main memory that one run of an instruction reads and writes."""
    instruction, known = step.instruction, program.computations[step.computation]
    operands = [known[name] for name in instruction.operands if name in known]
    if instruction.opcode in _SLICES:
        return 2 * _stored(instruction)
    if instruction.opcode in ("dynamic-update-slice", "scatter"):
        return 2 * sum(_stored(x) for x in operands[1:])
    if instruction.opcode == "fusion" and instruction.called:
        body = instruction.called[0]
        reads = sum(
            _read_bytes(program, body, number, operand) for number, operand in enumerate(operands)
        )
        return reads + _written_bytes(program, body, instruction)
    if instruction.opcode.removesuffix("-start") in COLLECTIVES:
        return 2 * sum(_stored(x) for x in operands)
    return sum(_stored(x) for x in operands) + _stored(instruction)


def _stored(instruction: Instruction) -> int:
    return sum(array.stored_bytes for array in instruction.arrays)


def _read_bytes(program: Program, body: str, number: int, operand: Instruction) -> int:
    """Returns the bytes that a fusion reads of an operand: of slices, only what they return."""
    whole = _stored(operand)
    computation = program.computations.get(body, {})
    parameters = [
        x for x in computation.values() if x.opcode == "parameter" and x.literal == str(number)
    ]
    if not whole or not parameters:
        return whole
    name, total = parameters[0].name, 0
    for user in computation.values():
        if name not in user.operands:
            continue
        if user.opcode in _SLICES and user.operands[0] == name:
            total += _stored(user)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
            continue  # is written in place
        elif user.opcode == "fusion" and user.called:
            total += _read_bytes(program, user.called[0], user.operands.index(name), operand)
        else:
            return whole
    return min(whole, total)


def _written_bytes(program: Program, body: str, instruction: Instruction) -> int:
    """Returns the bytes that a fusion writes: of arrays updated in place, only the update."""
    computation = list(program.computations.get(body, {}).values())
    if not computation:
        return _stored(instruction)
    known, root = program.computations[body], computation[-1]
    roots = [known[n] for n in root.operands if n in known] if root.opcode == "tuple" else [root]
    if len(roots) != len(instruction.arrays):
        return _stored(instruction)
    total = 0
    for array, inner in zip(instruction.arrays, roots, strict=True):
        if inner.opcode == "dynamic-update-slice" and inner.operands[1] in known:
            total += min(array.stored_bytes, _stored(known[inner.operands[1]]))
        else:
            total += array.stored_bytes
    return total
