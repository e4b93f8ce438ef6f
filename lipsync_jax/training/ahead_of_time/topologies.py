"""Names of groups of accelerators, such as `v5e:2x2`, and the published figures of their chips."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Mapping, Sequence

import jax
from jax.experimental import topologies

from lipsync_jax.types import Argument

_GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Chip:
    """The published peaks of a chip.

    Attributes:
        memory: bytes of main memory; 0 where unknown.
        bandwidth: bytes a second of main memory; 0 where unknown.
        flops: products and sums a second of convolutions and matrix products, by the config's
            precision. A TPU multiplies float32 in bfloat16 unless told otherwise, an H100 in TF32.
    """

    memory: int = 0
    bandwidth: float = 0.0
    flops: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def share(self, count: int) -> "Chip":
        """Returns the figures of one of `count` devices that a chip has."""
        flops = {precision: peak / count for precision, peak in self.flops.items()}
        return Chip(self.memory // count, self.bandwidth / count, flops)


def _tpu(memory: int, bandwidth: float, flops: float) -> Chip:
    return Chip(memory * _GIB, bandwidth, {"bfloat16": flops, "float32": flops})


# From the pages of Cloud TPU about each version, and NVIDIA's data sheet of the H100 SXM (dense).
CHIPS: Mapping[str, Chip] = {
    "v4": _tpu(32, 1228e9, 275e12),
    "v5e": _tpu(16, 819e9, 197e12),
    "v5p": _tpu(95, 2765e9, 459e12),
    "v6e": _tpu(32, 1640e9, 918e12),
    "tpu7x": _tpu(192, 7380e9, 2307e12),
    "h100": Chip(80 * 10**9, 3350e9, {"bfloat16": 989.4e12, "float32": 494.7e12}),
    "cpu": Chip(),
}
_EXAMPLES = "v5e:2x2, v5e:8x8, v6e:2x2, v5p:2x2x1, v4:2x2x2, tpu7x:2x2x1, h100:8, cpu:4"
# Without them libtpu asks the network which machine this is, and locks a device it has not.
_TPU_VARIABLES = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_GPUS_PER_HOST = 8
# What XLA asks a GPU of this kind, after CUDA's description of the device.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  core_count: 132  fpus_per_core: 128  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  l2_cache_size: 52428800  clock_rate_ghz: 1.98
  device_memory_size: 84929347584  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
runtime_version { major: 13 }
dnn_version_info { major: 9 minor: 12 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices to compile for.

    Attributes:
        chip: the published figures of a device; some chips have two, which share the chip's.
        devices: which can be compiled for; nothing runs on those of accelerators.
    """

    chip: Chip
    devices: Sequence[jax.Device]


def prepare_process() -> None:
    """Keeps JAX from looking for accelerators here; before its first use in this process."""
    jax.config.update("jax_platforms", "cpu")


def find(name: str) -> Topology:
    """Returns the devices of a topology.

    Args:
        name: `KIND:SIZE`: TPUs by the sides of their torus (`v5e:2x2`), GPUs and CPU devices by
            their number (`h100:8`, `cpu:4`).

    Raises:
        ValueError: there is no such topology, or the compiler for it is not installed.
    """
    kind, _, size = name.partition(":")
    if kind not in CHIPS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", size):
        raise ValueError(
            f"--topology={name}: expected KIND:SIZE with KIND one of {', '.join(CHIPS)}; "
            f"e.g. {_EXAMPLES}"
        )
    sides = [int(side) for side in size.split("x")]
    if kind in ("cpu", "h100") and len(sides) > 1:
        raise ValueError(f"--topology={name}: {kind} takes a number, e.g. {kind}:{sides[0]}")
    devices: Sequence[jax.Device]
    if kind == "cpu":
        devices = _cpu_devices(sides[0])
    elif kind == "h100":
        devices = _gpu_devices(name, sides[0])
    else:
        devices = _tpu_devices(name, sides)
    return Topology(CHIPS[kind].share(len(devices) // math.prod(sides)), devices)


def _cpu_devices(number: int) -> Sequence[jax.Device]:
    try:
        if number > jax.config.jax_num_cpu_devices:  # type: ignore[attr-defined]  # made at run time
            jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError:
        pass  # JAX has started already, perhaps with enough of them
    devices: Sequence[jax.Device] = jax.devices("cpu")
    if len(devices) < number:
        raise ValueError(
            f"--topology=cpu:{number}: JAX has started with {len(devices)} CPU devices; set "
            f"jax_num_cpu_devices={number} before its first use"
        )
    return devices[:number]


def _tpu_devices(name: str, sides: Sequence[int]) -> Sequence[jax.Device]:
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            f"--topology={name} needs the TPU compiler, which is not installed: "
            "pip install 'lipsync_jax[tpu]'"
        )
    for variable, value in _TPU_VARIABLES.items():
        os.environ.setdefault(variable, value)
    host = [min(side, 2) for side in sides[:2]] + [1] * (3 - len(sides[:2]))
    return _describe(name, "tpu", name, chips_per_host_bounds=tuple(host))


def _gpu_devices(name: str, number: int) -> Sequence[jax.Device]:
    if number > _GPUS_PER_HOST and number % _GPUS_PER_HOST:
        raise ValueError(
            f"--topology={name}: more than {_GPUS_PER_HOST} GPUs must be a multiple of "
            f"{_GPUS_PER_HOST}, the GPUs of a host"
        )
    plugins = [f"jax_plugins.xla_cuda{version}" for version in (12, 13)]
    if importlib.util.find_spec("jax_plugins") is None or not any(
        importlib.util.find_spec(plugin) for plugin in plugins
    ):
        raise ValueError(
            f"--topology={name} needs JAX's CUDA plugin, which is not installed: "
            "pip install 'lipsync_jax[cuda]'"
        )
    hosts = -(-number // _GPUS_PER_HOST)
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    shape = f"1x{hosts}x{number // hosts}"
    return _describe(name, "cuda", "h100", target_config=_H100, topology=shape)


def _describe(name: str, platform: str, system: str, **options: Argument) -> Sequence[jax.Device]:
    try:
        found = topologies.get_topology_desc(system, platform=platform, **options)
    except Exception as error:  # compilers report unknown shapes by errors of any kind
        line = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise ValueError(
            f"--topology={name}: the compiler for {platform} knows no such topology ({line}); "
            f"e.g. {_EXAMPLES}"
        ) from error
    return list(found.devices)
