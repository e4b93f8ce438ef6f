"""What exists only for XLA on CPUs, behind one switch: convolutions, sums, compiler options."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import jax


class _Target(NamedTuple):
    """For which devices a program is made.

    Attributes:
        platform: of the devices, as `jax.Device.platform`; empty: the platform of this process.
        num_devices: devices that a batch is split over.
    """

    platform: str = ""
    num_devices: int = 1


# JAX traces anew where its value changes, so that no program of another kind is reused.
_target = jax.make_user_context(_Target())


def use_cpu_kernels() -> bool:
    """Returns whether the programs that are being traced are for CPUs.

    The only place that asks for the platform of a program. Starts the backend.
    """
    return (_target.value.platform or jax.default_backend()) == "cpu"


def local_size(size: int) -> int:
    """Returns the share of an array's size, or of its batch axis, that lies on one device.

    Functions that choose an algorithm by shape see the global batch; the program should be the
    same on more devices with more examples.
    """
    return -(-size // _target.value.num_devices)


@contextlib.contextmanager
def programs_for(platform: str, num_devices: int) -> Iterator[None]:
    """Within this context, programs are made for other devices than the one of this process.

    Args:
        platform: of the devices, as `jax.Device.platform`.
        num_devices: devices that a batch is split over.
    """
    with _target(_Target(platform, num_devices)):
        yield


@contextlib.contextmanager
def plain_programs() -> Iterator[None]:
    """Within this context, programs have XLA's own operations alone, on a CPU too.

    For programs that are traced here and run elsewhere, on whatever platform: exported ones.
    Parameters are the same, outputs equal up to rounding.
    """
    with _target(_target.value._replace(platform="any")):
        yield
