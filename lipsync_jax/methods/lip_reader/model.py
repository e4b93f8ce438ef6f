"""A lip reader in the manner of LipNet (Assael et al. 2016), that names the word of each frame.

Convolutions over time, height and width, each with a pool, then two recurrent layers that run both
ways. LipNet's output are letters without times (CTC); here every frame gets a word or silence,
which an aligned corpus of a small vocabulary teaches from far fewer sentences.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipsync_jax.nn.conv_norm import Network
from lipsync_jax.nn.gru import GRU, fold_time, unfold_time

# Features, kernel, strides and padding, along time, height and width; a pool of 2x2 behind each.
ROWS = (
    (32, (3, 5, 5), (1, 2, 2), (1, 2, 2)),
    (64, (3, 5, 5), (1, 1, 1), (1, 2, 2)),
    (96, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
)


class LipReader(Network):
    """Mouths -> words.

    Attributes:
        words: in the vocabulary.
        hidden_size: of each recurrent state.
        dropout: share of the features dropped in training behind each layer.
    """

    words: int = 51
    hidden_size: int = 256
    dropout: float = 0.5

    @nn.compact
    def __call__(self, mouths: jax.Array, mask: jax.Array, train: bool = False) -> jax.Array:
        """Names the word of each frame.

        Args:
            mouths: (n, time, height, width, 1), grey, of mean 0 and deviation 1 over a clip.
            mask: bool (n, time), False for padding, which comes last.
            train: whether BatchNorm uses and updates statistics of the batch, and dropout drops.

        Returns:
            float32 (n, time, words + 1), logits; class 0 is silence.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x, time, valid = mouths, mouths.shape[1], mask[..., None, None, None]
        for i, row in enumerate(ROWS):
            x = self.layer(*row, name=f"conv_{i}")(jnp.where(valid, x, 0), train)
            x = drop(unfold_time(nn.max_pool(fold_time(x), (2, 2), (2, 2)), time))
        x = x.reshape(*x.shape[:2], -1)
        for i in range(2):
            _, forward = GRU(self.hidden_size, dtype=self.dtype, name=f"forward_{i}")(x, mask=mask)
            _, backward = GRU(self.hidden_size, dtype=self.dtype, name=f"backward_{i}")(
                x[:, ::-1], mask=mask[:, ::-1]
            )
            x = drop(jnp.concatenate([forward, backward[:, ::-1]], axis=-1))
        return nn.Dense(self.words + 1, name="words", dtype=self.dtype)(x).astype(jnp.float32)
