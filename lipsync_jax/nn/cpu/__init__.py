"""What exists only for XLA on CPUs, behind one switch: convolutions, sums, compiler options."""

import contextlib
from collections.abc import Iterator

import jax

# JAX traces anew where its value changes, so that no program of the other kind is reused.
_plain_programs = jax.make_user_context(False)


def use_cpu_kernels() -> bool:
    """Returns whether the programs that are being traced are for the CPU of this process.

    The only place that asks for the platform of a program. Starts the backend.
    """
    return not _plain_programs.value and jax.default_backend() == "cpu"


@contextlib.contextmanager
def plain_programs() -> Iterator[None]:
    """Within this context, programs have XLA's own operations alone, on a CPU too.

    For programs that are traced here and run elsewhere: exported, or compiled for an accelerator
    that this machine lacks. Parameters are the same, outputs equal up to rounding.
    """
    with _plain_programs(True):
        yield
