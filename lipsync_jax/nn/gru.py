"""A stack of gated recurrent units over time, with a carry and a mask of padding."""

from typing import overload

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.conv import uniform_fan_in
from lipsync_jax.nn.gru_scan import scan_gru
from lipsync_jax.nn.params import DeclaredShapes


@overload
def merge_time(x: jax.Array) -> jax.Array: ...
@overload
def merge_time(x: jax.Array | None) -> jax.Array | None: ...
def merge_time(x: jax.Array | None) -> jax.Array | None:
    """Reshapes (n, time, ...) to (n * time, ...), for layers of single frames; None stays None."""
    return None if x is None else x.reshape(-1, *x.shape[2:])


def split_time(x: jax.Array, time: int) -> jax.Array:
    """Reshapes (n * time, ...) to (n, time, ...), the inverse of `merge_time`."""
    return x.reshape(-1, time, *x.shape[1:])


def zero_carry(layers: int, n: int, features: int) -> jax.Array:
    """Returns the state before the first step: float32 zeros (layers, n, features)."""
    return jnp.zeros((layers, n, features), jnp.float32)


class GRU(DeclaredShapes):
    """Layers of gated recurrent units (Cho et al. 2014), forward in time, as cuDNN computes them.

    With gates r, z and candidate c of a layer's input x and state h,

        r = σ(W_r x + U_r h + b_r),  z = σ(W_z x + U_z h + b_z),
        c = tanh(W_c x + b_c + r (U_c h + d_c)),  h' = (1 - z) c + z h.

    The columns of `input_kernel` and `hidden_kernel` are r, z, c in this order. The state is never
    kept below float32.

    Attributes:
        features: size of each layer's state.
        layers: number of layers; each takes the states of the one before.
        dtype: of the matrix products; None follows inputs and parameters.
    """

    features: int
    layers: int = 1
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n time inputs"],
        carry: Float[Array, "layers n features"] | None = None,
        mask: Bool[Array, "n time"] | None = None,
    ) -> tuple[Float[Array, "layers n features"], Float[Array, "n time features"]]:
        """Scans over time.

        Args:
            x: (n, time, inputs).
            carry: (layers, n, features), states to start from; None is zeros.
            mask: bool (n, time), False where a step is padding: such a step keeps the states
                and outputs zeros.

        Returns:
            The states after the last valid step, (layers, n, features), and those of the last
            layer at each step, (n, time, features).
        """
        if carry is None:
            carry = zero_carry(self.layers, len(x), self.features)
        states = []
        for layer, state in enumerate(carry):
            state, x = self._run(x, state, mask, layer)
            states.append(state)
        if mask is not None:
            x = jnp.where(mask[..., None], x, 0)
        return jnp.stack(states), x

    def _run(
        self, x: jax.Array, state: jax.Array, mask: jax.Array | None, layer: int
    ) -> tuple[jax.Array, jax.Array]:
        init, size = uniform_fan_in(self.features), 3 * self.features
        weights = [
            self.param(f"{name}_{layer}", init, (*rows, size))
            for name, rows in (
                ("input_kernel", (x.shape[-1],)),
                ("input_bias", ()),
                ("hidden_kernel", (self.features,)),
                ("hidden_bias", ()),
            )
        ]
        x, *weights = nn.dtypes.promote_dtype(x, *weights, dtype=self.dtype)
        input_kernel, input_bias, hidden_kernel, hidden_bias = weights
        # One product for all steps; only what depends on the state is left to the scan.
        inputs = (x @ input_kernel + input_bias).swapaxes(0, 1)
        valid = jnp.ones(inputs.shape[:2], bool) if mask is None else mask.T
        wide = jnp.promote_types(inputs.dtype, jnp.float32)
        state, states = scan_gru(inputs, hidden_kernel, hidden_bias, state.astype(wide), valid)
        return state, states.swapaxes(0, 1)
