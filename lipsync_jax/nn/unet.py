"""Pictures halved five times over: the encoder of stills and of frames that temporal GANs share.

Pictures are RGB in [-1, 1], (height, width) = (128, 96) as published, or other multiples of 32.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lipsync_jax.nn.dcgan import Block, float32, leaky_relu
from lipsync_jax.nn.shape_checks import check
from lipsync_jax.types import Argument

HALVINGS = 5


class Still(NamedTuple):
    """An encoded still.

    Attributes:
        code: (n, features), within (-1, 1).
        maps: five maps (n, height / 2, width / 2, c), ..., (n, height / 32, width / 32, 16 c).
    """

    code: jax.Array
    maps: tuple[jax.Array, ...]


def channels(width: float, features: int = 64) -> list[int]:
    """Channels of five maps, each twice as many as the one before; the first has width · features.

    Args:
        width: multiplies all.
        features: of the first map at width 1.
    """
    return [max(1, round(features * width)) << i for i in range(HALVINGS)]


def smallest_map(image_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture after five halvings.

    Raises:
        ValueError: it cannot be halved so often.
    """
    height, width = image_size
    if min(image_size) < 32 or height % 32 or width % 32:
        raise ValueError(
            f"image_size={height}x{width} (height x width): both must be multiples of 32, "
            "e.g. 128x96"
        )
    return height >> HALVINGS, width >> HALVINGS


class IdentityEncoder(nn.Module):
    """Six convolutions: a still -> its code and maps (Vougioukas et al. 2018, published layers).

    Attributes:
        features: size of the code.
        width: multiplies all channels but the code's.
        image_size: height and width of pictures.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int
    width: float = 1.0
    image_size: tuple[int, int] = (128, 96)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, still: jax.Array, train: bool) -> Still:
        """(n, height, width, 3) -> Still."""
        check(self, "still", still, None, *self.image_size, 3)
        size, x, maps = smallest_map(self.image_size), still, []
        for i, features in enumerate(channels(self.width)):
            x = Block(features, (4, 4), 2, 1, dtype=self.dtype, name=f"conv_{i}")(x, train)
            maps.append(x)
        code = Block(
            self.features, size, norm=False, activation=jnp.tanh, dtype=self.dtype, name="code"
        )
        return Still(code(x, train)[:, 0, 0], tuple(maps))


class FrameDecoder(nn.Module):
    """Frames out of latents: a smallest map, five doublings, and the still's maps beside them.

    Papers differ in where the maps join, which is their `between`.

    Attributes:
        width: multiplies all channels.
        image_size: height and width of pictures.
        dtype: of the computation; None follows inputs and parameters.
    """

    width: float = 1.0
    image_size: tuple[int, int] = (128, 96)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        latents: jax.Array,
        maps: tuple[jax.Array, ...],
        train: bool,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Draws frames.

        Args:
            latents: (n * time, features).
            maps: of the n stills, see Still.
            train: whether BatchNorm uses and updates statistics of the batch.
            mask: bool (n * time,).

        Returns:
            float32 (n * time, height, width, 3).
        """
        size, deepest = smallest_map(self.image_size), channels(self.width)[-1]
        start = Block(deepest, size, transposed=True, dtype=self.dtype, name="start")
        x = self.between(start(latents[:, None, None], train, mask), maps, train, mask)
        last = self.double(3, norm=False, activation=jnp.tanh, name="output")
        return float32(last(x, train))

    def between(
        self, x: jax.Array, maps: tuple[jax.Array, ...], train: bool, mask: jax.Array | None
    ) -> jax.Array:
        """From the smallest map to half the picture's size; arguments as of a call."""
        raise NotImplementedError

    def double(self, features: int, **options: Argument) -> Block:
        """A layer that doubles height and width."""
        return Block(features, (4, 4), 2, 1, transposed=True, dtype=self.dtype, **options)

    def join(self, features: int, **options: Argument) -> Block:
        """A layer that a map of the still may join."""
        return Block(features, (3, 3), 1, 1, dtype=self.dtype, **options)


class PictureCritic(nn.Module):
    """Five strided convolutions and one that spans what is left: the body of discriminators.

    Attributes:
        features: outputs.
        first: channels of the first map at width 1.
        activation: of the outputs.
        first_norm: whether BatchNorm follows the first convolution too.
        first_bias: whether the first convolution has a bias.
        width: multiplies the maps' channels.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int
    first: int = 64
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh
    first_norm: bool = False
    width: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """(n, height, width, channels) and a mask (n,) -> (n, features)."""
        size = smallest_map((x.shape[1], x.shape[2]))
        for i, features in enumerate(channels(self.width, self.first)):
            norm = i > 0 or self.first_norm
            block = Block(
                features,
                (4, 4),
                2,
                1,
                norm=norm,
                activation=leaky_relu,
                dtype=self.dtype,
                name=f"conv_{i}",
            )
            x = block(x, train, mask)
        last = Block(
            self.features,
            size,
            bias=True,
            norm=False,
            activation=self.activation,
            dtype=self.dtype,
            name=f"conv_{HALVINGS}",
        )
        return last(x, train)[:, 0, 0]
