"""Inputs, losses and training steps of the discriminators of temporal GANs.

Every discriminator minimises the weighted binary cross-entropy of its batches (real, mismatched,
generated); the generator minimises -log D of its own frames (the non-saturating loss of Goodfellow
et al. 2014, section 3). Batch statistics are those of one batch at a time.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lipsync_jax.methods.base import Network, NetworkState, global_norm
from lipsync_jax.methods.vougioukas.model import SYNC_WINDOW
from lipsync_jax.types import Tree

# A ClipBatch, or the tuple that another method has in its place.
AnyClipBatch = Any
# Name -> (weight in the loss, whether the label is "real", inputs of the network).
LabelledBatches = dict[str, tuple[float, bool, tuple[jax.Array, ...]]]


class ClipBatch(NamedTuple):
    """Clips as inputs of networks.

    Attributes:
        reference: reference images (n, height, width, 3), RGB in [-1, 1].
        frames: (n, time, height, width, 3), RGB in [-1, 1].
        audio: (n, time, ...), a window of audio a frame.
        mask: bool (n, time), False where a clip is padded after its end.
    """

    reference: jax.Array
    frames: jax.Array
    audio: jax.Array
    mask: jax.Array

    @property
    def lengths(self) -> jax.Array:
        """Number of frames of each clip, (n,)."""
        return self.mask.sum(axis=1)


class DiscriminatorLoss:
    """A discriminator of whole clips with their audio.

    Args:
        network: the network and its optimizer.
        weight: of the adversarial term in the loss of the generator.
    """

    apply_method = "__call__"  # the method of the network that returns logits

    def __init__(self, network: Network, weight: float) -> None:
        self.network, self.weight = network, weight

    def discriminator_inputs(self, clips: AnyClipBatch, key: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the inputs of the network; equal keys and lengths give equal frame indices."""
        del key
        return clips.frames, clips.audio, clips.mask

    def real_and_fake_batches(
        self, real: AnyClipBatch, generated: AnyClipBatch, key: jax.Array
    ) -> LabelledBatches:
        """Returns name -> (weight in the loss, whether the label is "real", network inputs)."""
        return {
            "real": (1.0, True, self.discriminator_inputs(real, key)),
            "fake": (1.0, False, self.discriminator_inputs(generated, key)),
        }

    def discriminator_step(
        self, before: NetworkState, real: AnyClipBatch, generated: AnyClipBatch, key: jax.Array
    ) -> tuple[NetworkState, dict[str, jax.Array]]:
        """Takes one step; returns the new state and metrics: `loss_...` and `grad_norm`."""
        batches = self.real_and_fake_batches(real, generated, key)

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            value: Any = 0.0  # an array from the first batch on
            terms: dict[str, jax.Array] = {}
            stats = before.batch_stats
            for name, (weight, is_real, inputs) in batches.items():
                logits, stats = self._apply_discriminator(params, stats, inputs)
                terms[f"loss_{name}"] = sigmoid_binary_cross_entropy(logits, is_real)
                value += weight * terms[f"loss_{name}"]
            return value, (terms, stats)

        grads, (terms, stats) = jax.grad(loss, has_aux=True)(before.params)
        terms["grad_norm"] = global_norm(grads)
        return self.network.apply_gradients(before, grads, stats), terms

    def generator_loss(
        self, state: NetworkState, generated: AnyClipBatch, key: jax.Array
    ) -> jax.Array:
        """Computes -log D of generated clips, with batch statistics that are not kept."""
        logits, _ = self._apply_discriminator(
            state.params, state.batch_stats, self.discriminator_inputs(generated, key)
        )
        return sigmoid_binary_cross_entropy(logits, True)  # deviation T3

    def _apply_discriminator(
        self, params: Tree, batch_stats: Tree, inputs: tuple[jax.Array, ...]
    ) -> tuple[jax.Array, Tree]:
        return self.network.apply_train(params, batch_stats, *inputs, method=self.apply_method)


class MotionDiscriminatorLoss(DiscriminatorLoss):
    """A discriminator of whole clips without their audio."""

    def discriminator_inputs(self, clips: ClipBatch, key: jax.Array) -> tuple[jax.Array, ...]:
        """See DiscriminatorLoss."""
        del key
        return clips.frames, clips.mask


class FrameDiscriminatorLoss(DiscriminatorLoss):
    """A discriminator of single frames, conditioned on the reference image.

    Args:
        network: see DiscriminatorLoss.
        weight: see DiscriminatorLoss.
        frames_per_clip: frames of each clip, sampled uniformly.
    """

    def __init__(self, network: Network, weight: float, frames_per_clip: int = 1) -> None:
        super().__init__(network, weight)
        self.frames_per_clip = frames_per_clip

    def discriminator_inputs(self, clips: ClipBatch, key: jax.Array) -> tuple[jax.Array, ...]:
        """See DiscriminatorLoss."""
        times = _sample_times(key, clips.lengths, self.frames_per_clip)
        reference = jnp.repeat(clips.reference, self.frames_per_clip, axis=0)
        return _gather_frames(clips.frames, times), reference


class SyncDiscriminatorLoss(FrameDiscriminatorLoss):
    """A discriminator of the mouth in five frames with their audio (Vougioukas et al. 2020).

    Positives are real frames with their audio; negatives, with half of the weight each, are real
    frames with mismatched audio and generated frames. Mismatched audio is, with probability 1/2,
    that of the same clip at least five frames away, else that of another clip.
    """

    def discriminator_inputs(self, clips: ClipBatch, key: jax.Array) -> tuple[jax.Array, ...]:
        """See DiscriminatorLoss."""
        starts = self._sample_starts(clips, key)
        return self._crop_mouths(clips.frames, starts), _gather_audio(clips.audio, starts)

    def real_and_fake_batches(
        self, real: ClipBatch, generated: ClipBatch, key: jax.Array
    ) -> LabelledBatches:
        """See DiscriminatorLoss."""
        starts = self._sample_starts(real, key)
        mismatched_audio = self._mismatched_audio(real, starts, jax.random.fold_in(key, 1))
        return {
            "real": (1.0, True, self.discriminator_inputs(real, key)),
            "mismatched": (0.5, False, (self._crop_mouths(real.frames, starts), mismatched_audio)),
            "fake": (0.5, False, self.discriminator_inputs(generated, key)),
        }

    def _sample_starts(self, clips: ClipBatch, key: jax.Array) -> jax.Array:
        return _sample_times(key, clips.lengths - (SYNC_WINDOW - 1), self.frames_per_clip)

    def _crop_mouths(self, frames: jax.Array, starts: jax.Array) -> jax.Array:
        n, _, height, width, channels = frames.shape
        lower = frames[:, :, height // 2 :]
        times = starts[..., None] + jnp.arange(SYNC_WINDOW)
        gathered = _gather_frames(lower, times.reshape(n, -1))
        return gathered.reshape(-1, SYNC_WINDOW, height - height // 2, width, channels)

    def _mismatched_audio(self, clips: ClipBatch, starts: jax.Array, key: jax.Array) -> jax.Array:
        same_key, other_key, coin = jax.random.split(key, 3)
        num_starts = clips.lengths[:, None, None] - (SYNC_WINDOW - 1)
        candidates = jnp.arange(clips.mask.shape[1])
        is_far = (candidates < num_starts) & (
            jnp.abs(candidates - starts[..., None]) >= SYNC_WINDOW
        )
        same_clip = jax.random.categorical(same_key, jnp.where(is_far, 0.0, -jnp.inf))
        other_lengths = jnp.roll(clips.lengths, 1)
        other_clip = _sample_times(
            other_key, other_lengths - (SYNC_WINDOW - 1), self.frames_per_clip
        )
        # Short clips have no window that is far enough away.
        use_same_clip = jax.random.bernoulli(coin, shape=starts.shape) & is_far.any(axis=-1)
        return jnp.where(
            use_same_clip.reshape(-1, 1),
            _gather_audio(clips.audio, same_clip),
            _gather_audio(jnp.roll(clips.audio, 1, axis=0), other_clip),
        )


def sigmoid_binary_cross_entropy(logits: jax.Array, is_real: bool) -> jax.Array:
    """Computes the mean binary cross-entropy of logits that share one label."""
    return jnp.mean(jax.nn.softplus(-logits if is_real else logits))


def _sample_times(key: jax.Array, lengths: jax.Array, frames_per_clip: int) -> jax.Array:
    """Samples (n, frames_per_clip) uniformly in 0..lengths - 1, independent of the padding."""
    fraction = jax.random.uniform(key, (len(lengths), frames_per_clip))
    return jnp.minimum((fraction * lengths[:, None]).astype(jnp.int32), lengths[:, None] - 1)


def _gather_frames(x: jax.Array, times: jax.Array) -> jax.Array:
    """Gathers times (n, count) of x (n, time, ...): (n * count, ...)."""
    gathered = jax.vmap(lambda clip, indices: clip[indices])(x, times)
    return gathered.reshape(-1, *x.shape[2:])


def _gather_audio(audio: jax.Array, starts: jax.Array) -> jax.Array:
    """Gathers the audio of five frames: the window of the middle frame has that length."""
    return _gather_frames(audio, starts + SYNC_WINDOW // 2)
