"""FlowNetS, optical flow trained on synthetic image pairs (Dosovitskiy et al. 2015).

Training needs no data set: each training example is a new pair (`data.synthetic_flow`); validation
and test pairs are fixed.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data.synthetic_flow import (
    SyntheticFlowExample,
    SyntheticFlowSource,
    sample_flow_pair,
)
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Network,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.flownet.model import FlowNetS
from lipsync_jax.ops import optical_flow
from lipsync_jax.types import ModelCards, Tree

SEEDS = {"train": None, "validation": 0, "test": 1}  # of the pairs; None: new pairs in every epoch


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "FlowNet":
    """Returns the method of a config."""
    return FlowNet(config, model_cards)


def network(config: ml_collections.ConfigDict) -> FlowNetS:
    """Returns the network that a config, or a checkpoint's config, describes."""
    return FlowNetS(dtype=jnp.dtype(config.precision), **config.model)


class FlowNet(Method):
    """One network, `flownet`."""

    best_metric = ("epe", "min")

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self.networks = {"flownet": Network(network(config), make_optimizer(config.optimizer))}

    def data_source(self, split: str) -> SyntheticFlowSource:
        """Returns seeds of synthetic pairs."""
        return SyntheticFlowSource(self.config.data.pairs[split], SEEDS[split])

    def validate_config(self) -> None:
        """Raises ValueError for sides that are no multiple of 64."""
        size = self.config.data.size
        if size < 64 or size % 64:
            raise ValueError(f"config.data.size={size}: FlowNetS takes multiples of 64")

    def make_example(  # type: ignore[override]  # items of `data_source`
        self, clip: SyntheticFlowExample, rng: np.random.Generator
    ) -> Arrays:
        """Returns a pair: `first`, `second`, float32 (size, size, 3) in [0, 1]; `flow`, pixels."""
        pair = sample_flow_pair(rng if clip.seed is None else clip.rng(), self.config.data.size)
        return pair._asdict()

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """Returns the initial state, see `Method`."""
        flownet = self.networks["flownet"]
        images = {name: batch[name][:1] for name in ("first", "second")}
        return init_train_state(
            key, {"flownet": flownet.init_state(flownet.module.init(key, _stack_images(images)))}
        )

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Runs one step on the endpoint errors at all resolutions."""
        del key  # the step is deterministic
        flownet, before = self.networks["flownet"], state.networks["flownet"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            flows, stats = flownet.apply_train(params, before.batch_stats, _stack_images(batch))
            value = losses.multiscale_endpoint_error(flows, batch["flow"] / optical_flow.FLOW_SCALE)
            return value, (flows[0], stats)

        (value, (finest, stats)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        scalars = {
            "loss": value,
            "epe": _endpoint_errors(finest, batch).mean(),
            "grad_norm": global_norm(grads),
        }
        return state.next_step(flownet=flownet.apply_gradients(before, grads, stats)), scalars

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes endpoint errors (n,) in pixels, of means over 4 x 4 pixels, and of zero flow."""
        module, variables = self.networks["flownet"].module, state.networks["flownet"].variables
        finest = module.apply(variables, _stack_images(batch))[0]
        return {
            "epe": _endpoint_errors(finest, batch),
            "epe_zero_flow": _endpoint_errors(jnp.zeros_like(finest), batch),
        }


def _stack_images(batch: Arrays) -> jax.Array:
    """Concatenates both images, scaled to [-1, 1], along channels."""
    return jnp.concatenate([batch["first"], batch["second"]], axis=-1) * 2 - 1


def _endpoint_errors(finest: jax.Array, batch: Arrays) -> jax.Array:
    n, height, width, _ = finest.shape
    target = (
        batch["flow"]
        .reshape(n, height, optical_flow.POOL, width, optical_flow.POOL, 2)
        .mean(axis=(2, 4))
    )
    return jax.vmap(optical_flow.endpoint_error)(optical_flow.FLOW_SCALE * finest, target)
