"""Runs a network of ours on a golden's weights and inputs, as the tests of all of them do."""

import jax

from lipsync_jax.layers.compile import jit
from tests.golden.glance import recipe


def run(network: str, module, names: list[str], inputs, method: str | None = None, once=False):
    """Yields (mode, what the module returns, its new statistics) in evaluation and in training.

    Args:
        network: whose golden.
        module: ours.
        names: see `recipe.variables`.
        inputs: of ours.
        method: to call; None is a call.
        once: see `compile.jit`.
    """
    variables = recipe.variables(network, module, names, [x.shape for x in inputs])
    modes = sorted({name.partition("/")[0] for name in recipe.expected(network)})
    for mode in modes:

        def apply(variables, inputs, train=mode == "train"):
            return module.apply(
                variables, *inputs, train=train, method=method, mutable=["batch_stats"]
            )

        with jax.default_matmul_precision("highest"):
            found, new = jit(apply, once=once)(variables, inputs)
        yield mode, found, new.get("batch_stats", {})
