"""Wav2Lip's three networks (Prajwal et al. 2020), as tables of rows.

Sizes follow from one rule: strided convolutions halve images until their side is 3 or 4; then one
unpadded convolution as large as that side leaves a single position. At 96 pixels these are the
published networks. Other sides of 3 or 4 times a power of two repeat the deepest row of a table,
or leave its deepest rows out.

Images are BGR in [0, 1], NHWC. `width_mult` multiplies all channel counts (never below 8),
`depth_mult` the number of residual blocks of each stage (rounded up; 0 leaves none).
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lipsync_jax.losses import l2_normalize
from lipsync_jax.nn.conv import ConvBlock, conv
from lipsync_jax.ops.dtypes import at_least_float32
from lipsync_jax.types import Argument

EMBEDDING_SIZE = 512

# (features, kernel, strides, padding, residual blocks that follow); the vertical axis first.
AUDIO_ENCODER = (
    (32, 3, 1, 1, 2),
    (64, 3, (3, 1), 1, 2),
    (128, 3, 3, 1, 2),
    (256, 3, (3, 2), 1, 1),
    (EMBEDDING_SIZE, 3, 1, 0, 0),
    (EMBEDDING_SIZE, 1, 1, 0, 0),
)
EXPERT_AUDIO_ENCODER = (*AUDIO_ENCODER[:3], (256, 3, (3, 2), 1, 2), *AUDIO_ENCODER[4:])
# Padding 1 for a kernel of 5 loses rows and columns, as published.
EXPERT_FACE_STEM = ((32, 7, 1, 3, 0), (64, 5, (1, 2), 1, 2))

# (features, residual blocks) at the full size, half of it, a quarter, ...
FACE_ENCODER = ((16, 0), (32, 2), (64, 3), (128, 2), (256, 2), (512, 1))
FACE_DECODER = ((64, 2), (128, 2), (256, 2), (384, 2), (512, 2))
# (features, residual blocks) of each downsampling after the stem.
EXPERT_FACE_ENCODER = ((128, 3), (256, 2), (512, 2), (512, 0))

# (features, kernel) at the size after the stem, half of it, ...; a strided convolution and
# another each.
QUALITY_ENCODER = ((64, 5), (128, 5), (256, 5), (512, 3), (512, 3))


def num_downsamples(image_size: int) -> tuple[int, int]:
    """Returns the number of downsamplings of a side, and the side that remains, 3 or 4.

    Raises:
        ValueError: the side is not 3 or 4 times a power of two, or below 12.
    """
    count = max(image_size // 3, 1).bit_length() - 1
    last = image_size >> count
    if image_size < 12 or last not in (3, 4) or last << count != image_size:
        raise ValueError(
            f"image_size={image_size}: choose 3 or 4 times a power of two, "
            "e.g. 48, 64, 96, 128, 192, 256, 384"
        )
    return count, last


def extend(rows: tuple, count: int) -> tuple:
    """Returns the first `count` rows of a table, its last row repeated if the table is shorter."""
    return (rows + rows[-1:] * count)[:count]


def unroll(rows: tuple, depth_mult: float) -> list[tuple]:
    """Expands rows with residual blocks to (features, kernel, strides, padding, residual).

    Args:
        rows: (features, kernel, strides, padding, residual blocks that follow).
        depth_mult: multiplies the counts.
    """
    blocks = []
    for *row, residuals in rows:
        blocks.append((*row, False))
        blocks += [(row[0], 3, 1, 1, True)] * math.ceil(residuals * depth_mult)
    return blocks


def needed_rows(first_row: int, convolutions: Sequence[int]) -> list[int]:
    """Returns the first row of a decoder's maps that the rows of its output from one on need.

    Each size but the first is twice the one before, by a transposed convolution of kernel 3 and
    padding 1, whose row 2 i needs row i alone of the map before. 3x3 convolutions follow, each of
    which needs one more row.

    Args:
        first_row: of the map of the last size.
        convolutions: number of 3x3 convolutions of each size.

    Returns:
        One row a size. The convolutions of a size may begin at twice the row of the size before:
        what they take for the upper border spoils no row that is needed.
    """
    rows = [first_row]
    for count in convolutions[:0:-1]:
        rows.append(max(0, rows[-1] - count) // 2)
    return rows[::-1]


def pool_rows(last: int) -> tuple:
    """Returns the rows that reduce a map of side `last` to an embedding."""
    return ((EMBEDDING_SIZE, last, 1, 0, 0), (EMBEDDING_SIZE, 1, 1, 0, 0))


class Wav2LipModule(nn.Module):
    """Base class of the three networks and of `WarpWav2Lip`.

    Attributes:
        width_mult: multiplies all channel counts, never below 8.
        image_size: side of the whole face in pixels, see `num_downsamples`.
        dtype: of the computation; None follows inputs and parameters.
        norm_momentum: of BatchNorm's running statistics.
    """

    width_mult: float = 1.0
    image_size: int = 96
    dtype: DTypeLike | None = None
    norm_momentum: float = 0.9

    def channels(self, features: int) -> int:
        """Returns a table's number of features at this width."""
        return max(8, round(features * self.width_mult))

    def conv_stack(
        self, x: jax.Array, rows: Sequence[tuple], train: bool, name: str, first: int = 0
    ) -> jax.Array:
        """Runs the unrolled rows of a table as blocks name_first, name_(first + 1), ..."""
        for i, (features, kernel, strides, padding, residual) in enumerate(rows, first):
            x = ConvBlock(
                self.channels(features),
                kernel,
                strides,
                padding,
                residual,
                norm_momentum=self.norm_momentum,
                dtype=self.dtype,
                name=f"{name}_{i}",
            )(x, train)
        return x

    def check_shape(self, name: str, array: jax.Array, *shape: int) -> None:
        """Raises ValueError for inputs of another shape than (n, *shape)."""
        if array.shape[1:] != shape:
            raise ValueError(
                f"{name} has shape {array.shape}; {type(self).__name__} with "
                f"image_size={self.image_size} takes (n, {', '.join(map(str, shape))})"
            )


class Wav2Lip(Wav2LipModule):
    """The generator: fills in a face's lower half for 0.2 s of audio (section 3.4).

    Attributes:
        depth_mult: multiplies the number of residual blocks.
    """

    depth_mult: float = 1.0

    def __call__(
        self,
        audio: Float[Array, "n 80 16 1"],
        faces: Float[Array, "n size size 6"],
        train: bool = False,
        first_row: int = 0,
    ) -> Float[Array, "n rows size 3"]:
        """Generates faces.

        Args:
            audio: (n, 80, 16, 1), mel bins by columns.
            faces: (n, size, size, 6), the face with its lower half 0, then a reference image;
                both BGR in [0, 1].
            train: whether BatchNorm uses and updates statistics of the batch.
            first_row: rows above it are not generated.

        Returns:
            (n, size - first_row, size, 3), BGR in [0, 1].
        """
        return nn.sigmoid(self.logits(audio, faces, train, first_row))

    @nn.compact
    def logits(
        self,
        audio: Float[Array, "n 80 16 1"],
        faces: Float[Array, "n size size 6"],
        train: bool = False,
        first_row: int = 0,
    ) -> Float[Array, "n rows size 3"]:
        """Returns the images before the sigmoid; arguments as of a call."""
        self.check_shape("audio", audio, 80, 16, 1)
        self.check_shape("faces", faces, self.image_size, self.image_size, 6)
        skips = self._encode_faces(faces, train)
        x = self.conv_stack(audio, unroll(AUDIO_ENCODER, self.depth_mult), train, "audio_encoder")
        # The 3x3 convolution of the output needs one more row.
        row = max(0, first_row - 1)
        x = self._decode(x, skips, train, row)
        x = self.conv_stack(x, [(32, 3, 1, 1, False)], train, "output")[:, first_row - row :]
        x = conv(3, 1, 1, 0, x.shape[-1], dtype=self.dtype, name="output_1")(x)
        return at_least_float32(x)

    def _encode_faces(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """Returns skip connections of each size, from the full size to a single position."""
        count, last = num_downsamples(self.image_size)
        (features, _), *rows = extend(FACE_ENCODER, count + 1)
        stages = [
            ((features, 7, 1, 3, 0),),
            *(((features, 3, 2, 1, residuals),) for features, residuals in rows),
            pool_rows(last),
        ]
        skips = []
        for i, stage in enumerate(stages):
            x = self.conv_stack(x, unroll(stage, self.depth_mult), train, f"face_encoder_{i}")
            skips.append(x)
        return skips

    def _decode(
        self, x: jax.Array, skips: list[jax.Array], train: bool, first_row: int
    ) -> jax.Array:
        """Upsamples the audio embedding to an image, with the encoder's skips at each size.

        Rows of the image above `first_row` are left out.
        """
        count, last = num_downsamples(self.image_size)
        x = self.conv_stack(x, [(EMBEDDING_SIZE, 1, 1, 0, False)], train, "face_decoder_0")
        x = jnp.concatenate([x, skips.pop()], axis=-1)
        # From the single position to `last`, then doubling; one residual block at `last`.
        table = [*extend(FACE_DECODER, count + 1)[::-1]]
        table[0] = (table[0][0], 1)
        residuals = [math.ceil(number * self.depth_mult) for _, number in table]
        rows, top = needed_rows(first_row, residuals), 0
        for i, (features, _) in enumerate(table):
            kernel, stride, padding = (3, 2, 1) if i else (last, 1, 0)
            x = ConvBlock(
                self.channels(features),
                kernel,
                stride,
                padding,
                transposed=True,
                output_padding=padding,
                dtype=self.dtype,
                name=f"face_decoder_{i + 1}_0",
            )(x, train)
            blocks = [(features, 3, 1, 1, True)] * residuals[i]
            x = self.conv_stack(x, blocks, train, f"face_decoder_{i + 1}", first=1)
            x = jnp.concatenate([x[:, rows[i] - top :], skips.pop()[:, rows[i] :]], axis=-1)
            top = 2 * rows[i]
        return x


class SyncExpert(Wav2LipModule):
    """The lip-sync expert: one embedding of 5 frames, one of their audio (section 3.3).

    Attributes:
        depth_mult: multiplies the number of residual blocks.
        dropout: rate before the last layer of each tower, in training with a `dropout` key. Not
            in the published network.
        relu_embedding: whether the embeddings are rectified, so that no cosine is negative, as
            published. False suits InfoNCE.
    """

    depth_mult: float = 1.0
    dropout: float = 0.0
    relu_embedding: bool = True

    @nn.compact
    def __call__(
        self,
        audio: Float[Array, "n 80 16 1"] | None,
        faces: Float[Array, "n half_size size 15"] | None,
        train: bool = False,
    ) -> tuple[Float[Array, "n embedding"] | None, Float[Array, "n embedding"] | None]:
        """Embeds audio and frames.

        Args:
            audio: (n, 80, 16, 1), mel bins by columns; None for frames alone.
            faces: (n, size / 2, size, 15), the lower halves of 5 consecutive faces; channel
                3 * frame + colour, BGR in [0, 1]; None for audio alone.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            Audio embedding and face embedding, float32 (n, 512 * width_mult) of length 1; None
            without the input.
        """
        size = self.image_size
        if audio is not None:
            self.check_shape("audio", audio, 80, 16, 1)
        if faces is not None:
            self.check_shape("faces", faces, size // 2, size, 15)
        count, last = num_downsamples(size)
        strided = [
            (features, 3, 2, 1, residuals)
            for features, residuals in extend(EXPERT_FACE_ENCODER, count - 1)
        ]
        face_rows = (*EXPERT_FACE_STEM, *strided, *pool_rows(last))
        faces = self._tower(faces, face_rows, train, "face_encoder")
        audio = self._tower(audio, EXPERT_AUDIO_ENCODER, train, "audio_encoder")
        return audio, faces

    def _tower(self, x: jax.Array | None, rows: tuple, train: bool, name: str) -> jax.Array | None:
        if x is None:
            return None
        *before, (features, *shape, _) = unroll(rows, self.depth_mult)
        x = self.conv_stack(x, before, train, name)
        deterministic = not (train and self.has_rng("dropout"))
        x = nn.Dropout(self.dropout, deterministic=deterministic)(x)
        # After those of a row.
        fields: dict[str, Argument]
        fields = {"activation": nn.relu if self.relu_embedding else None, "dtype": self.dtype}
        last = ConvBlock(self.channels(features), *shape, **fields, name=f"{name}_{len(before)}")
        x = last(x, train)
        return l2_normalize(x.reshape(len(x), -1))


class QualityDiscriminator(Wav2LipModule):
    """Classifies the lower half of a single face as real or generated (section 3.5)."""

    def __call__(self, frames: Float[Array, "n size size 3"]) -> Float[Array, "n 1"]:
        """Computes probabilities of being real.

        Args:
            frames: (n, size, size, 3), BGR in [0, 1]; the upper half is ignored.

        Returns:
            (n, 1).
        """
        return nn.sigmoid(self.logits(frames))

    @nn.compact
    def logits(self, frames: Float[Array, "n size size 3"]) -> Float[Array, "n 1"]:
        """Returns the logits before the sigmoid; arguments as of a call."""
        size = self.image_size
        self.check_shape("frames", frames, size, size, 3)
        count, last = num_downsamples(size)
        (features, kernel), *rows = extend(QUALITY_ENCODER, count)
        stages: list[list[tuple]] = [
            [(32, 7, 1, 3)],
            [(features, kernel, (1, 2), kernel // 2), (features, kernel, 1, kernel // 2)],
            *([(f, k, 2, k // 2), (f, k, 1, k // 2)] for f, k in rows),
            [(EMBEDDING_SIZE, last, 1, 0), (EMBEDDING_SIZE, 1, 1, 0)],
        ]
        x = frames[:, size // 2 :]
        # After those of a row; the slope is 0.01.
        fields: dict[str, Argument]
        fields = {"norm": False, "activation": nn.leaky_relu, "dtype": self.dtype}
        for i, stage in enumerate(stages):
            for j, (features, *shape) in enumerate(stage):
                block = ConvBlock(
                    self.channels(features),
                    *shape,
                    **fields,
                    name=f"face_encoder_{i}_{j}",
                )
                x = block(x)
        x = conv(1, 1, 1, 0, x.shape[-1], dtype=self.dtype, name="prediction")(x)
        x = x.reshape(len(x), 1)
        return at_least_float32(x)
