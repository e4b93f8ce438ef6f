"""Networks of "Lip Movements Generation at a Glance" (Chen et al. 2018), sizes as published.

A reference image of the lips and the log-mel spectrogram of a clip become all frames at once.
Images are RGB in [-1, 1], 64 x 64; audio is (4 * time rows, 128 mel bins) in dB
(`data.audio_windows.log_mel_windows`), four rows a frame; flow is that of successive frames from
`ops.optical_flow.clip_flow`, (time - 1, 16, 16, 2). `time` is 16 as published. Where the tables of
the paper and its published code differ, the networks follow the tables, unless the sizes in the
tables are inconsistent (strides of the audio, and of the stream of the flow).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lipsync_jax.nn.blocks import TableModule
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.ops.dtypes import at_least_float32

FRAMES, SIZE, MEL_BINS, MEL_ROWS_PER_FRAME = 16, 64, 128, 4

# Rows are (features, kernel, strides, padding). Deviation G1: the table's strides are inconsistent.
AUDIO_ENCODER = ((32, 3, 1, 1), (64, 3, 2, 1), (128, 3, 1, 1), (256, 3, 2, 1))  # Tab. 4
DOWNSAMPLE_2X, DOWNSAMPLE_2X_3D = (3, 2, 1), ((3, 3, 3), (1, 2, 2), 1)
IMAGE_ENCODER = ((128, *DOWNSAMPLE_2X), (256, *DOWNSAMPLE_2X))  # Tab. 5, after its first row
AUDIO_DERIVATIVE_ENCODER: tuple[tuple, ...] = tuple(
    (c, 3, (1, 2), 1) for c in (128, 64, 32, 16)
)  # Tab. 7
MOTION_CHANNELS = (4, 8, 16, 16)  # Tab. 8; the last is repeated for larger images
CORRELATION_FEATURES = 16  # features of both correlation networks

KERNEL_3D = (4, 4, 4)
VIDEO_STREAM = (  # Tab. 10
    (64, KERNEL_3D, 2, 1),
    (128, KERNEL_3D, 2, 1),
    (256, KERNEL_3D, 2, 1),
    (256, KERNEL_3D, (1, 2, 2), 1),
)
FLOW_STREAM = (  # Tab. 11, whose strides are inconsistent: deviation G2
    (64, (3, 3, 3), 2, 1),
    (128, (3, 3, 3), (2, 1, 1), 1),
    (256, (3, 3, 3), 2, 1),
    (256, (3, 3, 3), (2, 1, 1), 1),
)
DIFFERENCE_STREAM = tuple((c, (3, 3, 3), 2, 1) for c in (64, 128, 256, 256))


class GeneratorOutput(NamedTuple):
    """Outputs of the generator.

    Attributes:
        frames: float32 (n, time, 64, 64, 3), RGB in [-1, 1].
        audio_features: (n, time, 16 frequencies, channels), the input of DerivativeEncoder.
    """

    frames: jax.Array
    audio_features: jax.Array


class Generator(TableModule):
    """The generator (section 3.1, Tab. 4-6).

    Attributes:
        residual_blocks: number of blocks between the fusion and the upsampling.
        residual_kernel_t: frames that a residual block's kernels span; 3 in one published variant.
        audio_downsample: the last halving of frequencies: a max pool (the paper's table), or a
            convolution (some published variants).
        output_kernel: frames, rows and columns of the last convolution's kernel, odd; 7 as
            published.
        output_padding_mode: padding of the last convolution.
    """

    residual_blocks: int = 9
    residual_kernel_t: int = 1
    audio_downsample: Literal["pool", "conv"] = "pool"
    output_kernel: int = 7
    output_padding_mode: Literal["zeros", "edge"] = "zeros"

    def __call__(
        self,
        reference: Float[Array, "n 64 64 3"],
        audio: Float[Array, "n rows 128"],
        train: bool = False,
    ) -> GeneratorOutput:
        """Generates clips.

        Args:
            reference: (n, 64, 64, 3), RGB in [-1, 1].
            audio: log-mel (n, 4 * time, 128), normalised by the method.
            train: whether BatchNorm uses and updates statistics of the batch.
        """
        logits, audio_features = self.logits(reference, audio, train)
        return GeneratorOutput(jnp.tanh(logits), audio_features)

    @nn.compact
    def logits(
        self,
        reference: Float[Array, "n 64 64 3"],
        audio: Float[Array, "n rows 128"],
        train: bool = False,
    ) -> GeneratorOutput:
        """Computes the frames before the tanh; arguments as of a call."""
        check_shape(self, "reference", reference, None, SIZE, SIZE, 3)
        check_shape(self, "audio", audio, len(reference), None, MEL_BINS)
        if audio.shape[1] % MEL_ROWS_PER_FRAME:
            raise ValueError(
                f"audio has {audio.shape[1]} rows; a multiple of {MEL_ROWS_PER_FRAME} is required"
            )
        audio_features = self._encode_audio(audio, train)
        x = self._fuse(self._encode_image(reference, train), audio_features)
        x = self.conv_block(256, (3, 3, 3), 1, 1, name="compress")(x, train)
        size = (self.residual_kernel_t, 3, 3)
        padding = (self.residual_kernel_t // 2, 1, 1)
        for i in range(self.residual_blocks):
            y = self.conv_block(256, size, 1, padding, name=f"residual_{i}_0")(x, train)
            last = self.conv_block(256, size, 1, padding, activation=None, name=f"residual_{i}_1")
            x = x + last(y, train)
        for i, features in enumerate((128, 64)):
            up = self.conv_block(features, *DOWNSAMPLE_2X_3D, (0, 1, 1), True, name=f"up_{i}")
            x = up(x, train)
        size = (self.output_kernel,) * 3
        output = self.head(
            3,
            size,
            1,
            self.output_kernel // 2,
            padding_mode=self.output_padding_mode,
            name="output",
        )
        return GeneratorOutput(at_least_float32(output(x, train)), audio_features)

    def _encode_audio(self, audio: jax.Array, train: bool) -> jax.Array:
        """Maps (n, 4 * time, 128) to (n, time, 16, channels)."""
        x = self.conv_stack(audio[..., None], AUDIO_ENCODER, train, "audio")
        if self.audio_downsample == "pool":
            return nn.max_pool(x, (1, 2), (1, 2))
        return self.conv_block(256, 3, (1, 2), 1, name=f"audio_{len(AUDIO_ENCODER)}")(x, train)

    def _encode_image(self, reference: jax.Array, train: bool) -> jax.Array:
        """Maps (n, 64, 64, 3) to (n, 16, 16, channels)."""
        x = self.conv_block(64, 7, 1, 3, padding_mode="reflect", name="image_0")(reference, train)
        for i, row in enumerate(IMAGE_ENCODER, 1):
            x = self.conv_block(*row, name=f"image_{i}")(x, train)
        return x

    @staticmethod
    def _fuse(image_features: jax.Array, audio_features: jax.Array) -> jax.Array:
        """Concatenates the image features at every frame and the audio, frequencies as rows."""
        n, time, rows, _ = audio_features.shape
        columns = image_features.shape[2]
        image_features = jnp.broadcast_to(
            image_features[:, None], (n, time, *image_features.shape[1:])
        )
        audio_features = jnp.broadcast_to(
            audio_features[:, :, :, None], (n, time, rows, columns, audio_features.shape[-1])
        )
        return jnp.concatenate([image_features, audio_features], axis=-1)


class DerivativeEncoder(TableModule):
    """Encodes changes of the audio: 16 features a step (section 3.2, Tab. 7).

    Attributes:
        derivative: whether differences of the audio are encoded (15 steps of 16), or the audio.
    """

    derivative: bool = True

    @nn.compact
    def __call__(
        self, audio_features: Float[Array, "n time 16 c"], train: bool = False
    ) -> Float[Array, "n steps 16"]:
        """Maps (n, time, 16, channels) to (n, time - 1 or time, 16), at least 0."""
        check_shape(self, "audio_features", audio_features, None, None, CORRELATION_FEATURES, None)
        x = audio_features[:, :-1] - audio_features[:, 1:] if self.derivative else audio_features
        *rows, (features, *shape) = AUDIO_DERIVATIVE_ENCODER
        x = self.conv_stack(x, rows, train, "conv", bias=True)
        last = self.head(features, *shape, norm=True, activation=nn.relu, name=f"conv_{len(rows)}")
        return last(x, train)[:, :, 0]


class MotionEncoder(TableModule):
    """Encodes motion: 16 features a step (section 3.2, Tab. 8).

    One convolution per halving: four for 16 x 16 flow as published, six for 64 x 64 flow or frames.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "n time side side c"], train: bool = False
    ) -> Float[Array, "n time 16"]:
        """Maps (n, time, side, side, channels), side a power of 2, to (n, time, 16), at least 0."""
        side = x.shape[2]
        if x.shape[3] != side or side < 2 or side & (side - 1):
            raise ValueError(f"motion has shape {x.shape}; its sides must be equal powers of two")
        for i in range(side.bit_length() - 1):
            layer = self.head(
                MOTION_CHANNELS[min(i, len(MOTION_CHANNELS) - 1)],
                *DOWNSAMPLE_2X_3D,
                norm=True,
                activation=nn.relu,
                name=f"conv_{i}",
            )
            x = layer(x, train)
        return x[:, :, 0, 0]


class Discriminator(TableModule):
    """Classifies clips with their audio in three streams (section 4.2, Tab. 9-11), or in two.

    Attributes:
        motion: input of the third stream: "flow"; "difference" of successive frames; "none": no
            third stream (the fusion then has 512 features of the video).
    """

    motion: Literal["flow", "difference", "none"] = "flow"

    def __call__(
        self,
        frames: Float[Array, "n 16 64 64 3"],
        audio: Float[Array, "n 64 128"],
        flow: Float[Array, "n steps height width c"] | None = None,
        train: bool = False,
    ) -> Float[Array, " n"]:
        """Computes probabilities of being real and in sync; arguments as of `logits`."""
        return nn.sigmoid(self.logits(frames, audio, flow, train))

    @nn.compact
    def logits(
        self,
        frames: Float[Array, "n 16 64 64 3"],
        audio: Float[Array, "n 64 128"],
        flow: Float[Array, "n steps height width c"] | None = None,
        train: bool = False,
    ) -> Float[Array, " n"]:
        """Computes logits of being real and in sync.

        Args:
            frames: (n, 16, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 64, 128).
            flow: (n, 15, 16, 16, 2) where `motion` is "flow".
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,).
        """
        check_shape(self, "frames", frames, None, FRAMES, SIZE, SIZE, 3)
        check_shape(self, "audio", audio, len(frames), FRAMES * MEL_ROWS_PER_FRAME, MEL_BINS)
        three_streams = self.motion != "none"
        video = (
            VIDEO_STREAM if three_streams else (*VIDEO_STREAM[:-1], (512, *VIDEO_STREAM[-1][1:]))
        )
        streams_out = [self._video_stream(frames, video, train, "video")]
        if self.motion == "flow":
            if flow is None:
                raise ValueError(
                    f"Discriminator with motion='flow' needs flow, shape ({len(frames)}, "
                    f"{FRAMES - 1}, 16, 16, 2); got None"
                )
            check_shape(self, "flow", flow, len(frames), FRAMES - 1, 16, 16, 2)
            streams_out.append(self._video_stream(flow, FLOW_STREAM, train, "motion"))
        elif three_streams:
            streams_out.append(
                self._video_stream(
                    frames[:, 1:] - frames[:, :-1], DIFFERENCE_STREAM, train, "motion"
                )
            )
        audio_features = self.conv_stack(audio[..., None], AUDIO_ENCODER, train, "audio")
        dense = {"bias": not three_streams, "norm": three_streams, "name": "audio_dense"}
        audio_features = self.conv_block(256, audio_features.shape[1:3], **dense)(
            audio_features, train
        )[:, None]
        audio_features = jnp.broadcast_to(
            audio_features, (*streams_out[0].shape[:4], audio_features.shape[-1])
        )
        x = jnp.concatenate([*streams_out, audio_features], axis=-1)
        x = self.conv_block(512, (3, 3, 3), 1, 1, name="fusion")(x, train)
        head = self.head(1, x.shape[1:4], name="logits")(x, train)
        return at_least_float32(head).reshape(len(frames))

    def _video_stream(
        self, x: jax.Array, rows: Sequence[tuple], train: bool, name: str
    ) -> jax.Array:
        """Applies a stream; its first row has a bias and no norm."""
        x = self.conv_block(*rows[0], bias=True, norm=False, name=f"{name}_0")(x, train)
        for i, row in enumerate(rows[1:], 1):
            x = self.conv_block(*row, name=f"{name}_{i}")(x, train)
        return x
