"""Wav2Lip (Prajwal et al. 2020): redraw the lower face so that it says a given sound.

The generator sees a face with its lower half blanked, another frame of the same face, and 0.2 s
of mel; a frozen expert judges five frames in a row against their sound; with `adversarial` a
quality discriminator judges single frames (the paper's Wav2Lip + GAN).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data import augment, windows
from lipsync_jax.data.audio_features import MEL
from lipsync_jax.data.clip import GEOMETRIES, Clip, decode_frames
from lipsync_jax.data.feature_cache import MelCache
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Player,
    PlayerState,
    State,
    adam,
    fresh_state,
    global_norm,
)
from lipsync_jax.methods.common.validation_metrics import mouth_error
from lipsync_jax.methods.wav2lip import sync_expert
from lipsync_jax.methods.wav2lip.model import QualityDiscriminator, Wav2Lip
from lipsync_jax.types import Cards, Tree, Variables

FRAMES = windows.SYNC_FRAMES


def make(config: ml_collections.ConfigDict, cards: Cards) -> "Wav2LipMethod":
    """The method of a config."""
    return Wav2LipMethod(config, cards)


def network(config: ml_collections.ConfigDict) -> Wav2Lip:
    """The generator that a config describes."""
    return Wav2Lip(
        image_size=GEOMETRIES[config.data.geometry].height,
        dtype=jnp.dtype(config.precision),
        **config.model,
    )


def mask_lower_half(faces: jax.Array) -> jax.Array:
    """Blanks the rows that the generator has to draw; faces (..., size, size, 3)."""
    size = faces.shape[-3]
    keep = jnp.arange(size) < size // 2
    return jnp.where(keep[:, None, None], faces, 0.0)


def weighted_l1(drawn: jax.Array, target: jax.Array, lower_half_weight: float) -> jax.Array:
    """Mean absolute error with so many times as much of it below the middle as above it."""
    size = target.shape[1]
    rows = jnp.where(jnp.arange(size) < size // 2, 1.0, lower_half_weight)
    rows = (rows * (2 / (1 + lower_half_weight)))[:, None, None]
    return losses.l1(drawn * rows, target * rows)


class Wav2LipMethod(Method):
    """Players: `generator`, the frozen `expert`, and with `adversarial` a `discriminator`."""

    best = ("mouth_error", -1)
    hears = MEL

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        self.players = {"generator": Player(network(config), adam(config.optimiser))}
        if config.adversarial:
            self.players["discriminator"] = Player(
                QualityDiscriminator(
                    image_size=GEOMETRIES[config.data.geometry].height,
                    dtype=jnp.dtype(config.precision),
                    **config.discriminator,
                ),
                adam(config.discriminator_optimiser),
            )
        if "expert" in cards:
            expert = ml_collections.ConfigDict(cards["expert"]["config"])
            self.players["expert"] = Player(sync_expert.network(expert))
        self._mels = MelCache()

    def check(self) -> None:
        """Refuses an expert that can't tell sync: a generator can't learn from it."""
        source, card = self.config.frozen.expert, self.cards["expert"]
        size = GEOMETRIES[card["config"]["data"]["geometry"]].height
        if size != GEOMETRIES[self.config.data.geometry].height:
            raise ValueError(
                f"the expert in {source.checkpoint} judges {size}-pixel faces, "
                f"config.data.geometry={self.config.data.geometry} has others"
            )
        if not source.min_accuracy:
            return
        accuracy = card.get("validation", {}).get("balanced_accuracy")
        if accuracy is None:
            raise ValueError(
                f"the accuracy of the expert in {source.checkpoint} was never measured; set "
                "--config.frozen.expert.min_accuracy=0 to train against it all the same"
            )
        if not accuracy >= source.min_accuracy:
            raise ValueError(
                f"the expert in {source.checkpoint} has a balanced accuracy of {accuracy:.3f} on "
                f"its validation clips, below config.frozen.expert.min_accuracy="
                f"{source.min_accuracy}: a generator would learn nothing from it. Train it on, "
                "or set --config.frozen.expert.min_accuracy=0 to go ahead all the same"
            )

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Target and reference windows of one clip, and the sound of the target.

        Returns:
            target: uint8 (windows, 5, size, size, 3), BGR.
            reference: uint8 (windows, 5, size, size, 3), five other frames in a row.
            mels: float32 (windows, 5, 16, 80), one window a frame for the generator.
            mel: float32 (windows, 16, 80), of all five frames for the expert.
        """
        made = self._windows(clip, rng)
        count = self.config.windows_per_clip
        faces = np.concatenate([made["target"], made["reference"]]).reshape(
            -1, *made["target"].shape[2:]
        )
        faces = augment.augment_faces(faces, rng, self.config.augment)
        made["target"], made["reference"] = faces.reshape(2, count, FRAMES, *faces.shape[1:])
        return made

    def validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """The same without augmentation, and the clip's mean picture.

        Returns:
            target, reference, mels, mel: see `example`.
            mean_face: uint8 (size, size, 3), the mean of all frames: what one would draw without
                hearing anything.
        """
        made = self._windows(clip, rng)
        mean = decode_frames(clip, range(len(clip.frames))).mean(axis=0)
        return {**made, "mean_face": np.rint(mean).astype(np.uint8)}

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        keys = jax.random.split(key)
        first = {name: batch[name][:1, :1] for name in ("target", "reference", "mels", "mel")}
        audio, faces, target = self._inputs(first)
        players = {}
        generator = self.players["generator"]
        players["generator"] = generator.start(
            generator.module.init(keys[0], audio, faces, train=False)
        )
        if "discriminator" in self.players:
            discriminator = self.players["discriminator"]
            players["discriminator"] = discriminator.start(
                discriminator.module.init(keys[1], target)
            )
        return fresh_state(key, players, sync_weight=self.config.sync_weight_at_start)

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step of the generator, then one of the discriminator on the same pictures.

        The scalar `sync` is 0 while the sync loss is switched off.
        """
        del key  # nothing here is random
        audio, faces, target = self._inputs(batch)
        generator, before = self.players["generator"], state.players["generator"]
        sync_weight = state.schedule["sync_weight"]
        quality_weight = self.config.quality_weight if self.config.adversarial else 0.0

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            drawn, stats = generator.train(params, before.batch_stats, audio, faces)
            terms = {
                "l1": losses.l1(drawn, target),
                # The expert is a third of a step's work; it rests until it is needed.
                "sync": jax.lax.cond(
                    sync_weight > 0,
                    lambda drawn: self._sync_loss(state, batch["mel"], drawn),
                    lambda drawn: jnp.zeros((), drawn.dtype),
                    drawn,
                ),
            }
            value = sync_weight * terms["sync"]
            value += (1 - sync_weight - quality_weight) * weighted_l1(
                drawn, target, self.config.lower_half_weight
            )
            if self.config.adversarial:
                terms["quality"] = losses.binary_cross_entropy(
                    self._quality(state.players["discriminator"].params, drawn), 1.0
                )
                value += quality_weight * terms["quality"]
            return value, (terms, stats, drawn)

        (value, (terms, stats, drawn)), grads = jax.value_and_grad(loss, has_aux=True)(
            before.params
        )
        players = {"generator": generator.learn(before, grads, stats)}
        scalars = {"loss": value, **terms, "gradient_norm": global_norm(grads)}
        scalars["sync_weight"] = sync_weight
        if self.config.adversarial:
            players["discriminator"], judged = self._learn_quality(state, target, drawn)
            scalars |= judged
        return state.replace_players(**players), scalars

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Validation losses of each example, and the mouth errors of the trivial answers."""
        audio, faces, target = self._inputs(batch)
        examples = batch["target"].shape[0]
        drawn = self.draw(state.players["generator"].variables, audio, faces)

        def per_example(x: jax.Array) -> jax.Array:
            return x.reshape(examples, -1).mean(axis=1)

        copied = faces[..., 3:]
        mean = jnp.repeat(
            batch["mean_face"].astype(jnp.float32) / 255, len(target) // examples, axis=0
        )
        sync = self._sync_loss(state, batch["mel"], drawn, reduce=False)
        real = self._sync_loss(state, batch["mel"], target, reduce=False)
        return {
            "l1": per_example(jnp.abs(drawn - target)),
            "sync": per_example(sync),
            "sync_of_real": per_example(real),
            "mouth_error": per_example(mouth_error(drawn, target)),
            "mouth_error_copying_reference": per_example(mouth_error(copied, target)),
            "mouth_error_mean_mouth": per_example(mouth_error(mean, target)),
        }

    def steer(
        self, schedule: Mapping[str, float], scalars: Mapping[str, float]
    ) -> dict[str, float]:
        """Turns the sync loss on, for good, once validation shows pictures worth judging."""
        if scalars["sync"] < self.config.sync_threshold:
            return {**schedule, "sync_weight": self.config.sync_weight}
        return dict(schedule)

    def pictures(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Reference, masked input, drawn and true face of each example's middle frame."""
        middle = slice(FRAMES // 2, FRAMES // 2 + 1)
        chosen = {
            "target": batch["target"][:8, :1, middle],
            "reference": batch["reference"][:8, :1, middle],
            "mels": batch["mels"][:8, :1, middle],
        }
        audio, faces, target = self._inputs(chosen)
        drawn = self.draw(state.players["generator"].variables, audio, faces)
        return faces[..., 3:], faces[..., :3], drawn, target

    def draw(self, variables: Variables, audio: jax.Array, faces: jax.Array) -> jax.Array:
        """Runs the generator in eval mode.

        Args:
            variables: of the generator.
            audio: float32 (n, 80, 16, 1), mel windows.
            faces: float32 (n, size, size, 6), masked face and reference, BGR in [0, 1].

        Returns:
            float32 (n, size, size, 3), BGR in [0, 1].
        """
        return self.players["generator"].module.apply(variables, audio, faces, train=False)

    def _windows(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        count = self.config.windows_per_clip
        last = len(clip.frames) - FRAMES
        if last < 1:
            raise ValueError(f"it has {len(clip.frames)} frames, fewer than {FRAMES + 1}")
        starts = rng.integers(0, last + 1, count)
        references = (starts + rng.integers(1, last + 1, count)) % (last + 1)
        chosen = np.concatenate([starts, references])[:, None] + np.arange(FRAMES)
        frames = decode_frames(clip, chosen.ravel())
        frames = frames.reshape(2, count, FRAMES, *frames.shape[1:])
        mel = self._mels.mel(clip)
        shared, own = zip(
            *(windows.training_windows(int(s), clip.frame_rate) for s in starts), strict=True
        )
        mels = windows.take_windows(mel, np.stack(own))
        return {
            "target": frames[0],
            "reference": frames[1],
            "mels": mels,
            "mel": windows.take_windows(mel, np.array(shared)),
        }

    def _inputs(self, batch: Arrays) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The generator's audio and faces and its target, all frames in one batch axis."""
        target, reference = (
            batch[name].reshape(-1, *batch[name].shape[3:]).astype(jnp.float32) / 255
            for name in ("target", "reference")
        )
        faces = jnp.concatenate([mask_lower_half(target), reference], axis=-1)
        return sync_expert.as_audio(batch["mels"]), faces, target

    def _sync_loss(
        self, state: State, mel: jax.Array, drawn: jax.Array, reduce: bool = True
    ) -> jax.Array:
        """Binary cross-entropy of the expert's verdict on drawn faces (section 3.2)."""
        faces = drawn.reshape(-1, FRAMES, *drawn.shape[1:])
        audio, video = self._judge(
            state.players["expert"],
            sync_expert.as_audio(mel),
            sync_expert.stack_lower_half(faces),
        )
        return losses.cosine_bce(audio, video, 1.0, mean=reduce)

    def _judge(
        self, expert: PlayerState, mel: jax.Array, faces: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        player = self.players["expert"]
        if self.config.frozen.expert.batch_statistics:
            # As the published training ran it: statistics of the batch, running ones untouched.
            outputs, _ = player.train(expert.params, expert.batch_stats, mel, faces)
            return outputs
        return player.module.apply(expert.variables, mel, faces, train=False)

    def _quality(self, params: Tree, frames: jax.Array) -> jax.Array:
        return self.players["discriminator"].module.apply({"params": params}, frames)

    def _learn_quality(
        self, state: State, target: jax.Array, drawn: jax.Array
    ) -> tuple[PlayerState, Arrays]:
        before = state.players["discriminator"]
        drawn = jax.lax.stop_gradient(drawn)

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            real = losses.binary_cross_entropy(self._quality(params, target), 1.0)
            fake = losses.binary_cross_entropy(self._quality(params, drawn), 0.0)
            return real + fake, (real, fake)

        (_, (real, fake)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        after = self.players["discriminator"].learn(before, grads, before.batch_stats)
        return after, {
            "quality_of_real": real,
            "quality_of_drawn": fake,
            "discriminator_gradient_norm": global_norm(grads),
        }
