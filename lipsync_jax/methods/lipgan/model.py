"""Networks of LipGAN (KR et al. 2019, "Towards automatic face-to-face translation").

The published code has two branches with different audio features: `audio_features="mfcc"`, windows
of 35 MFCC steps of 12 coefficients (`data.audio_windows.mfcc_windows` of `audio.speech2vid_mfcc`),
and `audio_features="mel"`, windows of 27 columns of 80 mel bins (`audio.mel_spectrogram`). Faces
are BGR in [0, 1], 96 x 96: a reference image, then the face whose lower half is 0. Padding and
batch norms are those of TensorFlow and Keras. The discriminator computes distances, small for real
pairs.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lipsync_jax.losses import l2_normalize
from lipsync_jax.nn.blocks import ConvNormAct, Initializer, Sizes, TableModule
from lipsync_jax.nn.dcgan import leaky_relu
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.ops.dtypes import at_least_float32
from lipsync_jax.types import Argument

SIZE = 96
AUDIO_SHAPES = {"mfcc": (35, 12), "mel": (27, 80)}  # steps, bins
KERAS: Mapping[str, Argument] = {"bias": True, "epsilon": 1e-3, "momentum": 0.8}

# (features, kernel, strides, residual blocks) of the residual generator. After the last row of a
# face: one convolution that spans the map and one of 1 x 1.
FACE_ENCODER = (
    *((32, 7, 1, 0), (64, 5, 2, 2), (128, 3, 2, 3)),
    *((256, 3, 2, 2), (512, 3, 2, 2), (512, 3, 2, 0)),
)
AUDIO_ENCODER = {
    "mfcc": ((128, 3, 1, 3), (256, 3, (1, 2), 2), (512, 3, 2, 2), (512, 3, 2, 1)),
    "mel": ((32, 3, 1, 2), (64, 3, 3, 2), (128, 3, (3, 1), 2), (256, 3, 3, 2)),
}
# Features, strides and residual blocks of the decoder; a skip connection joins after each.
DECODER = ((512, 3, 0), (512, 2, 2), (256, 2, 2), (128, 2, 2), (64, 2, 2), (32, 2, 0))
# Rows of the basic generator, which has no residual blocks.
BASIC_FACE_ENCODER = (
    *((32, 11, 1, 0), (64, 7, 2, 0), (128, 5, 2, 0)),
    *((256, 3, 2, 0), (512, 3, 2, 0), (512, 3, 2, 0)),
)
BASIC_AUDIO_ENCODER = {
    "mfcc": ((128, 3, 1, 0), (256, 3, (1, 2), 0), (256, 3, 1, 0), (256, 3, 2, 0), (512, 3, 2, 0)),
    "mel": tuple(
        (features, 3, strides, 0)
        for features, _, first, _ in AUDIO_ENCODER["mel"]
        for strides in (first, 1, 1)
    ),
}
# (residual generator?, branch) -> features of the face embedding and of the audio embedding.
EMBEDDING_SIZES = {
    (True, "mfcc"): (512, 512),
    (True, "mel"): (512, 512),
    (False, "mfcc"): (256, 256),
    (False, "mel"): (256, 512),
}
# Features, kernel, strides of the discriminator.
DISC_FACE_ENCODER = ((64, 7, 2), (128, 5, 2), (256, 3, 2), (512, 3, 2), (512, 3, 2))
DISC_AUDIO_ENCODER = {
    "mfcc": (
        *((64, 3, 1), (128, 3, 1), (256, 3, (1, 2))),
        *((256, 3, 1), (256, 3, 2), (512, 3, 2)),
    ),
    "mel": ((32, 3, 1), (64, 3, 3), (128, 3, (3, 1)), (256, 3, 3)),
}


def _glorot(fan_in: int) -> Initializer:
    del fan_in
    return nn.initializers.glorot_uniform()


class _LipGANModule(TableModule):
    """Base class of both networks.

    Attributes:
        audio_features: the branch, see the module.
    """

    audio_features: Literal["mfcc", "mel"] = "mfcc"

    min_channels: ClassVar = 8  # fewer lose colours and edges

    def spectrogram_image(self, audio: jax.Array) -> jax.Array:
        """Converts (n, steps, bins) to (n, bins, steps, 1)."""
        check_shape(self, "audio", audio, None, *AUDIO_SHAPES[self.audio_features])
        return audio.swapaxes(1, 2)[..., None]

    def pad_top(self, x: jax.Array, strides: Argument) -> jax.Array:
        """Pads MFCCs with a row of zeros on top, before the layer that halves steps alone."""
        if self.audio_features == "mfcc" and strides == (1, 2):
            return jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))
        return x


class Generator(_LipGANModule):
    """Fills in a face's lower half for a window of audio (section 3.2).

    Attributes:
        residual: whether it is the residual generator, the default of the published code, or the
            basic one.
        depth_mult: multiplies the number of residual blocks.
    """

    residual: bool = True
    depth_mult: float = 1.0

    @nn.compact
    def __call__(
        self,
        audio: Float[Array, "n steps bins"],
        faces: Float[Array, "n 96 96 6"],
        train: bool = False,
    ) -> Float[Array, "n 96 96 3"]:
        """Generates faces.

        Args:
            audio: (n, 35, 12) or (n, 27, 80), see the module.
            faces: (n, 96, 96, 6), a reference image, then the face with its lower half 0; both BGR
                in [0, 1].
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n, 96, 96, 3), BGR in [0, 1].
        """
        check_shape(self, "faces", faces, None, SIZE, SIZE, 6)
        face_size, audio_size = EMBEDDING_SIZES[self.residual, self.audio_features]
        x, skips = faces, []
        for i, row in enumerate(FACE_ENCODER if self.residual else BASIC_FACE_ENCODER):
            x = self._stage(x, row, train, f"face_{i}")
            skips.append(x)
        face_code = self._code(x, face_size, train, "face")
        x = self.spectrogram_image(audio)
        rows = AUDIO_ENCODER if self.residual else BASIC_AUDIO_ENCODER
        for i, stage in enumerate(rows[self.audio_features]):
            x = self._stage(self.pad_top(x, stage[2]), stage, train, f"audio_{i}")
        x = jnp.concatenate([face_code, self._code(x, audio_size, train, "audio")], axis=-1)
        for i, (features, stride, residuals) in enumerate(DECODER):
            residuals = residuals if self.residual else 0
            up = self._keras_block(features, 3, stride, transposed=True, name=f"up_{i}")
            x = self._residuals(up(x, train), residuals, train, f"up_{i}")
            x = jnp.concatenate([skips.pop(), x], axis=-1)
        for i in range(2):
            x = self._keras_block(16, 3, name=f"output_{i}")(x, train)
        x = self.head(3, 1, kernel_init=_glorot, name="output")(x, train)
        return nn.sigmoid(at_least_float32(x))

    def _keras_block(
        self,
        features: int,
        kernel: Sizes,
        strides: Sizes = 1,
        padding: Sizes | Literal["SAME"] = "SAME",
        **options: Argument,
    ) -> ConvNormAct:
        return self.conv_block(
            features, kernel, strides, padding, kernel_init=_glorot, **KERAS, **options
        )

    def _stage(self, x: jax.Array, row: tuple, train: bool, name: str) -> jax.Array:
        features, kernel, strides, residuals = row
        x = self._keras_block(features, kernel, strides, name=name)(x, train)
        return self._residuals(x, residuals, train, name)

    def _residuals(self, x: jax.Array, count: int, train: bool, name: str) -> jax.Array:
        """Applies residual blocks of two layers, ReLU before and after the sum."""
        for i in range(math.ceil(count * self.depth_mult)):
            y = x
            for j in range(2):
                same = ConvNormAct(
                    x.shape[-1],
                    (3, 3),
                    padding="SAME",
                    kernel_init=_glorot,
                    dtype=self.dtype,
                    name=f"{name}_residual_{i}_{j}",
                    **KERAS,
                )
                y = same(y, train)
            x = nn.relu(x + y)
        return x

    def _code(self, x: jax.Array, features: int, train: bool, name: str) -> jax.Array:
        x = self._keras_block(512, x.shape[1:3], 1, 0, name=f"{name}_code_0")(x, train)
        return self._keras_block(features, 1, name=f"{name}_code_1")(x, train)


class InstanceNorm(nn.Module):
    """Instance normalisation over rows, columns and channels together, keras-contrib's default.

    Attributes:
        epsilon: added to the standard deviation.
    """

    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Float[Array, "n height width c"]) -> Float[Array, "n height width c"]:
        """Normalises (n, height, width, c) in float32 or wider; one scale and one bias."""
        x = at_least_float32(x)
        scale = self.param("scale", nn.initializers.ones, ())
        bias = self.param("bias", nn.initializers.zeros, ())
        centred = x - x.mean(axis=(1, 2, 3), keepdims=True)
        # Clamped inside the root, whose derivative at 0 is infinite.
        variance = jnp.maximum(jnp.mean(centred**2, axis=(1, 2, 3), keepdims=True), 1e-12)
        return centred / (jnp.sqrt(variance) + self.epsilon) * scale + bias


DISC_FIELDS: dict[str, Argument] = {
    "bias": True,
    "norm": False,
    "activation": None,
    "kernel_init": _glorot,
}


class Discriminator(_LipGANModule):
    """Distance of a face and a window of audio, small for real pairs (section 3.3)."""

    @nn.compact
    def __call__(
        self, audio: Float[Array, "n steps bins"], faces: Float[Array, "n 96 96 3"]
    ) -> Float[Array, " n"]:
        """Computes distances.

        Args:
            audio: (n, 35, 12) or (n, 27, 80), see the module.
            faces: (n, 96, 96, 3), BGR in [0, 1].

        Returns:
            float32 (n,), distances in [0, 2].
        """
        check_shape(self, "faces", faces, None, SIZE, SIZE, 3)
        face_code, audio_code = faces, self.spectrogram_image(audio)
        for i, row in enumerate(DISC_FACE_ENCODER):
            face_code = self._block(face_code, row, f"face_{i}")
        for i, block in enumerate(DISC_AUDIO_ENCODER[self.audio_features]):
            audio_code = self._block(self.pad_top(audio_code, block[2]), block, f"audio_{i}")
        if self.audio_features == "mel":
            audio_code = self._block(audio_code, (512, audio_code.shape[1:3], None), "audio_code_0")
            audio_code = self._block(audio_code, (512, 1, 1), "audio_code_1")
        else:
            audio_code = self._global_conv(audio_code, "audio_code")
        codes = (
            x.reshape(faces.shape[0], -1)
            for x in (self._global_conv(face_code, "face_code"), audio_code)
        )
        face_code, audio_code = (l2_normalize(x) for x in codes)
        # Deviation L6: clamped inside the root, whose derivative at 0 is infinite.
        return jnp.sqrt(jnp.maximum(jnp.sum((face_code - audio_code) ** 2, axis=-1), 1e-12))

    def _block(self, x: jax.Array, row: tuple, name: str) -> jax.Array:
        features, kernel, strides = row
        shape = (kernel, 1, 0) if strides is None else (kernel, strides, "SAME")
        x = self.conv_block(features, *shape, name=name, **DISC_FIELDS)(x, False)
        return leaky_relu(InstanceNorm(name=f"{name}_norm")(x).astype(x.dtype))

    def _global_conv(self, x: jax.Array, name: str) -> jax.Array:
        return self.conv_block(512, x.shape[1:3], name=name, **DISC_FIELDS)(x, False)
