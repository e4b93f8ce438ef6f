"""Writes functions as StableHLO by `jax.export`: one program for several platforms."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jax import export

from lipsync_jax.interop.export.functions import ArraySpec, Function, Outputs, Weights
from lipsync_jax.nn.cpu import plain_programs
from lipsync_jax.types import Json

PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIX, WEIGHTS_SUFFIX = ".stablehlo", ".weights.npz"


def shapes(specs: Sequence[ArraySpec]) -> list[jax.ShapeDtypeStruct]:
    """Returns inputs as JAX traces them, batches of any size included."""
    scope = export.SymbolicScope()
    return [
        jax.ShapeDtypeStruct(
            tuple(
                export.symbolic_shape(size, scope=scope)[0] if isinstance(size, str) else size
                for size in spec.shape
            ),
            spec.dtype,
        )
        for spec in specs
    ]


def write(
    function: Function, folder: Path, platforms: Sequence[str], inline_weights: bool
) -> dict[str, Json]:
    """Writes a program, and its weights unless they are inside.

    Args:
        function: what to write.
        folder: exists.
        platforms: of PLATFORMS.
        inline_weights: whether weights are constants of the program.

    Returns:
        What a reader must know: platforms, versions, names of files.
    """
    program, used = _export(function, platforms, inline_weights)
    (folder / f"{function.name}{SUFFIX}").write_bytes(program.serialize())
    found: dict[str, Json] = {
        "platforms": list(program.platforms),
        "jax": jax.__version__,
        "calling_convention": program.calling_convention_version,
        "compatibility": "JAX reads programs of its last six months; keep ONNX for longer",
    }
    if not inline_weights:
        np.savez(folder / f"{function.name}{WEIGHTS_SUFFIX}", **used)
        found["weights"] = f"{function.name}{WEIGHTS_SUFFIX}: first argument, a dict of arrays"
    return found


def _export(
    function: Function, platforms: Sequence[str], inline_weights: bool
) -> tuple[export.Exported, Weights]:
    """Returns the program and the weights that are its first argument."""
    constants = dict(function.weights)
    used = {} if inline_weights else {name: constants.pop(name) for name in _used(function)}

    def call(weights: Weights, *arrays: jax.Array) -> Outputs:
        return function.call({**weights, **constants}, *arrays)

    with plain_programs():
        program = export.export(jax.jit(call), platforms=platforms)(used, *shapes(function.inputs))
    return program, used


def _used(function: Function) -> list[str]:
    """Returns the names of the weights on which an output depends; others serve training."""
    inputs = [jax.ShapeDtypeStruct(spec.concrete(1), spec.dtype) for spec in function.inputs]
    with plain_programs():
        program = export.export(jax.jit(function.call), platforms=PLATFORMS[:1])(
            function.weights, *inputs
        )
    names = sorted(function.weights)  # the order in which JAX flattens a dict
    return [names[i] for i in program.module_kept_var_idx if i < len(names)]


def load(folder: Path, name: str, inline_weights: bool) -> Callable[..., Outputs]:
    """Reads a program back, as (inputs) -> outputs of this process's platform."""
    program = export.deserialize(bytearray((folder / f"{name}{SUFFIX}").read_bytes()))
    if inline_weights:
        return functools.partial(jax.jit(program.call), {})
    with np.load(folder / f"{name}{WEIGHTS_SUFFIX}", allow_pickle=False) as stored:
        weights = jax.device_put(dict(stored))
    return functools.partial(jax.jit(program.call), weights)
