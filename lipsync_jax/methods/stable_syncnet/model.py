"""StableSyncNet (Li et al. 2024, LatentSync, section 3.3), in pixel space.

Two residual encoders with group normalization and self-attention: one of 16 frames of the lower
half of a face, one of 0.65 s of mel. Channels, factors and attention are those of the released
configuration `syncnet_16_pixel_attn`.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lipsync_jax.losses import l2_normalize
from lipsync_jax.nn.conv import conv, stack_frames, uniform_fan_in
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.types import Argument

NUM_FRAMES = 16
MEL_BINS, MEL_COLUMNS = 80, 52  # 16 frames of 40 ms are 51.2 columns of 12.5 ms
# (channels, downsampling of rows and columns, self-attention)
Stage = tuple[int, tuple[int, int], bool]
AUDIO_ENCODER: tuple[Stage, ...] = (
    (32, (2, 1), False),
    (64, (2, 2), False),
    (128, (2, 2), False),
    (256, (1, 1), True),
    (512, (2, 2), True),
    (1024, (2, 2), False),
    (2048, (2, 3), False),
)
VIDEO_ENCODER: tuple[Stage, ...] = (
    (64, (1, 2), False),
    (128, (2, 2), False),
    (256, (2, 2), False),
    (256, (2, 2), False),
    (512, (2, 2), True),
    (1024, (2, 2), True),
    (2048, (2, 2), False),
    (2048, (2, 2), False),
)
GROUPS, HEADS, EPSILON = 32, 8, 1e-6


class StableSyncNet(nn.Module):
    """One embedding of 16 frames, one of their audio.

    Attributes:
        image_size: rows and columns of a whole face, a power of two; the published network has 256.
        width_mult: multiplies all channels; at least 8 are left.
        dropout: rate within the residual blocks, where a `dropout` key is given.
        dtype: of the computation; embeddings are float32.
    """

    image_size: int = 256
    width_mult: float = 1.0
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, audio: jax.Array | None, faces: jax.Array | None, train: bool = False
    ) -> tuple[jax.Array | None, jax.Array | None]:
        """Embeds audio and frames.

        Args:
            audio: (n, 80, 52, 1), mel bins by columns; None for frames alone.
            faces: (n, size / 2, size, 48), the lower halves of 16 consecutive faces, channel
                3 * frame + colour, BGR in [-1, 1]; None for audio alone.
            train: whether dropout is active.

        Returns:
            Audio embedding and video embedding, float32 (n, 2048 * width_mult) of length 1, without
            negative values; None without the input.

        Raises:
            ValueError: another shape, or `image_size` is not a power of two.
        """
        size = self.image_size
        if audio is not None:
            check_shape(self, "audio", audio, None, MEL_BINS, MEL_COLUMNS, 1)
        if faces is not None:
            check_shape(self, "faces", faces, None, size // 2, size, 3 * NUM_FRAMES)
        return (
            self._encode(audio, AUDIO_ENCODER, train, "audio_encoder"),
            self._encode(faces, video_encoder(size), train, "video_encoder"),
        )

    def _encode(
        self, x: jax.Array | None, stages: tuple[Stage, ...], train: bool, name: str
    ) -> jax.Array | None:
        if x is None:
            return None
        first, last = (max(8, round(stages[i][0] * self.width_mult)) for i in (0, -1))
        x = _conv3x3(x, first, dtype=self.dtype, name=f"{name}_in")
        for i, (features, strides, attention) in enumerate(stages):
            features = max(8, round(features * self.width_mult))
            block = ResidualBlock(features, strides, self.dropout, self.dtype, name=f"{name}_{i}")
            x = block(x, train)
            if attention:
                x = AttentionBlock(self.dtype, name=f"{name}_{i}_attention")(x)
        x = nn.relu(_group_norm(last, self.dtype, f"{name}_norm")(x))
        return l2_normalize(x.reshape(len(x), -1))


class ResidualBlock(nn.Module):
    """Two normalized 3x3 convolutions beside a shortcut, then a strided 3x3 convolution.

    Attributes:
        features: output channels.
        strides: of rows and columns; (1, 1) leaves the last convolution out.
        dropout: rate before the second convolution.
        dtype: of the computation.
    """

    features: int
    strides: tuple[int, int]
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(n, height, width, channels) -> (n, ceil(height / rows), ..., features)."""
        fields: dict[str, Argument] = {"dtype": self.dtype}
        y = nn.silu(_group_norm(x.shape[-1], self.dtype, "norm_0")(x))
        y = _conv3x3(y, self.features, **fields, name="conv_0")
        y = nn.silu(_group_norm(self.features, self.dtype, "norm_1")(y))
        deterministic = not (train and self.has_rng("dropout"))
        y = nn.Dropout(self.dropout, deterministic=deterministic)(y)
        y = _conv3x3(y, self.features, **fields, name="conv_1")
        if x.shape[-1] != self.features:
            x = conv(self.features, 1, 1, 0, x.shape[-1], **fields, name="shortcut")(x)
        x = x + y
        if self.strides == (1, 1):
            return x
        # Zeros before the first row or column only along an axis that keeps its length.
        padding = [(1 if stride == 1 else 0, 1) for stride in self.strides]
        init = uniform_fan_in(9 * self.features)
        downsample = nn.Conv(
            self.features,
            (3, 3),
            self.strides,
            padding,
            kernel_init=init,
            bias_init=init,
            dtype=self.dtype,
            name="downsample",
        )
        return downsample(x)


class AttentionBlock(nn.Module):
    """A transformer block over all positions of a feature map (8 heads, GEGLU)."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, height, width, channels) -> the same shape."""
        n, height, width, features = x.shape
        fields: dict[str, Argument] = {"dtype": self.dtype}
        y = _group_norm(features, self.dtype, "norm_in")(x)
        y = conv(features, 1, 1, 0, features, **fields, name="conv_in")(y)
        y = y.reshape(n, height * width, features)
        normed = nn.LayerNorm(epsilon=1e-5, **fields, name="norm_attention")(y)
        heads = math.gcd(HEADS, features)
        attention = nn.MultiHeadDotProductAttention(heads, **fields, name="attention")
        y = y + attention(normed, normed)
        normed = nn.LayerNorm(epsilon=1e-5, **fields, name="norm_feed_forward")(y)
        hidden, gate = jnp.split(
            nn.Dense(8 * features, **fields, name="expand")(normed), 2, axis=-1
        )
        y = y + nn.Dense(features, **fields, name="project")(
            hidden * nn.gelu(gate, approximate=False)
        )
        y = y.reshape(n, height, width, features)
        return x + conv(features, 1, 1, 0, features, **fields, name="conv_out")(y)


def video_encoder(image_size: int) -> tuple[Stage, ...]:
    """The stages that bring the lower half of a face to one position.

    Args:
        image_size: rows and columns of a whole face.

    Returns:
        The published stages for 256; fewer or more for others, always ending in 2048 channels.

    Raises:
        ValueError: `image_size` is not a power of two from 16 on.
    """
    halvings = round(math.log2(image_size)) - 1
    if 2 ** (halvings + 1) != image_size or halvings < 3:
        raise ValueError(f"image_size={image_size}: StableSyncNet takes a power of two from 16 on")
    first, *rest = VIDEO_ENCODER
    rest += rest[-1:] * (halvings - len(rest))
    for repeated_or_early in (2, -1, 0, 0)[: len(rest) - halvings]:
        del rest[repeated_or_early]
    return (first, *rest)


def stack_lower_half(faces: jax.Array) -> jax.Array:
    """Whole faces to the input of the video encoder.

    Args:
        faces: (n, 16, size, size, 3), BGR in [0, 1].

    Returns:
        (n, size / 2, size, 48), BGR in [-1, 1].
    """
    # Deviations X1, X2: neither warped to a template nor RGB, as the published inputs are.
    return stack_frames(faces[:, :, faces.shape[2] // 2 :]) * 2 - 1


def _conv3x3(x: jax.Array, features: int, **options: Argument) -> jax.Array:
    return conv(features, 3, 1, 1, x.shape[-1], **options)(x)


def _group_norm(features: int, dtype: DTypeLike, name: str) -> nn.GroupNorm:
    groups = math.gcd(GROUPS, features)
    return nn.GroupNorm(groups, epsilon=EPSILON, dtype=dtype, name=name)
