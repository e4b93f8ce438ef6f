"""FlowNetS, optical flow trained on synthetic image pairs (Dosovitskiy et al. 2015).

Pre-training needs no data set: training examples are synthetic pairs (`data.synthetic_flow`);
validation and test pairs are fixed. Fine-tuning, with `config.data.dir`, takes successive frames of
lips, whose target is Farnebäck's flow, as the published code of Chen et al. 2018.
"""

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float

from lipsync_jax import losses
from lipsync_jax.data.clip import CROP_SPECS, Clip, decode_frames
from lipsync_jax.data.synthetic_flow import (
    FlowPair,
    SyntheticFlowExample,
    SyntheticFlowSource,
    augment_flow_pair,
    sample_flow_pair,
    stored_flow_pair,
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
from lipsync_jax.types import ModelCards, Tree, Variables

SEEDS = {"validation": 0, "test": 1, "train": 2}  # of the pairs


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "FlowNet":
    """Returns the method of a config."""
    return FlowNet(config, model_cards)


def network(config: ml_collections.ConfigDict) -> FlowNetS:
    """Returns the network that a config, or a checkpoint's config, describes."""
    return FlowNetS(dtype=jnp.dtype(config.precision), **config.model)


def clip_flow(
    module: FlowNetS, variables: Variables, frames: Float[Array, "n time height width 3"]
) -> Float[Array, "n time-1 height//4 width//4 2"]:
    """Computes the flow of successive frames, as `ops.optical_flow.clip_flow`, in eval mode.

    Args:
        module: the network.
        variables: of the network.
        frames: (n, time, height, width, 3), RGB in [-1, 1]; sides multiples of 64.

    Returns:
        float32 (n, time - 1, height / 4, width / 4, 2), in units of 20 pixels.
    """
    pairs = jnp.concatenate([frames[:, :-1], frames[:, 1:]], axis=-1)
    flow = module.apply(variables, pairs.reshape(-1, *pairs.shape[2:]))[0]
    return flow.reshape(*pairs.shape[:2], *flow.shape[1:])


class FlowNet(Method):
    """One network, `flownet`."""

    best_metric = ("epe", "min")

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self.networks = {"flownet": Network(network(config), make_optimizer(config.optimizer))}

    def data_source(self, split: str) -> SyntheticFlowSource | None:
        """Returns seeds of synthetic pairs; None: clips of the data set."""
        data = self.config.data
        if "dir" in data:
            return None
        if split != "train":
            return SyntheticFlowSource(data.pairs[split], SEEDS[split])
        if data.stored_pairs:
            return SyntheticFlowSource(data.stored_pairs, SEEDS[split])
        return SyntheticFlowSource(data.pairs.train, None)

    def validate_config(self) -> None:
        """Raises ValueError for sides that are no multiple of 64, and an unknown reduction."""
        data = self.config.data
        if "dir" in data:
            crop = CROP_SPECS[data.crop]
            field, sides = f"crop={data.crop}", {crop.height, crop.width}
        else:
            field, sides = f"size={data.size}", {data.size}
        if any(side < 64 or side % 64 for side in sides):
            raise ValueError(f"config.data.{field}: FlowNetS takes multiples of 64")
        if self.config.scale_reduction not in ("sum", "mean"):
            raise ValueError(
                f"config.scale_reduction={self.config.scale_reduction!r}: choose sum or mean"
            )

    def make_example(self, clip: SyntheticFlowExample | Clip, rng: np.random.Generator) -> Arrays:
        """Returns a pair: `first`, `second`, float32 (size, size, 3) in [0, 1]; `flow`, pixels."""
        if isinstance(clip, Clip):
            return lip_pair(clip, rng)._asdict()
        if clip.seed is None:
            return sample_flow_pair(rng, self.config.data.size)._asdict()
        stored = stored_flow_pair(clip.seed, self.config.data.size)
        return augment_flow_pair(stored, rng)._asdict()

    def make_validation_example(
        self, clip: SyntheticFlowExample | Clip, rng: np.random.Generator
    ) -> Arrays:
        """Returns a pair that is always equal, see `make_example`."""
        if isinstance(clip, Clip):
            return lip_pair(clip, rng)._asdict()
        return sample_flow_pair(clip.rng(), self.config.data.size)._asdict()

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
            value = losses.multiscale_endpoint_error(
                flows,
                batch["flow"] / optical_flow.FLOW_SCALE,
                reduction=self.config.scale_reduction,
            )
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


def lip_pair(clip: Clip, rng: np.random.Generator) -> FlowPair:
    """Samples two successive frames of a clip, with Farnebäck's flow by OpenCV as the target.

    Raises:
        ValueError: the clip has one frame.
    """
    if len(clip.frames) < 2:
        raise ValueError("it has 1 frame; at least 2 are required")
    start = int(rng.integers(len(clip.frames) - 1))
    frames = decode_frames(clip, (start, start + 1))
    one, other = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames)
    flow = np.zeros((*one.shape, 2), np.float32)  # as the published code calls OpenCV:
    flow = cv2.calcOpticalFlowFarneback(one, other, flow, 0.5, 3, 15, 3, 5, 1.2, 0)
    first, second = (frames[..., ::-1] / np.float32(255)).astype(np.float32)
    return FlowPair(first, second, flow)


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
