"""The interface of all methods, and the state of their training."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import struct

from lipsync_jax.data.clip import CROP_SPECS, Clip
from lipsync_jax.data.collate import stack
from lipsync_jax.types import Argument, Entry, ModelCards, Tree, Variables

if TYPE_CHECKING:  # which needs grain, and inference does not
    from lipsync_jax.data.loader import DataSource

Arrays = dict[str, Entry]


@struct.dataclass
class NetworkState:
    """Variables of one network.

    Attributes:
        params: trained weights, float32.
        batch_stats: running BatchNorm statistics, float32; {} where there are none.
        opt_state: the optax state; () for a frozen network.
    """

    params: Tree
    batch_stats: Tree
    opt_state: Tree = ()

    if TYPE_CHECKING:  # struct.dataclass adds this method

        def replace(self, **changes: Argument) -> Self:
            """Returns a copy with other values of some fields."""

    @property
    def variables(self) -> dict[str, Tree]:
        """Variables as `Module.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@struct.dataclass
class State:
    """Everything that training changes; a checkpoint has all of it, so that a resumed run is exact.

    Attributes:
        step: int32, finished steps.
        key: root PRNG key; a step's key is `fold_in(key, step)`.
        networks: name -> variables.
        host_scalars: name -> float32 scalar that the host may change, e.g. `sync_weight`.
    """

    step: jax.Array
    key: jax.Array
    networks: dict[str, NetworkState]
    host_scalars: dict[str, jax.Array]

    if TYPE_CHECKING:  # struct.dataclass adds this method

        def replace(self, **changes: Argument) -> Self:
            """Returns a copy with other values of some fields."""

    def next_step(self, **networks: NetworkState) -> "State":
        """Returns the state of the next step, with some networks replaced."""
        return self.replace(step=self.step + 1, networks={**self.networks, **networks})


@dataclasses.dataclass(frozen=True)
class Network:
    """A module and its optimizer; without an optimizer the network is frozen, in eval mode."""

    module: Any  # an nn.Module; each method knows what its `apply` and `init` return
    optimizer: optax.GradientTransformation | None = None

    def init_state(self, variables: Variables) -> NetworkState:
        """Returns the state of newly initialised variables."""
        params, stats = variables["params"], variables.get("batch_stats", {})
        return NetworkState(params, stats, self.optimizer.init(params) if self.optimizer else ())

    def apply_train(
        self, params: Tree, batch_stats: Tree, *inputs: Argument, **options: Argument
    ) -> tuple[Tree, Tree]:
        """Runs the network in training mode.

        Args:
            params: weights, with respect to which a loss may be differentiated.
            batch_stats: running statistics before this batch.
            *inputs: positional arguments of the module.
            **options: of `Module.apply`, and keyword arguments of the module.

        Returns:
            Outputs, and running statistics after this batch (without BatchNorm: `batch_stats`).
        """
        variables = {"params": params, "batch_stats": batch_stats}
        outputs, new = self.module.apply(
            variables, *inputs, train=True, mutable=["batch_stats"], **options
        )
        return outputs, new.get("batch_stats", batch_stats)

    def apply_gradients(self, state: NetworkState, grads: Tree, batch_stats: Tree) -> NetworkState:
        """Returns the state after one optimizer step."""
        assert self.optimizer is not None  # a frozen network has no gradients
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        return NetworkState(optax.apply_updates(state.params, updates), batch_stats, opt_state)


class Method:
    """A paper's algorithm. Has a config and modules, never an array.

    Subclasses define `networks`, `best_metric` and the functions that raise NotImplementedError.

    Attributes:
        config: the run's config.
        model_cards: of the checkpoints of the frozen networks, by network; {} at inference.
        networks: name -> Network.
        best_metric: validation metric of the best checkpoint, and whether "max" or "min" is best.
        switches: host scalars at 0 of which `train_step` has fewer terms; each set of terms is a
            program of its own.
        terms_off: those of `switches` that are 0 in the programs of this method.
        frozen_inference: frozen network -> a class of `methods.inference`; networks of other
            methods than the config's fit too if they are of that class.
        sample_titles: of the columns of `sample_images`; the last one spans those without a title.
    """

    networks: Mapping[str, Network]
    sample_titles: Sequence[str] = ()
    frozen_inference: ClassVar[Mapping[str, type]] = {}
    best_metric: tuple[str, Literal["max", "min"]]
    switches: tuple[str, ...] = ()
    terms_off: frozenset[str] = frozenset()

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        self.config, self.model_cards = config, model_cards

    @property
    def trainable(self) -> tuple[str, ...]:
        """Names of the networks that are trained: those with an optimizer."""
        return tuple(name for name, network in self.networks.items() if network.optimizer)

    def without_terms(self, names: frozenset[str]) -> Self:
        """Returns a copy whose `train_step` leaves out the terms of these host scalars, all 0."""
        method = copy.copy(self)
        method.terms_off = names
        return method

    def require_image_size(self, network_name: str, size: int, suggested_crop: str) -> None:
        """Raises an error unless the crop has the size that a network takes.

        Args:
            network_name: of the network; for the message.
            size: rows and columns, pixels.
            suggested_crop: a crop of that size.

        Raises:
            ValueError: `config.data.crop` has another size.
        """
        crop_name = self.config.data.crop
        crop = CROP_SPECS[crop_name]
        if (crop.height, crop.width) != (size, size):
            raise ValueError(
                f"config.data.crop={crop_name} has {crop.height}x{crop.width} pixels; "
                f"{network_name} takes {size}x{size}: set --config.data.crop={suggested_crop}"
            )

    def validate_config(self) -> None:
        """Raises ValueError, which says what to do, for a config that cannot work."""

    def data_source(self, split: str) -> "DataSource | None":
        """Returns the items that examples are made of; None: clips of the data set."""
        del split
        return None

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns a training example of a clip: NumPy arrays, of shapes that `collate` joins."""
        raise NotImplementedError

    def make_validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns a validation example of a clip; `rng` is seeded alike in all validations."""
        return self.make_example(clip, rng)

    def collate(self, examples: Sequence[Arrays], process_count: int = 1) -> Arrays:
        """Returns a batch of examples along a new leading axis, of one of few shapes.

        Args:
            examples: of `make_example` or `make_validation_example`.
            process_count: number of hosts; the batches of several have one shape alone. A worker
                process, which makes batches too, can't ask JAX for the number.
        """
        del process_count
        return stack(examples)

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """Returns the initial state of the trained networks. Traced."""
        raise NotImplementedError

    def init_from_frozen(self, state: State) -> State:
        """Returns the state before the first step of a new run, all weights read. Not traced."""
        return state

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Runs one step of every trained network -> (state, scalars). Traced."""
        raise NotImplementedError

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes validation metrics of a batch, each (n, ...). Traced."""
        raise NotImplementedError

    def aggregate_metrics(self, metrics: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Reduces metrics of all validation examples, (examples, ...) each, to scalars."""
        return {name: float(np.mean(values)) for name, values in metrics.items()}

    def on_validation_end(
        self, host_scalars: Mapping[str, float], metrics: Mapping[str, float]
    ) -> dict:
        """Returns the host scalars after a validation."""
        del metrics
        return dict(host_scalars)

    def sample_images(self, state: State, batch: Arrays) -> Sequence[jax.Array]:
        """Returns columns of the image grid, each (n, height, width, 3), BGR in [0, 1]. Traced."""
        del state, batch
        return ()


def init_train_state(
    key: jax.Array, networks: Mapping[str, NetworkState], **host_scalars: float
) -> State:
    """Returns a state at step 0."""
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key,
        networks=dict(networks),
        host_scalars={
            name: jnp.asarray(value, jnp.float32) for name, value in host_scalars.items()
        },
    )


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Returns Adam with the decay, clipping and schedule that a config describes.

    Args:
        config: `learning_rate` and all of `methods.fields.OPTIMIZER`.

    Raises:
        ValueError: the learning rate should fall to 0 before its warm-up ends.
    """
    learning_rate = config.learning_rate
    if 0 < config.lr_decay_steps <= config.warmup_steps:
        raise ValueError(
            f"optimizer.lr_decay_steps={config.lr_decay_steps} is not above "
            f"optimizer.warmup_steps={config.warmup_steps}; give a longer schedule, or set a "
            "shorter warm-up, e.g. --config.optimizer.warmup_steps=0"
        )
    if config.lr_decay_steps:
        learning_rate = optax.warmup_cosine_decay_schedule(
            0.0, learning_rate, config.warmup_steps, config.lr_decay_steps
        )
    elif config.lr_decay_every:
        learning_rate = optax.exponential_decay(
            learning_rate,
            config.lr_decay_every,
            config.lr_decay,
            config.lr_decay_from,
            staircase=True,
        )
    elif config.warmup_steps:
        learning_rate = optax.linear_schedule(0.0, learning_rate, config.warmup_steps)
    transforms = []
    if config.clip_norm:
        transforms.append(optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay_l2:  # as PyTorch's Adam decays weights
        transforms.append(optax.add_decayed_weights(config.weight_decay_l2))
    transforms.append(
        optax.adamw(
            learning_rate,
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        )
    )
    optimizer = optax.chain(*transforms)
    if config.accumulate_steps > 1:
        steps = optax.MultiSteps(optimizer, config.accumulate_steps)
        optimizer = steps.gradient_transformation()
    return optimizer


def global_norm(tree: Tree) -> jax.Array:
    """Computes the L2 norm of all leaves together, summed in float32."""
    return jnp.sqrt(sum(jnp.sum(x.astype(jnp.float32) ** 2) for x in jax.tree.leaves(tree)))
