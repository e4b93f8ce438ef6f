"""The convolutional encoder of raw audio of Vougioukas et al., for any window and rate."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.dcgan import DCGANBlock, identity
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.types import Argument


def waveform_encoder_layout(
    samples: int, rate: int, features: int = 16
) -> list[tuple[int, int, int, int]]:
    """Returns rows (features, kernel, strides, padding) of all convolutions but the last.

    The rule of the published code: windows of 5 ms every 1 ms, then one convolution for each prime
    factor of the resulting length, smallest first, the largest one excepted; the last convolution
    spans what remains.

    Args:
        samples: length of a window.
        rate: samples a second, a multiple of 1000.
        features: of the first convolution; each of the following has twice as many.

    Raises:
        ValueError: the rate is not a multiple of 1000, or the window is no longer than 1 ms.
    """
    if rate <= 0 or rate % 1000:
        raise ValueError(f"audio_rate={rate}: choose a multiple of 1000 samples a second")
    length, remaining, factors = samples, -(-samples * 1000 // rate), []
    if remaining < 2:
        raise ValueError(f"audio_samples={samples} is at most 1 ms at {rate} samples a second")
    while remaining > 1:
        factors.append(next(f for f in range(2, remaining + 1) if remaining % f == 0))
        remaining //= factors[-1]
    rows: list[tuple] = []
    shapes = [(rate // 200, rate // 1000), *((2 * f, f) for f in factors[:-1])]
    for kernel, stride in shapes:
        steps = -(-length // stride)
        padding = (steps - 1) * stride + kernel - length
        rows.append((features << len(rows), kernel, stride, -(-padding // 2)))
        length = steps
    return rows


class WaveformEncoder(nn.Module):
    """Encodes one window of raw audio.

    Attributes:
        features: size of the embedding.
        audio_rate: samples a second.
        audio_samples: length of a window.
        audio_encoder_channels: channels of the first convolution.
        tanh_output: whether the embedding passes a tanh.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int
    audio_rate: int
    audio_samples: int
    audio_encoder_channels: int = 16
    tanh_output: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n samples"], train: bool, mask: Bool[Array, " n"] | None = None
    ) -> Float[Array, "n features"]:
        """Maps (n, samples) and a mask (n,) to (n, features)."""
        check_shape(self, "audio", x, None, self.audio_samples)
        rows = waveform_encoder_layout(
            self.audio_samples, self.audio_rate, self.audio_encoder_channels
        )
        x = x[..., None]
        fields: dict[str, Argument] = {"bias": True, "dtype": self.dtype}
        shape: list[Argument]  # strides and padding
        for i, (features, kernel, *shape) in enumerate(rows):
            block = DCGANBlock(features, (kernel,), *shape, **fields, name=f"conv_{i}")
            x = block(x, train, mask)
        last = DCGANBlock(
            self.features,
            x.shape[1:2],
            bias=True,
            norm=False,
            activation=jnp.tanh if self.tanh_output else identity,
            dtype=self.dtype,
            name=f"conv_{len(rows)}",
        )
        return last(x, train)[:, 0]
