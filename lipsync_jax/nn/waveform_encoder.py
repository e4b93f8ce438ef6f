"""The convolutional encoder of raw sound of Vougioukas et al., for any window and rate."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lipsync_jax.nn.dcgan import Block, linear
from lipsync_jax.nn.shape_checks import check
from lipsync_jax.types import Argument


def audio_rows(samples: int, rate: int, features: int = 16) -> list[tuple[int, int, int, int]]:
    """Rows (features, kernel, strides, padding) of the sound encoder's convolutions but the last.

    The rule of the published code: windows of 5 ms every 1 ms, then one convolution for each prime
    factor of the resulting length, smallest first, the largest one excepted; the last convolution
    spans what remains.

    Args:
        samples: length of a window.
        rate: samples a second, a multiple of 1000.
        features: of the first convolution; doubled by each of the following.

    Raises:
        ValueError: the rate is not a multiple of 1000, or the window is no longer than 1 ms.
    """
    if rate <= 0 or rate % 1000:
        raise ValueError(f"audio_rate={rate}: choose a multiple of 1000 samples a second")
    length, left, factors = samples, -(-samples * 1000 // rate), []
    if left < 2:
        raise ValueError(f"audio_samples={samples} is at most 1 ms at {rate} samples a second")
    while left > 1:
        factors.append(next(f for f in range(2, left + 1) if left % f == 0))
        left //= factors[-1]
    rows: list[tuple] = []
    shapes = [(rate // 200, rate // 1000), *((2 * f, f) for f in factors[:-1])]
    for kernel, stride in shapes:
        steps = -(-length // stride)
        padding = (steps - 1) * stride + kernel - length
        rows.append((features << len(rows), kernel, stride, -(-padding // 2)))
        length = steps
    return rows


class AudioEncoder(nn.Module):
    """One window of raw sound -> an embedding.

    Attributes:
        features: size of the embedding.
        audio_rate: samples a second.
        audio_samples: length of a window.
        audio_features: channels of the first convolution.
        bounded: whether a tanh ends it.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int
    audio_rate: int
    audio_samples: int
    audio_features: int = 16
    bounded: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """(n, samples) and a mask (n,) -> (n, features)."""
        check(self, "sound", x, None, self.audio_samples)
        rows = audio_rows(self.audio_samples, self.audio_rate, self.audio_features)
        x = x[..., None]
        fields: dict[str, Argument] = {"bias": True, "dtype": self.dtype}
        shape: list[Argument]  # strides and padding
        for i, (features, kernel, *shape) in enumerate(rows):
            block = Block(features, (kernel,), *shape, **fields, name=f"conv_{i}")
            x = block(x, train, mask)
        last = Block(
            self.features,
            x.shape[1:2],
            bias=True,
            norm=False,
            activation=jnp.tanh if self.bounded else linear,
            dtype=self.dtype,
            name=f"conv_{len(rows)}",
        )
        return last(x, train)[:, 0]
