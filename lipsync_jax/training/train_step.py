"""The compiled train step of a method: one program for each set of loss terms that are off."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import ml_collections
from absl import logging

from lipsync_jax.methods.base import Method, State
from lipsync_jax.nn.batch_norm import statistics_of_groups
from lipsync_jax.nn.gradient_sums import float32_kernel_gradients
from lipsync_jax.nn.remat import rematerialized_blocks
from lipsync_jax.types import Untyped

BATCH_STATISTICS = ("global", "device")
REMAT = ("none", "blocks")
GRADIENT_SUMS = ("precision", "float32")


def num_groups(config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh) -> int:
    """Returns how many parts of a batch have batch statistics of their own.

    Raises:
        ValueError: `config.batch_statistics` is unknown.
    """
    statistics = _choice(config, "batch_statistics", BATCH_STATISTICS)
    return mesh.devices.size if statistics == "device" else 1


def uses_remat(config: ml_collections.ConfigDict) -> bool:
    """Returns whether blocks of layers are rematerialised.

    Raises:
        ValueError: `config.remat` is unknown.
    """
    return _choice(config, "remat", REMAT) == "blocks"


def sums_gradients_in_float32(config: ml_collections.ConfigDict) -> bool:
    """Returns whether kernel gradients are summed over devices in float32.

    Raises:
        ValueError: `config.gradient_sums` is unknown.
    """
    return _choice(config, "gradient_sums", GRADIENT_SUMS) == "float32"


def _choice(config: ml_collections.ConfigDict, name: str, choices: Sequence[str]) -> str:
    """Returns the value of a field, one of the choices."""
    value: str = config[name]
    if value not in choices:
        raise ValueError(f"config.{name}={value!r}: choose {', '.join(choices)}")
    return value


class StepOptions(NamedTuple):
    """How a step is traced, whatever its method.

    Attributes:
        groups: parts of a batch that have batch statistics of their own, see `num_groups`.
        remat: whether blocks are rematerialised, see `uses_remat`.
        float32_sums: see `sums_gradients_in_float32`.
    """

    groups: int = 1
    remat: bool = False
    float32_sums: bool = False


_DEFAULTS = StepOptions()


def step_options(config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh) -> StepOptions:
    """Returns the options of a config.

    Raises:
        ValueError: a field that they depend on has an unknown value.
    """
    return StepOptions(
        num_groups(config, mesh), uses_remat(config), sums_gradients_in_float32(config)
    )


class TrainStep:
    """Runs a method's train step; the host chooses the program when a host scalar changes.

    A branch within the program would cost more: on several GPUs XLA gathers the masks of the frozen
    expert for the global batch on each of them, and nothing is fused across the branch.

    Args:
        method: whose step it is.
        compiled: compiles a step, as `jax.jit`.
        options: of the trace.
    """

    def __init__(
        self,
        method: Method,
        compiled: Callable[..., Untyped],
        options: StepOptions = _DEFAULTS,
    ) -> None:
        self._method, self._compiled, self._options = method, compiled, options
        self._programs: dict[frozenset[str], Untyped] = {}
        self._off: frozenset[str] | None = None
        self._returned: Mapping[str, jax.Array] = {}

    def __call__(self, state: State, batch: dict) -> tuple[State, dict]:
        """Runs one step; donates `state`."""
        off = self._switched_off(state.host_scalars)
        if self._off is not None and off not in self._programs:
            logging.info("compiling the step for %s", _describe(state.host_scalars))
        state, metrics = self._program(off)(state, batch)
        self._off, self._returned = off, state.host_scalars
        return state, metrics

    def eval_shape(self, state: State, batch: dict) -> tuple[State, dict]:
        """Traces the step with all its terms, so that their errors are raised early."""
        return self._program(frozenset()).eval_shape(state, batch)

    def lower(self, state: State, batch: dict) -> jax.stages.Lowered:
        """Lowers the step with all its terms."""
        return self._program(frozenset()).lower(state, batch)

    def num_compiled(self) -> int:
        """Returns the number of compiled programs: of all shapes of batches and sets of terms."""
        return sum(program._cache_size() for program in self._programs.values())

    def _switched_off(self, host_scalars: Mapping[str, jax.Array]) -> frozenset[str]:
        names = self._method.switches
        # Reading a scalar waits for the step before, so only those from elsewhere are read.
        if self._off is not None and all(
            host_scalars[name] is self._returned[name] for name in names
        ):
            return self._off
        return frozenset(name for name in names if not float(host_scalars[name]) > 0)

    def _program(self, off: frozenset[str]) -> Untyped:
        if off not in self._programs:
            method = self._method.without_terms(off)

            def train_step(state: State, batch: dict) -> tuple[State, dict]:
                key = jax.random.fold_in(state.key, state.step)
                with (
                    statistics_of_groups(self._options.groups),
                    rematerialized_blocks(self._options.remat),
                    float32_kernel_gradients(self._options.float32_sums),
                ):
                    return method.train_step(state, batch, key)

            self._programs[off] = self._compiled(train_step, donate_argnums=0)
        return self._programs[off]


def _describe(host_scalars: Mapping[str, jax.Array]) -> str:
    return ", ".join(f"{name}={float(value):g}" for name, value in host_scalars.items())
