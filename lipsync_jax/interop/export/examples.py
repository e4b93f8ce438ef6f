"""Inputs and outputs of exported functions; how far a file is from the original network."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import jax
import numpy as np

from lipsync_jax.interop.export.functions import ArraySpec, Function
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.text import printable

BATCH_SIZE = 16  # of a function of any batch
MAX_SHARE = 1e-4  # of uint8 values, which may differ by one level
MAX_RELATIVE = 1e-5  # of the largest absolute value of an output, for faces as floats
MAX_RELATIVE_OF_CODES = 1e-4  # for codes and states, which come after more layers in float32
_IMAGES = ("faces", "image")  # names of inputs
_MIN_VALUES = 3  # that may differ in small outputs

Arrays = tuple[np.ndarray, ...]
Run = Callable[..., Sequence[Any]]  # inputs -> arrays


@dataclasses.dataclass(frozen=True)
class Example:
    """Inputs of a function, with the outputs of the original network, and the time of a call."""

    inputs: Arrays
    outputs: Arrays
    milliseconds: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How a file compares with the original.

    Attributes:
        file: its name.
        values: compared.
        differing: uint8 values that differ.
        levels: largest difference of uint8 values.
        relative: largest difference of floats, over the largest absolute value of their output.
        milliseconds: of a call of the file.
        original_milliseconds: of a call of the original.
        max_relative: of `relative` by rounding.
    """

    file: str
    values: int
    differing: int
    levels: int
    relative: float
    milliseconds: float
    original_milliseconds: float
    max_relative: float = MAX_RELATIVE

    @property
    def agrees(self) -> bool:
        """Whether all differences are those of rounding."""
        few = self.differing <= max(_MIN_VALUES, MAX_SHARE * self.values)
        return self.levels <= 1 and few and self.relative <= self.max_relative

    def __str__(self) -> str:
        parts = [f"floats differ by {self.relative:.1e} of their range at most"]
        if self.values:
            parts = [f"{self.differing} of {self.values} values differ, by {self.levels} at most"]
            parts += [f"floats by {self.relative:.1e} of their range"] if self.relative else []
        times = f"{self.milliseconds:.0f} ms a call, the original {self.original_milliseconds:.0f}"
        return f"{printable(self.file)}: {', '.join(parts)}; {times} ms"


def compute(functions: Sequence[Function], count: int) -> dict[str, list[Example]]:
    """Computes examples by the original network, compiled as it is used here.

    Inputs are noise in the first, third, ... example, smooth images in the others; so are states
    those before the first frame, and those after some. A function that takes outputs of another one
    gets those.

    Args:
        functions: in the order of use.
        count: examples of each function.

    Returns:
        Function name -> examples.
    """
    runs = {function.name: _original(function) for function in functions}
    found: dict[str, list[Example]] = {function.name: [] for function in functions}
    for number in range(count):
        rng, smooth, known = np.random.default_rng(number), number % 2 == 1, dict[str, np.ndarray]()
        for function in functions:
            run, start = runs[function.name], function.start
            inputs = tuple(_inputs(function, {**start, **known}, rng, smooth))
            outputs = tuple(run(*inputs))
            if smooth and start:
                after = dict(_pairs(function, outputs))
                states = {name: after[f"next_{name}"] for name in start}
                inputs = tuple(_inputs(function, {**known, **states}, rng, smooth))
                outputs = tuple(run(*inputs))
            begun = time.perf_counter()
            run(*inputs)
            milliseconds = 1000 * (time.perf_counter() - begun)
            found[function.name].append(Example(inputs, outputs, milliseconds))
            known |= _pairs(function, outputs)
    return found


def named(functions: Sequence[Function], found: Mapping[str, list[Example]]) -> dict:
    """Returns the arrays of example.npz: inputs and outputs of each first example, by name."""
    arrays: dict[str, np.ndarray] = {}
    for function in functions:
        example = found[function.name][0]
        arrays |= zip((spec.name for spec in function.inputs), example.inputs, strict=True)
        arrays |= _pairs(function, example.outputs)
    return arrays


def compare(file: str, run: Run, function: Function, found: Sequence[Example]) -> Comparison:
    """Compares a file with the original.

    Args:
        file: its name.
        run: inputs -> outputs, by the file.
        function: the original.
        found: of the function, see `compute`.
    """
    values = differing = levels = 0
    relative, times = 0.0, []
    run(*found[0].inputs)  # compiles, or allocates
    for example in found:
        begun = time.perf_counter()
        outputs = [np.asarray(x) for x in run(*example.inputs)]
        times.append(1000 * (time.perf_counter() - begun))
        for output, expected in zip(outputs, example.outputs, strict=True):
            if output.shape != expected.shape or output.dtype != expected.dtype:
                raise ValueError(
                    f"{file} gives {output.dtype} {output.shape} where the network gives "
                    f"{expected.dtype} {expected.shape}"
                )
            if not output.size:
                continue
            off = np.nan_to_num(np.abs(output.astype(np.float64) - expected), nan=np.inf)
            if output.dtype == np.float32:
                relative = max(relative, float(off.max() / max(np.abs(expected).max(), 1e-6)))
            else:
                values, differing = values + off.size, differing + int((off > 0).sum())
                levels = max(levels, int(off.max()))
    original = min(example.milliseconds for example in found)
    limit = MAX_RELATIVE if function.name == "model" else MAX_RELATIVE_OF_CODES
    return Comparison(file, values, differing, levels, relative, min(times), original, limit)


def _original(function: Function) -> Run:
    program, weights = jit(function.call), jax.device_put(dict(function.weights))
    return lambda *inputs: tuple(np.asarray(x) for x in program(weights, *inputs))


def _pairs(function: Function, outputs: Sequence[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    return zip((spec.name for spec in function.outputs), outputs, strict=True)


def _inputs(
    function: Function, known: Mapping[str, np.ndarray], rng: np.random.Generator, smooth: bool
) -> Iterator[np.ndarray]:
    for spec in function.inputs:
        yield known[spec.name] if spec.name in known else _random(spec, rng, smooth)


def _random(spec: ArraySpec, rng: np.random.Generator, smooth: bool) -> np.ndarray:
    shape = spec.concrete(BATCH_SIZE)
    if spec.name not in _IMAGES:
        return rng.normal(size=shape).astype(spec.dtype)
    images = rng.uniform(size=shape).astype(np.float32)
    if smooth:
        small = images.reshape(-1, *shape[-3:])[:, :8, :8]
        images = np.stack([cv2.resize(x, shape[-2:-4:-1]) for x in small]).reshape(shape)
    return images if spec.dtype == "float32" else np.rint(255 * images).astype(np.uint8)
