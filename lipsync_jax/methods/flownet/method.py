"""FlowNetS learns optical flow from drawn pairs of pictures (Dosovitskiy et al. 2015).

It needs no data set: every example is a new pair (`data.flow_pairs`), those of validation and test
are always the same.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data.flow_pairs import Draw, Draws, flow_pair
from lipsync_jax.methods.base import Arrays, Method, Player, State, adam, fresh_state, global_norm
from lipsync_jax.methods.flownet.model import FlowNetS
from lipsync_jax.ops import optical_flow
from lipsync_jax.types import Cards, Tree

SEEDS = {"train": None, "validation": 0, "test": 1}  # of `flow_pairs.pairs`; None: always new ones


def make(config: ml_collections.ConfigDict, cards: Cards) -> "FlowNet":
    """The method of a config."""
    return FlowNet(config, cards)


def network(config: ml_collections.ConfigDict) -> FlowNetS:
    """The network that a config describes, a checkpoint's config too."""
    return FlowNetS(dtype=jnp.dtype(config.precision), **config.model)


class FlowNet(Method):
    """Player: `flownet`."""

    best = ("endpoint_error", -1)

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        self.players = {"flownet": Player(network(config), adam(config.optimiser))}

    def source(self, split: str) -> Draws:
        """See Method."""
        return Draws(self.config.data.pairs[split], SEEDS[split])

    def check(self) -> None:
        """Refuses sides that the network can't halve six times."""
        size = self.config.data.size
        if size < 64 or size % 64:
            raise ValueError(f"config.data.size={size}: FlowNetS takes multiples of 64")

    def example(  # type: ignore[override]  # of what `source` gives
        self, clip: Draw, rng: np.random.Generator
    ) -> Arrays:
        """A pair: `first` and `second`, float32 (size, size, 3) in [0, 1], and `flow`, pixels."""
        drawn = flow_pair(rng if clip.seed is None else clip.rng(), self.config.data.size)
        return drawn._asdict()

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        player = self.players["flownet"]
        few = {name: batch[name][:1] for name in ("first", "second")}
        return fresh_state(key, {"flownet": player.start(player.module.init(key, _seen(few)))})

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step on the endpoint errors of all sizes."""
        del key  # nothing here is random
        player, before = self.players["flownet"], state.players["flownet"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            flows, stats = player.train(params, before.batch_stats, _seen(batch))
            value = losses.multiscale_endpoint_error(flows, batch["flow"] / optical_flow.UNIT)
            return value, (flows[0], stats)

        (value, (finest, stats)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        scalars = {
            "loss": value,
            "endpoint_error": _errors(finest, batch).mean(),
            "gradient_norm": global_norm(grads),
        }
        return state.replace_players(flownet=player.learn(before, grads, stats)), scalars

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Endpoint errors (n,), pixels, of means over 4 x 4 pixels; and those of no motion."""
        module, variables = self.players["flownet"].module, state.players["flownet"].variables
        finest = module.apply(variables, _seen(batch))[0]
        return {
            "endpoint_error": _errors(finest, batch),
            "endpoint_error_of_none": _errors(jnp.zeros_like(finest), batch),
        }


def _seen(batch: Arrays) -> jax.Array:
    """Both pictures' colours, in [-1, 1]."""
    return jnp.concatenate([batch["first"], batch["second"]], axis=-1) * 2 - 1


def _errors(finest: jax.Array, batch: Arrays) -> jax.Array:
    n, height, width, _ = finest.shape
    true = (
        batch["flow"]
        .reshape(n, height, optical_flow.POOL, width, optical_flow.POOL, 2)
        .mean(axis=(2, 4))
    )
    return jax.vmap(optical_flow.endpoint_error)(optical_flow.UNIT * finest, true)
