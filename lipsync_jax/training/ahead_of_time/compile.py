"""Compiles the train step of a config for a topology, and reports what the program needs."""

import dataclasses
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax
import ml_collections
from absl import logging

from lipsync_jax.training import sharding
from lipsync_jax.training.ahead_of_time import hlo_costs, shapes, topologies
from lipsync_jax.training.ahead_of_time.hlo import Program
from lipsync_jax.training.ahead_of_time.report import Memory, Report
from lipsync_jax.training.compiled_steps import compile_steps
from lipsync_jax.types import Argument, Untyped

# XLA's effort level O0 compiles TPU programs in a third to a fifth of the time, with more
# temporaries, and leaves collectives in loops that the default moves out.
EFFORTS: Mapping[str, Mapping[str, Argument]] = {"fast": {"optimization_level": 9}, "full": {}}


@dataclasses.dataclass(frozen=True)
class _Attempt:
    """One compilation; without a program where the compiler found too little memory."""

    batch_size: int
    seconds: float
    program: Untyped = None  # jax.stages.Compiled or None
    memory: Memory | None = None
    refusal: str = ""


class StepCompiler:
    """Compiles a config's train step for a topology, at any batch size.

    Args:
        config: the experiment, see `shapes.abstract_method`.
        mesh: the devices to compile for.
        frozen_configs: see `shapes.abstract_method`.
        effort: a key of EFFORTS.

    Raises:
        ValueError: see `shapes.abstract_method`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        mesh: jax.sharding.Mesh,
        frozen_configs: shapes.Configs,
        effort: str,
    ) -> None:
        self._devices, self._effort = mesh.devices.size, effort
        self._abstract = shapes.abstract_method(config, frozen_configs)
        self._steps = compile_steps(self._abstract.method, mesh)

    def compile(self, batch_size: int) -> _Attempt:
        """Compiles the step for `batch_size` examples on each device."""
        began = time.process_time()
        batch = self._abstract.batch(batch_size * self._devices)
        lowered = self._steps.train_step.lower(self._abstract.state(self._steps, batch), batch)
        logging.info("compiling for %d examples on each device", batch_size)
        try:
            program = compile_lowered(lowered, self._effort)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            message = next(x for x in str(error).splitlines() if "RESOURCE_EXHAUSTED" in x)
            seconds = time.process_time() - began
            return _Attempt(batch_size, seconds, refusal=message.strip()[:400])
        return _Attempt(batch_size, time.process_time() - began, program, _memory(program))


def _memory(program: Untyped) -> Memory:
    stats = program.memory_analysis()
    return Memory(
        arguments=stats.argument_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        outputs=max(0, stats.output_size_in_bytes - stats.alias_size_in_bytes),
        code=stats.generated_code_size_in_bytes,
    )


def compile_lowered(lowered: jax.stages.Lowered, effort: str = "full") -> jax.stages.Compiled:
    """Compiles a program for devices that this machine may lack; `effort` is a key of EFFORTS."""
    with warnings.catch_warnings():
        # JAX cannot read the programs of absent devices from its cache, and compiles them anew.
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
        return lowered.compile(compiler_options=dict(EFFORTS[effort]))


def compile_step(
    config: ml_collections.ConfigDict,
    topology_name: str,
    frozen_configs: shapes.Configs,
    *,
    name: str = "",
    effort: str = "fast",
    estimate_batch: bool = True,
    hlo_file: Path | None = None,
) -> Report:
    """Compiles a config's train step for a topology that this machine need not have.

    Reads neither data nor workdir. Starts JAX.

    Args:
        config: the experiment; `config.data.batch_size` are examples of all devices together.
        topology_name: see `topologies.find`.
        frozen_configs: experiments that train the frozen networks without a checkpoint, by network.
        name: of the experiment, for the report; empty: its method.
        effort: of the compiler: `fast` or `full`.
        estimate_batch: whether to compile a second batch size, to estimate the largest.
        hlo_file: where to write the compiled program's text; None: nowhere.

    Raises:
        ValueError: config and topology do not fit, or the compiler is not installed.
    """
    topology = topologies.find(topology_name)
    mesh = sharding.make_mesh(topology.devices)
    sharding.local_batch_size(config.data.batch_size, mesh)
    batch_size = config.data.batch_size // mesh.devices.size
    compiler = StepCompiler(config, mesh, frozen_configs, effort)
    attempt = compiler.compile(batch_size)
    report = Report(
        config=name or config.method,
        topology=topology_name,
        num_devices=mesh.devices.size,
        chip=topology.chip,
        batch_size=batch_size,
        precision=config.precision,
        effort=effort,
        frozen={
            network: block.checkpoint or f"the config of {frozen_configs[network].method}"
            for network, block in config.frozen.items()
        },
        cpu_seconds=attempt.seconds,
        memory=attempt.memory,
        refusal=attempt.refusal,
    )
    if attempt.program is not None:
        text = attempt.program.as_text()
        if hlo_file is not None:
            hlo_file.write_text(text, encoding="utf-8")
        program = Program(text)
        report = dataclasses.replace(
            report,
            operations=hlo_costs.operations(program),
            collectives=hlo_costs.collectives(program),
            convolutions=hlo_costs.convolution_dtypes(program),
            unknown_loops=program.unknown_loops,
        )
    if estimate_batch and topology.chip.memory:
        report = _with_largest_batch(report, compiler, attempt)
    return report


def _with_largest_batch(report: Report, compiler: StepCompiler, first: _Attempt) -> Report:
    """Adds an estimate of the largest batch: the memory of two batch sizes, as a line."""
    attempts = [first] if first.memory else []
    for size in other_batches(first.batch_size, first.memory, report.chip.memory):
        attempt = compiler.compile(size)
        attempts += [attempt] if attempt.memory else []
        if len(attempts) == 2:
            break
    largest = largest_batch(
        {x.batch_size: x.memory.total for x in attempts if x.memory}, report.chip.memory
    )
    return dataclasses.replace(
        report, largest_batch=largest, estimate_batches=sorted(x.batch_size for x in attempts)
    )


def other_batches(batch_size: int, memory: Memory | None, limit: int) -> list[int]:
    """Returns further batch sizes to compile, the most informative first.

    A batch of a few examples needs as much memory on a TPU as one that fills its tiles, so the
    memory of the next larger batch tells little about that of one many times as large.

    Args:
        batch_size: that was compiled.
        memory: of its program; None where the compiler refused the program.
        limit: bytes of the device.
    """
    smaller = [batch_size // part for part in (2, 4, 8, 32) if batch_size // part > 2]
    if memory is None or memory.total > limit:
        return [size for size in (*smaller, 2, 1) if size < batch_size]
    factor = min(16, int(0.75 * limit / memory.total))
    larger = [batch_size * x for x in (factor, 2) if x >= 2]
    return sorted(set(larger), reverse=True) + [batch_size // 2] * (batch_size > 1)


def largest_batch(totals: Mapping[int, int], limit: int) -> int | None:
    """Returns the largest batch whose memory is within a limit, by a line through two batches.

    Args:
        totals: batch size -> bytes; of two batch sizes.
        limit: bytes.

    Returns:
        None with fewer batches, or where the larger one needs no more memory.
    """
    if len(totals) != 2:
        return None
    (small, low), (large, high) = sorted(totals.items())
    slope = (high - low) / (large - small)
    return max(0, int(small + (limit - low) / slope)) if slope > 0 else None
