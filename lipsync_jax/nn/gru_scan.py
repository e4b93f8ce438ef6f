"""The recurrence of a gated recurrent unit over time, with a custom derivative."""

import jax
import jax.numpy as jnp
from jax import lax

# Gates r, z, the candidate c, and U_c h + d_c, which the reset gate multiplies.
Gates = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


@jax.custom_vjp
def scan_gru(
    inputs: jax.Array,
    hidden_kernel: jax.Array,
    hidden_bias: jax.Array,
    state: jax.Array,
    valid: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Runs the recurrence of `nn.gru.GRU` over time.

    The derivative keeps the states only. It computes the gates of all steps again in one product,
    and the gradient of the kernel in one product after the loop, so that the loop back through time
    has a single small product, and no sum over devices where the batch is split.

    Args:
        inputs: (time, n, 3 * features), W x + b of the gates r, z, c.
        hidden_kernel: (features, 3 * features).
        hidden_bias: (3 * features,).
        state: (n, features), float32 or wider.
        valid: bool (time, n), False where a step is padding and keeps the state.

    Returns:
        The last state (n, features) and all states (time, n, features).
    """

    def step(
        state: jax.Array, inputs_and_mask: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        inputs, valid = inputs_and_mask
        _, update, candidate, _ = _gates(inputs, state, hidden_kernel, hidden_bias)
        new = (1 - update) * candidate + update * state
        state = jnp.where(valid[:, None], new, state)
        return state, state

    return lax.scan(step, state, (inputs, valid))


def _gates(
    inputs: jax.Array, state: jax.Array, hidden_kernel: jax.Array, hidden_bias: jax.Array
) -> Gates:
    """Computes the gates of one step or of all, with the states before."""
    hidden = state.astype(hidden_kernel.dtype) @ hidden_kernel + hidden_bias
    (rx, zx, cx), (rh, zh, ch) = (jnp.split(part, 3, axis=-1) for part in (inputs, hidden))
    update, reset = jax.nn.sigmoid(zx + zh), jax.nn.sigmoid(rx + rh)
    return reset, update, jnp.tanh(cx + reset * ch), ch


def _forward(
    inputs: jax.Array,
    hidden_kernel: jax.Array,
    hidden_bias: jax.Array,
    state: jax.Array,
    valid: jax.Array,
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
    last, states = scan_gru(inputs, hidden_kernel, hidden_bias, state, valid)
    return (last, states), (inputs, hidden_kernel, hidden_bias, state, states, valid)


def _backward(
    residuals: tuple[jax.Array, ...], gradients: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, None]:
    inputs, hidden_kernel, hidden_bias, state, states, valid = residuals
    before = jnp.concatenate([state[None], states[:-1]])
    gates = _gates(inputs, before, hidden_kernel, hidden_bias)
    reset, update, candidate, hidden_candidate = (gate.astype(state.dtype) for gate in gates)
    # Derivatives of the new state by z and c before their activations, and of c by r before its.
    by_update = (before - candidate) * update * (1 - update)
    by_candidate = (1 - update) * (1 - candidate**2)
    by_reset = hidden_candidate * reset * (1 - reset)

    transposed = hidden_kernel.T  # once, outside of the loop

    def step(gradient: jax.Array, factors: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        of_state, valid, reset, update, by_reset, by_update, by_candidate = factors
        gradient += of_state
        new = jnp.where(valid[:, None], gradient, 0)
        c = new * by_candidate
        r, z = c * by_reset, new * by_update
        hidden = jnp.concatenate([r, z, c * reset], axis=-1).astype(hidden_kernel.dtype)
        through_gates = (hidden @ transposed).astype(gradient.dtype)
        gradient = jnp.where(valid[:, None], new * update, gradient) + through_gates
        return gradient, jnp.concatenate([r, z, c], axis=-1)

    last, of_states = gradients
    factors = of_states, valid, reset, update, by_reset, by_update, by_candidate
    of_first, of_gates = lax.scan(step, last, factors, reverse=True)
    r, z, c = jnp.split(of_gates, 3, axis=-1)
    hidden = jnp.concatenate([r, z, c * reset], axis=-1)
    features = state.shape[-1]
    of_kernel = before.reshape(-1, features).astype(hidden_kernel.dtype).T @ hidden.reshape(
        -1, 3 * features
    ).astype(hidden_kernel.dtype)
    of_bias = hidden.sum(axis=(0, 1)).astype(hidden_bias.dtype)
    return of_gates.astype(inputs.dtype), of_kernel, of_bias, of_first, None


scan_gru.defvjp(_forward, _backward)
