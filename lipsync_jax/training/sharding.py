"""Shards batches along one `data` axis of all devices, and replicates parameters."""

from collections.abc import Sequence

import jax
import ml_collections
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lipsync_jax.types import Tree


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes a mesh with one axis named `data`, by default of all devices of all hosts."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a value that is the same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch whose leading axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def local_batch_size(batch_size: int, mesh: Mesh, name: str = "config.data.batch_size") -> int:
    """Returns the number of examples of a global batch that this host reads.

    Raises:
        ValueError: the batch can't be split evenly over the devices; names the nearest that can.
    """
    devices = mesh.devices.size
    if batch_size % devices:
        below = batch_size // devices * devices
        nearest = f"{below} or {below + devices}" if below else f"{devices}"
        raise ValueError(
            f"--{name}={batch_size} can't be split over {devices} devices; give a multiple of "
            f"{devices}, e.g. {nearest}"
        )
    return batch_size // jax.process_count()


def fit_batch_sizes(config: ml_collections.ConfigDict) -> None:
    """Changes batch sizes to the nearest below that split over all devices; at least one each.

    For programs whose users set no batch size.

    Args:
        config: with the block `data`.
    """
    devices = jax.device_count()
    for name in ("batch_size", "validation_batch_size"):
        config.data[name] = max(config.data[name] // devices, 1) * devices


def shard_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes global arrays from each host's share of a batch."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, values)
        for name, values in batch.items()
    }


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Replicates host arrays, which are equal on every host, on all devices."""
    sharding = replicated_sharding(mesh)

    def put(x: jax.Array) -> jax.Array:
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        host_array = np.asarray(x)
        return jax.make_array_from_callback(
            host_array.shape, sharding, lambda index: host_array[index]
        )

    return jax.tree.map(put, tree)
