"""Autoencoders of "Lip Movements Generation at a Glance" (Chen et al. 2018).

One of videos, whose frozen encoder the perceptual loss compares codes of (section 4.1), and two
that the published code holds for the correlation but that no loss of the paper uses. Widths are the
published ones. Pictures are RGB in [-1, 1].
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipsync_jax.methods.glance.model import HALVING, HALVING_3D
from lipsync_jax.nn.conv_norm import Network
from lipsync_jax.nn.dcgan import float32
from lipsync_jax.nn.gru import fold_time, unfold_time
from lipsync_jax.types import Argument

# Of the other two: features, and whether height and width are halved or doubled.
ENCODER = (
    *((32, True), (64, False), (128, True), (256, False)),
    *((512, True), (512, False), (512, True)),
)
SOUND_DECODER = ((512, False), (256, True), (128, False), (64, True), (32, False), (32, True))
FLOW_DECODER = ((512, False), (512, True), (256, False), (128, True), (64, False), (32, True))


class _OfVideo(Network):
    """Fields of both halves of the video's autoencoder.

    Attributes:
        clips: whether kernels span time; if not, frames are coded one by one.
    """

    clips: bool = False

    def size(self, side: int) -> tuple[int, ...]:
        """A kernel."""
        return (side,) * (3 if self.clips else 2)

    @property
    def halving(self) -> tuple:
        """Kernel, strides, padding of a layer that halves or doubles height and width."""
        return HALVING_3D if self.clips else HALVING

    @property
    def edges(self) -> str:
        """What is beyond the borders where a layer keeps the size."""
        return "edge" if self.clips else "reflect"


class VideoEncoder(_OfVideo):
    """Frames -> codes.

    Attributes:
        residual_blocks: that follow two halvings.
    """

    residual_blocks: int = 6

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Encodes.

        Args:
            frames: (n, time, side, side, 3), RGB in [-1, 1], side a multiple of 4.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            (n, time, side / 4, side / 4, channels).
        """
        x = frames if self.clips else fold_time(frames)
        x = self.layer(64, self.size(7), 1, 3, edges=self.edges, name="stem")(x, train)
        x = self.stack(x, [(c, *self.halving) for c in (128, 256)], train, "down")
        same: dict[str, Argument] = {
            "features": 256,
            "kernel": self.size(3),
            "padding": 1,
            "edges": self.edges,
        }
        for i in range(self.residual_blocks):
            y = self.layer(**same, name=f"residual_{i}_0")(x, train)
            x = x + self.layer(**same, activation=None, name=f"residual_{i}_1")(y, train)
        return x if self.clips else unfold_time(x, frames.shape[1])


class VideoAutoencoder(_OfVideo):
    """Draws the frames it was shown from their codes.

    Attributes:
        residual_blocks: of the encoder.
    """

    residual_blocks: int = 6

    def __call__(self, frames: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """The frames again, float32, and their codes; see VideoEncoder."""
        logits, codes = self.logits(frames, train)
        return jnp.tanh(logits), codes

    @nn.compact
    def logits(self, frames: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """The frames before the tanh, and the codes; arguments as of a call."""
        fields = (self.width, self.dtype, self.clips, self.residual_blocks)
        codes = VideoEncoder(*fields, name="encoder")(frames, train)
        x = codes if self.clips else fold_time(codes)
        extra = (0, 1, 1) if self.clips else 1
        for i, features in enumerate((128, 64)):
            x = self.layer(features, *self.halving, extra, True, name=f"up_{i}")(x, train)
        x = self.output(3, self.size(7), 1, 3, edges=self.edges, name="output")(x, train)
        return float32(x if self.clips else unfold_time(x, frames.shape[1])), codes


class SoundAutoencoder(Network):
    """Reconstructs differences of successive rows of sound (published code; in no loss).

    The encoder halves time too, twice, and the decoder does not undo that.

    Attributes:
        derivative: whether the differences are encoded, or the sound itself.
    """

    derivative: bool = True

    @nn.compact
    def __call__(self, audio: jax.Array, train: bool = False) -> jax.Array:
        """(n, rows, bins), bins a multiple of 16 -> (n, rows / 4 rounded up, bins)."""
        x = (audio[:, 1:] - audio[:, :-1] if self.derivative else audio)[..., None]
        for i, (features, half) in enumerate(ENCODER):
            # From the fifth on, halvings are of time too.
            strides = (2 if i >= 4 else 1, 2) if half else 1
            shape = ((3, 7), strides, (1, 3)) if i == 0 else (3, strides, 1)
            x = self.layer(features, *shape, bias=True, name=f"down_{i}")(x, train)
        for i, (features, double) in enumerate(SOUND_DECODER):
            strides, extra = ((1, 2), (0, 1)) if double else (1, 0)
            layer = self.layer(features, 3, strides, 1, extra, True, bias=True, name=f"up_{i}")
            x = layer(x, train)
        return float32(self.output(1, 3, (1, 2), 1, (0, 1), True, name="output")(x, train))[..., 0]


class FlowAutoencoder(Network):
    """Reconstructs changes of successive flows (published code; in no loss).

    Attributes:
        derivative: whether the differences are encoded, or what is given.
    """

    derivative: bool = True

    @nn.compact
    def __call__(self, flow: jax.Array, train: bool = False) -> jax.Array:
        """(n, time, side, side, c), side a multiple of 16 -> the same, time - 1 if derivative."""
        x = flow[:, 1:] - flow[:, :-1] if self.derivative else flow
        for i, (features, half) in enumerate(ENCODER):
            shape = ((3, 7, 7), (1, 3, 3)) if i == 0 else ((3, 3, 3), 1)
            strides = (1, 2, 2) if half else 1
            layer = self.layer(features, shape[0], strides, shape[1], bias=True, name=f"down_{i}")
            x = layer(x, train)
        for i, (features, double) in enumerate(FLOW_DECODER):
            strides, extra = ((1, 2, 2), (0, 1, 1)) if double else (1, 0)
            layer = self.layer(
                features, (3, 3, 3), strides, 1, extra, True, bias=True, name=f"up_{i}"
            )
            x = layer(x, train)
        last = self.output(flow.shape[-1], *HALVING_3D, (0, 1, 1), True, name="output")
        return float32(last(x, train))
