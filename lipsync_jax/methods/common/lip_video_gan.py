"""What methods share that draw sixteen frames of lips at once, from a still and their sound."""

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
from lipsync_jax.methods.base import Arrays, Method, Player, State
from lipsync_jax.methods.common.discriminators import Evidence, Judge
from lipsync_jax.methods.common.validation_metrics import motion_and_correlation, psnr
from lipsync_jax.methods.glance.autoencoder_method import SHEET_CLIPS, as_seen, sheet, stretch
from lipsync_jax.methods.glance.model import FRAMES, MEL_BINS, ROWS, SIZE
from lipsync_jax.types import Variables

FRAME_RATE = Fraction(25)
HOP = 8  # frames from one window of a long clip to the next


class Scene(NamedTuple):
    """Clips as networks see them.

    Attributes:
        still: (n, 64, 64, 3), RGB in [-1, 1]: whose lips.
        frames: (n, 16, 64, 64, 3), of the same kind.
        audio: (n, 64, 128), decibels as the config scales them.
        flow: (n, 15, 16, 16, 2), of the frames; None where no network looks at it.
    """

    still: jax.Array
    frames: jax.Array
    audio: jax.Array
    flow: jax.Array | None

    @property
    def mask(self) -> jax.Array:
        """Which frames are valid, (n, time): all."""
        return jnp.ones(self.frames.shape[:2], bool)


class ClipJudge(Judge):
    """A discriminator that refuses drawn clips, and real ones with another clip's sound.

    Chen et al. 2018, eq. 4.

    Args:
        player: see Judge.
        config: with `weight`, and `drawn_share` and `mismatched_share`, of its own loss.
    """

    def __init__(self, player: Player, config: ml_collections.ConfigDict) -> None:
        super().__init__(player, config.weight)
        self.config = config

    def look(self, footage: Scene, key: jax.Array) -> tuple[jax.Array, ...]:
        """See Judge."""
        del key
        return footage.frames, footage.audio

    def evidence(self, real: Scene, drawn: Scene, key: jax.Array) -> Evidence:
        """See Judge."""
        wrong = real._replace(audio=jnp.roll(real.audio, 1, axis=0))
        return {
            "real": (1.0, True, self.look(real, key)),
            "wrong_sound": (self.config.mismatched_share, False, self.look(wrong, key)),
            "drawn": (self.config.drawn_share, False, self.look(drawn, key)),
        }


class LipClips(Method):
    """Examples, figures and pictures of such methods, and how they draw clips of any length.

    Subclasses have a player `generator`, and a `judge` or none.

    Attributes:
        noise_size: numbers of noise that a clip is drawn from.
    """

    best = ("psnr", 1)
    noise_size = 0
    judge: Judge | None = None

    def draw(
        self, variables: Variables, still: jax.Array, audio: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """Draws sixteen frames in eval mode.

        Args:
            variables: of the generator.
            still: (n, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 64, 128), dB as the config scales them.
            noise: (n, noise_size), normal.

        Returns:
            float32 (n, 16, 64, 64, 3), RGB in [-1, 1].
        """
        raise NotImplementedError

    def check(self) -> None:
        """Refuses pictures of another size, and batches without another clip's sound."""
        self.check_pictures(f"config.method={self.config.method}", SIZE, "lips64")
        if self.judge and self.config.data.batch_size < 2:
            raise ValueError(
                "config.adversarial needs other clips' sound; set config.data.batch_size to 2 or "
                "more"
            )

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Sixteen frames of a clip, their sound, and any frame of it.

        Returns:
            still: uint8 (64, 64, 3), BGR.
            frames: uint8 (16, 64, 64, 3), BGR.
            audio: float32 (64, 128), dB, see `data.audio_windows.log_mel_windows`.
        """
        return self._example(clip, rng)[0]

    def validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """The same, and the sound of another moment.

        Returns:
            still, frames, audio: see `example`.
            other_audio: float32 (64, 128), dB, half the clip later or earlier.
        """
        made, frames = self._example(clip, rng)
        total = len(clip.frames)
        others = [(frame + total // 2) % total for frame in frames]
        return {**made, "other_audio": sound(clip, others)}

    def animate(
        self,
        variables: Variables,
        still: jax.Array,
        audio: jax.Array,
        noise: jax.Array | None = None,
    ) -> jax.Array:
        """Draws clips of any length: windows of 16 frames every 8, cross-faded.

        Args:
            variables: of the generator.
            still: see `draw`.
            audio: (n, 4 * time, 128), dB as the config scales them.
            noise: see `draw`; None is always the same.

        Returns:
            float32 (n, time, 64, 64, 3), RGB in [-1, 1].
        """
        n, rows = audio.shape[:2]
        if noise is None:
            noise = jax.random.normal(jax.random.key(0), (n, self.noise_size))
        starts = window_starts(rows // ROWS)
        short = max(0, FRAMES * ROWS - rows)
        audio = jnp.pad(audio, ((0, 0), (0, short), (0, 0)), mode="edge")
        heard = jnp.stack([audio[:, ROWS * s : ROWS * (s + FRAMES)] for s in starts], axis=1)
        still, noise = (jnp.repeat(x, len(starts), axis=0) for x in (still, noise))
        drawn = self.draw(variables, still, heard.reshape(-1, FRAMES * ROWS, MEL_BINS), noise)
        drawn = drawn.reshape(n, len(starts), FRAMES, SIZE, SIZE, 3)
        return cross_fade(drawn, starts)[:, : rows // ROWS]

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Figures of each clip, for what is drawn and for the still instead of every frame.

        `psnr` is of luminance, `l1` the mean absolute error, values in 0..1. `..._of_other_sound`
        is of what is drawn for another moment's sound: no worse where the generator does not
        listen. `motion` says how much pixels move, as a share of how much they really do;
        `motion_correlation` is that of both motions.
        """
        real, variables = self._scene(batch), state.players["generator"].variables
        drawn = self.animate(variables, real.still, real.audio)
        misled = self.animate(variables, real.still, self._scaled(batch["other_audio"]))
        still = jnp.broadcast_to(real.still[:, None], real.frames.shape)
        figures = {}
        for suffix, frames in (("", drawn), ("_of_other_sound", misled), ("_of_still", still)):
            figures["psnr" + suffix] = psnr(frames, real.frames, real.mask)
            error = jnp.abs(frames - real.frames) / 2
            figures["l1" + suffix] = error.mean(axis=(1, 2, 3, 4))
        motion, correlation = motion_and_correlation(drawn, real.frames, real.mask)
        return {**figures, "motion": motion, "motion_correlation": correlation}

    def pictures(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Moments of a few clips, real frames above those drawn."""
        few = {name: batch[name][:SHEET_CLIPS] for name in ("still", "frames", "audio")}
        real = self._scene(few)
        drawn = self.animate(state.players["generator"].variables, real.still, real.audio)
        return sheet(real.frames, drawn)

    def _example(self, clip: Clip, rng: np.random.Generator) -> tuple[Arrays, range]:
        """An example, and the numbers of its frames."""
        frames = stretch(clip, rng)
        return {
            "still": decode_frames(clip, [int(rng.integers(len(clip.frames)))])[0],
            "frames": decode_frames(clip, frames),
            "audio": sound(clip, frames),
        }, frames

    def _scaled(self, decibels: jax.Array) -> jax.Array:
        return (decibels - self.config.sound_mean) / self.config.sound_scale

    def _scene(self, batch: Arrays) -> Scene:
        still, frames = as_seen(batch["still"]), as_seen(batch["frames"])
        return Scene(still, frames, self._scaled(batch["audio"]), None)


def sound(clip: Clip, frames: Sequence[int]) -> np.ndarray:
    """The sound of some frames: float32 (4 * frames, 128), dB; see `log_mel_windows`."""
    samples = clip.samples(audio.LOG_MEL_RATE)
    return log_mel_windows(samples, frames, clip.frame_rate).reshape(-1, MEL_BINS)


def window_starts(frames: int) -> tuple[int, ...]:
    """First frames of the windows that cover a clip, 8 apart; the last one ends with the clip."""
    last = max(0, frames - FRAMES)
    return (*range(0, last, HOP), last)


def cross_fade(windows: jax.Array, starts: tuple[int, ...]) -> jax.Array:
    """Overlapping windows -> a clip; a frame's weights rise and fall evenly along each window.

    Args:
        windows: (n, windows, 16, ...).
        starts: the first frame of each, of `window_starts`.

    Returns:
        (n, starts[-1] + 16, ...).
    """
    place = np.arange(FRAMES) + 0.5
    weights = np.zeros((len(starts), FRAMES, starts[-1] + FRAMES), np.float32)
    for window, start in enumerate(starts):
        weights[window, range(FRAMES), range(start, start + FRAMES)] = np.minimum(
            place, FRAMES - place
        )
    weights /= weights.sum(axis=(0, 1))
    return jnp.einsum("wft,nwf...->nt...", weights, windows, precision="highest")


def fade_on(begun: jax.Array, rest: jax.Array, windows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`cross_fade`, some windows after others, for a clip whose end is not known.

    Args:
        begun: bool (), whether there were windows before.
        rest: (8, ...), the second half of the last one.
        windows: (windows, 16, ...), 8 frames apart.

    Returns:
        (8 * windows, ...), the frames up to the last window's middle; the new `rest`.
    """
    halves = jnp.concatenate([rest[None], windows[:-1, HOP:]])
    share = ((np.arange(HOP) + 0.5) / HOP).astype(np.float32)
    first = np.arange(len(windows)) == 0
    shares = jnp.where(begun | ~first[:, None], share, 1.0)
    shares = shares.reshape(*shares.shape, *[1] * (windows.ndim - 2))
    frames = shares * windows[:, :HOP] + (1 - shares) * halves
    return frames.reshape(-1, *windows.shape[2:]), windows[-1, HOP:]
