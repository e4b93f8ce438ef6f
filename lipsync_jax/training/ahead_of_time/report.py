"""What is known of a compiled train step, as text and as JSON."""

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence

from lipsync_jax.training.ahead_of_time.hlo_costs import SMALL, Collective, Operation
from lipsync_jax.training.ahead_of_time.topologies import Chip
from lipsync_jax.types import Json

NUM_EXPENSIVE = 5


@dataclasses.dataclass(frozen=True)
class Memory:
    """Main memory of one device, bytes.

    Attributes:
        arguments: state and batch.
        temporaries: between the first and the last operation.
        outputs: that do not take the place of an argument.
        code: of the program.
    """

    arguments: int
    temporaries: int
    outputs: int
    code: int

    @property
    def total(self) -> int:
        """Returns the sum."""
        return self.arguments + self.temporaries + self.outputs + self.code


@dataclasses.dataclass(frozen=True)
class Report:
    """A train step compiled for a topology.

    Attributes:
        config: the experiment's name.
        topology: e.g. `v5e:2x2`.
        num_devices: of the topology.
        chip: published figures of one device.
        batch_size: examples of a step on one device.
        precision: the config's.
        effort: of the compiler, `fast` or `full`.
        frozen: network -> where its shapes are from.
        cpu_seconds: processor time of the compilation.
        memory: None where the compiler refuses the program.
        refusal: the compiler's message in that case, else "".
        largest_batch: examples on one device that are estimated to fit; None where unknown.
        estimate_batches: the examples on one device that the estimate is from.
        operations: all that cost something.
        collectives: by kind, place and size.
        convolutions: types of inputs and result -> number of convolutions.
        unknown_loops: loops that count as one turn.
    """

    config: str
    topology: str
    num_devices: int
    chip: Chip
    batch_size: int
    precision: str
    effort: str
    frozen: Mapping[str, str]
    cpu_seconds: float
    memory: Memory | None
    refusal: str = ""
    largest_batch: int | None = None
    estimate_batches: Sequence[int] = ()
    operations: Sequence[Operation] = ()
    collectives: Sequence[Collective] = ()
    convolutions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unknown_loops: int = 0

    @property
    def fits(self) -> bool | None:
        """Returns whether the step fits the device's memory; None where that is unknown."""
        if self.memory is None:
            return False
        return self.memory.total <= self.chip.memory if self.chip.memory else None

    @property
    def flops(self) -> int:
        """Returns the operations of convolutions and matrix products of a step on one device."""
        return sum(operation.flops for operation in self.operations)

    @property
    def traffic(self) -> int:
        """Returns the bytes of main memory that a step reads and writes on one device."""
        return sum(operation.bytes for operation in self.operations)

    @property
    def arithmetic_ms(self) -> float | None:
        """Returns the milliseconds of the arithmetic at the published peak."""
        return 1e3 * self.flops / peak if (peak := self.chip.flops.get(self.precision)) else None

    @property
    def memory_ms(self) -> float | None:
        """Returns the milliseconds of the memory traffic at the published peak."""
        return 1e3 * self.traffic / self.chip.bandwidth if self.chip.bandwidth else None

    def most_expensive(self) -> tuple[str, list[tuple[float, Operation]]]:
        """Returns the most expensive operations of one kind, place and shape.

        Returns:
            What their shares are of; (share, operation) of the first NUM_EXPENSIVE, sums over the
            operations that are alike.
        """
        basis, costs = self._costs()
        sums: collections.defaultdict[tuple[str, ...], float] = collections.defaultdict(float)
        alike: dict[tuple[str, ...], Operation] = {}
        for cost, operation in zip(costs, self.operations, strict=True):
            key = operation.opcode, operation.result, operation.op_name
            sums[key] += cost
            before = alike.get(key)
            alike[key] = operation if before is None else _sum(before, operation)
        total = sum(sums.values()) or 1
        keys = sorted(sums, key=lambda key: -sums[key])[:NUM_EXPENSIVE]
        return basis, [(sums[key] / total, alike[key]) for key in keys if sums[key]]

    def _costs(self) -> tuple[str, list[float]]:
        if any(operation.cycles for operation in self.operations):
            return "the compiler's estimate of cycles", [float(x.cycles) for x in self.operations]
        peak, bandwidth = self.chip.flops.get(self.precision), self.chip.bandwidth
        if peak and bandwidth:
            costs = [max(x.flops / peak, x.bytes / bandwidth) for x in self.operations]
            return "the roofline times", costs
        return "the memory traffic", [float(x.bytes) for x in self.operations]


def to_json(report: Report) -> dict[str, Json]:
    """Returns the report as JSON values; bytes, milliseconds and TFLOP are of one device."""
    basis, expensive = report.most_expensive()
    memory = report.memory
    return {
        "config": report.config,
        "topology": report.topology,
        "num_devices": report.num_devices,
        "batch_size_per_device": report.batch_size,
        "precision": report.precision,
        "effort": report.effort,
        "frozen": dict(report.frozen),
        "compile_cpu_seconds": round(report.cpu_seconds, 2),
        "fits": report.fits,
        "refusal": report.refusal,
        "memory_bytes": memory and {**dataclasses.asdict(memory), "total": memory.total},
        "memory_limit_bytes": report.chip.memory or None,
        "largest_batch_per_device_estimate": report.largest_batch,
        "estimated_from_batches": list(report.estimate_batches),
        "tflop": report.flops / 1e12,
        "memory_traffic_bytes": report.traffic,
        "roofline": {
            "arithmetic_ms": report.arithmetic_ms,
            "memory_ms": report.memory_ms,
            "limit": _limit(report),
        },
        "collectives": [dataclasses.asdict(x) for x in report.collectives],
        "convolutions": dict(report.convolutions),
        "most_expensive_by": basis,
        "most_expensive": [
            {"share": share, **dataclasses.asdict(operation)} for share, operation in expensive
        ],
        "loops_of_unknown_length": report.unknown_loops,
    }


def dump(report: Report) -> str:
    """Returns the report as the text of a JSON file."""
    return json.dumps(to_json(report), indent=2) + "\n"


def to_text(report: Report) -> str:
    """Returns the report for a reader."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    devices = f"{report.num_devices} device{'s' * (report.num_devices > 1)}"
    yield (
        f"{report.config} on {report.topology}: {devices}, {report.batch_size} examples on each, "
        f"{report.precision}; compiled at effort {report.effort} in {report.cpu_seconds:.0f} s "
        "of processor time"
    )
    for name, source in report.frozen.items():
        yield f"frozen {name}: shapes of {source}"
    yield "All numbers are of one device and one step."
    yield ""
    yield from _memory_lines(report)
    if report.memory is None:
        return
    yield f"work           {report.flops / 1e12:.4g} TFLOP, memory traffic {_gb(report.traffic)}"
    yield from _roofline_lines(report)
    if report.unknown_loops:
        yield f"loops          {report.unknown_loops} of unknown length, counted as one turn each"
    counts = [f"{count} of {dtypes}" for dtypes, count in report.convolutions.items()]
    yield f"convolutions   {sum(report.convolutions.values())}: {', '.join(counts) or 'none'}"
    yield f"collectives    {'' if report.collectives else 'none'}"
    for x in report.collectives:
        place = "in a loop" if x.in_loop else "outside loops"
        size = f"{'below' if x.small else 'from'} {SMALL >> 10} KiB"
        yield f"  {x.count:6d} x {x.kind}, {place}, {size} each: {x.bytes / 1e6:.3f} MB together"
    basis, expensive = report.most_expensive()
    yield f"most expensive operations, by share of {basis}"
    for share, y in expensive:
        cost = f"{y.flops / 1e9:.3g} GFLOP, {y.bytes / 1e6:.3g} MB"
        name = y.op_name or "unnamed"
        yield f"  {share:6.1%}  {y.opcode} {y.result}, {y.times} x, {cost}: {name}"


def _memory_lines(report: Report) -> Iterator[str]:
    memory, limit = report.memory, report.chip.memory
    if memory is None:
        yield f"does not fit   the compiler refuses the program: {report.refusal}"
    else:
        of_limit = f" of {_gb(limit)}" if limit else ", the memory of such a device is unknown"
        verdict = {True: "fits", False: "does not fit", None: "needs"}[report.fits]
        yield (
            f"{verdict:14s} {_gb(memory.total)}{of_limit}: arguments {_gb(memory.arguments)}, "
            f"temporaries {_gb(memory.temporaries)}, outputs {_gb(memory.outputs)}, "
            f"code {_gb(memory.code)}"
        )
    if report.largest_batch is not None:
        sizes = " and ".join(map(str, report.estimate_batches))
        yield (
            f"largest batch  {report.largest_batch} examples (an estimate, linear from the memory "
            f"of {sizes})"
        )
    if report.fits is False and report.effort == "fast":
        yield "               effort fast needs more temporaries: --effort=full may fit"


def _roofline_lines(report: Report) -> Iterator[str]:
    arithmetic, memory = report.arithmetic_ms, report.memory_ms
    if arithmetic is None or memory is None:
        yield f"roofline       no published peaks of {report.topology}"
        return
    yield (
        f"roofline       {max(arithmetic, memory):.3g} ms, limited by {_limit(report)}: arithmetic "
        f"{arithmetic:.3g} ms at {report.chip.flops[report.precision] / 1e12:.4g} TFLOP/s, memory "
        f"{memory:.3g} ms at {report.chip.bandwidth / 1e9:.4g} GB/s; collectives not counted"
    )


def _limit(report: Report) -> str | None:
    arithmetic, memory = report.arithmetic_ms, report.memory_ms
    if arithmetic is None or memory is None:
        return None
    return "arithmetic" if arithmetic > memory else "memory"


def _gb(size: int) -> str:
    return f"{size / 1e9:.3f} GB"


def _sum(one: Operation, other: Operation) -> Operation:
    return dataclasses.replace(
        one,
        times=one.times + other.times,
        flops=one.flops + other.flops,
        bytes=one.bytes + other.bytes,
        cycles=one.cycles + other.cycles,
    )
