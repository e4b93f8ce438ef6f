"""Rematerialisation: blocks of layers whose activations the backward pass computes again."""

import contextlib
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax

from lipsync_jax.types import Untyped

# JAX traces anew where the value changes.
_active = jax.make_user_context(False)


@contextlib.contextmanager
def rematerialized_blocks(active: bool = True) -> Iterator[None]:
    """Within this context, a block keeps its inputs alone for the backward pass, if `active`.

    The activations within the block are computed a second time there (Chen et al. 2016, Training
    deep nets with sublinear memory cost). Outputs and gradients are the same.
    """
    with _active(active):
        yield


def apply_block(
    function: Callable[..., jax.Array], block: nn.Module, *inputs: Untyped
) -> jax.Array:
    """Returns function(block, *inputs), rematerialised where the context asks for it.

    Args:
        function: of a block in its compact method, and of `inputs`.
        block: whose layers `function` applies.
        *inputs: arrays, or None.
    """
    if not _active.value or block.is_initializing():
        return function(block, *inputs)
    return nn.remat(function)(block, *inputs)
