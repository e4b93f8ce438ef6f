"""LipGAN (KR et al. 2019): redraw the lower face so that it says a given sound.

The generator sees another frame of the same face, the face with its lower half blanked, and 0.35 s
of sound; a discriminator that learns beside it measures how far a face is from a sound. It is shown
real faces with their sound, which should be near, and drawn faces or real ones with another clip's
sound, which should be far apart.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data import augment
from lipsync_jax.data.audio_features import LIPGAN
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.methods.base import (
    Arrays,
    Player,
    PlayerState,
    State,
    adam,
    global_norm,
)
from lipsync_jax.methods.common.frame_synthesis import SHEET_FRAMES, SingleFrames, per_example
from lipsync_jax.methods.common.validation_metrics import mouth_error
from lipsync_jax.methods.lipgan.model import SIZE, Discriminator, Generator
from lipsync_jax.methods.wav2lip.method import mask_lower_half, weighted_l1
from lipsync_jax.types import Cards, Tree, Variables

APART = 6  # frames, at least, from a face to the other one of the same person


def make(config: ml_collections.ConfigDict, cards: Cards) -> "LipGAN":
    """The method of a config."""
    return LipGAN(config, cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """The generator that a config describes, a checkpoint's config too."""
    return Generator(dtype=jnp.dtype(config.precision), **config.model)


class LipGAN(SingleFrames):
    """Players: `generator`, and where the adversarial term's weight is not 0 `discriminator`.

    Attributes:
        hears: the spectrum of its branch, see `data.spectra`.
    """

    given = "reference"

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        self.hears = self.spectrum = LIPGAN[config.model.sound]
        self.players = {"generator": Player(network(config), adam(config.optimiser))}
        if config.adversarial.weight:
            self.players["discriminator"] = Player(
                Discriminator(
                    sound=config.model.sound,
                    width=config.adversarial.width,
                    dtype=jnp.dtype(config.precision),
                ),
                adam(config.adversarial.optimiser),
            )

    def check(self) -> None:
        """Refuses faces of another size, and batches that have no other clip's sound."""
        self.check_pictures("LipGAN", SIZE, "face96")
        if self.config.adversarial.weight and self.config.data.batch_size < 2:
            raise ValueError(
                "the discriminator needs other clips' sound; set config.data.batch_size to 2 or "
                "more, or config.adversarial.weight to 0"
            )

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Some frames of one clip, for each another one of the same face, and their sound.

        Returns:
            target: uint8 (frames, 96, 96, 3), BGR.
            reference: uint8 (frames, 96, 96, 3), at least 6 frames away.
            sound: float32 (frames, columns, bins), see `hears`.
        """
        made, _ = self.frames(clip, rng)
        count = self.config.frames_per_clip
        faces = np.concatenate([made["target"], made["reference"]])
        faces = augment.augment_faces(faces, rng, self.config.augment)
        return {**made, "target": faces[:count], "reference": faces[count:]}

    def shown_first(
        self, inputs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> dict[str, tuple[jax.Array, ...]]:
        """See SingleFrames."""
        sound, faces, target = inputs
        return {"generator": (sound, faces), "discriminator": (sound, target)}

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Two steps of the discriminator, then one of the generator against it.

        The scalar `distance_of_refused` is that of drawn faces at some steps and that of real ones
        with another clip's sound at the others.
        """
        sound, faces, target = self.inputs(batch)
        players: dict[str, PlayerState] = {}
        scalars: Arrays = {}
        if "discriminator" in self.players:
            other = jnp.roll(batch["sound"], 1, axis=0).reshape(sound.shape)
            players["discriminator"], scalars = self._learn_distance(
                state, (sound, faces, target, other), key
            )
        generator, before = self.players["generator"], state.players["generator"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            drawn, stats = generator.train(params, before.batch_stats, sound, faces)
            terms = {"l1": losses.l1(drawn, target)}
            value = weighted_l1(drawn, target, self.config.lower_half_weight)
            if players:
                distance = self._distance(players["discriminator"].params, sound, drawn)
                terms["deceived"] = losses.margin_contrastive(distance, 0.0)
                value += self.config.adversarial.weight * terms["deceived"]
            return value, (terms, stats)

        (value, (terms, stats)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        players["generator"] = generator.learn(before, grads, stats)
        scalars |= {"loss": value, **terms, "gradient_norm": global_norm(grads)}
        return state.replace_players(**players), scalars

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Errors of each example, those of the trivial answers, and distances.

        `mouth_error_of_other_sound` is that of what is drawn for another moment's sound: no larger
        than `mouth_error` where the generator does not listen.
        """
        sound, faces, target = self.inputs(batch)
        other = batch["other_sound"].reshape(sound.shape)
        examples, variables = len(batch["target"]), state.players["generator"].variables
        drawn, misled = (self._draw(variables, heard, faces) for heard in (sound, other))
        mean = jnp.repeat(
            batch["mean_face"].astype(jnp.float32) / 255, len(target) // examples, axis=0
        )

        figures = {
            "l1": jnp.abs(drawn - target),
            "mouth_error": mouth_error(drawn, target),
            "mouth_error_of_other_sound": mouth_error(misled, target),
            "mouth_error_copying_reference": mouth_error(faces[..., :3], target),
            "mouth_error_mean_mouth": mouth_error(mean, target),
        }
        if "discriminator" in self.players:
            params = state.players["discriminator"].params
            for name, pair in (
                ("real", (sound, target)),
                ("drawn", (sound, drawn)),
                ("other_sound", (other, target)),
            ):
                figures[f"distance_of_{name}"] = self._distance(params, *pair)
        return per_example(figures, examples)

    def pictures(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Reference, masked input, drawn and true face of each example's first frame."""
        sound, faces, target = self.few(batch, SHEET_FRAMES)
        drawn = self._draw(state.players["generator"].variables, sound, faces)
        return faces[..., :3], faces[..., 3:], drawn, target

    def draw(self, variables: Variables, audio: jax.Array, faces: jax.Array) -> jax.Array:
        """Runs the generator in eval mode, on inputs laid out as Wav2Lip's.

        Args:
            variables: of the generator.
            audio: float32 (n, bins, columns, 1), windows of `hears`.
            faces: float32 (n, 96, 96, 6), masked face and reference, BGR in [0, 1].

        Returns:
            float32 (n, 96, 96, 3), BGR in [0, 1].
        """
        masked, reference = faces[..., :3], faces[..., 3:]
        sound = audio[..., 0].swapaxes(1, 2)
        return self._draw(variables, sound, jnp.concatenate([reference, masked], axis=-1))

    def _draw(self, variables: Variables, sound: jax.Array, faces: jax.Array) -> jax.Array:
        return self.players["generator"].module.apply(variables, sound, faces)

    def frames(self, clip: Clip, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        """See SingleFrames."""
        total = len(clip.frames)
        if total < 2 * APART:
            raise ValueError(f"it has {total} frames, fewer than {2 * APART}")
        chosen = rng.integers(0, total, self.config.frames_per_clip)
        every = np.arange(total)
        others = [rng.choice(every[np.abs(every - frame) >= APART]) for frame in chosen]
        target, reference = np.split(decode_frames(clip, [*chosen, *others]), 2)
        return {
            "target": target,
            "reference": reference,
            "sound": self.sound(clip, chosen),
        }, chosen

    def inputs(self, batch: Arrays) -> tuple[jax.Array, jax.Array, jax.Array]:
        """See SingleFrames."""
        target, reference = (
            batch[name].reshape(-1, *batch[name].shape[2:]).astype(jnp.float32) / 255
            for name in ("target", "reference")
        )
        faces = jnp.concatenate([reference, mask_lower_half(target)], axis=-1)
        return batch["sound"].reshape(-1, *batch["sound"].shape[2:]), faces, target

    def _distance(self, params: Tree, sound: jax.Array, faces: jax.Array) -> jax.Array:
        return self.players["discriminator"].module.apply({"params": params}, sound, faces)

    def _learn_distance(
        self, state: State, inputs: tuple, key: jax.Array
    ) -> tuple[PlayerState, Arrays]:
        """One step on what should be far apart, by a fair coin of two kinds; one on real pairs."""
        sound, faces, target, other = inputs
        drawn = self._draw(state.players["generator"].variables, sound, faces)
        coin = jax.random.bernoulli(key)
        refused = jnp.where(coin, sound, other), jnp.where(coin, drawn, target)
        after, scalars, norms = state.players["discriminator"], {}, []
        # Not `lax.scan`: convolutions in a loop are some 40 times slower on CPU.
        for name, apart, pair in (("refused", 1.0, refused), ("real", 0.0, (sound, target))):

            def loss(
                params: Tree, pair: tuple[jax.Array, jax.Array] = pair, apart: float = apart
            ) -> tuple[jax.Array, Tree]:
                distance = self._distance(params, *pair)
                return losses.margin_contrastive(distance, apart), jnp.mean(distance)

            grads, scalars[f"distance_of_{name}"] = jax.grad(loss, has_aux=True)(after.params)
            norms.append(global_norm(grads))
            after = self.players["discriminator"].learn(after, grads, after.batch_stats)
        return after, {**scalars, "discriminator_gradient_norm": sum(norms) / len(norms)}
