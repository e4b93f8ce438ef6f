"""Functions of networks in inference, compiled; a CPU's programs are kept for other processes.

JAX keeps compiled programs too, but finds them by the lowered program, and tracing a network in
order to lower it takes longer than to read its program. Here an entry is found by what the trace
depends on: the network's config, the shapes of the arguments, and the source of this package.
"""

import functools
import hashlib
import json
import logging
import os
import platform
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import flax
import jax
import jaxlib
import numpy as np
from jax.experimental import serialize_executable

from lipsync_jax import user_cache
from lipsync_jax.nn import folding
from lipsync_jax.nn.cpu import use_cpu_kernels
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.types import Json, Tree, Untyped, Variables

log = logging.getLogger(__name__)
Array = np.ndarray | jax.Array | jax.ShapeDtypeStruct
_PACKAGE = Path(__file__).resolve().parents[1]


class InferenceFunction:
    """A function of a network whose BatchNorm is folded: (variables, *inputs) -> array.

    Attributes:
        layers: the layers of the network that are folded; filled by `prepare`.
    """

    def __init__(
        self, function: Callable[..., jax.Array], layers: folding.Layers, identity: Json = None
    ) -> None:
        """Takes the function; nothing is traced.

        Args:
            function: applies the network inside `folding.skip_batch_norm`.
            layers: filled by the function when it is traced.
            identity: JSON values that, with this package's source and the shapes of the arguments,
                tell what the function computes; None: its programs are not kept.
        """
        self.layers = layers
        # Decided once: a program without a name of its own may not be written.
        self._identity = identity if keeps_programs() else None

        @functools.wraps(function)
        def named(*arguments: Tree) -> jax.Array:
            return function(*arguments)

        # XLA can't serialize a program that came from JAX's cache, which finds it by its name too.
        named.__name__ += f"_{uuid.uuid4().hex}"
        self._jitted: Untyped = jit(function if self._identity is None else named, inference=True)
        self._programs: dict[tuple, Callable[..., jax.Array]] = {}

    def prepare(self, variables: Variables, *inputs: Array) -> None:
        """Finds the program of these shapes, or traces the function.

        Args:
            variables: not folded; arrays or jax.ShapeDtypeStruct, as the inputs.
            *inputs: of the function.

        Raises:
            Errors of many kinds: the variables are not those of the network.
        """
        if self._restore(variables, *inputs) is None:
            jax.eval_shape(self._jitted, variables, *inputs)
            folding.check_layers(variables, self.layers)

    def compiled(self, variables: Variables, *inputs: Array) -> Callable[..., jax.Array]:
        """Returns the program of these shapes, compiled unless it was kept.

        Args:
            variables: folded; arrays or jax.ShapeDtypeStruct, as the inputs.
            *inputs: of the function.
        """
        program = self._restore(variables, *inputs)
        if program is None:
            program = self._jitted.lower(variables, *inputs).compile()
            self._keep(program, variables, *inputs)
        return program

    def __call__(self, variables: Variables, *inputs: Array) -> jax.Array:
        """Starts the function on the device; see `compiled`."""
        return self.compiled(variables, *inputs)(variables, *inputs)

    def _restore(self, variables: Variables, *inputs: Array) -> Callable[..., jax.Array] | None:
        key = _shapes(inputs)
        if key in self._programs or not (file := self._file(variables, *inputs)):
            return self._programs.get(key)
        try:
            header, _, payload = file.read_bytes().partition(b"\n")
            layers = [(tuple(path), (tuple(to), *rest)) for path, (to, *rest) in json.loads(header)]
            program = serialize_executable.deserialize_and_load(
                payload,
                jax.tree.structure(((variables, *inputs), {})),
                jax.tree.structure(0),
                execution_devices=jax.devices()[:1],
            )
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever JAX, XLA and pickle raise at a damaged file
            log.debug("the program %s is compiled again: %s", file, error)
            return None
        self.layers.update(layers)
        self._programs[key] = program
        user_cache.mark_used(file)
        return program

    def _keep(self, program: jax.stages.Compiled, variables: Variables, *inputs: Array) -> None:
        self._programs[_shapes(inputs)] = program
        if not (file := self._file(variables, *inputs)):
            return
        try:
            payload, *_ = serialize_executable.serialize(program)
        except Exception as error:  # whatever XLA raises at programs that it can't serialize
            log.debug("the program %s is not kept: %s", file, error)
            return
        header = json.dumps([*self.layers.items()]).encode()
        user_cache.write_entry(file, header + b"\n" + payload)

    def _file(self, *arguments: Tree) -> Path | None:
        """Returns where the program of these arguments is kept; None where programs are not."""
        if self._identity is None:
            return None
        leaves, structure = jax.tree.flatten(arguments)
        precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
        shapes = f"{structure} {_shapes(leaves)}"
        parts = [_environment(), self._identity, str(precision), shapes]
        name = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
        return user_cache.folder("programs") / f"{name}.bin"


def keeps_programs() -> bool:
    """Returns whether JAX keeps programs, which are for the CPU; elsewhere its own cache serves."""
    kept = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return bool(kept) and use_cpu_kernels() and jax.default_backend() == "cpu"


def _shapes(arrays: Sequence[Array]) -> tuple[tuple[tuple[int, ...], np.dtype], ...]:
    return tuple((array.shape, array.dtype) for array in arrays)


@functools.cache
def _environment() -> list[str]:
    """Returns what a program depends on beside the function: source, versions, options, CPU."""
    source = [
        f"{file.relative_to(_PACKAGE)} {status.st_size} {status.st_mtime_ns}"
        for file in sorted(_PACKAGE.rglob("*.py"))
        if (status := file.stat())
    ]
    options = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(("XLA_", "JAX_")))
    return [*source, *options, jax.__version__, jaxlib.__version__, flax.__version__, *_cpu()]


def _cpu() -> list[str]:
    """Returns the CPU's name and instructions; hosts that share a home folder may differ."""
    names = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return names
    return names + sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))})
