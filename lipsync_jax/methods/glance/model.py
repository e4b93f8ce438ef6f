"""Networks of "Lip Movements Generation at a Glance" (Chen et al. 2018), sizes as published.

A still of the lips and the log-mel spectrogram of a clip become its frames, all at once. Pictures
are RGB in [-1, 1], 64 x 64; sound is (4 * time rows, 128 mel bins) in dB
(`data.audio_windows.log_mel_windows`), four rows a frame; flow is that of successive frames as
`flow.of_frames` gives it, (time - 1, 16, 16, 2). `time` is 16 as published. Where the paper's
tables and its published code differ the tables win, unless the sizes they give do not fit each
other (strides of the sound, and of the flow's stream).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipsync_jax.nn.conv_norm import Network
from lipsync_jax.nn.dcgan import float32
from lipsync_jax.nn.shape_checks import check

FRAMES, SIZE, MEL_BINS, ROWS = 16, 64, 128, 4

# Rows are (features, kernel, strides, padding).
SOUND = ((32, 3, 1, 1), (64, 3, 2, 1), (128, 3, 1, 1), (256, 3, 2, 1))  # Tab. 4
HALVING, HALVING_3D = (3, 2, 1), ((3, 3, 3), (1, 2, 2), 1)
STILL = ((128, *HALVING), (256, *HALVING))  # Tab. 5, after its first row
SOUND_CHANGES: tuple[tuple, ...] = tuple((c, 3, (1, 2), 1) for c in (128, 64, 32, 16))  # Tab. 7
MOTION = (4, 8, 16, 16)  # Tab. 8; the last is repeated for larger pictures
PROFILE = 16  # features of both correlation networks

CUBE = (4, 4, 4)
VIDEO = (  # Tab. 10
    (64, CUBE, 2, 1),
    (128, CUBE, 2, 1),
    (256, CUBE, 2, 1),
    (256, CUBE, (1, 2, 2), 1),
)
FLOW = (  # Tab. 11
    (64, (3, 3, 3), 2, 1),
    (128, (3, 3, 3), (2, 1, 1), 1),
    (256, (3, 3, 3), 2, 1),
    (256, (3, 3, 3), (2, 1, 1), 1),
)
DIFFERENCE = tuple((c, (3, 3, 3), 2, 1) for c in (64, 128, 256, 256))


class Drawn(NamedTuple):
    """What the generator returns.

    Attributes:
        frames: float32 (n, time, 64, 64, 3), RGB in [-1, 1].
        heard: (n, time, 16 frequencies, channels), the sound as DerivativeEncoder takes it.
    """

    frames: jax.Array
    heard: jax.Array


class Generator(Network):
    """The generator (section 3.1, Tab. 4-6).

    Attributes:
        residual_blocks: between the fusion and the upsampling.
        residual_time: frames that a residual block's kernels span; 3 in one published variant.
        audio_tail: how frequencies are halved last: by a max pool (the paper's table), or by a
            convolution (some published variants).
        head_size: frames, rows and columns of the last convolution's kernel, odd; 7 as published.
        head_edges: what it sees beyond the borders.
    """

    residual_blocks: int = 9
    residual_time: int = 1
    audio_tail: Literal["pool", "conv"] = "pool"
    head_size: int = 7
    head_edges: Literal["zeros", "edge"] = "zeros"

    def __call__(self, still: jax.Array, audio: jax.Array, train: bool = False) -> Drawn:
        """Animates stills.

        Args:
            still: (n, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 4 * time, 128), see the module.
            train: whether BatchNorm uses and updates statistics of the batch.
        """
        logits, heard = self.logits(still, audio, train)
        return Drawn(jnp.tanh(logits), heard)

    @nn.compact
    def logits(self, still: jax.Array, audio: jax.Array, train: bool = False) -> Drawn:
        """The frames before the tanh; arguments as of a call."""
        check(self, "still", still, None, SIZE, SIZE, 3)
        check(self, "audio", audio, len(still), None, MEL_BINS)
        if audio.shape[1] % ROWS:
            raise ValueError(f"audio has {audio.shape[1]} rows; four a frame are needed")
        heard = self._hear(audio, train)
        x = self._fuse(self._look(still, train), heard)
        x = self.layer(256, (3, 3, 3), 1, 1, name="compress")(x, train)
        size = (self.residual_time, 3, 3)
        padding = (self.residual_time // 2, 1, 1)
        for i in range(self.residual_blocks):
            y = self.layer(256, size, 1, padding, name=f"residual_{i}_0")(x, train)
            last = self.layer(256, size, 1, padding, activation=None, name=f"residual_{i}_1")
            x = x + last(y, train)
        for i, features in enumerate((128, 64)):
            up = self.layer(features, *HALVING_3D, (0, 1, 1), True, name=f"up_{i}")
            x = up(x, train)
        size = (self.head_size,) * 3
        head = self.output(3, size, 1, self.head_size // 2, edges=self.head_edges, name="output")
        return Drawn(float32(head(x, train)), heard)

    def _hear(self, audio: jax.Array, train: bool) -> jax.Array:
        """(n, 4 * time, 128) -> (n, time, 16, channels)."""
        x = self.stack(audio[..., None], SOUND, train, "audio")
        if self.audio_tail == "pool":
            return nn.max_pool(x, (1, 2), (1, 2))
        return self.layer(256, 3, (1, 2), 1, name=f"audio_{len(SOUND)}")(x, train)

    def _look(self, still: jax.Array, train: bool) -> jax.Array:
        """(n, 64, 64, 3) -> (n, 16, 16, channels)."""
        x = self.layer(64, 7, 1, 3, edges="reflect", name="still_0")(still, train)
        for i, row in enumerate(STILL, 1):
            x = self.layer(*row, name=f"still_{i}")(x, train)
        return x

    @staticmethod
    def _fuse(seen: jax.Array, heard: jax.Array) -> jax.Array:
        """The still at every moment beside the sound, whose frequencies become rows."""
        n, time, rows, _ = heard.shape
        columns = seen.shape[2]
        seen = jnp.broadcast_to(seen[:, None], (n, time, *seen.shape[1:]))
        heard = jnp.broadcast_to(heard[:, :, :, None], (n, time, rows, columns, heard.shape[-1]))
        return jnp.concatenate([seen, heard], axis=-1)


class DerivativeEncoder(Network):
    """How the sound changes: 16 features a step (section 3.2, Tab. 7).

    Attributes:
        derivative: whether the sound's differences are encoded (15 steps of 16), or itself.
    """

    derivative: bool = True

    @nn.compact
    def __call__(self, heard: jax.Array, train: bool = False) -> jax.Array:
        """(n, time, 16, channels) of the generator -> (n, time - 1 or time, 16), at least 0."""
        check(self, "heard", heard, None, None, PROFILE, None)
        x = heard[:, :-1] - heard[:, 1:] if self.derivative else heard
        *rows, (features, *shape) = SOUND_CHANGES
        x = self.stack(x, rows, train, "conv", bias=True)
        last = self.output(
            features, *shape, norm=True, activation=nn.relu, name=f"conv_{len(rows)}"
        )
        return last(x, train)[:, :, 0]


class MotionEncoder(Network):
    """How the pictures change: 16 features a step (section 3.2, Tab. 8).

    One convolution a halving: four for 16 x 16 flow as published, six for 64 x 64 flow or frames.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """(n, time, side, side, channels), side a power of 2 -> (n, time, 16), at least 0."""
        side = x.shape[2]
        if x.shape[3] != side or side < 2 or side & (side - 1):
            raise ValueError(f"motion has shape {x.shape}; its sides must be equal powers of two")
        for i in range(side.bit_length() - 1):
            layer = self.output(
                MOTION[min(i, len(MOTION) - 1)],
                *HALVING_3D,
                norm=True,
                activation=nn.relu,
                name=f"conv_{i}",
            )
            x = layer(x, train)
        return x[:, :, 0, 0]


class Discriminator(Network):
    """Judges a clip with its sound in three streams (section 4.2, Tab. 9-11), or in two.

    Attributes:
        motion: the third stream: "flow" is given to it; "difference" is that of successive frames;
            "none" leaves it out (and the joint layer then gets 512 features of the video).
    """

    motion: Literal["flow", "difference", "none"] = "flow"

    def __call__(
        self,
        frames: jax.Array,
        audio: jax.Array,
        flow: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Probabilities of being real and in sync; arguments as of `logits`."""
        return nn.sigmoid(self.logits(frames, audio, flow, train))

    @nn.compact
    def logits(
        self,
        frames: jax.Array,
        audio: jax.Array,
        flow: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Judges.

        Args:
            frames: (n, 16, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 64, 128).
            flow: (n, 15, 16, 16, 2) where `motion` is "flow".
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,).
        """
        check(self, "frames", frames, None, FRAMES, SIZE, SIZE, 3)
        check(self, "audio", audio, len(frames), FRAMES * ROWS, MEL_BINS)
        streams = self.motion != "none"
        video = VIDEO if streams else (*VIDEO[:-1], (512, *VIDEO[-1][1:]))
        seen = [self._watch(frames, video, train, "video")]
        if self.motion == "flow":
            if flow is None:
                raise ValueError("Discriminator judges by the flow too; give it")
            check(self, "flow", flow, len(frames), FRAMES - 1, 16, 16, 2)
            seen.append(self._watch(flow, FLOW, train, "motion"))
        elif streams:
            seen.append(self._watch(frames[:, 1:] - frames[:, :-1], DIFFERENCE, train, "motion"))
        heard = self.stack(audio[..., None], SOUND, train, "audio")
        dense = {"bias": not streams, "norm": streams, "name": "audio_dense"}
        heard = self.layer(256, heard.shape[1:3], **dense)(heard, train)[:, None]
        heard = jnp.broadcast_to(heard, (*seen[0].shape[:4], heard.shape[-1]))
        x = jnp.concatenate([*seen, heard], axis=-1)
        x = self.layer(512, (3, 3, 3), 1, 1, name="joint")(x, train)
        verdict = self.output(1, x.shape[1:4], name="verdict")(x, train)
        return float32(verdict).reshape(len(frames))

    def _watch(self, x: jax.Array, rows: Sequence[tuple], train: bool, name: str) -> jax.Array:
        """A stream; its first row has a bias and no norm."""
        x = self.layer(*rows[0], bias=True, norm=False, name=f"{name}_0")(x, train)
        for i, row in enumerate(rows[1:], 1):
            x = self.layer(*row, name=f"{name}_{i}")(x, train)
        return x
