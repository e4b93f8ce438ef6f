"""Some steps of the config's training on one batch, watched layer by layer."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from lipsync_jax.data.clip import Clip
from lipsync_jax.methods.base import Arrays, Player, State
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.training import loop, sharding
from lipsync_jax.types import Json, Tree

EXAMPLES, WINDOWS = 8, 2  # clips of a batch, and windows of each: enough to be told apart
STEPS = 30

_RAMP = 5  # steps until the whole rate, so that a config with warm-up is not refused


@dataclasses.dataclass(frozen=True)
class Trial:
    """Some steps on one batch.

    Attributes:
        losses: of each step.
        chance: the loss of an expert that guesses.
        step_size: median over kernels of the first step's change over the kernel's size, at the
            whole rate.
        still: kernels that no step changed.
        unreached: kernels that no step had a gradient for.
        kernels: how many there are.
        gradient_norm: of the first step.
        spread: standard deviation of the batch's cosines at the last step.
    """

    losses: Sequence[float]
    chance: float
    step_size: float
    still: Sequence[str]
    unreached: Sequence[str]
    kernels: int
    gradient_norm: float
    spread: float

    @property
    def finite(self) -> bool:
        """Whether every loss was a number."""
        return all(map(math.isfinite, self.losses))

    @property
    def learnt(self) -> bool:
        """Whether the loss fell to half of what guessing gives."""
        return self.finite and self.losses[-1] < self.chance / 2

    @property
    def outcome(self) -> str:
        """What happened to the loss, as words."""
        steps = f"{len(self.losses)} step{'s' * (len(self.losses) > 1)}"
        if not self.finite:
            return f"the loss is not finite after {steps}"
        return f"the loss goes from {self.losses[0]:.2f} to {self.losses[-1]:.2f} in {steps}"

    @property
    def figures(self) -> dict[str, Json]:
        """JSON values."""
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        return {**dataclasses.asdict(self), "losses": losses, "learnt": self.learnt}


def bare(config: ml_collections.ConfigDict, windows: int) -> ml_collections.ConfigDict:
    """The config without what hides a fault: augmentation, dropout, warm-up and decay."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.windows_per_clip = windows
        config.augment = config.model.dropout = 0.0
        config.optimiser.update({"warmup": 0, "decay_steps": 0, "decay_every": 0})
    return config


class Bench:
    """The config's training, compiled once for batches of one small shape.

    Args:
        config: of the sync expert.
    """

    def __init__(self, config: ml_collections.ConfigDict) -> None:
        self.method = loop.load_method(bare(config, WINDOWS))
        self._mesh = sharding.make_mesh(jax.devices()[:1])
        self._seed = config.seed
        self.learns = self.method.players["expert"].optimiser is not None
        if self.learns:
            expert = self.method.players["expert"]
            self.method.players = {"expert": Player(expert.module, _watched(expert.optimiser))}
        self._chance = math.log(2 if config.loss == "cosine_bce" else EXAMPLES * WINDOWS)
        # Few steps: compiling quickly is worth more than running quickly.
        self._init = jit(self.method.init, once=True)
        self._update = jit(self._step, once=True, donate_argnums=0)

    def overfit(self, clips: Sequence[Clip], factor: float = 1.0) -> Trial:
        """Trains afresh on one batch of these clips until it is learnt, 30 steps at most.

        Args:
            clips: one example each; taken again from the first if there are too few.
            factor: multiplies the config's learning rate.

        Raises:
            ValueError: no example can be made of a clip; names it.
        """
        examples = [self._example(clips[n % len(clips)], n) for n in range(EXAMPLES)]
        batch = sharding.to_devices(self.method.collate(examples), self._mesh)
        state = self._init(sharding.replicate(jax.random.key(self._seed), self._mesh), batch)
        losses: list[float] = []
        first: Arrays = {}
        gradients: list[Arrays] = []
        updates: list[Arrays] = []
        for step in range(STEPS):
            state, seen = self._update(
                state, batch, np.float32(factor * min(1, (step + 1) / _RAMP))
            )
            seen = jax.device_get(seen)
            first = first or seen
            losses.append(float(seen["loss"]))
            gradients.append(seen["gradients"])
            updates.append(seen["updates"])
            moved = any(max(each.values()) > 0 for each in updates)
            enough = losses[-1] < self._chance / 2 or not moved
            if not math.isfinite(losses[-1]) or (enough and step + 1 >= _RAMP):
                break
        sizes = [first["updates"][k] / max(first["weights"][k], 1e-12) for k in first["weights"]]
        return Trial(
            losses=losses,
            chance=self._chance,
            step_size=float(np.median(sizes)) * _RAMP,
            still=[name for name in first["updates"] if not any(u[name] for u in updates)],
            unreached=[name for name in first["updates"] if not any(g[name] for g in gradients)],
            kernels=len(sizes),
            gradient_norm=float(first["gradient_norm"]),
            spread=float(seen["cosine_spread"]),
        )

    def _example(self, clip: Clip, number: int) -> Arrays:
        try:
            return self.method.example(clip, np.random.default_rng(number))
        except ValueError as error:
            raise ValueError(f"no example can be made of clip {clip.clip_id}: {error}") from error

    def _step(self, state: State, batch: Arrays, rate: jax.Array) -> tuple[State, Arrays]:
        player = state.players["expert"]
        weights = _kernel_norms(player.params)
        player = player.replace(opt_state={**player.opt_state, "rate": rate})
        key = jax.random.fold_in(state.key, state.step)
        state, scalars = self.method.update(state.replace(players={"expert": player}), batch, key)
        watched = state.players["expert"].opt_state
        names = ("loss", "gradient_norm", "cosine_spread")
        return state, {
            **{name: scalars[name] for name in names},
            "weights": weights,
            "gradients": watched["gradients"],
            "updates": watched["updates"],
        }


def _watched(optimiser: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser with its rate in the state, and norms of what goes in and comes out."""

    def init(params: Tree) -> Arrays:
        norms = _kernel_norms(params)
        rate = jnp.ones((), jnp.float32)
        return {"own": optimiser.init(params), "rate": rate, "gradients": norms, "updates": norms}

    def update(gradients: Tree, state: Arrays, params: Tree = None) -> tuple[Tree, Arrays]:
        updates, own = optimiser.update(gradients, state["own"], params)
        updates = jax.tree.map(lambda u: (u * state["rate"]).astype(u.dtype), updates)
        return updates, {
            "own": own,
            "rate": state["rate"],
            "gradients": _kernel_norms(gradients),
            "updates": _kernel_norms(updates),
        }

    return optax.GradientTransformation(init, update)


def _kernel_norms(tree: Tree) -> dict[str, jax.Array]:
    """L2 norm of every array of two dimensions or more, by its path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): jnp.linalg.norm(
            leaf.astype(jnp.float32).ravel()
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if leaf.ndim > 1
    }
