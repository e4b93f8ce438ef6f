"""LipGAN (KR et al. 2019): generates the lower half of a face for given audio.

The generator is conditioned on another frame of the face, on the face with its lower half masked,
and on 0.35 s of audio. The discriminator embeds a face and its audio; the contrastive loss makes
their distance small for real pairs, and large for generated faces and for real faces with
mismatched audio.
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
    Network,
    NetworkState,
    State,
    global_norm,
    make_optimizer,
)
from lipsync_jax.methods.common.frame_synthesis import (
    NUM_SAMPLE_FRAMES,
    FrameSynthesisMethod,
    mean_per_example,
)
from lipsync_jax.methods.common.validation_metrics import mouth_absolute_error
from lipsync_jax.methods.lipgan.model import SIZE, Discriminator, Generator
from lipsync_jax.methods.wav2lip import image_losses
from lipsync_jax.methods.wav2lip.method import mask_lower_half
from lipsync_jax.types import ModelCards, Tree, Variables

MIN_REFERENCE_DISTANCE = 6  # frames between a face and its reference image


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "LipGAN":
    """Returns the method of a config."""
    return LipGAN(config, model_cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """Returns the generator that a config, or a checkpoint's config, describes."""
    return Generator(dtype=jnp.dtype(config.precision), **config.model)


class LipGAN(FrameSynthesisMethod):
    """Networks: `generator`, and `discriminator` where the config has one of a positive weight."""

    sample_titles = ("reference", "masked input", "generated", "real")

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self.audio_spec = LIPGAN[config.model.audio_features]
        self.networks = {"generator": Network(network(config), make_optimizer(config.optimizer))}
        if "distance" in config.discriminators and config.discriminators.distance.weight:
            self.networks["discriminator"] = Network(
                Discriminator(
                    audio_features=config.model.audio_features,
                    dtype=jnp.dtype(config.precision),
                    **config.discriminators.distance.model,
                ),
                make_optimizer(config.discriminators.distance.optimizer),
            )

    def validate_config(self) -> None:
        """Raises ValueError for faces of another size, and for batches without mismatched audio."""
        self.require_image_size("LipGAN", SIZE, "face96")
        if "discriminator" in self.networks and self.config.data.batch_size < 2:
            raise ValueError(
                f"config.data.batch_size={self.config.data.batch_size}: the discriminator takes "
                "audio of other clips of a batch; set --config.data.batch_size to 2 or more, or "
                "--config.discriminators.distance.weight=0"
            )

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns frames of one clip, with a reference image and audio of each.

        Returns:
            frames: uint8 (frames, 96, 96, 3), BGR.
            reference: uint8 (frames, 96, 96, 3), BGR, at least 6 frames away.
            audio: float32 (frames, columns, bins), see `audio_spec`.
        """
        example, _ = self.make_unaugmented_example(clip, rng)
        count = self.config.frames_per_clip
        faces = np.concatenate([example["frames"], example["reference"]])
        faces = augment.augment_faces(faces, rng, self.config.augment_magnitude)
        return {**example, "frames": faces[:count], "reference": faces[count:]}

    def init_inputs(
        self, model_inputs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> dict[str, tuple[jax.Array, ...]]:
        """See `FrameSynthesisMethod`."""
        audio, faces, target = model_inputs
        return {"generator": (audio, faces), "discriminator": (audio, target)}

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Runs two steps of the discriminator, then one of the generator.

        The scalar `distance_negative` is the distance of generated faces at some steps, and of real
        faces with mismatched audio at the others.
        """
        audio, faces, target = self.network_inputs(batch)
        networks: dict[str, NetworkState] = {}
        scalars: Arrays = {}
        if "discriminator" in self.networks:
            # Deviation L2: published code takes the audio ten places further.
            mismatched_audio = jnp.roll(batch["audio"], 1, axis=0).reshape(audio.shape)
            networks["discriminator"], scalars = self._discriminator_step(
                state, (audio, faces, target, mismatched_audio), key
            )
        generator, before = self.networks["generator"], state.networks["generator"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            generated, stats = generator.apply_train(params, before.batch_stats, audio, faces)
            terms = {"l1": losses.l1(generated, target)}
            weights = image_losses.weight_map(target.shape[1], self.config.loss.lower_half, 0.0)
            value = image_losses.weighted_l1(generated, target, weights)
            if networks:
                distance = self._distance(networks["discriminator"].params, audio, generated)
                terms["gen_adv_loss"] = losses.contrastive_loss(distance, 0.0)
                value += self.config.discriminators.distance.weight * terms["gen_adv_loss"]
            return value, (terms, stats)

        (value, (terms, stats)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        networks["generator"] = generator.apply_gradients(before, grads, stats)
        scalars |= {"loss": value, **terms, "grad_norm": global_norm(grads)}
        return state.next_step(**networks), scalars

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes errors of each example and of the baselines, and the discriminator's distances.

        `mouth_l1_mismatched_audio` is the error of faces generated for the audio of another moment;
        a generator that ignores the audio has the same error as `mouth_l1`.
        """
        audio, faces, target = self.network_inputs(batch)
        mismatched_audio = batch["mismatched_audio"].reshape(audio.shape)
        examples, variables = len(batch["frames"]), state.networks["generator"].variables
        generated, mismatched = (
            self._generate(variables, driving_audio, faces)
            for driving_audio in (audio, mismatched_audio)
        )
        mean_frame = jnp.repeat(
            batch["mean_frame"].astype(jnp.float32) / 255, len(target) // examples, axis=0
        )

        metrics = {
            "l1": jnp.abs(generated - target),
            "mouth_l1": mouth_absolute_error(generated, target),
            "mouth_l1_mismatched_audio": mouth_absolute_error(mismatched, target),
            "mouth_l1_copy_baseline": mouth_absolute_error(faces[..., :3], target),
            "mouth_l1_mean_baseline": mouth_absolute_error(mean_frame, target),
        }
        if "discriminator" in self.networks:
            params = state.networks["discriminator"].params
            for name, pair in (
                ("real", (audio, target)),
                ("fake", (audio, generated)),
                ("mismatched_audio", (mismatched_audio, target)),
            ):
                metrics[f"distance_{name}"] = self._distance(params, *pair)
        return mean_per_example(metrics, examples)

    def sample_images(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Returns reference, masked input, generated and real face of each first frame."""
        audio, faces, target = self.take_examples(batch, NUM_SAMPLE_FRAMES)
        generated = self._generate(state.networks["generator"].variables, audio, faces)
        return faces[..., :3], faces[..., 3:], generated, target

    def _generate(self, variables: Variables, audio: jax.Array, faces: jax.Array) -> jax.Array:
        return self.networks["generator"].module.apply(variables, audio, faces)

    def make_unaugmented_example(
        self, clip: Clip, rng: np.random.Generator
    ) -> tuple[Arrays, np.ndarray]:
        """See `FrameSynthesisMethod`."""
        total = len(clip.frames)
        if total < 2 * MIN_REFERENCE_DISTANCE:
            raise ValueError(
                f"the clip has {total} frames; LipGAN takes {2 * MIN_REFERENCE_DISTANCE} or more"
            )
        chosen = rng.integers(0, total, self.config.frames_per_clip)
        candidates = np.arange(total)
        others = [
            rng.choice(candidates[np.abs(candidates - frame) >= MIN_REFERENCE_DISTANCE])
            for frame in chosen
        ]
        frames, reference = np.split(decode_frames(clip, [*chosen, *others]), 2)
        return {
            "frames": frames,
            "reference": reference,
            "audio": self.audio_windows(clip, chosen),
        }, chosen

    def network_inputs(self, batch: Arrays) -> tuple[jax.Array, jax.Array, jax.Array]:
        """See `FrameSynthesisMethod`."""
        target, reference = (
            batch[name].reshape(-1, *batch[name].shape[2:]).astype(jnp.float32) / 255
            for name in ("frames", "reference")
        )
        faces = jnp.concatenate([reference, mask_lower_half(target)], axis=-1)
        return batch["audio"].reshape(-1, *batch["audio"].shape[2:]), faces, target

    def _distance(self, params: Tree, audio: jax.Array, faces: jax.Array) -> jax.Array:
        return self.networks["discriminator"].module.apply({"params": params}, audio, faces)

    def _discriminator_step(
        self, state: State, inputs: tuple, key: jax.Array
    ) -> tuple[NetworkState, Arrays]:
        """Runs a step on negatives, of one of two kinds at random, and a step on real pairs."""
        audio, faces, target, mismatched_audio = inputs
        generated = self._generate(state.networks["generator"].variables, audio, faces)
        coin = jax.random.bernoulli(key)
        negative = jnp.where(coin, audio, mismatched_audio), jnp.where(coin, generated, target)
        after, scalars, norms = state.networks["discriminator"], {}, []
        # Not `lax.scan`: convolutions in a loop are some 40 times slower on CPU.
        for name, is_negative, pair in (
            ("negative", 1.0, negative),
            ("real", 0.0, (audio, target)),
        ):

            def loss(
                params: Tree,
                pair: tuple[jax.Array, jax.Array] = pair,
                is_negative: float = is_negative,
            ) -> tuple[jax.Array, Tree]:
                distance = self._distance(params, *pair)
                return losses.contrastive_loss(distance, is_negative), jnp.mean(distance)

            grads, scalars[f"distance_{name}"] = jax.grad(loss, has_aux=True)(after.params)
            norms.append(global_norm(grads))
            after = self.networks["discriminator"].apply_gradients(after, grads, after.batch_stats)
        return after, {**scalars, "discriminator/grad_norm": sum(norms) / len(norms)}
