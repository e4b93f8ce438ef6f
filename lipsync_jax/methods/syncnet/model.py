"""SyncNet (Chung and Zisserman 2016, "Out of time"), the released model v2."""

import flax.linen as nn
import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

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
    def __call__(self, x: Float[Array, "n height width c"], train: bool) -> Float[Array, "n 512"]:
        """(n, height, width, channels) -> (n, 512)."""
        count = 0
        fields: dict[str, Argument] = {"dtype": self.dtype}  # after those of a row
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
    def __call__(self, x: Float[Array, "n 512"], train: bool) -> Float[Array, "n 1024"]:
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
    """Two towers whose embeddings have a small distance where lips and audio are in sync.

    Attributes:
        dtype: of the computation; None follows inputs and parameters.
    """

    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Names the submodules, which can be applied alone."""
        self.audio = Tower(AUDIO_TOWER, self.dtype)
        self.audio_head = Head(self.dtype)
        self.lips = Tower(LIP_TOWER, self.dtype)
        self.lips_head = Head(self.dtype)

    def __call__(
        self, audio: jax.Array, frames: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Returns `embed_audio` and `embed_lips`."""
        return self.embed_audio(audio, train), self.embed_lips(frames, train)

    def embed_audio(
        self, audio: Float[Array, "n 13 20 1"], train: bool = False
    ) -> Float[Array, "n 1024"]:
        """Embeds audio.

        Args:
            audio: (n, 13, 20, 1), MFCC coefficients by columns at 100 a second.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            (n, 1024), of any length.
        """
        return self.audio_head(self.audio(audio, train), train)

    def embed_lips(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Embeds frames.

        Args:
            frames: (n, 5, 224, 224, 3), consecutive face crops, BGR, 0 to 255.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            (n, 1024), of any length.
        """
        return self.lips_head(self.lip_features(frames, train), train)

    def lip_features(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Returns features (n, 512) before the dense layers; arguments as of `embed_lips`."""
        return self.lips(stack_frames(frames), train)
