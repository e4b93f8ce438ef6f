"""A lip reader after LipNet (Assael et al. 2016) that classifies the word of each frame.

Three convolutions over time, height and width, each with max pooling, then two bidirectional GRU
layers. LipNet predicts characters with CTC; this network predicts a word, or silence, of each
frame, which needs word alignments and fewer sentences.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.blocks import TableModule
from lipsync_jax.nn.gru import GRU, merge_time, split_time

# Features, kernel, strides and padding, along time, height and width; 2x2 max pooling after each.
CONV_ROWS = (
    (32, (3, 5, 5), (1, 2, 2), (1, 2, 2)),
    (64, (3, 5, 5), (1, 1, 1), (1, 2, 2)),
    (96, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
)


class LipReader(TableModule):
    """Mouth images -> logits of words.

    Attributes:
        num_words: of the vocabulary, without silence.
        hidden_size: of each GRU.
        dropout: rate after each layer in training.
    """

    num_words: int = 51
    hidden_size: int = 256
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self,
        mouths: Float[Array, "n time height width 1"],
        mask: Bool[Array, "n time"],
        train: bool = False,
    ) -> Float[Array, "n time words"]:
        """Classifies each frame.

        Args:
            mouths: (n, time, height, width, 1), grey, of mean 0 and deviation 1 over a clip.
            mask: bool (n, time), False for padding, which comes last.
            train: whether BatchNorm uses and updates statistics of the batch and dropout acts.

        Returns:
            float32 (n, time, num_words + 1), logits; class 0 is silence.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x, time, valid = mouths, mouths.shape[1], mask[..., None, None, None]
        for i, row in enumerate(CONV_ROWS):
            x = self.conv_block(*row, name=f"conv_{i}")(jnp.where(valid, x, 0), train)
            x = drop(split_time(nn.max_pool(merge_time(x), (2, 2), (2, 2)), time))
        x = x.reshape(*x.shape[:2], -1)
        for i in range(2):
            _, forward = GRU(self.hidden_size, dtype=self.dtype, name=f"forward_{i}")(x, mask=mask)
            _, backward = GRU(self.hidden_size, dtype=self.dtype, name=f"backward_{i}")(
                x[:, ::-1], mask=mask[:, ::-1]
            )
            x = drop(jnp.concatenate([forward, backward[:, ::-1]], axis=-1))
        return nn.Dense(self.num_words + 1, name="words", dtype=self.dtype)(x).astype(jnp.float32)
