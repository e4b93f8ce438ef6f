"""What a network refuses to be fed."""

import flax.linen as nn
import jax


def check(module: nn.Module, name: str, array: jax.Array, *shape: int | None) -> None:
    """Refuses an array of another shape.

    Args:
        module: who asks.
        name: what the array is called there.
        array: what was given.
        *shape: what it should be; None stands for any length.

    Raises:
        ValueError: its shape differs.
    """
    if array.ndim != len(shape) or any(
        wanted not in (None, given) for wanted, given in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} has shape {array.shape}; {type(module).__name__} takes ({wanted})"
        )
