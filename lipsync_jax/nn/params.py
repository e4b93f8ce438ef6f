"""Parameters whose shapes are compared without tracing their initialisers."""

from collections.abc import Callable

import flax.linen as nn
import jax

from lipsync_jax.types import Argument


class DeclaredShapes(nn.Module):
    """Base class of layers whose parameters are declared as `param(name, init, shape, ...)`.

    Flax traces the initialiser of every parameter whenever a network is applied, only to compare
    shapes: a third of the time in which Wav2Lip is traced. Here the declared shape is compared.
    """

    @nn.nowrap
    def param(  # type: ignore[override]  # flax overloads it
        self, name: str, init_fn: Callable, *init_args: Argument, **options: Argument
    ) -> jax.Array:
        """See `nn.Module.param`."""
        if init_args and not self.is_initializing() and self.has_variable("params", name):
            value: jax.Array = self.get_variable("params", name)
            if isinstance(init_args[0], tuple) and value.shape == init_args[0]:
                return value
        return super().param(name, init_fn, *init_args, **options)
