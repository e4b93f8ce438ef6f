"""SyncNet (Chung and Zisserman 2016, "Out of time"), the released model v2; offset search."""

from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.typing import DTypeLike

from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.conv import ConvBlock, pair, stack_frames, uniform_fan_in
from lipsync_jax.types import Argument

# (features, kernel, strides, padding) of a convolution or (window, strides, padding) of a pool.
LIP_TOWER = (
    (96, 7, 2, 0),
    (3, 2, 0),
    (256, 5, 2, 1),
    (3, 2, 1),
    (256, 3, 1, 1),
    (256, 3, 1, 1),
    (256, 3, 1, 1),
    (3, 2, 0),
    (512, 6, 1, 0),
)
AUDIO_TOWER = (
    (64, 3, 1, 1),
    (192, 3, 1, 1),
    (3, (1, 2), 0),
    (384, 3, 1, 1),
    (256, 3, 1, 1),
    (256, 3, 1, 1),
    (3, 2, 0),
    (512, (5, 4), 1, 0),
)


class Tower(nn.Module):
    """Convolution blocks and max pools down to a single position.

    Attributes:
        rows: LIP_TOWER or AUDIO_TOWER.
        dtype: of the computation; None follows inputs and parameters.
    """

    rows: tuple
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(n, height, width, channels) -> (n, 512)."""
        count = 0
        fields: dict[str, Argument] = {"dtype": self.dtype}  # behind those of a row
        for row in self.rows:
            if len(row) == 4:
                x = ConvBlock(*row, **fields, name=f"conv_{count}")(x, train)
                count += 1
            else:
                window, strides, padding = (pair(size) for size in row)
                x = nn.max_pool(x, window, strides, [(p, p) for p in padding])
        return x.reshape(len(x), -1)


class Head(nn.Module):
    """Dense, BatchNorm, ReLU, dense; no activation at the end.

    Attributes:
        dtype: of the computation; None follows inputs and parameters.
    """

    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(n, 512) -> (n, 1024)."""

        def dense(features: int, name: str, x: jax.Array) -> jax.Array:
            init = uniform_fan_in(x.shape[-1])
            layer = nn.Dense(
                features, kernel_init=init, bias_init=init, dtype=self.dtype, name=name
            )
            return layer(x)

        x = dense(512, "hidden", x)
        x = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train))
        return dense(1024, "embedding", x)


class SyncNetV2(nn.Module):
    """Two towers whose outputs lie close together where lips and sound belong together.

    Attributes:
        dtype: of the computation; None follows inputs and parameters.
    """

    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Names the parts, which can be run alone."""
        self.audio = Tower(AUDIO_TOWER, self.dtype)
        self.audio_head = Head(self.dtype)
        self.lips = Tower(LIP_TOWER, self.dtype)
        self.lips_head = Head(self.dtype)

    def __call__(
        self, audio: jax.Array, frames: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """`embed_audio` and `embed_lips`."""
        return self.embed_audio(audio, train), self.embed_lips(frames, train)

    def embed_audio(self, audio: jax.Array, train: bool = False) -> jax.Array:
        """Embeds sound.

        Args:
            audio: (n, 13, 20, 1), MFCC coefficients by columns at 100 a second.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            (n, 1024), of any length.
        """
        return self.audio_head(self.audio(audio, train), train)

    def embed_lips(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Embeds pictures.

        Args:
            frames: (n, 5, 224, 224, 3), whole face crops in a row, BGR, 0 to 255.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            (n, 1024), of any length.
        """
        return self.lips_head(self.lip_features(frames, train), train)

    def lip_features(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """The 512 values (n, 512) before the dense layers; arguments as of `embed_lips`."""
        return self.lips(stack_frames(frames), train)


class Offset(NamedTuple):
    """What `offset_search` finds.

    Attributes:
        offset: frames by which the sound has to be moved later to fit the picture; where it is
            positive, a picture's sound is found earlier in the track.
        distance: mean distance at that offset (LSE-D, with the released weights).
        confidence: median of the mean distances minus the smallest (LSE-C).
        distances: (2 * shift + 1,), mean distance of every offset, from `shift` down to -`shift`.
        frame_confidence: (windows,), confidence of each window, median filtered over 9.
    """

    offset: int
    distance: float
    confidence: float
    distances: np.ndarray
    frame_confidence: np.ndarray


def offset_search(lips: np.ndarray, audio: np.ndarray, shift: int = 15) -> Offset:
    """Moves the sound against the picture and takes the smallest mean distance.

    Shifts past the ends of the track compare with zeros, as the released code does, so short
    clips favour no shift.

    Args:
        lips: (windows, d), embeddings of windows one frame apart.
        audio: (windows, d), of the sound at the same times.
        shift: frames to try either way.

    Raises:
        ValueError: shapes differ or there is no window.
    """
    from scipy.signal import medfilt

    lips, audio = np.asarray(lips), np.asarray(audio)
    if lips.shape != audio.shape or lips.ndim != 2 or not len(lips):
        raise ValueError(f"lips {lips.shape} and audio {audio.shape} must both be (windows, d)")
    padded = np.pad(audio, ((shift, shift), (0, 0)))
    each = np.stack(
        [
            # The released code's pairwise distance adds 1e-6 to every difference.
            np.linalg.norm(lips - padded[k : k + len(lips)] + 1e-6, axis=1)
            for k in range(2 * shift + 1)
        ],
        axis=1,
    )
    mean = each.mean(axis=0)
    best = int(np.argmin(mean))
    middle = np.median(mean)
    return Offset(
        offset=shift - best,
        distance=float(mean[best]),
        confidence=float(middle - mean[best]),
        distances=mean,
        frame_confidence=medfilt(middle - each[:, best], 9),
    )
