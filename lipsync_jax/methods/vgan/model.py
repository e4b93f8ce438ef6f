"""Networks of the VGAN baseline of "At a Glance" (Vondrick et al. 2016; Chen et al. 2018).

Videos are a moving foreground over a static background, video = m f + (1 - m) b. The networks are
those of the code published with Chen et al., of 16 frames and with audio; the networks of Vondrick
et al. themselves, of 32 frames, have no audio and are left out. Images are RGB in [-1, 1], 64 x 64;
audio is as in `methods.glance.model`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lipsync_jax.methods.glance.model import (
    AUDIO_ENCODER,
    FRAMES,
    MEL_BINS,
    MEL_ROWS_PER_FRAME,
    SIZE,
)
from lipsync_jax.nn.blocks import ConvNormAct, TableModule
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.ops.dtypes import at_least_float32

NOISE_SIZE = 100
KERNEL_3D, UPSAMPLE_2X = (4, 4, 4), {"strides": 2, "padding": 1, "transposed": True}
CONDITION_CHANNELS = (128, 256, 512, 1024)
DISCRIMINATOR_CHANNELS = (64, 128, 256, 512)
# Of the baseline: its last audio convolution is narrower than that of the discriminator.
GENERATOR_AUDIO_ENCODER = (*AUDIO_ENCODER[:-1], (128, *AUDIO_ENCODER[-1][1:]))


class TwoStreamOutput(NamedTuple):
    """A video and its components.

    Attributes:
        frames: float32 (n, time, 64, 64, 3), RGB in [-1, 1].
        mask: (n, time, 64, 64, 1), in [0, 1]: opacity of the foreground.
        foreground: (n, time, 64, 64, 3).
        background: (n, 64, 64, 3).
    """

    frames: jax.Array
    mask: jax.Array
    foreground: jax.Array
    background: jax.Array


def compose(mask: jax.Array, foreground: jax.Array, background: jax.Array) -> TwoStreamOutput:
    """Composes foreground and background (eq. 2); all arguments are logits."""
    mask, foreground = nn.sigmoid(at_least_float32(mask)), jnp.tanh(at_least_float32(foreground))
    background = jnp.tanh(at_least_float32(background))
    frames = mask * foreground + (1 - mask) * background[:, None]
    return TwoStreamOutput(frames, mask, foreground, background)


class AudioConditionedGenerator(TableModule):
    """Generates videos of 16 frames from noise and audio (the baseline of Chen et al. 2018).

    Attributes:
        condition_on_image: whether the reference image is an input, as in their text; the published
            code takes an image and ignores it, as here by default.
    """

    condition_on_image: bool = False

    @nn.compact
    def __call__(
        self,
        noise: Float[Array, "n 100"],
        audio: Float[Array, "n 64 128"],
        reference: Float[Array, "n 64 64 3"] | None = None,
        train: bool = False,
    ) -> TwoStreamOutput:
        """Generates videos.

        Args:
            noise: (n, 100), normal.
            audio: (n, 64, 128).
            reference: (n, 64, 64, 3), RGB in [-1, 1], where `condition_on_image`.
            train: whether BatchNorm uses and updates statistics of the batch.
        """
        check_shape(self, "noise", noise, None, NOISE_SIZE)
        check_shape(self, "audio", audio, len(noise), FRAMES * MEL_ROWS_PER_FRAME, MEL_BINS)
        audio_code = self.conv_stack(audio[..., None], GENERATOR_AUDIO_ENCODER, train, "audio")
        audio_code = self.conv_block(256, audio_code.shape[1:3], name="audio_dense")(
            audio_code, train
        )
        parts, image_features = [noise[:, None, None], audio_code], None
        if self.condition_on_image:
            if reference is None:
                raise ValueError(
                    "AudioConditionedGenerator with condition_on_image=True needs reference, shape "
                    f"({len(noise)}, {SIZE}, {SIZE}, 3); got None"
                )
            check_shape(self, "reference", reference, len(noise), SIZE, SIZE, 3)
            image_features = self._encode_image(reference, train)
            parts.append(
                self.conv_block(256, image_features.shape[1:3], name="image_dense")(
                    image_features, train
                )
            )
        return self._decode(jnp.concatenate(parts, axis=-1), image_features, train)

    def _encode_image(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (n, 64, 64, 3) to (n, 4, 4, 512): the paper's encoder of half the width."""
        for i, features in enumerate(CONDITION_CHANNELS):
            x = self.conv_block(features // 2, 4, 2, 1, norm=i > 0, name=f"image_{i}")(x, train)
        return x

    def _decode(
        self, latent: jax.Array, image_features: jax.Array | None, train: bool
    ) -> TwoStreamOutput:
        upsample: Callable[..., ConvNormAct] = functools.partial(self.conv_block, **UPSAMPLE_2X)
        background = self.conv_block(512, 4, transposed=True, name="background_start")(
            latent, train
        )
        if image_features is not None:
            background = jnp.concatenate([background, image_features], axis=-1)
        for i, features in enumerate((256, 128, 64, 64)):
            background = upsample(features, 4, name=f"background_{i}")(background, train)
        start = self.conv_block(512, (2, 4, 4), transposed=True, name="foreground_start")
        x = start(latent[:, None], train)
        for i, (features, time) in enumerate(((256, 2), (128, 4), (64, 4))):
            x = upsample(features, (time, 4, 4), name=f"foreground_{i}")(x, train)
        heads = {}
        for name, features in (("mask", 1), ("foreground", 3)):
            y = upsample(64, KERNEL_3D, name=f"{name}_head")(x, train)
            heads[name] = self.head(features, (3, 3, 3), 1, 1, name=f"{name}_output")(y, train)
        last = self.head(3, 3, 1, 1, name="background_output")
        return compose(heads["mask"], heads["foreground"], last(background, train))


class AudioConditionedDiscriminator(TableModule):
    """Classifies videos with their audio (the baseline of Chen et al. 2018)."""

    @nn.compact
    def __call__(
        self,
        frames: Float[Array, "n 16 64 64 3"],
        audio: Float[Array, "n 64 128"],
        train: bool = False,
    ) -> Float[Array, " n"]:
        """Computes logits of being real and in sync.

        Args:
            frames: (n, 16, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 64, 128).
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real and in sync.
        """
        check_shape(self, "frames", frames, None, FRAMES, SIZE, SIZE, 3)
        check_shape(self, "audio", audio, len(frames), FRAMES * MEL_ROWS_PER_FRAME, MEL_BINS)
        rows = [(c, KERNEL_3D, 2, 1) for c in DISCRIMINATOR_CHANNELS[:-1]]
        rows.append((DISCRIMINATOR_CHANNELS[-1], (2, 4, 4), 2, 1))
        video_features = self.conv_stack(frames, rows, train, "video")
        audio_features = self.conv_stack(audio[..., None], AUDIO_ENCODER, train, "audio")
        dense = self.conv_block(
            256, audio_features.shape[1:3], bias=True, norm=False, name="audio_dense"
        )
        audio_features = dense(audio_features, train)[:, None]
        audio_features = jnp.broadcast_to(
            audio_features, (*video_features.shape[:4], audio_features.shape[-1])
        )
        x = jnp.concatenate([video_features, audio_features], axis=-1)
        head = self.head(1, x.shape[1:4], name="logits")(x, train)
        return at_least_float32(head).reshape(len(frames))
