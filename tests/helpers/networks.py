"""Networks to try without compiling their initialisation: shapes, and weights drawn with NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.methods import base
from lipsync_jax.nn.cpu.jit import jit


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shapes(module, *inputs, n=2, **options):
    """Outputs and variables for inputs (n, *shape), as shapes; nothing is computed."""
    inputs = [jax.ShapeDtypeStruct((n, *shape), jnp.float32) for shape in inputs]
    return jax.eval_shape(
        lambda *x: module.init_with_output(jax.random.key(0), *x, **options), *inputs
    )


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def variables(module, *inputs, **options):
    """Variables for inputs (n, *shape): signals of about the same size leave every layer."""
    return filled(shapes(module, *inputs, **options)[1])


def drawn_state(method, batch):
    """A fresh state of a method, its players' weights drawn."""
    shapes = jax.eval_shape(method.init, jax.random.key(0), batch).players
    players = {}
    for name, player in shapes.items():
        variables = {"params": filled(player.params), "batch_stats": filled(player.batch_stats)}
        players[name] = jit(method.players[name].start)(variables)
    return base.fresh_state(jax.random.key(0), players)


def filled(tree):
    """Shapes of variables as variables."""
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
