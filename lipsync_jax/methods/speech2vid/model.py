"""Networks of Speech2Vid, "You said that?" (Chung, Jamaludin and Zisserman 2017).

Sizes are those of the released network (v201) and of its deblurring network (v114), which differ
from the paper's in a third skip connection. `LipClipGenerator` is the baseline of this name in "At
a Glance" (Chen et al. 2018, its published code). Faces are RGB in [0, 1], 112 x 112; audio is a
window of 35 MFCC steps of 12 coefficients
(`data.audio_windows.mfcc_windows` of `audio.speech2vid_mfcc`).
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lipsync_jax.methods.glance import model as glance
from lipsync_jax.methods.jain.model import AUDIO_ENCODER, MFCC_COEFFICIENTS, MFCC_STEPS, POOLS
from lipsync_jax.methods.vgan.model import GENERATOR_AUDIO_ENCODER
from lipsync_jax.nn.blocks import ConvNormAct, Sizes, TableModule
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.ops.dtypes import at_least_float32

FACE_SIZE, OUTPUT_SIZE = 112, 109
OUTPUT_MARGIN = 1  # pixel (0, 0) of the output is pixel (1, 1) of a face
BN_EPS = 1e-4  # of batch norms

# Convolutions of the reference images, (features, kernel, strides, padding); None is a max pool.
# The first convolution, the first pool and the second convolution are skip connections.
IMAGE_ENCODER = (
    (96, 7, 2, 0),
    None,
    (256, 5, 2, 1),
    None,
    *((512, 3, 1, 1),) * 3,
)
IMAGE_POOLS = (((0, 0), (0, 0)), ((0, 1), (0, 1)))  # padding of each
# The decoder: features, kernel, padding (pairs where sides differ), whether a 2x upsampling comes
# first, and the skip connection, if any, that is concatenated before the upsampling.
ODD_PADDING = ((2, 1), (2, 1))
Pads = tuple[tuple[int, int], tuple[int, int]]
DECODER: tuple[tuple, ...] = (
    (128, 1, 0, False, None),
    (128, 3, 1, True, None),
    (256, 3, 1, True, None),
    (512, 3, 0, True, None),
    (256, 3, 1, True, None),
    (256, 3, 1, True, 2),  # deviation S4: the paper has two skip connections
    (96, 5, 3, False, None),
    (96, 3, ODD_PADDING, True, 1),
    (64, 3, ODD_PADDING, True, 0),
    (32, 3, ODD_PADDING, False, None),
)


class GeneratorOutput(NamedTuple):
    """Output of the generator.

    Attributes:
        frames: float32 (n, 109, 109, 3), RGB in [0, 1] (or their logits).
        audio_code: (n, 256), code of the audio.
        identity_code: (n, 256), code of the reference images.
    """

    frames: jax.Array
    audio_code: jax.Array
    identity_code: jax.Array


class Generator(TableModule):
    """Reference images of a face and 0.35 s of audio -> the frame in its middle (section 3)."""

    min_channels: ClassVar = 8  # fewer lose colours and edges

    def __call__(
        self,
        audio: Float[Array, "n 35 12"],
        references: Float[Array, "n 112 112 c"],
        train: bool = False,
    ) -> GeneratorOutput:
        """Generates frames.

        Args:
            audio: (n, 35, 12), MFCCs.
            references: (n, 112, 112, 3 * k), RGB in [0, 1], k reference images; channel
                3 * image + colour. k is 1 or 5 as published; shapes of parameters depend on k.
            train: whether BatchNorm uses and updates statistics of the batch.
        """
        logits, *codes = self.logits(audio, references, train)
        return GeneratorOutput(nn.sigmoid(logits), *codes)

    @nn.compact
    def logits(
        self,
        audio: Float[Array, "n 35 12"],
        references: Float[Array, "n 112 112 c"],
        train: bool = False,
    ) -> GeneratorOutput:
        """Returns frames before the sigmoid; arguments as of a call."""
        check_shape(self, "audio", audio, None, MFCC_STEPS, MFCC_COEFFICIENTS)
        check_shape(self, "references", references, len(audio), FACE_SIZE, FACE_SIZE, None)
        audio_code = self._encode_audio(audio, train)
        identity_code, skips = self._encode_images(references, train)
        x = jnp.concatenate([audio_code, identity_code], axis=-1)
        for i, (features, kernel, padding, upsample, skip) in enumerate(DECODER):
            if skip is not None:
                x = jnp.concatenate([skips[skip], x], axis=-1)
            x = upsample_2x(x) if upsample else x
            x = self._decoder_block(features, kernel, padding, f"decoder_{i}")(x, train)
        x = pad(x, ODD_PADDING)
        x = self.head(3, 3, name="output")(x, train)
        return GeneratorOutput(at_least_float32(x), audio_code[:, 0, 0], identity_code[:, 0, 0])

    def _encode_audio(self, audio: jax.Array, train: bool) -> jax.Array:
        x, pools = audio.swapaxes(1, 2)[..., None], iter(POOLS)
        for i, features in enumerate(AUDIO_ENCODER):
            if features is None:
                strides, top = next(pools)
                x = nn.max_pool(x, (3, 3), strides, ((top, 0), (0, 0)))
            else:
                x = self._encoder_block(features, 3, 1, 1, f"audio_{i}")(x, train)
        return self._code(x, train, "audio")

    def _encode_images(self, x: jax.Array, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        skips, pools = [], iter(IMAGE_POOLS)
        for i, row in enumerate(IMAGE_ENCODER):
            if row is None:
                x = nn.max_pool(x, (3, 3), (2, 2), next(pools))
            else:
                x = self._encoder_block(*row, f"image_{i}")(x, train)
            skips.append(x)
        return self._code(x, train, "image"), skips

    def _code(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        x = self._encoder_block(512, x.shape[1:3], 1, 0, f"{name}_dense_0")(x, train)
        return self._encoder_block(256, 1, 1, 0, f"{name}_dense_1")(x, train)

    def _encoder_block(
        self, features: int, kernel: Sizes, strides: Sizes, padding: Sizes, name: str
    ) -> ConvNormAct:
        fields = {"bias": True, "epsilon": BN_EPS, "name": name}
        return self.conv_block(features, kernel, strides, padding, **fields)

    def _decoder_block(
        self, features: int, kernel: Sizes, padding: int | Pads, name: str
    ) -> Callable[[jax.Array, bool], jax.Array]:
        layer = self.conv_block(features, kernel, 1, 0, bias=True, norm=False, name=name)
        pads = ((padding,) * 2,) * 2 if isinstance(padding, int) else padding
        return lambda x, train: layer(pad(x, pads), train)


def pad(x: jax.Array, pads: tuple[tuple[int, int], tuple[int, int]]) -> jax.Array:
    """Pads images (n, height, width, c) with zeros: (top, bottom), (left, right)."""
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def upsample_2x(x: jax.Array) -> jax.Array:
    """Doubles rows and columns of (n, h, w, c), bilinear, corners aligned."""
    for axis in (1, 2):
        size = x.shape[axis]
        if size == 1:
            x = jnp.repeat(x, 2, axis)
            continue
        position = jnp.arange(2 * size) * ((size - 1) / (2 * size - 1))
        below = jnp.clip(jnp.floor(position).astype(int), 0, size - 2)
        fraction = (position - below).astype(x.dtype).reshape(-1, *[1] * (3 - axis))
        low, high = (jnp.take(x, below + step, axis) for step in (0, 1))
        x = low + fraction * (high - low)
    return x


class Deblurrer(TableModule):
    """Residual that deblurs a generated frame (section 3.4).

    Attributes:
        layers: number of convolutions.
    """

    layers: int = 10

    @nn.compact
    def __call__(
        self, frames: Float[Array, "n height width 3"]
    ) -> Float[Array, "n height width 3"]:
        """Computes float32 residuals of frames (n, height, width, 3), RGB in [0, 1]."""
        x = frames
        for i in range(self.layers - 1):
            x = self.conv_block(64, 3, 1, 1, bias=True, norm=False, name=f"conv_{i}")(x, False)
        return at_least_float32(self.head(3, 3, 1, 1, name="output")(x, False))


# Rows of `LipClipGenerator`, (features, kernel, strides, padding). The first and the third are skip
# connections.
LIP_ENCODER = ((96, 7, 2, 1), (256, 5, 2, 1), (256, 3, 1, 0))
LIP_ENCODER_DEEP = ((512, 3, 1, 1), (256, 3, 1, 1), (128, 3, 1, 1))
LIP_DECODER = (
    ((512, 7, 2, 1), (256, 6, 2, 1)),
    ((256, 6, 2, 1), (256, 5, 1, 1), (96, 5, 1, 1)),
    ((96, 6, 2, 1), (64, 5, 1, 1)),
)


class LipClipGenerator(TableModule):
    """Reference image of lips and audio -> 16 frames, generated as channels of one image."""

    def __call__(
        self,
        reference: Float[Array, "n 64 64 3"],
        audio: Float[Array, "n 64 128"],
        train: bool = False,
    ) -> Float[Array, "n 16 64 64 3"]:
        """Generates clips.

        Args:
            reference: (n, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 64, 128), log-mel rows as in `methods.glance.model`.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n, 16, 64, 64, 3), RGB in [-1, 1].
        """
        return jnp.tanh(self.logits(reference, audio, train))

    @nn.compact
    def logits(
        self,
        reference: Float[Array, "n 64 64 3"],
        audio: Float[Array, "n 64 128"],
        train: bool = False,
    ) -> Float[Array, "n 16 64 64 3"]:
        """Returns frames before the tanh; arguments as of a call."""
        size, frames = glance.SIZE, glance.FRAMES
        check_shape(self, "reference", reference, None, size, size, 3)
        check_shape(
            self,
            "audio",
            audio,
            len(reference),
            frames * glance.MEL_ROWS_PER_FRAME,
            glance.MEL_BINS,
        )
        shallow_skip = self.conv_block(*LIP_ENCODER[0], name="image_0")(reference, train)
        deep_skip = self.conv_block(*LIP_ENCODER[1], name="image_1")(shallow_skip, train)
        deep_skip = self.conv_block(*LIP_ENCODER[2], name="image_2")(deep_skip, train)
        image_code = self.conv_stack(
            nn.max_pool(deep_skip, (3, 3), (2, 2)), LIP_ENCODER_DEEP, train, "image_deep"
        )
        image_code = self.conv_block(512, image_code.shape[1:3], name="image_dense_0")(
            image_code, train
        )
        image_code = self.conv_block(256, 1, name="image_dense_1")(image_code, train)
        audio_code = self.conv_stack(audio[..., None], GENERATOR_AUDIO_ENCODER, train, "audio")
        audio_code = self.conv_block(256, audio_code.shape[1:3], name="audio_dense")(
            audio_code, train
        )
        x = self.conv_block(128, 1, name="fusion")(
            jnp.concatenate([audio_code, image_code], axis=-1), train
        )
        for i, (rows, skip) in enumerate(
            zip(LIP_DECODER, (None, deep_skip, shallow_skip), strict=True)
        ):
            x = x if skip is None else jnp.concatenate([skip, x], axis=-1)
            x = self.conv_stack(x, rows, train, f"up_{i}", transposed=True)
        x = at_least_float32(self.head(3 * frames, 3, 1, 1, name="output")(x, train))
        # Channel 16 * colour + frame.
        return x.reshape(*x.shape[:3], 3, frames).transpose(0, 4, 1, 2, 3)
