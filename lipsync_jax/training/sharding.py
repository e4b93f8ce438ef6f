"""Where arrays live: the batch along one `data` axis of all devices, parameters on each."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lipsync_jax.types import Tree


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices in one axis named `data`; by default all of all hosts."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def along_batch(mesh: Mesh) -> NamedSharding:
    """The leading axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def local_batch_size(batch_size: int, mesh: Mesh, name: str = "config.data.batch_size") -> int:
    """Examples this host reads of a global batch.

    Raises:
        ValueError: the batch can't be split evenly over the devices.
    """
    devices = mesh.devices.size
    if batch_size % devices:
        raise ValueError(
            f"{name}={batch_size} can't be split over {devices} devices; "
            f"take a multiple of {devices}"
        )
    return batch_size // jax.process_count()


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """One host's arrays (its share of the batch) -> global arrays."""
    sharding = along_batch(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, values)
        for name, values in batch.items()
    }


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Host arrays, the same on every host -> replicated device arrays."""
    sharding = replicated(mesh)

    def place(x: jax.Array) -> jax.Array:
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = place(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, tree)
