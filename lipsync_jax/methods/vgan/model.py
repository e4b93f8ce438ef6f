"""Networks of VGAN (Vondrick et al. 2016), and those that "At a Glance" compared itself with.

Videos are a moving foreground over a still background, video = m f + (1 - m) b. The first three
networks are the paper's, of 32 frames; `SpokenGenerator` and `SpokenDiscriminator` are the baseline
of Chen et al. 2018, of 16 frames and with sound (its published code). Pictures are RGB in [-1, 1],
64 x 64; sound is as in `models.glance`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipsync_jax.methods.glance.model import FRAMES, MEL_BINS, ROWS, SIZE, SOUND
from lipsync_jax.nn.conv_norm import ConvNorm, Initialiser, Network
from lipsync_jax.nn.dcgan import float32, leaky_relu
from lipsync_jax.nn.shape_checks import check
from lipsync_jax.types import Argument

NOISE = 100
CUBE, DOUBLING = (4, 4, 4), {"strides": 2, "padding": 1, "transposed": True}
CONDITION = (128, 256, 512, 1024)
DISCRIMINATOR = (64, 128, 256, 512)
# The baseline's: narrower at the last convolution of sound than the discriminator's.
SPOKEN_SOUND = (*SOUND[:-1], (128, *SOUND[-1][1:]))
STRICTER = 1e-3  # epsilon of batch norms in the paper's encoder and discriminator

_small = nn.initializers.normal(0.01)  # of all convolutions, as published


def _published(fan_in: int) -> Initialiser:
    del fan_in
    return _small


class Layers(NamedTuple):
    """A video and what it is made of.

    Attributes:
        frames: float32 (n, time, 64, 64, 3), RGB in [-1, 1].
        mask: (n, time, 64, 64, 1), in [0, 1]: where the foreground is seen.
        foreground: (n, time, 64, 64, 3).
        background: (n, 64, 64, 3).
    """

    frames: jax.Array
    mask: jax.Array
    foreground: jax.Array
    background: jax.Array


def compose(mask: jax.Array, foreground: jax.Array, background: jax.Array) -> Layers:
    """Lays a foreground over a background (eq. 2); arguments are logits of both and of the mask."""
    mask, foreground = nn.sigmoid(float32(mask)), jnp.tanh(float32(foreground))
    background = jnp.tanh(float32(background))
    frames = mask * foreground + (1 - mask) * background[:, None]
    return Layers(frames, mask, foreground, background)


class _Paper(Network):
    """Layers of the paper: biases, small normal weights."""

    def published(self, *args: Argument, **options: Argument) -> ConvNorm:
        """A layer."""
        return self.layer(*args, bias=True, init=_published, **options)

    def draw(self, features: int, rank: int, name: str) -> ConvNorm:
        """A last layer that doubles all axes."""
        return self.output(features, (4,) * rank, **DOUBLING, init=_published, name=name)

    def grow(self, background: jax.Array, x: jax.Array, rows: tuple, train: bool) -> Layers:
        """Doubles both streams once a row of features and once more, and lays one over the other.

        Args:
            background: (n, height, width, c).
            x: (n, time, height, width, c), of the foreground.
            rows: features.
            train: whether BatchNorm uses and updates statistics of the batch.
        """
        for i, features in enumerate(rows):
            flat, deep = (
                self.published(features, (4,) * rank, **DOUBLING, name=f"{name}_{i}")
                for rank, name in ((2, "background"), (3, "foreground"))
            )
            background, x = flat(background, train), deep(x, train)
        return compose(
            self.draw(1, 3, "mask_output")(x, train),
            self.draw(3, 3, "foreground_output")(x, train),
            self.draw(3, 2, "background_output")(background, train),
        )


class Generator(_Paper):
    """Noise -> a video of 32 frames (section 3.1)."""

    @nn.compact
    def __call__(self, noise: jax.Array, train: bool = False) -> Layers:
        """Noise (n, 100), normal -> Layers of 32 frames."""
        check(self, "noise", noise, None, NOISE)
        x = noise[:, None, None]
        start = functools.partial(self.published, 512, transposed=True)
        background = start((4, 4), name="background_start")(x, train)
        foreground = start((2, 4, 4), name="foreground_start")(x[:, None], train)
        return self.grow(background, foreground, (256, 128, 64), train)


class FutureGenerator(_Paper):
    """A first frame -> a video of 32 frames (section 4.4)."""

    @nn.compact
    def __call__(self, frame: jax.Array, train: bool = False) -> Layers:
        """Frame (n, 64, 64, 3), RGB in [-1, 1] -> Layers of 32 frames."""
        check(self, "frame", frame, None, SIZE, SIZE, 3)
        x = frame
        for i, features in enumerate(CONDITION):
            fields = {"norm": i > 0, "epsilon": STRICTER, "name": f"condition_{i}"}
            x = self.published(features, 4, 2, 1, **fields)(x, train)
        start = self.published(1024, (2, 1, 1), transposed=True, name="foreground_start")
        return self.grow(x, start(x[:, None], train), (512, 256, 128), train)


class Discriminator(_Paper):
    """Judges a video (section 3.2).

    `width` 2 is the paper's for videos that continue a frame.
    """

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Videos (n, 32, 64, 64, 3), RGB in [-1, 1] -> float32 (n, 2), logits of real and drawn."""
        check(self, "frames", frames, None, 2 * FRAMES, SIZE, SIZE, 3)
        x = frames
        for i, features in enumerate(DISCRIMINATOR):
            fields = {"norm": i > 0, "epsilon": STRICTER, "activation": leaky_relu}
            x = self.published(features, CUBE, 2, 1, **fields, name=f"conv_{i}")(x, train)
        verdict = self.output(2, x.shape[1:4], init=_published, name="verdict")(x, train)
        return float32(verdict).reshape(len(frames), 2)


class SpokenGenerator(Network):
    """Noise and sound -> a video of 16 frames (the baseline of Chen et al. 2018).

    Attributes:
        image_cond: whether a still is looked at. Their text says that it is; their published code
            takes one and ignores it, as here by default.
    """

    image_cond: bool = False

    @nn.compact
    def __call__(
        self,
        noise: jax.Array,
        audio: jax.Array,
        still: jax.Array | None = None,
        train: bool = False,
    ) -> Layers:
        """Animates.

        Args:
            noise: (n, 100), normal.
            audio: (n, 64, 128).
            still: (n, 64, 64, 3), RGB in [-1, 1], where `image_cond`.
            train: whether BatchNorm uses and updates statistics of the batch.
        """
        check(self, "noise", noise, None, NOISE)
        check(self, "audio", audio, len(noise), FRAMES * ROWS, MEL_BINS)
        heard = self.stack(audio[..., None], SPOKEN_SOUND, train, "audio")
        heard = self.layer(256, heard.shape[1:3], name="audio_dense")(heard, train)
        parts, seen = [noise[:, None, None], heard], None
        if self.image_cond:
            if still is None:
                raise ValueError("SpokenGenerator with image_cond looks at a still; give it")
            check(self, "still", still, len(noise), SIZE, SIZE, 3)
            seen = self._look(still, train)
            parts.append(self.layer(256, seen.shape[1:3], name="still_dense")(seen, train))
        return self._draw(jnp.concatenate(parts, axis=-1), seen, train)

    def _look(self, x: jax.Array, train: bool) -> jax.Array:
        """(n, 64, 64, 3) -> (n, 4, 4, 512): the paper's encoder of half the width."""
        for i, features in enumerate(CONDITION):
            x = self.layer(features // 2, 4, 2, 1, norm=i > 0, name=f"still_{i}")(x, train)
        return x

    def _draw(self, latent: jax.Array, seen: jax.Array | None, train: bool) -> Layers:
        double: Callable[..., ConvNorm] = functools.partial(self.layer, **DOUBLING)
        background = self.layer(512, 4, transposed=True, name="background_start")(latent, train)
        if seen is not None:
            background = jnp.concatenate([background, seen], axis=-1)
        for i, features in enumerate((256, 128, 64, 64)):
            background = double(features, 4, name=f"background_{i}")(background, train)
        start = self.layer(512, (2, 4, 4), transposed=True, name="foreground_start")
        x = start(latent[:, None], train)
        for i, (features, time) in enumerate(((256, 2), (128, 4), (64, 4))):
            x = double(features, (time, 4, 4), name=f"foreground_{i}")(x, train)
        heads = {}
        for name, features in (("mask", 1), ("foreground", 3)):
            y = double(64, CUBE, name=f"{name}_head")(x, train)
            heads[name] = self.output(features, (3, 3, 3), 1, 1, name=f"{name}_output")(y, train)
        last = self.output(3, 3, 1, 1, name="background_output")
        return compose(heads["mask"], heads["foreground"], last(background, train))


class SpokenDiscriminator(Network):
    """Judges a video with its sound (the baseline of Chen et al. 2018)."""

    @nn.compact
    def __call__(self, frames: jax.Array, audio: jax.Array, train: bool = False) -> jax.Array:
        """Judges.

        Args:
            frames: (n, 16, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 64, 128).
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real and in sync.
        """
        check(self, "frames", frames, None, FRAMES, SIZE, SIZE, 3)
        check(self, "audio", audio, len(frames), FRAMES * ROWS, MEL_BINS)
        rows = [(c, CUBE, 2, 1) for c in DISCRIMINATOR[:-1]]
        rows.append((DISCRIMINATOR[-1], (2, 4, 4), 2, 1))
        seen = self.stack(frames, rows, train, "video")
        heard = self.stack(audio[..., None], SOUND, train, "audio")
        dense = self.layer(256, heard.shape[1:3], bias=True, norm=False, name="audio_dense")
        heard = dense(heard, train)[:, None]
        heard = jnp.broadcast_to(heard, (*seen.shape[:4], heard.shape[-1]))
        x = jnp.concatenate([seen, heard], axis=-1)
        verdict = self.output(1, x.shape[1:4], name="verdict")(x, train)
        return float32(verdict).reshape(len(frames))
