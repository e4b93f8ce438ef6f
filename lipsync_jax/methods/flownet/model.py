"""FlowNetS: optical flow of two frames (Dosovitskiy et al. 2015, figure 2).

Flow is (..., 2), to the right and down, in units of `ops.optical_flow.FLOW_SCALE` pixels.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lipsync_jax.nn.blocks import TableModule
from lipsync_jax.ops.dtypes import at_least_float32
from lipsync_jax.types import Argument

# (features, kernel, strides, padding) of each downsampling; the third to sixth have two rows.
CONTRACTING = (
    ((64, 7, 2, 3),),
    ((128, 5, 2, 2),),
    ((256, 5, 2, 2), (256, 3, 1, 1)),
    ((512, 3, 2, 1), (512, 3, 1, 1)),
    ((512, 3, 2, 1), (512, 3, 1, 1)),
    ((1024, 3, 2, 1), (1024, 3, 1, 1)),
)
EXPANDING = (512, 256, 128, 64)
UPSAMPLE_2X = {"kernel": 4, "strides": 2, "padding": 1, "transposed": True}


class FlowNetS(TableModule):
    """The simple network of the paper.

    Attributes:
        norm: whether BatchNorm follows the convolutions of the contracting part, as in one
            published variant.
    """

    norm: bool = False

    @nn.compact
    def __call__(
        self, pairs: Float[Array, "n height width 6"], train: bool = False
    ) -> tuple[Float[Array, "n _ _ 2"], ...]:
        """Estimates optical flow.

        Args:
            pairs: (n, height, width, 6), the first frame's colours, then the second's, RGB in
                [-1, 1]; sides multiples of 64.
            train: whether BatchNorm, if any, uses and updates statistics of the batch.

        Returns:
            float32 flows (n, height / s, width / s, 2), s = 4, 8, 16, 32, 64.

        Raises:
            ValueError: sides are no multiples of 64.
        """
        if pairs.shape[-1] != 6 or pairs.shape[1] % 64 or pairs.shape[2] % 64:
            raise ValueError(
                f"pairs has shape {pairs.shape}; FlowNetS takes (n, height, width, 6) with sides "
                "that are multiples of 64"
            )
        leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)
        x, skips = pairs, []
        for i, rows in enumerate(CONTRACTING, 1):
            fields: dict[str, Argument] = {
                "bias": not self.norm,
                "norm": self.norm,
                "activation": leaky,
            }
            x = self.conv_stack(x, rows, train, f"conv_{i}", **fields)
            skips.append(x)
        x, flows = skips.pop(), []
        for features in (*EXPANDING, None):
            level = len(skips) + 1
            flow = self.head(2, 3, 1, 1, bias=False, name=f"flow_{level}")(x, train)
            flows.append(at_least_float32(flow))
            if features is None:
                break
            no_norm: dict[str, Argument] = {"bias": True, "norm": False, "activation": leaky}
            up = self.conv_block(features, **UPSAMPLE_2X, **no_norm, name=f"up_{level}")(x, train)
            flow_up = self.head(2, **UPSAMPLE_2X, bias=False, name=f"flow_up_{level}")(flow, train)
            x = jnp.concatenate([skips.pop(), up, flow_up], axis=-1)
        return tuple(flows[::-1])
