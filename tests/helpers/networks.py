"""Networks without compiling their initialization: shapes, and weights sampled with NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.methods import base
from lipsync_jax.nn.cpu.jit import jit


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def abstract_variables(module, *inputs, n=2, **options):
    """Returns outputs and variables for inputs (n, *shape), as shapes."""
    inputs = [jax.ShapeDtypeStruct((n, *shape), jnp.float32) for shape in inputs]
    return jax.eval_shape(
        lambda *x: module.init_with_output(jax.random.key(0), *x, **options), *inputs
    )


def count_parameters(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def random_variables(module, *inputs, **options):
    """Returns variables for inputs (n, *shape), with about equal variance after every layer."""
    return random_variables_like(abstract_variables(module, *inputs, **options)[1])


def random_lip_clips(n=2):
    """Returns a batch of a `FixedLengthClipMethod`, of noise."""
    rng = np.random.default_rng(0)
    return {
        "reference": rng.integers(0, 255, (n, 64, 64, 3)).astype(np.uint8),
        "frames": rng.integers(0, 255, (n, 16, 64, 64, 3)).astype(np.uint8),
        "audio": rng.normal(60, 20, (n, 64, 128)).astype(np.float32),
    }


def random_state(method, batch):
    """Returns a state of a method at step 0, with random weights."""
    abstract_networks = jax.eval_shape(method.init, jax.random.key(0), batch).networks
    networks = {}
    for name, network in abstract_networks.items():
        variables = {
            "params": random_variables_like(network.params),
            "batch_stats": random_variables_like(network.batch_stats),
        }
        networks[name] = jit(method.networks[name].init_state)(variables)
    return base.init_train_state(jax.random.key(0), networks)


def random_variables_like(tree):
    """Returns random variables of given shapes."""
    rng = np.random.default_rng(1)

    def fill(path, leaf):
        z = rng.standard_normal(leaf.shape).astype(np.float32)
        name = path[-1].key
        if name in ("scale", "var"):
            return 1 + 0.1 * abs(z)
        if name in ("mean", "bias"):
            return 0.1 * z
        return 1.6 * z / math.sqrt(max(1, math.prod(leaf.shape[:-1])))

    return jax.tree_util.tree_map_with_path(fill, tree)
