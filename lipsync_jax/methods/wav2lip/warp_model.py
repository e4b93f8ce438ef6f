"""A compact generator that warps the reference image and paints changes over it.

Wav2Lip (Prajwal et al. 2020) generates every pixel with a decoder. Skin, beard, chin and light are
in the reference image already, so this network moves the reference by a flow field (as Siarohin et
al. 2019) and blends painted pixels over the result, painted as changes of a smooth copy of the
moved reference. The identity need not be learnt, which few training identities would not allow.

With `motion_features` the audio reaches the decoder as a short motion code only. In training a
second encoder computes the code from the mouth to generate: the decoder learns from it what each
code looks like, and the audio encoder learns to predict the code, which is far easier to learn than
pixels from audio (as latent motion codes of e.g. Wang et al. 2022, arXiv:2203.09043).

The face encoder and decoder work at half the size or less (space to depth, Shi et al. 2016). The
decoder generates only the rows below the middle; the rows above are copied from the input."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lipsync_jax.faces.regions import MOUTH_LIP_READING, crop_mouth
from lipsync_jax.methods.wav2lip.model import (
    AUDIO_ENCODER,
    Wav2LipModule,
    extend,
    num_downsamples,
    unroll,
)
from lipsync_jax.nn.conv import ConvBlock, conv
from lipsync_jax.ops.dtypes import at_least_float32
from lipsync_jax.ops.optical_flow import resize_bilinear, sample_bilinear

FACE_FEATURES = (96, 128, 256, 384, 512)  # at half the size, a quarter, ...
NUM_RESIDUALS = 2  # of each size, times `depth_mult`
AUDIO_FEATURES = 64  # joined to the maps of every size of the decoder
MOTION_ENCODER_FEATURES = (64, 128, 192)  # at a quarter of the size, an eighth, a sixteenth
PATCH_FEATURES = ((64, 1), (128, 2), (192, 1))  # of the discriminator, with strides
MAX_CHROMA = 0.15  # of painted changes; without a limit, mouths of strangers opened to green
GREEN_MARGIN = 1.06  # painted pixels over skin, see `limit_green`
MAX_FLOW = 12 / 96  # of the face's side
PAINTED, OPACITY, FLOW = 3, 1, 2  # channels of the head


class WarpWav2Lip(Wav2LipModule):
    """Warps the lower half of the reference image and paints changes over it.

    Attributes:
        depth_mult: multiplies the number of residual blocks.
        motion_features: size of the motion code; 0: the decoder takes the audio embedding.
    """

    width_mult: float = 0.5
    depth_mult: float = 0.5
    motion_features: int = 0
    norm_momentum: float = 0.99  # at 0.9, the mouth L1 of strangers varies by a tenth with the step

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
            faces: (n, size, size, 6), the face with its lower half 0, then the reference; both
                BGR in [0, 1].
            train: whether BatchNorm uses and updates statistics of the batch.
            first_row: rows above it are left out of the output.

        Returns:
            (n, size - first_row, size, 3), BGR in [0, 1]; the rows above the middle are those of
            `faces`.

        Raises:
            ValueError: an input has another shape.
        """
        return self.parts(audio, faces, train)["generated"][:, first_row:]

    @nn.compact
    def parts(
        self,
        audio: jax.Array,
        faces: jax.Array,
        train: bool = False,
        target: jax.Array | None = None,
        from_target: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """Generates faces, and returns the parts they are blended from.

        Args:
            audio: as of a call.
            faces: as of a call.
            train: as of a call.
            target: (n, size, size, 3), the faces to generate, with `motion_features`.
            from_target: bool (n,), whether a face is generated with the motion code of `target`
                instead of the one predicted from audio.

        Returns:
            generated: (n, size, size, 3), the output of a call.
            painted: (n, size, size, 3), the output with an opacity of 1 everywhere.
            opacity: (n, size / 2, size, 1), of the painted lower half, in [0, 1].
            flow: (n, size / 2, size, 2), see `warp_lower_half`.
            audio_motion: (n, motion_features), where there are codes: that of the audio.
            target_motion: (n, motion_features), with `target`: its code.
        """
        size = self.image_size
        self.check_shape("audio", audio, 80, 16, 1)
        self.check_shape("faces", faces, size, size, 6)
        code = self._embed_audio(audio, train)
        motion = {"audio_motion": code} if self.motion_features else {}
        if target is None and motion and self.is_initializing():
            target = faces[..., 3:]
        if target is not None:
            motion["target_motion"] = self._encode_motion(target, train)
            if from_target is not None:
                code = jnp.where(from_target[:, None], motion["target_motion"], code)
        change, opacity, flow = self._head(self._features(code, faces, train))
        moved = warp_lower_half(jax.lax.stop_gradient(faces[..., 3:]), flow)
        painted = limit_green(jnp.clip(smooth(moved) + change, 0.0, 1.0), moved)
        upper = faces[:, : size // 2, :, :3]
        return {
            "generated": jnp.concatenate(
                [upper, opacity * painted + (1 - opacity) * moved], axis=1
            ),
            "painted": jnp.concatenate([upper, painted], axis=1),
            "opacity": opacity,
            "flow": flow,
            **motion,
        }

    def _embed_audio(self, audio: jax.Array, train: bool) -> jax.Array:
        """Returns the motion code (n, motion_features), or an embedding without codes."""
        x = self.conv_stack(audio, unroll(AUDIO_ENCODER, self.depth_mult), train, "audio_encoder")
        x = x.reshape(x.shape[0], -1)
        x /= jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-4)
        if not self.motion_features:
            return x
        code = nn.Dense(self.motion_features, dtype=self.dtype, name="audio_motion")(x)
        return at_least_float32(code)  # of which there is a loss

    def _encode_motion(self, faces: jax.Array, train: bool) -> jax.Array:
        """Returns the motion codes (n, motion_features) of mouths, each feature of variance 1."""
        x = space_to_depth(crop_mouth(faces, MOUTH_LIP_READING))
        for i, features in enumerate(MOTION_ENCODER_FEATURES):
            x = self._block(x, features, train, f"motion_encoder_{i}", 3, 2)
        x = x.reshape(x.shape[0], -1)
        x = nn.Dense(self.motion_features, dtype=self.dtype, name="motion_encoder_last")(x)
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.norm_momentum,
            use_bias=False,
            use_scale=False,
            name="motion_encoder_norm",
        )(at_least_float32(x))

    def _features(self, code: jax.Array, faces: jax.Array, train: bool) -> jax.Array:
        """Returns feature maps (n, size / 4, size / 2, features) of the lower half."""
        skips = self._encode(space_to_depth(faces), train)
        x = jnp.concatenate([code[:, None, None].astype(faces.dtype), skips.pop()], axis=-1)
        x = self._block(x, FACE_FEATURES[-1], train, "joined", 1, 1, 0)
        count, last = num_downsamples(self.image_size)
        for i, features in enumerate(extend(FACE_FEATURES, count)[::-1]):
            kernel, strides, padding = (last, 1, 0) if i == 0 else (3, 2, 1)
            skip = skips.pop()
            if not skips:  # the largest maps: rows above the middle are not painted, save one
                x, skip = x[:, x.shape[1] // 2 - 1 :], skip[:, skip.shape[1] // 2 - 1 :]
            x = ConvBlock(
                self.channels(features),
                kernel,
                strides,
                padding,
                transposed=True,
                output_padding=padding,
                norm_momentum=self.norm_momentum,
                dtype=self.dtype,
                name=f"up_{i}",
            )(x, train)
            x = x if skips else x[:, 1:]
            # Through the bottleneck alone, hundreds of steps pass without an effect of the audio.
            features_of_audio = nn.Dense(
                self.channels(AUDIO_FEATURES), dtype=self.dtype, name=f"audio_{i}"
            )(code)
            features_of_audio = jnp.broadcast_to(
                features_of_audio[:, None, None], (*x.shape[:3], features_of_audio.shape[-1])
            )
            x = jnp.concatenate([x, skip, features_of_audio.astype(x.dtype)], axis=-1)
            x = self._block(x, features, train, f"decoder_{i}")
            x = self._residuals(x, features, train, f"decoder_{i}")
        return x[:, 1:]

    def _encode(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """Returns feature maps of every size, from half the face's to a single position."""
        count, last = num_downsamples(self.image_size)
        maps = []
        for i, features in enumerate(extend(FACE_FEATURES, count)):
            x = self._block(x, features, train, f"encoder_{i}", 3, 1 if i == 0 else 2)
            if i:  # the largest maps cost most, and the decoder has residual blocks of their size
                x = self._residuals(x, features, train, f"encoder_{i}")
            maps.append(x)
        maps.append(self._block(x, FACE_FEATURES[-1], train, "encoder_last", last, 1, 0))
        return maps

    def _head(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns changes of colour (n, size / 2, size, 3), opacity (..., 1), flow (..., 2)."""
        outputs = 4 * (PAINTED + OPACITY) + FLOW
        # Almost zeros: the network starts as a blend of the reference with a smooth copy of it.
        y = nn.Conv(
            outputs, (3, 3), kernel_init=nn.initializers.normal(0.01), dtype=self.dtype, name="head"
        )(x).astype(jnp.float32)
        change = limit_chroma(jnp.tanh(depth_to_space(y[..., : 4 * PAINTED])))
        opacity = nn.sigmoid(depth_to_space(y[..., 4 * PAINTED : -FLOW]) - 1)
        flow = jnp.tanh(y[..., -FLOW:]) * (MAX_FLOW * self.image_size)
        rows, columns = flow.shape[1:3]
        flow = resize_bilinear(flow, (2 * rows, 2 * columns))
        return change, opacity, flow

    def _block(
        self,
        x: jax.Array,
        features: int,
        train: bool,
        name: str,
        kernel: int = 3,
        strides: int = 1,
        padding: int = 1,
    ) -> jax.Array:
        block = ConvBlock(
            self.channels(features),
            kernel,
            strides,
            padding,
            norm_momentum=self.norm_momentum,
            dtype=self.dtype,
            name=name,
        )
        return block(x, train)

    def _residuals(self, x: jax.Array, features: int, train: bool, name: str) -> jax.Array:
        blocks = [(features, 3, 1, 1, True)] * math.ceil(NUM_RESIDUALS * self.depth_mult)
        return self.conv_stack(x, blocks, train, f"{name}_residual")


class PatchDiscriminator(Wav2LipModule):
    """Classifies patches of a mouth as real or generated (Isola et al. 2017, section 3.2.2).

    The texture of patches tells a blurred mouth from a sharp one, at about a quarter of the time of
    `QualityDiscriminator`. It works at half the size (space to depth).
    """

    @nn.compact
    def __call__(self, frames: Float[Array, "n size size 3"]) -> Float[Array, "n rows columns 1"]:
        """Computes probabilities of being real.

        Args:
            frames: (n, size, size, 3), BGR in [0, 1]; all but the mouth is ignored.

        Returns:
            (n, rows, columns, 1), of patches of 26 by 26 pixels.
        """
        self.check_shape("frames", frames, self.image_size, self.image_size, 3)
        x = space_to_depth(crop_mouth(frames, MOUTH_LIP_READING)) - 0.5
        for i, (features, strides) in enumerate(PATCH_FEATURES):
            features = self.channels(features)
            x = conv(features, 3, strides, 1, x.shape[-1], dtype=self.dtype, name=f"patch_{i}")(x)
            x = nn.leaky_relu(x, 0.2)
        x = conv(1, 3, 1, 1, x.shape[-1], dtype=self.dtype, name="prediction")(x)
        return nn.sigmoid(at_least_float32(x))


def space_to_depth(x: jax.Array) -> jax.Array:
    """Reshapes (n, 2 rows, 2 columns, channels) to (n, rows, columns, 4 channels)."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // 2, width // 2, 4 * channels)


def depth_to_space(x: jax.Array) -> jax.Array:
    """Inverts `space_to_depth`."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, 2, 2, channels // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * height, 2 * width, channels // 4)


def limit_chroma(change: jax.Array) -> jax.Array:
    """Limits how far the channels (..., 3) of a change of colour differ from their mean."""
    grey = change.mean(-1, keepdims=True)
    return grey + MAX_CHROMA * jnp.tanh((change - grey) / MAX_CHROMA)


def limit_green(
    painted: Float[Array, "n rows columns 3"], skin: Float[Array, "n rows columns 3"]
) -> Float[Array, "n rows columns 3"]:
    """Lowers green where painted BGR is greener than the mean of the skin, whatever the light.

    Teeth in the light of the training cameras are green on the skin of a stranger; lips, teeth and
    the inside of a mouth are hardly greener than skin. Greenness is G / sqrt(B R), which a change
    of white balance multiplies equally everywhere. The skin is that of the middle half of the
    columns: hair, clothes and walls at the sides are greener.
    """
    dark = 0.02  # ratios of almost black pixels are noise

    def grey(blue: jax.Array, red: jax.Array) -> jax.Array:
        return jnp.sqrt((blue + dark) * (red + dark))

    columns = skin.shape[2]
    mean = skin[:, :, columns // 4 : columns - columns // 4].mean((1, 2), keepdims=True)
    greenness = (mean[..., 1] + dark) / grey(mean[..., 0], mean[..., 2])
    limit = GREEN_MARGIN * greenness * grey(painted[..., 0], painted[..., 2]) - dark
    blue, green, red = jnp.split(painted, 3, axis=-1)
    green = jnp.minimum(green, jnp.maximum(limit, 0.0)[..., None])
    return jnp.concatenate([blue, green, red], axis=-1)


def smooth(images: jax.Array, size: int = 4) -> jax.Array:
    """Returns images (n, height, width, channels) without detail: block means, resized."""
    n, height, width, channels = images.shape
    means = images.reshape(n, height // size, size, width // size, size, channels).mean((2, 4))
    return resize_bilinear(means, (height, width))


def warp_lower_half(
    images: Float[Array, "n height width channels"], flow: Float[Array, "n half width 2"]
) -> Float[Array, "n half width channels"]:
    """Warps the lower half of images by a flow field, bilinearly.

    Args:
        images: (n, height, width, channels).
        flow: (n, height / 2, width, 2), rows and columns in pixels from each pixel of the lower
            half to the position that is sampled; positions outside are clamped to the border.

    Returns:
        (n, height / 2, width, channels).
    """
    height, width = images.shape[1:3]
    rows = jnp.arange(height // 2, height, dtype=jnp.float32)[:, None] + flow[..., 0]
    columns = jnp.arange(width, dtype=jnp.float32) + flow[..., 1]
    return sample_bilinear(images, columns, rows)
