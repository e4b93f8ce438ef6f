"""The shape every method has, and the state its training carries."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import struct

from lipsync_jax.data.clip import GEOMETRIES, Clip
from lipsync_jax.data.collate import stack
from lipsync_jax.data.loader import Source
from lipsync_jax.types import Argument, Cards, Entry, Tree, Variables

Arrays = dict[str, Entry]


@struct.dataclass
class PlayerState:
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
            """The same with other values of some fields."""

    @property
    def variables(self) -> dict[str, Tree]:
        """What `Module.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@struct.dataclass
class State:
    """Everything that training changes; saved whole, so that a resumed run is the same run.

    Attributes:
        step: int32, updates done.
        key: root PRNG key; a step's key is `fold_in(key, step)`.
        players: name -> variables.
        schedule: name -> float32 scalar that steers training, e.g. the sync weight.
    """

    step: jax.Array
    key: jax.Array
    players: dict[str, PlayerState]
    schedule: dict[str, jax.Array]

    if TYPE_CHECKING:  # struct.dataclass adds this method

        def replace(self, **changes: Argument) -> Self:
            """The same with other values of some fields."""

    def replace_players(self, **players: PlayerState) -> "State":
        """The next step's state, with some players replaced."""
        return self.replace(step=self.step + 1, players={**self.players, **players})


@dataclasses.dataclass(frozen=True)
class Player:
    """A network and how it learns; without an optimiser it is frozen and kept in eval mode."""

    module: Any  # an nn.Module: what `apply` and `init` return is known to its method alone
    optimiser: optax.GradientTransformation | None = None

    def start(self, variables: Variables) -> PlayerState:
        """State of freshly made variables."""
        params, stats = variables["params"], variables.get("batch_stats", {})
        return PlayerState(params, stats, self.optimiser.init(params) if self.optimiser else ())

    def train(
        self, params: Tree, batch_stats: Tree, *inputs: Argument, **options: Argument
    ) -> tuple[Tree, Tree]:
        """Runs the network in training mode.

        Args:
            params: weights, which a loss may be differentiated by.
            batch_stats: running statistics before this batch.
            *inputs: of the network.
            **options: of `Module.apply`, and further arguments of the network.

        Returns:
            Its outputs, and the running statistics after this batch: those given where it has none.
        """
        variables = {"params": params, "batch_stats": batch_stats}
        outputs, new = self.module.apply(
            variables, *inputs, train=True, mutable=["batch_stats"], **options
        )
        return outputs, new.get("batch_stats", batch_stats)

    def learn(self, state: PlayerState, grads: Tree, batch_stats: Tree) -> PlayerState:
        """One optimiser step."""
        assert self.optimiser is not None  # a frozen network does not learn
        updates, opt_state = self.optimiser.update(grads, state.opt_state, state.params)
        return PlayerState(optax.apply_updates(state.params, updates), batch_stats, opt_state)


class Method:
    """A paper's algorithm. Holds its config and modules, never an array.

    Subclasses fill in `players`, `best` and the functions that raise NotImplementedError.

    Attributes:
        config: the run's config.
        cards: the cards of the frozen networks' checkpoints, by player; {} at inference.
        players: name -> Player.
        best: (validation scalar, +1 when larger is better or -1), which the best checkpoint has.
    """

    players: Mapping[str, Player]
    best: tuple[str, int]

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        self.config, self.cards = config, cards

    def check_pictures(self, who: str, side: int, choose: str) -> None:
        """Refuses data whose pictures are not those that a network of one size draws.

        Args:
            who: draws them, for the message.
            side: rows and columns, pixels.
            choose: the geometry that has them.

        Raises:
            ValueError: `config.data.geometry` has others.
        """
        name = self.config.data.geometry
        geometry = GEOMETRIES[name]
        if (geometry.height, geometry.width) != (side, side):
            raise ValueError(
                f"config.data.geometry={name} has pictures of {geometry.height}x{geometry.width}; "
                f"{who} draws {side}x{side}, choose {choose}"
            )

    def check(self) -> None:
        """Refuses to start on a config that can't work: raises ValueError, says what to do."""

    def source(self, split: str) -> Source | None:
        """What examples are made of in place of clips; None: the data set's clips."""
        del split
        return None

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """One training example of a clip: numpy arrays, of shapes that `collate` can join."""
        raise NotImplementedError

    def validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """The same for validation; `rng` is the same in every pass."""
        return self.example(clip, rng)

    def collate(self, examples: Sequence[Arrays]) -> Arrays:
        """Examples -> a batch with them as its leading axis, of one of few shapes."""
        return stack(examples)

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """A fresh state of the players that learn; traced."""
        raise NotImplementedError

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step of every player -> (state, scalars). Traced."""
        raise NotImplementedError

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Validation figures of a batch, each with the batch as its leading axis. Traced."""
        raise NotImplementedError

    def summarise(self, measured: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Figures of all validation examples, (examples, ...) each -> scalars."""
        return {name: float(np.mean(values)) for name, values in measured.items()}

    def steer(self, schedule: Mapping[str, float], scalars: Mapping[str, float]) -> dict:
        """The schedule after a validation."""
        del scalars
        return dict(schedule)

    def pictures(self, state: State, batch: Arrays) -> Sequence[jax.Array]:
        """Columns of a sample sheet, each (n, height, width, 3) BGR in [0, 1]. Traced."""
        del state, batch
        return ()


def fresh_state(key: jax.Array, players: Mapping[str, PlayerState], **schedule: float) -> State:
    """A state at step 0."""
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key,
        players=dict(players),
        schedule={name: jnp.asarray(value, jnp.float32) for name, value in schedule.items()},
    )


def adam(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam as a config describes it.

    Args:
        config: `learning_rate` and all of `methods.fields.OPTIMISER`, see there.
    """
    rate = config.learning_rate
    if config.decay_steps:
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, config.warmup, config.decay_steps)
    elif config.decay_every:
        rate = optax.exponential_decay(
            rate, config.decay_every, config.decay, config.decay_from, staircase=True
        )
    elif config.warmup:
        rate = optax.linear_schedule(0.0, rate, config.warmup)
    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.l2:  # as PyTorch's Adam decays weights
        parts.append(optax.add_decayed_weights(config.l2))
    parts.append(
        optax.adamw(
            rate,
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        )
    )
    return optax.chain(*parts)


def global_norm(tree: Tree) -> jax.Array:
    """L2 norm of all leaves together, summed in float32."""
    return jnp.sqrt(sum(jnp.sum(x.astype(jnp.float32) ** 2) for x in jax.tree.leaves(tree)))
