"""Wav2Lip (Prajwal et al. 2020): generates the lower half of a face for given audio.

The generator is conditioned on the face with its lower half masked, on another frame of the
face, and on 0.2 s of log-mel spectrogram. A frozen expert computes the sync loss of windows
of consecutive frames; `config.discriminators.quality` adds a discriminator of single frames (the
paper's Wav2Lip + GAN). Any network with `SyncInference` can be the expert, the paper's has windows
of five frames.
"""

import functools
from collections.abc import Mapping
from typing import ClassVar, cast

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses, methods
from lipsync_jax.data import windows
from lipsync_jax.data.clip import CROP_SPECS, Clip
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Network,
    NetworkState,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.common.validation_metrics import mouth_absolute_error
from lipsync_jax.methods.inference import SyncInference
from lipsync_jax.methods.wav2lip import config_checks, image_losses
from lipsync_jax.methods.wav2lip.examples import ExampleSampler
from lipsync_jax.methods.wav2lip.model import QualityDiscriminator, Wav2Lip
from lipsync_jax.methods.wav2lip.warp_model import PatchDiscriminator, WarpWav2Lip
from lipsync_jax.types import ModelCards, Tree, Variables

NETWORKS: Mapping[str, type[Wav2Lip] | type[WarpWav2Lip]] = {
    "published": Wav2Lip,
    "warp": WarpWav2Lip,
}
DISCRIMINATORS: Mapping[str, type[QualityDiscriminator] | type[PatchDiscriminator]] = {
    "published": QualityDiscriminator,
    "patch": PatchDiscriminator,
}


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "Wav2LipMethod":
    """Returns the method of a config."""
    return Wav2LipMethod(config, model_cards)


def network(config: ml_collections.ConfigDict) -> Wav2Lip | WarpWav2Lip:
    """Returns the generator that a config describes.

    Raises:
        ValueError: `config.network` names no network.
    """
    if config.network not in NETWORKS:
        raise ValueError(f"config.network={config.network!r}: choose {', '.join(NETWORKS)}")
    options = {"motion_features": config.motion_features} if config.network == "warp" else {}
    return NETWORKS[config.network](
        image_size=CROP_SPECS[config.data.crop].height,
        dtype=jnp.dtype(config.precision),
        **config.model,
        **options,
    )


def _quality_discriminator(name: str) -> type[QualityDiscriminator] | type[PatchDiscriminator]:
    if name not in DISCRIMINATORS:
        raise ValueError(
            f"config.discriminators.quality.network={name!r}: choose {', '.join(DISCRIMINATORS)}"
        )
    return DISCRIMINATORS[name]


def mask_lower_half(faces: jax.Array) -> jax.Array:
    """Sets the rows that the generator fills in to 0; faces (..., size, size, 3)."""
    size = faces.shape[-3]
    is_upper = jnp.arange(size) < size // 2
    return jnp.where(is_upper[:, None, None], faces, 0.0)


class Wav2LipMethod(Method):
    """Networks: `generator`, the frozen `expert`, and `discriminator` where the config has one.

    Attributes:
        expert: what the frozen expert embeds; None at inference.
    """

    best_metric = ("mouth_l1", "min")
    sample_titles = ("reference", "masked input", "generated", "real")
    frozen_inference: ClassVar = {"expert": SyncInference}
    expert: SyncInference | None = None

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self.networks = {"generator": Network(network(config), make_optimizer(config.optimizer))}
        if "quality" in config.discriminators:
            self.networks["discriminator"] = Network(
                _quality_discriminator(config.discriminators.quality.network)(
                    image_size=CROP_SPECS[config.data.crop].height,
                    dtype=jnp.dtype(config.precision),
                    **config.discriminators.quality.model,
                ),
                make_optimizer(config.discriminators.quality.optimizer),
            )
        if "expert" in model_cards:
            self.expert = cast(SyncInference, methods.load_inference(model_cards["expert"]))
            if config.loss.sync:
                self.switches = ("sync_weight",)
        if config.sharpness_floor:
            self.best_metric = ("mouth_l1_with_floor", "min")

    def validate_config(self) -> None:
        """Raises ValueError for an unsuitable expert, or fields that contradict each other."""
        config_checks.require_fields(self.config, self._expert.window_frames)
        config_checks.require_expert(
            self.config, self.model_cards["expert"], self._expert.image_size
        )

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """See `ExampleSampler.training_example`."""
        return self._sampler.training_example(clip, rng)

    def make_validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """See `ExampleSampler.validation_example`."""
        return self._sampler.validation_example(clip, rng)

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """Returns the initial state, see `Method`."""
        keys = jax.random.split(key)
        first = {
            name: batch[name][:1, :1] for name in ("frames", "reference", "audio", "sync_audio")
        }
        audio, faces, target = self._network_inputs(first)
        networks = {}
        generator = self.networks["generator"]
        networks["generator"] = generator.init_state(
            generator.module.init(keys[0], audio, faces, train=False)
        )
        if "discriminator" in self.networks:
            discriminator = self.networks["discriminator"]
            networks["discriminator"] = discriminator.init_state(
                discriminator.module.init(keys[1], target)
            )
        return init_train_state(key, networks, sync_weight=self.config.loss.sync_initial)

    def init_from_frozen(self, state: State) -> State:
        """Copies the expert's audio encoder into the generator, with `config.audio_from_expert`.

        The expert's encoder relates audio to lips already; from the L1 loss alone a generator
        ignores the audio for hundreds of steps.

        Raises:
            ValueError: the two encoders have other sizes; says which fields to change.
        """
        if not self.config.audio_from_expert or self.config.init_from.generator:
            return state
        generator, expert = state.networks["generator"], state.networks["expert"]
        copied = {}
        for kind in ("params", "batch_stats"):
            own, source = (dict(getattr(network, kind)) for network in (generator, expert))
            for name in (name for name in own if name.startswith("audio_encoder")):
                shapes = [jax.tree.map(jnp.shape, tree.get(name)) for tree in (own, source)]
                if shapes[0] != shapes[1]:
                    raise ValueError(
                        f"config.audio_from_expert: {name} is {shapes[0]} in the generator and "
                        f"{shapes[1]} in the expert; give config.model the width_mult of the "
                        "expert and twice its depth_mult"
                    )
                own[name] = jax.tree.map(jnp.copy, source[name])
            copied[kind] = own
        networks = {**state.networks, "generator": generator.replace(**copied)}
        return state.replace(networks=networks)

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Runs one step of the generator, then one of the discriminator on the generated frames.

        The scalar `sync_loss` is 0 while the sync loss is switched off.
        """
        del key  # the step is deterministic
        audio, faces, target = self._network_inputs(batch)
        generator, before = self.networks["generator"], state.networks["generator"]
        sync_weight = state.host_scalars["sync_weight"]
        adversarial = "discriminator" in self.networks
        adversarial_weight = self.config.discriminators.quality.weight if adversarial else 0.0
        painted_weight = self.config.loss.painted
        motion_weight = self.config.loss.motion
        with_target: Arrays = {}
        if motion_weight:  # three of four frames are generated with the code of the target
            with_target = {"target": target, "from_target": jnp.arange(len(target)) % 4 != 3}

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            if painted_weight or motion_weight:
                parts, stats = generator.apply_train(
                    params, before.batch_stats, audio, faces, method="parts", **with_target
                )
                generated = parts["generated"]
            else:
                generated, stats = generator.apply_train(params, before.batch_stats, audio, faces)
            terms = {
                "l1": losses.l1(generated, target),
                "sync_loss": jnp.zeros((), generated.dtype),
            }
            # The expert takes a third of a step's time, so it runs only with a weight.
            if self.config.loss.sync and "sync_weight" not in self.terms_off:
                terms["sync_loss"] = self._sync_loss(state, batch["sync_audio"], generated)
            # Section 3.5, the weighted sum of all losses.
            value = sync_weight * terms["sync_loss"]
            pixel_loss = self._pixel_loss(generated, target)
            if painted_weight:  # painted pixels of low opacity have no gradient otherwise
                pixel_loss += painted_weight * self._pixel_loss(parts["painted"], target)
            value += (1 - sync_weight - adversarial_weight) * pixel_loss
            if motion_weight:
                terms["motion_loss"] = image_losses.motion_l2(
                    parts["audio_motion"], parts["target_motion"], len(batch["frames"])
                )
                value += motion_weight * terms["motion_loss"]
            if adversarial:
                terms["gen_adv_loss"] = losses.binary_cross_entropy(
                    self._discriminate(state.networks["discriminator"].params, generated), 1.0
                )
                value += adversarial_weight * terms["gen_adv_loss"]
            return value, (terms, stats, generated)

        (value, (terms, stats, generated)), grads = jax.value_and_grad(loss, has_aux=True)(
            before.params
        )
        networks = {"generator": generator.apply_gradients(before, grads, stats)}
        scalars = {"loss": value, **terms, "grad_norm": global_norm(grads)}
        scalars["sync_weight"] = sync_weight
        if adversarial:
            networks["discriminator"], metrics = self._discriminator_step(state, target, generated)
            scalars |= metrics
        return state.next_step(**networks), scalars

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes validation losses of each example, and the mouth L1 of the baselines.

        `mouth_l1_mismatched_audio` is NaN where the batch has no other audio: its one example, of
        one window, may be the split's last, with copies in the other places.
        """
        audio, faces, target = self._network_inputs(batch)
        examples = batch["frames"].shape[0]
        variables = state.networks["generator"].variables
        generated = self.generate_frames(variables, audio, faces)
        # The audio of another window of the batch.
        mismatched_audio = jnp.roll(audio, batch["frames"].shape[2], axis=0)
        mismatched = self.generate_frames(variables, mismatched_audio, faces)

        def per_example(x: jax.Array) -> jax.Array:
            return x.reshape(examples, -1).mean(axis=1)

        copied = faces[..., 3:]
        mean_frame = jnp.repeat(
            batch["mean_frame"].astype(jnp.float32) / 255, len(target) // examples, axis=0
        )
        metrics = {}
        if self.config.loss.motion:  # what a perfect prediction of the motion codes would reach
            all_targets = jnp.ones(len(target), bool)
            with_codes = self.networks["generator"].module.apply(
                variables, audio, faces, False, target, all_targets, method="parts"
            )["generated"]
            metrics["mouth_l1_target_motion"] = per_example(
                mouth_absolute_error(with_codes, target)
            )
        is_same_audio = (mismatched_audio == audio).reshape(examples, -1).all(axis=1)
        mismatched_l1 = per_example(mouth_absolute_error(mismatched, target))
        sync = self._sync_loss(state, batch["sync_audio"], generated, reduce=False)
        real = self._sync_loss(state, batch["sync_audio"], target, reduce=False)
        return {
            **metrics,
            "l1": per_example(jnp.abs(generated - target)),
            "sync_loss": per_example(sync),
            "sync_loss_real": per_example(real),
            "mouth_l1": per_example(mouth_absolute_error(generated, target)),
            "mouth_l1_copy_baseline": per_example(mouth_absolute_error(copied, target)),
            "mouth_l1_mean_baseline": per_example(mouth_absolute_error(mean_frame, target)),
            "mouth_l1_mismatched_audio": jnp.where(is_same_audio, jnp.nan, mismatched_l1),
            "mouth_laplacian_variance": per_example(
                image_losses.mouth_laplacian_variance(generated)
            ),
            "mouth_laplacian_variance_real": per_example(
                image_losses.mouth_laplacian_variance(target)
            ),
        }

    def aggregate_metrics(self, metrics: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Computes means, and the sharpness of generated mouths relative to real ones.

        With `config.sharpness_floor`, the best checkpoint is that of the lowest
        `mouth_l1_with_floor`, which adds a tenth of what the sharpness is below the floor: the
        lowest L1 alone is that of a blurred mouth.

        `mouth_l1_mismatched_audio` leaves out examples without other audio, see `eval_step`, and is
        missing if all are.
        """
        name = "mouth_l1_mismatched_audio"
        mismatched = metrics[name][~np.isnan(metrics[name])]
        others = {key: values for key, values in metrics.items() if key != name}
        means = super().aggregate_metrics(others | ({name: mismatched} if len(mismatched) else {}))
        real = max(means["mouth_laplacian_variance_real"], 1e-12)
        means["mouth_sharpness"] = means["mouth_laplacian_variance"] / real
        if floor := self.config.sharpness_floor:
            below = max(0.0, floor - means["mouth_sharpness"])
            means["mouth_l1_with_floor"] = means["mouth_l1"] + 0.1 * below
        return means

    def on_validation_end(
        self, host_scalars: Mapping[str, float], metrics: Mapping[str, float]
    ) -> dict[str, float]:
        """Switches the sync loss on, for the rest of the run, once validation is good enough."""
        if metrics["sync_loss"] < self.config.loss.sync_start_below:
            return {**host_scalars, "sync_weight": self.config.loss.sync}  # deviation W3
        return dict(host_scalars)

    def sample_images(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Returns reference, masked input, generated and real face of each middle frame."""
        count = batch["frames"].shape[2]
        middle = slice(count // 2, count // 2 + 1)
        chosen = {
            "frames": batch["frames"][:8, :1, middle],
            "reference": batch["reference"][:8, :1, middle],
            "audio": batch["audio"][:8, :1, middle],
        }
        audio, faces, target = self._network_inputs(chosen)
        generated = self.generate_frames(state.networks["generator"].variables, audio, faces)
        return faces[..., 3:], faces[..., :3], generated, target

    def generate_frames(
        self, variables: Variables, audio: jax.Array, faces: jax.Array
    ) -> jax.Array:
        """Runs the generator in eval mode.

        Args:
            variables: of the generator.
            audio: float32 (n, 80, 16, 1), log-mel windows.
            faces: float32 (n, size, size, 6), masked face and reference, BGR in [0, 1].

        Returns:
            float32 (n, size, size, 3), BGR in [0, 1].
        """
        return self.networks["generator"].module.apply(variables, audio, faces, train=False)

    def _network_inputs(self, batch: Arrays) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the generator's audio and faces, and target frames, all along one batch axis."""
        target, reference = (
            batch[name].reshape(-1, *batch[name].shape[3:]).astype(jnp.float32) / 255
            for name in ("frames", "reference")
        )
        faces = jnp.concatenate([mask_lower_half(target), reference], axis=-1)
        audio = batch["audio"].reshape(-1, *batch["audio"].shape[3:])
        return windows.windows_to_nhwc(audio), faces, target

    @property
    def _expert(self) -> SyncInference:
        if self.expert is None:
            raise ValueError("Wav2Lip trains with an expert: --config.frozen.expert.checkpoint")
        return self.expert

    @functools.cached_property
    def _sampler(self) -> ExampleSampler:
        return ExampleSampler(self.config, self._expert)

    def _pixel_loss(self, generated: jax.Array, target: jax.Array) -> jax.Array:
        """Computes the weighted L1 loss of colours, and of image gradients with `loss.edge`."""
        config = self.config.loss
        weights = image_losses.weight_map(target.shape[1], config.lower_half, config.mouth)
        value = image_losses.weighted_l1(generated, target, weights)
        if config.edge:
            value += config.edge * image_losses.edge_l1(generated, target, weights)
        return value

    def _sync_loss(
        self, state: State, audio: jax.Array, generated: jax.Array, reduce: bool = True
    ) -> jax.Array:
        """Computes the expert's loss of generated faces, of each window unless reduced.

        The binary cross-entropy of the cosine is that of section 3.4. With `config.sync_objective`
        "info_nce" the reduced loss compares each window with the audio of all windows of the batch:
        an expert trained by InfoNCE leaves the level of the cosines open.
        """
        expert = self._expert
        # As in the published training with `use_batch_stats`: running statistics stay unchanged.
        video, audio = expert.embed(
            state.networks["expert"].variables,
            generated.reshape(-1, expert.window_frames, *generated.shape[1:]),
            audio.reshape(-1, *audio.shape[2:]),
            self.config.frozen.expert.use_batch_stats,
        )
        if reduce and self.config.sync_objective == "info_nce":
            return losses.info_nce(audio, video)
        return losses.cosine_bce_loss(audio, video, 1.0, mean=reduce)

    def _discriminate(self, params: Tree, frames: jax.Array) -> jax.Array:
        return self.networks["discriminator"].module.apply({"params": params}, frames)

    def _discriminator_step(
        self, state: State, target: jax.Array, generated: jax.Array
    ) -> tuple[NetworkState, Arrays]:
        before = state.networks["discriminator"]
        generated = jax.lax.stop_gradient(generated)

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            real = losses.binary_cross_entropy(self._discriminate(params, target), 1.0)
            fake = losses.binary_cross_entropy(self._discriminate(params, generated), 0.0)
            return real + fake, (real, fake)

        (_, (real, fake)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        after = self.networks["discriminator"].apply_gradients(before, grads, before.batch_stats)
        return after, {
            "discriminator/loss_real": real,
            "discriminator/loss_fake": fake,
            "discriminator/grad_norm": global_norm(grads),
        }
