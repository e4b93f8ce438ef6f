"""The video autoencoder of "Lip Movements Generation at a Glance" (Chen et al. 2018).

The perceptual loss compares its codes (section 4.1). Widths are the published ones. Images are RGB
in [-1, 1].
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipsync_jax.methods.glance.model import DOWNSAMPLE_2X, DOWNSAMPLE_2X_3D
from lipsync_jax.nn.blocks import TableModule
from lipsync_jax.nn.gru import merge_time, split_time
from lipsync_jax.ops.dtypes import at_least_float32
from lipsync_jax.types import Argument


class _VideoModule(TableModule):
    """Fields of both halves of the autoencoder of videos.

    Attributes:
        temporal_kernels: whether kernels span time; if not, frames are encoded one by one.
    """

    temporal_kernels: bool = False

    def kernel_size(self, side: int) -> tuple[int, ...]:
        """Returns the size of a kernel."""
        return (side,) * (3 if self.temporal_kernels else 2)

    @property
    def downsample(self) -> tuple:
        """Kernel, strides, padding of a layer that halves or doubles height and width."""
        return DOWNSAMPLE_2X_3D if self.temporal_kernels else DOWNSAMPLE_2X

    @property
    def padding_mode(self) -> str:
        """Padding of the layers that keep the size."""
        return "edge" if self.temporal_kernels else "reflect"


class VideoEncoder(_VideoModule):
    """Encodes frames.

    Attributes:
        residual_blocks: number of blocks after the two halvings.
    """

    residual_blocks: int = 6

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Encodes frames.

        Args:
            frames: (n, time, side, side, 3), RGB in [-1, 1], side a multiple of 4.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            (n, time, side / 4, side / 4, channels).
        """
        x = frames if self.temporal_kernels else merge_time(frames)
        x = self.conv_block(
            64, self.kernel_size(7), 1, 3, padding_mode=self.padding_mode, name="stem"
        )(x, train)
        x = self.conv_stack(x, [(c, *self.downsample) for c in (128, 256)], train, "down")
        same: dict[str, Argument] = {
            "features": 256,
            "kernel": self.kernel_size(3),
            "padding": 1,
            "padding_mode": self.padding_mode,
        }
        for i in range(self.residual_blocks):
            y = self.conv_block(**same, name=f"residual_{i}_0")(x, train)
            x = x + self.conv_block(**same, activation=None, name=f"residual_{i}_1")(y, train)
        return x if self.temporal_kernels else split_time(x, frames.shape[1])


class VideoAutoencoder(_VideoModule):
    """Reconstructs frames from their codes.

    Attributes:
        residual_blocks: number of blocks in the encoder.
    """

    residual_blocks: int = 6

    def __call__(self, frames: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Returns reconstructed frames, float32, and their codes; see VideoEncoder."""
        logits, codes = self.logits(frames, train)
        return jnp.tanh(logits), codes

    @nn.compact
    def logits(self, frames: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Computes the frames before the tanh, and the codes; arguments as of a call."""
        fields = (self.width_mult, self.dtype, self.temporal_kernels, self.residual_blocks)
        codes = VideoEncoder(*fields, name="encoder")(frames, train)
        x = codes if self.temporal_kernels else merge_time(codes)
        extra = (0, 1, 1) if self.temporal_kernels else 1
        for i, features in enumerate((128, 64)):
            x = self.conv_block(features, *self.downsample, extra, True, name=f"up_{i}")(x, train)
        x = self.head(3, self.kernel_size(7), 1, 3, padding_mode=self.padding_mode, name="output")(
            x, train
        )
        return at_least_float32(
            x if self.temporal_kernels else split_time(x, frames.shape[1])
        ), codes
