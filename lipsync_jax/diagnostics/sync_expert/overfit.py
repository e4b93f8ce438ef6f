"""Overfits one batch with the config's training, with statistics of every layer."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from lipsync_jax.data.clip import Clip
from lipsync_jax.methods.base import Arrays, Network, State
from lipsync_jax.methods.common.sync_expert_method import chance_loss
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.training import loop, sharding
from lipsync_jax.types import Json, Tree

NUM_CLIPS, WINDOWS_PER_CLIP = 8, 2  # of a batch
MAX_STEPS = 30

_WARMUP_STEPS = 5  # so that a rate that needs warm-up is not refused


@dataclasses.dataclass(frozen=True)
class OverfitResult:
    """The result of some steps on one batch.

    Attributes:
        losses: of each step.
        chance_loss: the loss of random predictions.
        step_size: median over kernels of the first step's change over the kernel's norm, at the
            full rate.
        unchanged: kernels that no step changed.
        without_gradient: kernels without a gradient in any step.
        kernels: number of kernels.
        grad_norm: of the first step.
        cosine_std: standard deviation of the batch's cosines at the last step.
    """

    losses: Sequence[float]
    chance_loss: float
    step_size: float
    unchanged: Sequence[str]
    without_gradient: Sequence[str]
    kernels: int
    grad_norm: float
    cosine_std: float

    @property
    def finite(self) -> bool:
        """Returns whether every loss is finite."""
        return all(map(math.isfinite, self.losses))

    @property
    def converged(self) -> bool:
        """Returns whether the loss fell below half of the chance loss."""
        return self.finite and self.losses[-1] < self.chance_loss / 2

    @property
    def outcome(self) -> str:
        """Describes the course of the loss."""
        steps = f"{len(self.losses)} step{'s' * (len(self.losses) > 1)}"
        if not self.finite:
            return f"the loss is not finite after {steps}"
        return f"the loss goes from {self.losses[0]:.2f} to {self.losses[-1]:.2f} in {steps}"

    @property
    def metrics(self) -> dict[str, Json]:
        """Returns JSON values."""
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        return {**dataclasses.asdict(self), "losses": losses, "converged": self.converged}


def strip_regularization(
    config: ml_collections.ConfigDict, windows: int
) -> ml_collections.ConfigDict:
    """Returns the config without augmentation, dropout, warm-up and decay, which hide faults."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.windows_per_clip = windows
        config.augment_magnitude = config.model.dropout = 0.0
        config.optimizer.update(
            {"warmup_steps": 0, "lr_decay_steps": 0, "lr_decay_every": 0, "accumulate_steps": 1}
        )
    return config


class OverfitTest:
    """The config's training, compiled once for batches of one small shape.

    Args:
        config: of the sync expert.
    """

    def __init__(self, config: ml_collections.ConfigDict) -> None:
        self.method = loop.load_method(strip_regularization(config, WINDOWS_PER_CLIP))
        self._mesh = sharding.make_mesh(jax.devices()[:1])
        self._seed = config.seed
        self.trainable = self.method.networks["expert"].optimizer is not None
        if self.trainable:
            expert = self.method.networks["expert"]
            self.method.networks = {
                "expert": Network(expert.module, _recording_optimizer(expert.optimizer))
            }
        self._chance_loss = chance_loss(config.objective, NUM_CLIPS, WINDOWS_PER_CLIP)
        # For few steps, quick compilation matters more than speed.
        self._init = jit(self.method.init, optimize=False)
        self._update = jit(self._step, optimize=False, donate_argnums=0)

    def overfit(self, clips: Sequence[Clip], factor: float = 1.0) -> OverfitResult:
        """Trains from initial weights on one batch until it converges, for 30 steps at most.

        Args:
            clips: one example each; repeated if there are too few.
            factor: multiplies the config's learning rate.

        Raises:
            ValueError: no example can be made of a clip; names the clip.
        """
        examples = [self._example(clips[n % len(clips)], n) for n in range(NUM_CLIPS)]
        batch = sharding.shard_batch(self.method.collate(examples), self._mesh)
        state = self._init(sharding.replicate(jax.random.key(self._seed), self._mesh), batch)
        losses: list[float] = []
        first_metrics: Arrays = {}
        gradients: list[Arrays] = []
        updates: list[Arrays] = []
        for step in range(MAX_STEPS):
            state, step_metrics = self._update(
                state, batch, np.float32(factor * min(1, (step + 1) / _WARMUP_STEPS))
            )
            step_metrics = jax.device_get(step_metrics)
            first_metrics = first_metrics or step_metrics
            losses.append(float(step_metrics["loss"]))
            gradients.append(step_metrics["gradients"])
            updates.append(step_metrics["updates"])
            weights_changed = any(max(each.values()) > 0 for each in updates)
            can_stop = losses[-1] < self._chance_loss / 2 or not weights_changed
            if not math.isfinite(losses[-1]) or (can_stop and step + 1 >= _WARMUP_STEPS):
                break
        sizes = [
            first_metrics["updates"][k] / max(first_metrics["weights"][k], 1e-12)
            for k in first_metrics["weights"]
        ]
        return OverfitResult(
            losses=losses,
            chance_loss=self._chance_loss,
            step_size=float(np.median(sizes)) * _WARMUP_STEPS,
            unchanged=[
                name for name in first_metrics["updates"] if not any(u[name] for u in updates)
            ],
            without_gradient=[
                name for name in first_metrics["updates"] if not any(g[name] for g in gradients)
            ],
            kernels=len(sizes),
            grad_norm=float(first_metrics["grad_norm"]),
            cosine_std=float(step_metrics["cosine_std"]),
        )

    def _example(self, clip: Clip, number: int) -> Arrays:
        try:
            return self.method.make_example(clip, np.random.default_rng(number))
        except ValueError as error:
            raise ValueError(f"no example can be made of clip {clip.clip_id}: {error}") from error

    def _step(self, state: State, batch: Arrays, rate: jax.Array) -> tuple[State, Arrays]:
        network = state.networks["expert"]
        weights = _kernel_norms(network.params)
        network = network.replace(opt_state={**network.opt_state, "rate": rate})
        key = jax.random.fold_in(state.key, state.step)
        state, scalars = self.method.train_step(
            state.replace(networks={"expert": network}), batch, key
        )
        recorded = state.networks["expert"].opt_state
        names = ("loss", "grad_norm", "cosine_std")
        return state, {
            **{name: scalars[name] for name in names},
            "weights": weights,
            "gradients": recorded["gradients"],
            "updates": recorded["updates"],
        }


def _recording_optimizer(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wraps an optimizer; its state has a factor of the rate, and norms of every kernel."""

    def init(params: Tree) -> Arrays:
        norms = _kernel_norms(params)
        rate = jnp.ones((), jnp.float32)
        return {
            "inner_state": optimizer.init(params),
            "rate": rate,
            "gradients": norms,
            "updates": norms,
        }

    def update(gradients: Tree, state: Arrays, params: Tree = None) -> tuple[Tree, Arrays]:
        updates, inner_state = optimizer.update(gradients, state["inner_state"], params)
        updates = jax.tree.map(lambda u: (u * state["rate"]).astype(u.dtype), updates)
        return updates, {
            "inner_state": inner_state,
            "rate": state["rate"],
            "gradients": _kernel_norms(gradients),
            "updates": _kernel_norms(updates),
        }

    return optax.GradientTransformation(init, update)


def _kernel_norms(tree: Tree) -> dict[str, jax.Array]:
    """Computes the L2 norm of every array of two or more dimensions, by its path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): jnp.linalg.norm(
            leaf.astype(jnp.float32).ravel()
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if leaf.ndim > 1
    }
