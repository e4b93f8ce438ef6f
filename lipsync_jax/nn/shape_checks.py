"""The check of input shapes that all networks share."""

import flax.linen as nn
import jax


def check_shape(module: nn.Module, name: str, array: jax.Array, *shape: int | None) -> None:
    """Raises an error where an input has another shape than expected.

    Args:
        module: the network, for the message.
        name: of the network's argument.
        array: the input.
        *shape: the expected shape; None stands for any length.

    Raises:
        ValueError: the shapes differ.
    """
    if array.ndim != len(shape) or any(
        wanted not in (None, given) for wanted, given in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} has shape {array.shape}; {type(module).__name__} takes ({wanted})"
        )
