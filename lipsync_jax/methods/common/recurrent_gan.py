"""Temporal GANs: reference image and audio -> talking face, with several discriminators.

Clips of any length train together: a batch is padded to one of `config.length_buckets`, and padding
enters no loss, no batch statistic and no recurrent state. Subclasses add the audio features and the
discriminators of a paper (`methods.vougioukas`, `methods.jain`).
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax.data.clip import CROP_SPECS, Clip, decode_frames
from lipsync_jax.data.collate import pad_and_stack
from lipsync_jax.faces.regions import MOUTH_ALIGNED, crop_mouth
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Network,
    NetworkState,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.common.clip_examples import image_grid, normalize_to_pm1
from lipsync_jax.methods.common.discriminators import ClipBatch, DiscriminatorLoss
from lipsync_jax.methods.common.validation_metrics import (
    masked_mean_per_clip,
    motion_ratio_and_correlation,
    psnr_y,
    temporal_mean,
)
from lipsync_jax.methods.vougioukas.model import SYNC_WINDOW
from lipsync_jax.types import Argument, ModelCards, Tree, Variables

NUM_SAMPLE_CLIPS, NUM_SAMPLE_FRAMES = 3, 15
REFERENCE_FRAMES = ("segment", "clip")


class RecurrentGAN(Method):
    """Networks: `generator`, and `<name>_discriminator` for each entry of `config.discriminators`.

    Subclasses define `discriminator_registry` and `audio_windows`.

    Attributes:
        discriminator_losses: network name -> loss and inputs of the discriminator.
        discriminator_registry: name in config.discriminators -> classes of its network and loss.
    """

    best_metric = ("psnr_y_lower", "max")
    sample_titles = ("reference", "each clip: real above generated, time from left to right")
    discriminator_registry: ClassVar[Mapping[str, tuple[type[nn.Module], type[DiscriminatorLoss]]]]

    def __init__(
        self, config: ml_collections.ConfigDict, model_cards: ModelCards, generator: nn.Module
    ) -> None:
        super().__init__(config, model_cards)
        self.networks = {"generator": Network(generator, make_optimizer(config.optimizer))}
        if config.adversarial_start_corr > 0:
            self.switches = ("adversarial_active",)
        self.discriminator_losses: dict[str, DiscriminatorLoss] = {}
        for name, loss_config in config.discriminators.items():
            self.discriminator_losses[f"{name}_discriminator"] = self._make_discriminator_loss(
                name, loss_config
            )
        self.networks |= {name: loss.network for name, loss in self.discriminator_losses.items()}

    def audio_windows(self, clip: Clip, frames: range) -> np.ndarray:
        """Returns the audio features of frames, counted at `config.frame_rate`: (frames, ...)."""
        raise NotImplementedError

    def make_discriminator(
        self, network: type[nn.Module], kwargs: Mapping[str, Argument]
    ) -> nn.Module:
        """Returns a network of `discriminator_registry` with the fields that the config gives."""
        return network(dtype=jnp.dtype(self.config.precision), **kwargs)

    def validate_config(self) -> None:
        """Raises ValueError where sizes of images or lengths of clips do not fit together."""
        crop = CROP_SPECS[self.config.data.crop]
        size = tuple(self.config.model.image_size)
        if size != (crop.height, crop.width):
            raise ValueError(
                f"config.model.image_size={size} (height, width) differs from config.data."
                f"crop={self.config.data.crop}, ({crop.height}, {crop.width}); set both alike"
            )
        if self.config.reference_frame not in REFERENCE_FRAMES:
            raise ValueError(
                f"config.reference_frame={self.config.reference_frame!r} is unknown; choose one of "
                f"{', '.join(REFERENCE_FRAMES)}"
            )
        min_frames, max_frames = self.config.min_frames, self.config.max_frames
        if not SYNC_WINDOW <= min_frames <= max_frames:
            raise ValueError(
                f"config.min_frames={min_frames} must be between {SYNC_WINDOW} frames and "
                f"config.max_frames={max_frames}"
            )
        required, capacity = (
            max(max_frames, self.config.data.validation_frames),
            max(self.config.length_buckets),
        )
        if required > capacity:
            raise ValueError(
                f"clips of {required} frames (config.max_frames, config.data.validation_frames) "
                f"exceed config.length_buckets={tuple(self.config.length_buckets)}; add {required}"
            )

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Samples a segment of a clip: `config.min_frames` to `config.max_frames` frames.

        A shorter clip is returned whole.

        Returns:
            reference: uint8 (height, width, 3), BGR: the first frame of the segment, or of the
                clip, see `config.reference_frame`.
            frames: uint8 (frames, height, width, 3), BGR.
            audio: float32 (frames, ...), see `audio_windows`.
        """
        total = self._num_frames(clip)
        high = min(self.config.max_frames, total)
        count = int(rng.integers(min(self.config.min_frames, high), high + 1))
        start = int(rng.integers(total - count + 1))
        example = self._make_segment(clip, range(start, start + count))
        if self.config.horizontal_flip and rng.random() < 0.5:
            for name in ("reference", "frames"):
                example[name] = np.flip(example[name], axis=-2)
        return example

    def make_validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns the first `config.data.validation_frames` frames; see `make_example`."""
        del rng
        count = min(self._num_frames(clip), self.config.data.validation_frames)
        return self._make_segment(clip, range(count))

    def collate(self, examples: Sequence[Arrays], process_count: int = 1) -> Arrays:
        """Pads the examples to one of `config.length_buckets`; adds `mask`, bool (n, time)."""
        lengths = tuple(self.config.length_buckets)
        if process_count > 1:  # hosts have different clips, but must agree on a shape
            lengths = (max(lengths),)
        return pad_and_stack(examples, ("frames", "audio"), lengths)

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        keys = jax.random.split(key, 1 + len(self.discriminator_losses))
        first = {name: batch[name][:1, :SYNC_WINDOW] for name in ("frames", "audio", "mask")}
        clips = to_model_inputs({**first, "reference": batch["reference"][:1]})
        generator, noise = self.networks["generator"], self.noise(keys[0], clips, 0.0)
        variables = generator.module.init(keys[0], clips.reference, clips.audio, noise)
        networks = {"generator": generator.init_state(variables)}
        for (name, loss), own_key in zip(self.discriminator_losses.items(), keys[1:], strict=True):
            networks[name] = loss.network.init_state(
                loss.network.module.init(own_key, *loss.discriminator_inputs(clips, own_key))
            )
        active = self.config.adversarial_start_corr <= 0
        return init_train_state(key, networks, adversarial_active=active)

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Takes a step of each discriminator, then, on the same frames, a step of the generator.

        Discriminators are inactive until `on_validation_end` activates them.
        """
        real = to_model_inputs(batch)
        noise_key, *own_keys = jax.random.split(key, 1 + len(self.discriminator_losses))
        keys = dict(zip(self.discriminator_losses, own_keys, strict=True))
        generator, before = self.networks["generator"], state.networks["generator"]
        noise = self.noise(noise_key, real, self.config.noise_std)

        def generate(params: Tree) -> tuple[jax.Array, Tree]:
            (_, frames), stats = generator.apply_train(
                params, before.batch_stats, real.reference, real.audio, noise, mask=real.mask
            )
            return frames, stats

        frames, generator_vjp, stats = jax.vjp(generate, before.params, has_aux=True)
        networks: dict[str, NetworkState] = {}
        scalars: Arrays = {}
        for name in self.discriminator_losses:
            networks[name], metrics = self._discriminator_step(
                name, state, real, frames, keys[name]
            )
            scalars |= {f"{name}/{metric}": value for metric, value in metrics.items()}

        def loss(frames: jax.Array) -> tuple[jax.Array, Arrays]:
            generated = real._replace(frames=frames)
            weights = self.config.loss.upper_half, self.config.loss.mouth
            terms = {"l1": reconstruction_loss(generated, real, *weights)}
            value = self.config.loss.l1 * terms["l1"]
            for name, discriminator_loss in self.discriminator_losses.items():
                terms[f"gen_adv_loss/{name}"] = (
                    discriminator_loss.generator_loss(networks[name], generated, keys[name])
                    if self._adversarial
                    else jnp.zeros((), frames.dtype)
                )
                value += discriminator_loss.weight * terms[f"gen_adv_loss/{name}"]
            return value, terms

        (value, terms), frame_grads = jax.value_and_grad(loss, has_aux=True)(frames)
        (grads,) = generator_vjp(frame_grads)
        networks["generator"] = generator.apply_gradients(before, grads, stats)
        scalars |= {"loss": value, **terms, "grad_norm": global_norm(grads)}
        return state.next_step(**networks), scalars

    def on_validation_end(
        self, host_scalars: Mapping[str, float], metrics: Mapping[str, float]
    ) -> dict[str, float]:
        """Activates the discriminators, for good, at `config.adversarial_start_corr`.

        That is a threshold of `motion_corr`: the lips then move as the real ones do.
        """
        if metrics["motion_corr"] < self.config.adversarial_start_corr:
            return dict(host_scalars)
        return {**host_scalars, "adversarial_active": 1.0}

    def _discriminator_step(
        self, name: str, state: State, real: ClipBatch, frames: jax.Array, key: jax.Array
    ) -> tuple[NetworkState, Arrays]:
        """Takes a step of a discriminator; while inactive, keeps its state and returns zeros."""
        loss, before = self.discriminator_losses[name], state.networks[name]

        def step(frames: jax.Array) -> tuple[NetworkState, Arrays]:
            return loss.discriminator_step(before, real, real._replace(frames=frames), key)

        if self._adversarial:
            return step(frames)
        _, metrics = jax.eval_shape(step, frames)
        return before, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

    @property
    def _adversarial(self) -> bool:
        return "adversarial_active" not in self.terms_off

    def noise(self, key: jax.Array, clips: ClipBatch, std: float) -> jax.Array:
        """Samples normal noise (n, time, noise_size); that of a frame is independent of `time`."""
        n, time = clips.mask.shape
        shape = (n, self.networks["generator"].module.noise_size)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(time))
        return std * jax.vmap(lambda key: jax.random.normal(key, shape), out_axes=1)(keys)

    def generate_clips(self, variables: Variables, clips: ClipBatch) -> jax.Array:
        """Generates clips in eval mode, with equal noise at every call.

        Args:
            variables: of the generator.
            clips: their frames are unused.

        Returns:
            float32 (n, time, height, width, 3), RGB in [-1, 1].
        """
        noise = self.noise(jax.random.key(0), clips, self.config.eval_noise_std)
        inputs = clips.reference, clips.audio, noise
        return self.networks["generator"].module.apply(variables, *inputs, mask=clips.mask)[1]

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes metrics of each clip, for generated frames and for two baselines.

        The baselines, independent of the audio, are the repeated reference image and the mean frame
        of the clip. `psnr_y`, of luminance, and `psnr_y_lower`, of the lower half, take the mean
        squared error of all frames of a clip; decibels, higher is better. `mouth_l1` is the mean
        absolute error around the mouth, values in 0..1; lower is better. `motion_ratio` is the
        motion of the pixels of the mouth over their real motion; `motion_corr` is the correlation
        of both motions, 0 where the generated motion is independent of the audio.
        """
        real = to_model_inputs(batch)
        generated = self.generate_clips(state.networks["generator"].variables, real)
        repeated_reference = jnp.broadcast_to(real.reference[:, None], real.frames.shape)
        mean_frame = jnp.broadcast_to(
            temporal_mean(real.frames, real.mask)[:, None], real.frames.shape
        )
        real_mouth, metrics = crop_mouth(real.frames, MOUTH_ALIGNED), {}
        for suffix, frames in (
            ("", generated),
            ("_still_baseline", repeated_reference),
            ("_mean_baseline", mean_frame),
        ):
            metrics["psnr_y" + suffix] = psnr_y(frames, real.frames, real.mask)
            half = frames.shape[2] // 2
            metrics["psnr_y_lower" + suffix] = psnr_y(frames, real.frames, real.mask, half)
            error = jnp.abs(crop_mouth(frames, MOUTH_ALIGNED) - real_mouth) / 2
            metrics["mouth_l1" + suffix] = masked_mean_per_clip(error, real.mask)
        motion, correlation = motion_ratio_and_correlation(
            crop_mouth(generated, MOUTH_ALIGNED), real_mouth, real.mask
        )
        return {**metrics, "motion_ratio": motion, "motion_corr": correlation}

    def sample_images(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Returns reference images, then frames of a few clips, real above generated."""
        real = to_model_inputs({name: values[:NUM_SAMPLE_CLIPS] for name, values in batch.items()})
        generated = self.generate_clips(state.networks["generator"].variables, real)
        reference = jnp.repeat(real.reference, 2, axis=0)[..., ::-1] / 2 + 0.5
        return reference, *image_grid(real.frames, generated, num_frames=NUM_SAMPLE_FRAMES)

    def _make_discriminator_loss(
        self, name: str, config: ml_collections.ConfigDict
    ) -> DiscriminatorLoss:
        if name not in self.discriminator_registry:
            raise ValueError(
                f"config.discriminators.{name}: {self.config.method} has no discriminator of that "
                "name; choose from "
                f"{', '.join(self.discriminator_registry)}"
            )
        network, loss_type = self.discriminator_registry[name]
        discriminator = Network(
            self.make_discriminator(network, config.model), make_optimizer(config.optimizer)
        )
        name = "frames_per_clip"
        frames_per_clip = {name: config[name]} if name in config else {}
        return loss_type(discriminator, config.weight, **frames_per_clip)

    def _num_frames(self, clip: Clip) -> int:
        total = int(clip.duration * Fraction(self.config.frame_rate))
        if total < SYNC_WINDOW:
            raise ValueError(
                f"it has {total} frames at config.frame_rate={self.config.frame_rate} frames a "
                f"second; at least {SYNC_WINDOW} are required"
            )
        return total

    def _make_segment(self, clip: Clip, frames: range) -> Arrays:
        # The frame of the clip that is on screen at the time of each frame of the network.
        indices = [int(t * clip.frame_rate / Fraction(self.config.frame_rate)) for t in frames]
        reference = 0 if self.config.reference_frame == "clip" else indices[0]
        *images, reference = decode_frames(clip, [*indices, reference])
        return {
            "reference": reference,
            "frames": np.stack(images),
            "audio": self.audio_windows(clip, frames),
        }


def generator_kwargs(config: ml_collections.ConfigDict) -> dict[str, Argument]:
    """Returns the fields of the generator of a config, also of a checkpoint's config."""
    kwargs = {
        name: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        for name, value in config.model.items()
    }
    return {"dtype": jnp.dtype(config.precision), **kwargs}


def to_model_inputs(batch: Arrays) -> ClipBatch:
    """Converts a batch of `RecurrentGAN.collate` to inputs of the networks."""
    reference, frames = (normalize_to_pm1(batch[name]) for name in ("reference", "frames"))
    return ClipBatch(reference, frames, batch["audio"], batch["mask"])


def reconstruction_loss(
    generated: ClipBatch, real: ClipBatch, upper_half_weight: float, mouth_weight: float = 0.0
) -> jax.Array:
    """Computes the mean absolute error of the lower halves of the valid frames.

    This is the L1 loss of Vougioukas et al. 2018, as a mean instead of a sum (deviation T2).

    Args:
        generated: clips with generated frames.
        real: clips with the real frames.
        upper_half_weight: of the error of the upper halves; 0 in the paper.
        mouth_weight: of the error around the mouth, in addition; 0 in the paper.
    """
    error_map = jnp.abs(generated.frames - real.frames)
    rows = error_map.mean(axis=(-2, -1))
    half = rows.shape[-1] // 2
    error = rows[..., half:].mean(axis=-1)
    if upper_half_weight:
        error += upper_half_weight * rows[..., :half].mean(axis=-1)
    if mouth_weight:
        error += mouth_weight * crop_mouth(error_map, MOUTH_ALIGNED).mean(axis=(-3, -2, -1))
    return jnp.sum(error * real.mask) / jnp.sum(real.mask)
