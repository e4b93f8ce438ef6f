"""Speech2Vid, "You said that?" (Chung, Jamaludin and Zisserman 2017).

The generator maps reference images of a face and 0.35 s of audio to the frame in the audio's
middle; its loss is the L1 error of the pixels. The deblurring network predicts, from a blurred real
frame, what the blur removed. Neither network has a part in the other's loss, so one run trains
both.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data.audio_features import MFCC
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
from lipsync_jax.methods.speech2vid.model import (
    FACE_SIZE,
    OUTPUT_MARGIN,
    OUTPUT_SIZE,
    Deblurrer,
    Generator,
)
from lipsync_jax.types import ModelCards, Tree

BLUR_SIZE, BLUR_SIGMA = 5, 2.0  # pixels


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "Speech2Vid":
    """Returns the method of a config."""
    return Speech2Vid(config, model_cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """Returns the generator that a config, or a checkpoint's config, describes."""
    return Generator(dtype=jnp.dtype(config.precision), **config.model)


def deblur_network(config: ml_collections.ConfigDict) -> Deblurrer:
    """Returns the deblurring network of a config whose `deblur.train` is true."""
    return Deblurrer(dtype=jnp.dtype(config.precision), width_mult=config.deblur.width_mult)


def blur(frames: jax.Array) -> jax.Array:
    """Blurs frames with a Gaussian of 5 x 5 pixels, sigma 2, reflected at the borders.

    Args:
        frames: float (n, height, width, c).
    """
    reach = BLUR_SIZE // 2
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * BLUR_SIGMA**2))
    weights /= weights.sum()
    for axis in (1, 2):
        size = frames.shape[axis]
        pads = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        wide = jnp.pad(frames, pads, mode="reflect")
        frames = sum(
            weight * jax.lax.slice_in_dim(wide, i, i + size, axis=axis)
            for i, weight in enumerate(weights.tolist())
        )
    return frames


def normalize_to_unit(images: jax.Array) -> jax.Array:
    """Converts uint8 (..., 3), BGR, to float32, RGB in [0, 1]."""
    return images[..., ::-1].astype(jnp.float32) / 255  # deviation S7: 0..255 in the demo


def crop_output(faces: jax.Array) -> jax.Array:
    """Crops faces to the generator's output: (..., 112, 112, 3) -> (..., 109, 109, 3)."""
    region = slice(OUTPUT_MARGIN, OUTPUT_MARGIN + OUTPUT_SIZE)
    return faces[..., region, region, :]


def pad_to_face(frames: jax.Array) -> jax.Array:
    """Pads generated frames to the size of faces by repeating borders, see `crop_output`."""
    pads = (OUTPUT_MARGIN, FACE_SIZE - OUTPUT_SIZE - OUTPUT_MARGIN)
    return jnp.pad(frames, ((0, 0), pads, pads, (0, 0)), mode="edge")


class Speech2Vid(FrameSynthesisMethod):
    """Networks: `generator`, and `deblurrer` with `config.deblur.train`."""

    audio_spec = MFCC

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        deblurred = ("deblurred",) if config.deblur.train else ()
        self.sample_titles = ("reference", "generated", *deblurred, "real")
        self.networks = {"generator": Network(network(config), make_optimizer(config.optimizer))}
        if config.deblur.train:
            self.networks["deblurrer"] = Network(
                deblur_network(config), make_optimizer(config.deblur.optimizer)
            )

    def validate_config(self) -> None:
        """Raises ValueError for faces of another size, and without a reference image."""
        # Deviation S5: this crop is aligned by five points.
        self.require_image_size("Speech2Vid", FACE_SIZE, "aligned112x112")
        if self.config.num_reference_images < 1:
            raise ValueError(
                f"config.num_reference_images={self.config.num_reference_images}: give 1 or 5, "
                "as published"
            )

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns frames of a clip, with audio and reference images of other moments.

        Returns:
            frames: uint8 (frames, 112, 112, 3), BGR.
            reference: uint8 (frames, num_reference_images, 112, 112, 3), BGR.
            audio: float32 (frames, 35, 12), MFCCs.
        """
        return self.make_unaugmented_example(clip, rng)[0]

    def init_inputs(
        self, model_inputs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> dict[str, tuple[jax.Array, ...]]:
        """See `FrameSynthesisMethod`."""
        audio, references, target = model_inputs
        return {"generator": (audio, references), "deblurrer": (target,)}

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Runs one step of each network."""
        del key  # the step is deterministic
        audio, references, target = self.network_inputs(batch)
        generator, before = self.networks["generator"], state.networks["generator"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            outputs, stats = generator.apply_train(params, before.batch_stats, audio, references)
            value = l1 = losses.l1(outputs.frames, target)  # no loss of features: deviation S3
            if self.config.loss.mouth:
                value += (
                    self.config.loss.mouth * mouth_absolute_error(outputs.frames, target).mean()
                )
            return value, (l1, stats)

        (value, (l1, stats)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        networks = {"generator": generator.apply_gradients(before, grads, stats)}
        scalars = {"loss": value, "l1": l1, "grad_norm": global_norm(grads)}
        if "deblurrer" in self.networks:
            networks["deblurrer"], deblur_metrics = self._deblur_step(state, target)
            scalars |= deblur_metrics
        return state.next_step(**networks), scalars

    def generate_frames(
        self, variables: Mapping[str, Mapping[str, Tree]], audio: jax.Array, references: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Generates frames in eval mode.

        Args:
            variables: of each network.
            audio: float32 (n, 35, 12), MFCCs.
            references: float32 (n, 112, 112, 3 * num_reference_images), RGB in [0, 1].

        Returns:
            Frames, and deblurred frames (without a deblurring network: the frames again), each
            float32 (n, 109, 109, 3), RGB in [0, 1].
        """
        outputs = self.networks["generator"].module.apply(variables["generator"], audio, references)
        sharp = outputs.frames
        if "deblurrer" in self.networks:
            residual = self.networks["deblurrer"].module.apply(variables["deblurrer"], sharp)
            sharp = jnp.clip(sharp + residual, 0, 1)
        return outputs.frames, sharp

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes errors of each example, of the baselines, and after deblurring.

        `mouth_l1_mismatched_audio` is the error of frames generated for the audio of another
        moment; a generator that ignores the audio has the same error as `mouth_l1`.
        """
        audio, references, target = self.network_inputs(batch)
        mismatched_audio = batch["mismatched_audio"].reshape(audio.shape)
        examples, variables = len(batch["frames"]), _variables(state)
        (generated, sharp), (mismatched, _) = (
            self.generate_frames(variables, driving_audio, references)
            for driving_audio in (audio, mismatched_audio)
        )
        mean_frame = jnp.repeat(
            crop_output(normalize_to_unit(batch["mean_frame"])), len(target) // examples, axis=0
        )
        metrics = {
            "l1": jnp.abs(generated - target),
            "mouth_l1": mouth_absolute_error(generated, target),
            "mouth_l1_mismatched_audio": mouth_absolute_error(mismatched, target),
            "mouth_l1_copy_baseline": mouth_absolute_error(
                crop_output(references[..., :3]), target
            ),
            "mouth_l1_mean_baseline": mouth_absolute_error(mean_frame, target),
        }
        if "deblurrer" in self.networks:
            metrics["l1_deblurred"] = jnp.abs(sharp - target)
            metrics["mouth_l1_deblurred"] = mouth_absolute_error(sharp, target)
        return mean_per_example(metrics, examples)

    def sample_images(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Returns first reference, generated, deblurred and real frame of each example."""
        audio, references, target = self.take_examples(batch, NUM_SAMPLE_FRAMES)
        generated = self.generate_frames(_variables(state), audio, references)
        columns = crop_output(references[..., :3]), *generated[: len(self.networks)], target
        return tuple(column[..., ::-1] for column in columns)

    def make_unaugmented_example(
        self, clip: Clip, rng: np.random.Generator
    ) -> tuple[Arrays, np.ndarray]:
        """See `FrameSynthesisMethod`."""
        total, count, num_references = (
            len(clip.frames),
            self.config.frames_per_clip,
            self.config.num_reference_images,
        )
        if total <= num_references:
            raise ValueError(
                f"the clip has {total} frames; Speech2Vid with {num_references} reference images "
                f"takes {num_references + 1} or more"
            )
        chosen = rng.integers(0, total, count)
        offsets = [rng.choice(total - 1, num_references, replace=False) + 1 for _ in chosen]
        others = (chosen[:, None] + np.array(offsets)) % total
        images = decode_frames(clip, [*chosen, *others.ravel()])
        return {
            "frames": images[:count],
            "reference": images[count:].reshape(count, num_references, *images.shape[1:]),
            "audio": self.audio_windows(clip, chosen),
        }, chosen

    def network_inputs(self, batch: Arrays) -> tuple[jax.Array, jax.Array, jax.Array]:
        """See `FrameSynthesisMethod`."""
        target = crop_output(normalize_to_unit(batch["frames"]))
        references = jnp.moveaxis(normalize_to_unit(batch["reference"]), 2, -2)
        return (
            batch["audio"].reshape(-1, *batch["audio"].shape[2:]),
            references.reshape(-1, *references.shape[2:4], references.shape[4] * 3),
            target.reshape(-1, *target.shape[2:]),
        )

    def _deblur_step(self, state: State, frames: jax.Array) -> tuple[NetworkState, Arrays]:
        """Runs one step on the difference of real and blurred frames (section 3.4)."""
        deblurrer, before = self.networks["deblurrer"], state.networks["deblurrer"]
        blurred = blur(frames)

        def loss(params: Tree) -> jax.Array:
            residual = deblurrer.module.apply({"params": params}, blurred)
            return losses.mse(residual, frames - blurred)

        value, grads = jax.value_and_grad(loss)(before.params)
        return deblurrer.apply_gradients(before, grads, before.batch_stats), {
            "deblur_loss": value,
            "deblur_nmse": value / jnp.mean((frames - blurred) ** 2),
        }


def _variables(state: State) -> dict[str, dict[str, Tree]]:
    return {name: network.variables for name, network in state.networks.items()}
