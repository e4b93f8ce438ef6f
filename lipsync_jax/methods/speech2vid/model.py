"""Networks of Speech2Vid, "You said that?" (Chung, Jamaludin and Zisserman 2017).

Sizes are those of the released network (v201) and of its deblurring network (v114), which differ
from the paper's in a third skip connection. `LipClipGenerator` is what "At a Glance" compared
itself with under this name (Chen et al. 2018, its published code). Faces are RGB in [0, 1],
112 x 112; sound is a window of 35 MFCC steps of 12 coefficients
(`data.audio_windows.mfcc_windows` of `audio.speech2vid_mfcc`).
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipsync_jax.methods.glance import model as glance
from lipsync_jax.methods.jain.model import COEFFICIENTS, POOLS, SOUND, STEPS
from lipsync_jax.methods.vgan.model import SPOKEN_SOUND
from lipsync_jax.nn.conv_norm import ConvNorm, Network, Sizes
from lipsync_jax.nn.dcgan import float32
from lipsync_jax.nn.shape_checks import check

FACE, DRAWN = 112, 109
MARGIN = 1  # pixel (0, 0) of what is drawn is pixel (1, 1) of a face
EPSILON = 1e-4  # of batch norms

# Convolutions of the still, (features, kernel, strides, padding); None is a max pool. The first
# convolution, the first pool and the second convolution are skip connections.
STILL = (
    (96, 7, 2, 0),
    None,
    (256, 5, 2, 1),
    None,
    *((512, 3, 1, 1),) * 3,
)
STILL_POOLS = (((0, 0), (0, 0)), ((0, 1), (0, 1)))  # padding of each
# The decoder: features, kernel, padding (as pairs where it differs), whether pixels are doubled
# before, and the skip connection that joins before that, if any.
ODD = ((2, 1), (2, 1))
Pads = tuple[tuple[int, int], tuple[int, int]]
DECODER: tuple[tuple, ...] = (
    (128, 1, 0, False, None),
    (128, 3, 1, True, None),
    (256, 3, 1, True, None),
    (512, 3, 0, True, None),
    (256, 3, 1, True, None),
    (256, 3, 1, True, 2),
    (96, 5, 3, False, None),
    (96, 3, ODD, True, 1),
    (64, 3, ODD, True, 0),
    (32, 3, ODD, False, None),
)


class Spoken(NamedTuple):
    """What the generator draws, and of what.

    Attributes:
        frames: float32 (n, 109, 109, 3), RGB in [0, 1] (or their logits).
        sound: (n, 256), code of the sound.
        identity: (n, 256), code of the stills.
    """

    frames: jax.Array
    sound: jax.Array
    identity: jax.Array


class Generator(Network):
    """Stills of a face and 0.35 s of sound -> the frame in their middle (section 3)."""

    narrowest: ClassVar = 8  # fewer lose colours and edges

    def __call__(self, audio: jax.Array, stills: jax.Array, train: bool = False) -> Spoken:
        """Draws.

        Args:
            audio: (n, 35, 12), MFCCs.
            stills: (n, 112, 112, 3 * stills), RGB in [0, 1]; channel 3 * still + colour. One or
                five stills as published; parameters depend on how many.
            train: whether BatchNorm uses and updates statistics of the batch.
        """
        logits, *codes = self.logits(audio, stills, train)
        return Spoken(nn.sigmoid(logits), *codes)

    @nn.compact
    def logits(self, audio: jax.Array, stills: jax.Array, train: bool = False) -> Spoken:
        """The frames before the sigmoid; arguments as of a call."""
        check(self, "audio", audio, None, STEPS, COEFFICIENTS)
        check(self, "stills", stills, len(audio), FACE, FACE, None)
        sound = self._hear(audio, train)
        identity, skips = self._look(stills, train)
        x = jnp.concatenate([sound, identity], axis=-1)
        for i, (features, kernel, padding, double, skip) in enumerate(DECODER):
            if skip is not None:
                x = jnp.concatenate([skips[skip], x], axis=-1)
            x = enlarge(x) if double else x
            x = self._draw(features, kernel, padding, f"decoder_{i}")(x, train)
        x = pad(x, ODD)
        x = self.output(3, 3, name="output")(x, train)
        return Spoken(float32(x), sound[:, 0, 0], identity[:, 0, 0])

    def _hear(self, audio: jax.Array, train: bool) -> jax.Array:
        x, pools = audio.swapaxes(1, 2)[..., None], iter(POOLS)
        for i, features in enumerate(SOUND):
            if features is None:
                strides, top = next(pools)
                x = nn.max_pool(x, (3, 3), strides, ((top, 0), (0, 0)))
            else:
                x = self._encode(features, 3, 1, 1, f"audio_{i}")(x, train)
        return self._code(x, train, "audio")

    def _look(self, x: jax.Array, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        maps, pools = [], iter(STILL_POOLS)
        for i, row in enumerate(STILL):
            if row is None:
                x = nn.max_pool(x, (3, 3), (2, 2), next(pools))
            else:
                x = self._encode(*row, f"still_{i}")(x, train)
            maps.append(x)
        return self._code(x, train, "still"), maps

    def _code(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        x = self._encode(512, x.shape[1:3], 1, 0, f"{name}_dense_0")(x, train)
        return self._encode(256, 1, 1, 0, f"{name}_dense_1")(x, train)

    def _encode(
        self, features: int, kernel: Sizes, strides: Sizes, padding: Sizes, name: str
    ) -> ConvNorm:
        fields = {"bias": True, "epsilon": EPSILON, "name": name}
        return self.layer(features, kernel, strides, padding, **fields)

    def _draw(
        self, features: int, kernel: Sizes, padding: int | Pads, name: str
    ) -> Callable[[jax.Array, bool], jax.Array]:
        layer = self.layer(features, kernel, 1, 0, bias=True, norm=False, name=name)
        pads = ((padding,) * 2,) * 2 if isinstance(padding, int) else padding
        return lambda x, train: layer(pad(x, pads), train)


def pad(x: jax.Array, pads: tuple[tuple[int, int], tuple[int, int]]) -> jax.Array:
    """Zeros around pictures (n, height, width, c): above and below, left and right."""
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def enlarge(x: jax.Array) -> jax.Array:
    """Twice as many rows and columns, bilinear, corner pixels on corner pixels; (n, h, w, c)."""
    for axis in (1, 2):
        size = x.shape[axis]
        if size == 1:
            x = jnp.repeat(x, 2, axis)
            continue
        position = jnp.arange(2 * size) * ((size - 1) / (2 * size - 1))
        below = jnp.clip(jnp.floor(position).astype(int), 0, size - 2)
        share = (position - below).astype(x.dtype).reshape(-1, *[1] * (3 - axis))
        low, high = (jnp.take(x, below + step, axis) for step in (0, 1))
        x = low + share * (high - low)
    return x


class Deblurrer(Network):
    """What to add to a drawn frame to sharpen it (section 3.4): ten convolutions.

    Attributes:
        layers: convolutions.
    """

    layers: int = 10

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        """(n, height, width, 3), RGB in [0, 1] -> float32 residuals of the same shape."""
        x = frames
        for i in range(self.layers - 1):
            x = self.layer(64, 3, 1, 1, bias=True, norm=False, name=f"conv_{i}")(x, False)
        return float32(self.output(3, 3, 1, 1, name="output")(x, False))


# Rows of `LipClipGenerator`, (features, kernel, strides, padding). Maps of the first and of the
# third join the decoder.
LIPS = ((96, 7, 2, 1), (256, 5, 2, 1), (256, 3, 1, 0))
LIPS_DEEP = ((512, 3, 1, 1), (256, 3, 1, 1), (128, 3, 1, 1))
GROWTH = (
    ((512, 7, 2, 1), (256, 6, 2, 1)),
    ((256, 6, 2, 1), (256, 5, 1, 1), (96, 5, 1, 1)),
    ((96, 6, 2, 1), (64, 5, 1, 1)),
)


class LipClipGenerator(Network):
    """A still of lips and their sound -> 16 frames as channels of one picture."""

    def __call__(self, still: jax.Array, audio: jax.Array, train: bool = False) -> jax.Array:
        """Draws.

        Args:
            still: (n, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 64, 128), as `models.glance` hears it.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n, 16, 64, 64, 3), RGB in [-1, 1].
        """
        return jnp.tanh(self.logits(still, audio, train))

    @nn.compact
    def logits(self, still: jax.Array, audio: jax.Array, train: bool = False) -> jax.Array:
        """The frames before the tanh; arguments as of a call."""
        size, frames = glance.SIZE, glance.FRAMES
        check(self, "still", still, None, size, size, 3)
        check(self, "audio", audio, len(still), frames * glance.ROWS, glance.MEL_BINS)
        wide = self.layer(*LIPS[0], name="still_0")(still, train)
        deep = self.layer(*LIPS[1], name="still_1")(wide, train)
        deep = self.layer(*LIPS[2], name="still_2")(deep, train)
        seen = self.stack(nn.max_pool(deep, (3, 3), (2, 2)), LIPS_DEEP, train, "still_deep")
        seen = self.layer(512, seen.shape[1:3], name="still_dense_0")(seen, train)
        seen = self.layer(256, 1, name="still_dense_1")(seen, train)
        heard = self.stack(audio[..., None], SPOKEN_SOUND, train, "audio")
        heard = self.layer(256, heard.shape[1:3], name="audio_dense")(heard, train)
        x = self.layer(128, 1, name="fusion")(jnp.concatenate([heard, seen], axis=-1), train)
        for i, (rows, skip) in enumerate(zip(GROWTH, (None, deep, wide), strict=True)):
            x = x if skip is None else jnp.concatenate([skip, x], axis=-1)
            x = self.stack(x, rows, train, f"up_{i}", transposed=True)
        x = float32(self.output(3 * frames, 3, 1, 1, name="output")(x, train))
        # Channel 16 * colour + frame.
        return x.reshape(*x.shape[:3], 3, frames).transpose(0, 4, 1, 2, 3)
