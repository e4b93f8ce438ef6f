"""Networks of LipGAN (KR et al. 2019, "Towards automatic face-to-face translation").

The published code has two branches, which hear differently: `sound="mfcc"` windows of 35 MFCC steps
of 12 coefficients (`data.audio_windows.mfcc_windows` of `audio.speech2vid_mfcc`), `sound="mel"`
windows of 27 columns of 80 mel bins (`audio.mel_spectrogram`). Faces are BGR in [0, 1], 96 x 96,
the other picture of the person before the one to redraw, whose lower half is 0. Padding and batch
norms are those of TensorFlow and Keras. The discriminator measures distances: near is real.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipsync_jax.losses import l2_normalise
from lipsync_jax.nn.conv_norm import ConvNorm, Initialiser, Network, Sizes
from lipsync_jax.nn.dcgan import float32, leaky_relu
from lipsync_jax.nn.shape_checks import check
from lipsync_jax.types import Argument

SIZE = 96
WINDOWS = {"mfcc": (35, 12), "mel": (27, 80)}  # steps, bins
KERAS: Mapping[str, Argument] = {"bias": True, "epsilon": 1e-3, "momentum": 0.8}

# (features, kernel, strides, residual blocks) of the residual generator. After the last row of a
# face: one convolution that spans the map and one of 1 x 1.
FACE = (
    *((32, 7, 1, 0), (64, 5, 2, 2), (128, 3, 2, 3)),
    *((256, 3, 2, 2), (512, 3, 2, 2), (512, 3, 2, 0)),
)
SOUND = {
    "mfcc": ((128, 3, 1, 3), (256, 3, (1, 2), 2), (512, 3, 2, 2), (512, 3, 2, 1)),
    "mel": ((32, 3, 1, 2), (64, 3, 3, 2), (128, 3, (3, 1), 2), (256, 3, 3, 2)),
}
# Features, strides and residual blocks of the decoder; a map of the face joins after each.
DECODER = ((512, 3, 0), (512, 2, 2), (256, 2, 2), (128, 2, 2), (64, 2, 2), (32, 2, 0))
# The same of the basic generator, which has no residual blocks.
BASIC_FACE = (
    *((32, 11, 1, 0), (64, 7, 2, 0), (128, 5, 2, 0)),
    *((256, 3, 2, 0), (512, 3, 2, 0), (512, 3, 2, 0)),
)
BASIC_SOUND = {
    "mfcc": ((128, 3, 1, 0), (256, 3, (1, 2), 0), (256, 3, 1, 0), (256, 3, 2, 0), (512, 3, 2, 0)),
    "mel": tuple(
        (features, 3, strides, 0)
        for features, _, first, _ in SOUND["mel"]
        for strides in (first, 1, 1)
    ),
}
# Features of the codes of face and sound: (residual generator?, branch) -> both.
CODES = {
    (True, "mfcc"): (512, 512),
    (True, "mel"): (512, 512),
    (False, "mfcc"): (256, 256),
    (False, "mel"): (256, 512),
}
# Features, kernel, strides of the discriminator.
JUDGED_FACE = ((64, 7, 2), (128, 5, 2), (256, 3, 2), (512, 3, 2), (512, 3, 2))
JUDGED_SOUND = {
    "mfcc": (
        *((64, 3, 1), (128, 3, 1), (256, 3, (1, 2))),
        *((256, 3, 1), (256, 3, 2), (512, 3, 2)),
    ),
    "mel": ((32, 3, 1), (64, 3, 3), (128, 3, (3, 1)), (256, 3, 3)),
}


def _glorot(fan_in: int) -> Initialiser:
    del fan_in
    return nn.initializers.glorot_uniform()


class _LipGAN(Network):
    """What both networks have in common.

    Attributes:
        sound: which branch; see the module.
    """

    sound: Literal["mfcc", "mel"] = "mfcc"

    narrowest: ClassVar = 8  # fewer lose colours and edges

    def spectrum(self, audio: jax.Array, n: int) -> jax.Array:
        """(n, steps, bins) -> (n, bins, steps, 1)."""
        check(self, "audio", audio, n, *WINDOWS[self.sound])
        return audio.swapaxes(1, 2)[..., None]

    def widen(self, x: jax.Array, strides: Argument) -> jax.Array:
        """Before the layer that halves steps alone, MFCCs get a row of zeros on top."""
        if self.sound == "mfcc" and strides == (1, 2):
            return jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))
        return x


class Generator(_LipGAN):
    """Redraws a face so that its mouth fits a window of sound (section 3.2).

    Attributes:
        residual: whether it is the residual generator, the default of the published code, or the
            basic one.
        depth: multiplies the number of residual blocks.
    """

    residual: bool = True
    depth: float = 1.0

    @nn.compact
    def __call__(self, audio: jax.Array, faces: jax.Array, train: bool = False) -> jax.Array:
        """Draws faces.

        Args:
            audio: (n, 35, 12) or (n, 27, 80), see the module.
            faces: (n, 96, 96, 6), another picture of the person, then the face to redraw with its
                lower half 0; both BGR in [0, 1].
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n, 96, 96, 3), BGR in [0, 1].
        """
        check(self, "faces", faces, None, SIZE, SIZE, 6)
        code, spoken = CODES[self.residual, self.sound]
        x, maps = faces, []
        for i, row in enumerate(FACE if self.residual else BASIC_FACE):
            x = self._stage(x, row, train, f"face_{i}")
            maps.append(x)
        seen = self._code(x, code, train, "face")
        x = self.spectrum(audio, len(faces))
        rows = SOUND if self.residual else BASIC_SOUND
        for i, stage in enumerate(rows[self.sound]):
            x = self._stage(self.widen(x, stage[2]), stage, train, f"audio_{i}")
        x = jnp.concatenate([seen, self._code(x, spoken, train, "audio")], axis=-1)
        for i, (features, stride, residuals) in enumerate(DECODER):
            residuals = residuals if self.residual else 0
            up = self._keras(features, 3, stride, transposed=True, name=f"up_{i}")
            x = self._residuals(up(x, train), residuals, train, f"up_{i}")
            x = jnp.concatenate([maps.pop(), x], axis=-1)
        for i in range(2):
            x = self._keras(16, 3, name=f"output_{i}")(x, train)
        x = self.output(3, 1, init=_glorot, name="output")(x, train)
        return nn.sigmoid(float32(x))

    def _keras(
        self,
        features: int,
        kernel: Sizes,
        strides: Sizes = 1,
        padding: Sizes | Literal["SAME"] = "SAME",
        **options: Argument,
    ) -> ConvNorm:
        return self.layer(features, kernel, strides, padding, init=_glorot, **KERAS, **options)

    def _stage(self, x: jax.Array, row: tuple, train: bool, name: str) -> jax.Array:
        features, kernel, strides, residuals = row
        x = self._keras(features, kernel, strides, name=name)(x, train)
        return self._residuals(x, residuals, train, name)

    def _residuals(self, x: jax.Array, count: int, train: bool, name: str) -> jax.Array:
        """Blocks of two layers each, rectified before and after their input is added."""
        for i in range(math.ceil(count * self.depth)):
            y = x
            for j in range(2):
                same = ConvNorm(
                    x.shape[-1],
                    (3, 3),
                    padding="SAME",
                    init=_glorot,
                    dtype=self.dtype,
                    name=f"{name}_residual_{i}_{j}",
                    **KERAS,
                )
                y = same(y, train)
            x = nn.relu(x + y)
        return x

    def _code(self, x: jax.Array, features: int, train: bool, name: str) -> jax.Array:
        x = self._keras(512, x.shape[1:3], 1, 0, name=f"{name}_code_0")(x, train)
        return self._keras(features, 1, name=f"{name}_code_1")(x, train)


class InstanceNorm(nn.Module):
    """Instance normalisation over rows, columns and channels together, as keras-contrib's default.

    Attributes:
        epsilon: added to the standard deviation.
    """

    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, height, width, c) -> float32 at least, the same shape; one scale and one bias."""
        x = float32(x)
        scale = self.param("scale", nn.initializers.ones, ())
        bias = self.param("bias", nn.initializers.zeros, ())
        centred = x - x.mean(axis=(1, 2, 3), keepdims=True)
        # Clamped inside the root, whose derivative at 0 is infinite.
        variance = jnp.maximum(jnp.mean(centred**2, axis=(1, 2, 3), keepdims=True), 1e-12)
        return centred / (jnp.sqrt(variance) + self.epsilon) * scale + bias


class Discriminator(_LipGAN):
    """How far a face is from a window of sound: near if it is real and speaks it (section 3.3)."""

    @nn.compact
    def __call__(self, audio: jax.Array, faces: jax.Array) -> jax.Array:
        """Measures.

        Args:
            audio: (n, 35, 12) or (n, 27, 80), see the module.
            faces: (n, 96, 96, 3), BGR in [0, 1].

        Returns:
            float32 (n,), distances in [0, 2].
        """
        check(self, "faces", faces, None, SIZE, SIZE, 3)
        seen, heard = faces, self.spectrum(audio, len(faces))
        for i, row in enumerate(JUDGED_FACE):
            seen = self._block(seen, row, f"face_{i}")
        for i, block in enumerate(JUDGED_SOUND[self.sound]):
            heard = self._block(self.widen(heard, block[2]), block, f"audio_{i}")
        if self.sound == "mel":
            heard = self._block(heard, (512, heard.shape[1:3], None), "audio_code_0")
            heard = self._block(heard, (512, 1, 1), "audio_code_1")
        else:
            heard = self._span(heard, "audio_code")
        codes = (x.reshape(len(faces), -1) for x in (self._span(seen, "face_code"), heard))
        seen, heard = (l2_normalise(x) for x in codes)
        # Clamped inside the root, whose derivative at 0 is infinite.
        return jnp.sqrt(jnp.maximum(jnp.sum((seen - heard) ** 2, axis=-1), 1e-12))

    def _block(self, x: jax.Array, row: tuple, name: str) -> jax.Array:
        features, kernel, strides = row
        shape = (kernel, 1, 0) if strides is None else (kernel, strides, "SAME")
        fields: dict[str, Argument]
        fields = {"bias": True, "norm": False, "activation": None, "init": _glorot, "name": name}
        x = self.layer(features, *shape, **fields)(x, False)
        return leaky_relu(InstanceNorm(name=f"{name}_norm")(x).astype(x.dtype))

    def _span(self, x: jax.Array, name: str) -> jax.Array:
        fields: dict[str, Argument]
        fields = {"bias": True, "norm": False, "activation": None, "init": _glorot, "name": name}
        return self.layer(512, x.shape[1:3], **fields)(x, False)
