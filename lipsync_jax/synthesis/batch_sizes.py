"""How many faces are generated at once."""

import jax

_MAX_PENDING_BYTES = 64 << 20  # bytes of frames that wait for one batch


def max_batch_size_for(requested: int, size: tuple[int, int]) -> int:
    """Returns the largest batch size, up to `requested`, whose frames fit in memory.

    Args:
        requested: frames.
        size: (width, height) of the frames.
    """
    width, height = size
    limit = max(1, _MAX_PENDING_BYTES // (3 * width * height))
    # Powers of two, so that videos of many sizes share few compiled programs.
    return requested if requested <= limit else 1 << (limit.bit_length() - 1)


def default_batch_size() -> int:
    """Returns the number of frames per batch of this device."""
    return 16 if jax.default_backend() == "cpu" else 64
