"""Base class of methods that generate 16 frames of lips at once: reference image, audio -> clip."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax.data.audio_windows import log_mel_windows
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.media import audio
from lipsync_jax.methods.base import Arrays, Method, Network, State
from lipsync_jax.methods.common.clip_examples import (
    NUM_SAMPLE_CLIPS,
    check_segment_hop,
    image_grid,
    normalize_to_pm1,
    sample_segment,
)
from lipsync_jax.methods.common.discriminators import DiscriminatorLoss, LabelledBatches
from lipsync_jax.methods.common.validation_metrics import motion_ratio_and_correlation, psnr_y
from lipsync_jax.methods.glance.model import FRAMES, MEL_BINS, MEL_ROWS_PER_FRAME, SIZE
from lipsync_jax.types import Variables

FRAME_RATE = Fraction(25)
WINDOW_HOP = 8  # frames between the starts of two windows of a long clip


class LipClipBatch(NamedTuple):
    """Clips as inputs of networks.

    Attributes:
        reference: reference images of the lips (n, 64, 64, 3), RGB in [-1, 1].
        frames: (n, 16, 64, 64, 3), RGB in [-1, 1].
        audio: log-mel (n, 64, 128), normalised by the config's mean and standard deviation.
        flow: (n, 15, 16, 16, 2), of the frames; None where no network takes flow.
    """

    reference: jax.Array
    frames: jax.Array
    audio: jax.Array
    flow: jax.Array | None

    @property
    def mask(self) -> jax.Array:
        """Valid frames, bool (n, time): all."""
        return jnp.ones(self.frames.shape[:2], bool)


class ConditionalClipDiscriminatorLoss(DiscriminatorLoss):
    """A discriminator of clips with their audio (Chen et al. 2018, eq. 4).

    Negatives are generated clips, and real clips with the audio of another clip.

    Args:
        network: see DiscriminatorLoss.
        config: the block of the discriminator: `weight` in the loss of the generator, `fake_weight`
            and `mismatched_weight` in the loss of the discriminator.
    """

    def __init__(self, network: Network, config: ml_collections.ConfigDict) -> None:
        super().__init__(network, config.weight)
        self.config = config

    def discriminator_inputs(self, clips: LipClipBatch, key: jax.Array) -> tuple[jax.Array, ...]:
        """See DiscriminatorLoss."""
        del key
        return clips.frames, clips.audio

    def real_and_fake_batches(
        self, real: LipClipBatch, generated: LipClipBatch, key: jax.Array
    ) -> LabelledBatches:
        """See DiscriminatorLoss."""
        # Deviation G9: eq. 4 has another video in place of other audio.
        mismatched = real._replace(audio=jnp.roll(real.audio, 1, axis=0))
        return {
            "real": (1.0, True, self.discriminator_inputs(real, key)),
            "mismatched": (
                self.config.mismatched_weight,
                False,
                self.discriminator_inputs(mismatched, key),
            ),
            "fake": (self.config.fake_weight, False, self.discriminator_inputs(generated, key)),
        }


class FixedLengthClipMethod(Method):
    """Examples, metrics and sample images of these methods, and generation of clips of any length.

    Subclasses have a network `generator`, and a `discriminator_loss` or None.

    Attributes:
        noise_size: size of the noise vector of a clip.
        discriminator_loss: loss and inputs of the discriminator; None without one.
    """

    best_metric = ("psnr_y", "max")
    sample_titles = ("each clip: real above generated, time from left to right",)
    noise_size = 0
    discriminator_loss: DiscriminatorLoss | None = None

    def generate_frames(
        self, variables: Variables, reference: jax.Array, audio: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """Generates sixteen frames in eval mode.

        Args:
            variables: of the generator.
            reference: (n, 64, 64, 3), RGB in [-1, 1].
            audio: log-mel (n, 64, 128), normalised as in LipClipBatch.
            noise: (n, noise_size), normal.

        Returns:
            float32 (n, 16, 64, 64, 3), RGB in [-1, 1].
        """
        raise NotImplementedError

    def validate_config(self) -> None:
        """Raises ValueError for images of another size, and batches without mismatched audio."""
        self.require_image_size(f"config.method={self.config.method}", SIZE, "lips64")
        check_segment_hop(self.config.segment_hop)
        if self.discriminator_loss and self.config.data.batch_size < 2:
            raise ValueError(
                "config.discriminators.clip takes the audio of other clips as negatives; set "
                "config.data.batch_size to 2 or more"
            )

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Samples 16 frames of a clip, their audio, and any frame as the reference image.

        Returns:
            reference: uint8 (64, 64, 3), BGR.
            frames: uint8 (16, 64, 64, 3), BGR.
            audio: float32 (64, 128), dB, see `data.audio_windows.log_mel_windows`.
        """
        return self._make_example_and_frames(clip, rng)[0]

    def make_validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Samples an example, and audio of other frames of the clip.

        Returns:
            reference, frames, audio: see `make_example`.
            mismatched_audio: float32 (64, 128), dB, half the clip later or earlier.
        """
        example, frames = self._make_example_and_frames(clip, rng)
        total = len(clip.frames)
        mismatched_frames = [(frame + total // 2) % total for frame in frames]
        return {**example, "mismatched_audio": frame_log_mel(clip, mismatched_frames)}

    def generate_clip(
        self,
        variables: Variables,
        reference: jax.Array,
        audio: jax.Array,
        noise: jax.Array | None = None,
    ) -> jax.Array:
        """Generates clips of any length: windows of 16 frames every 8 frames, cross-faded.

        Args:
            variables: of the generator.
            reference: see `generate_frames`.
            audio: log-mel (n, 4 * time, 128), normalised as in LipClipBatch.
            noise: see `generate_frames`; None: noise of a fixed key.

        Returns:
            float32 (n, time, 64, 64, 3), RGB in [-1, 1].
        """
        n, rows = audio.shape[:2]
        if noise is None:
            noise = jax.random.normal(jax.random.key(0), (n, self.noise_size))
        starts = window_starts(rows // MEL_ROWS_PER_FRAME)
        missing = max(0, FRAMES * MEL_ROWS_PER_FRAME - rows)
        audio = jnp.pad(audio, ((0, 0), (0, missing), (0, 0)), mode="edge")
        windows = jnp.stack(
            [audio[:, MEL_ROWS_PER_FRAME * s : MEL_ROWS_PER_FRAME * (s + FRAMES)] for s in starts],
            axis=1,
        )
        reference, noise = (jnp.repeat(x, len(starts), axis=0) for x in (reference, noise))
        generated = self.generate_frames(
            variables, reference, windows.reshape(-1, FRAMES * MEL_ROWS_PER_FRAME, MEL_BINS), noise
        )
        generated = generated.reshape(n, len(starts), FRAMES, SIZE, SIZE, 3)
        # Deviation G14: the paper's clips have 16 frames.
        return cross_fade_windows(generated, starts)[:, : rows // MEL_ROWS_PER_FRAME]

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes metrics of each clip, for generated frames and the repeated reference image.

        `psnr_y` is of luminance, decibels, higher is better; `l1` is the mean absolute error,
        values in 0..1, lower is better. `..._mismatched_audio` is of frames generated from the
        audio of other frames: no worse where the generator ignores the audio. `motion_ratio` is the
        motion of pixels over their real motion; `motion_corr` is the correlation of both motions.
        """
        real, variables = self._clip_batch(batch), state.networks["generator"].variables
        generated = self.generate_clip(variables, real.reference, real.audio)
        mismatched = self.generate_clip(
            variables, real.reference, self._normalize_audio(batch["mismatched_audio"])
        )
        repeated_reference = jnp.broadcast_to(real.reference[:, None], real.frames.shape)
        metrics = {}
        for suffix, frames in (
            ("", generated),
            ("_mismatched_audio", mismatched),
            ("_still_baseline", repeated_reference),
        ):
            metrics["psnr_y" + suffix] = psnr_y(frames, real.frames, real.mask)
            error = jnp.abs(frames - real.frames) / 2
            metrics["l1" + suffix] = error.mean(axis=(1, 2, 3, 4))
        motion, correlation = motion_ratio_and_correlation(generated, real.frames, real.mask)
        return {**metrics, "motion_ratio": motion, "motion_corr": correlation}

    def sample_images(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Returns frames of a few clips, real above generated."""
        real = self._first_clips(batch, NUM_SAMPLE_CLIPS)
        generated = self.generate_clip(
            state.networks["generator"].variables, real.reference, real.audio
        )
        return image_grid(real.frames, generated)

    def _make_example_and_frames(
        self, clip: Clip, rng: np.random.Generator
    ) -> tuple[Arrays, range]:
        """Returns an example, and the indices of its frames."""
        frames = sample_segment(clip, rng, self.config.segment_hop)
        return {
            "reference": decode_frames(clip, [int(rng.integers(len(clip.frames)))])[0],
            "frames": decode_frames(clip, frames),
            "audio": frame_log_mel(clip, frames),
        }, frames

    def _normalize_audio(self, decibels: jax.Array) -> jax.Array:
        return (decibels - self.config.audio_mean) / self.config.audio_std

    def _first_clips(self, batch: Arrays, count: int) -> LipClipBatch:
        names = "reference", "frames", "audio"
        return self._clip_batch({name: batch[name][:count] for name in names})

    def _clip_batch(self, batch: Arrays) -> LipClipBatch:
        reference, frames = (normalize_to_pm1(batch[name]) for name in ("reference", "frames"))
        return LipClipBatch(reference, frames, self._normalize_audio(batch["audio"]), None)


def frame_log_mel(clip: Clip, frames: Sequence[int]) -> np.ndarray:
    """Computes log-mel audio of frames: float32 (4 * frames, 128), dB; see `log_mel_windows`."""
    samples = clip.samples(audio.LOG_MEL_RATE)
    return log_mel_windows(samples, frames, clip.frame_rate).reshape(-1, MEL_BINS)


def window_starts(frames: int) -> tuple[int, ...]:
    """Returns the starts of windows that cover a clip, 8 apart; the last ends with the clip."""
    last = max(0, frames - FRAMES)
    return (*range(0, last, WINDOW_HOP), last)


def cross_fade_windows(windows: jax.Array, starts: tuple[int, ...]) -> jax.Array:
    """Averages overlapping windows to a clip; weights rise and fall linearly along each window.

    Args:
        windows: (n, windows, 16, ...).
        starts: the first frame of each window, see `window_starts`.

    Returns:
        (n, starts[-1] + 16, ...).
    """
    position = np.arange(FRAMES) + 0.5
    weights = np.zeros((len(starts), FRAMES, starts[-1] + FRAMES), np.float32)
    for window, start in enumerate(starts):
        weights[window, range(FRAMES), range(start, start + FRAMES)] = np.minimum(
            position, FRAMES - position
        )
    weights /= weights.sum(axis=(0, 1))
    return jnp.einsum("wft,nwf...->nt...", weights, windows, precision="highest")


def cross_fade_streaming(
    has_previous: jax.Array, overlap: jax.Array, windows: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Cross-fades successive windows of a clip whose end is unknown; see `cross_fade_windows`.

    Args:
        has_previous: bool (), whether there were windows before.
        overlap: (8, ...), the second half of the window before.
        windows: (windows, 16, ...), 8 frames apart.

    Returns:
        (8 * windows, ...), the frames up to the middle of the last window; the new `overlap`.
    """
    previous_halves = jnp.concatenate([overlap[None], windows[:-1, WINDOW_HOP:]])
    ramp = ((np.arange(WINDOW_HOP) + 0.5) / WINDOW_HOP).astype(np.float32)
    is_first = np.arange(len(windows)) == 0
    weights = jnp.where(has_previous | ~is_first[:, None], ramp, 1.0)
    weights = weights.reshape(*weights.shape, *[1] * (windows.ndim - 2))
    frames = weights * windows[:, :WINDOW_HOP] + (1 - weights) * previous_halves
    return frames.reshape(-1, *windows.shape[2:]), windows[-1, WINDOW_HOP:]
