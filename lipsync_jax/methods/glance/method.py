"""Lip Movements Generation at a Glance (Chen et al. 2018): all frames of the lips at once.

A reference image of the lips and 0.64 s of log-mel audio become 16 frames. The loss has four terms
(eq. 2): correlation of the changes of audio and image, absolute error, distance of codes of a
frozen video autoencoder, and an adversarial loss against a discriminator of clips, audio and
motion. A term of weight 0 is omitted together with its networks, as in the ablations of
configs/glance.py. Motion is optical flow, by a method without weights or by FlowNetS (section 4.2).
"""

from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
import ml_collections
from absl import logging

from lipsync_jax import losses
from lipsync_jax.methods.base import (
    Arrays,
    Network,
    NetworkState,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.common.lip_video_gan import (
    ConditionalClipDiscriminatorLoss,
    FixedLengthClipMethod,
    LipClipBatch,
)
from lipsync_jax.methods.flownet import method as flownet_method
from lipsync_jax.methods.glance import autoencoder_method
from lipsync_jax.methods.glance.model import (
    FRAMES,
    SIZE,
    DerivativeEncoder,
    Discriminator,
    Generator,
    MotionEncoder,
)
from lipsync_jax.ops import optical_flow
from lipsync_jax.types import ModelCards, Tree, Variables


class ThreeStreamDiscriminatorLoss(ConditionalClipDiscriminatorLoss):
    """A discriminator of clips, their audio and, with motion="flow", their flow."""

    apply_method = "logits"

    def discriminator_inputs(self, clips: LipClipBatch, key: jax.Array) -> tuple[jax.Array, ...]:
        """See DiscriminatorLoss."""
        inputs = super().discriminator_inputs(clips, key)
        if self.network.module.motion != "flow":
            return inputs
        assert clips.flow is not None  # `_clip_flow` computes the flow for this network
        return (*inputs, clips.flow)


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "Glance":
    """Returns the method of a config."""
    return Glance(config, model_cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """Returns the generator of a config, also of a checkpoint's config."""
    return Generator(dtype=jnp.dtype(config.precision), **config.model)


class Glance(FixedLengthClipMethod):
    """Networks: `generator`, and those of the terms with a weight other than 0.

    The correlation term has `audio_encoder` and `motion_encoder`, trained with the generator; the
    adversarial term `discriminator`; the perceptual term the frozen `autoencoder`. With
    `config.flow` "flownet" the frozen `flownet` estimates the flow; with `config.flow_trainable`,
    `flownet_tuned` does, which starts from its weights and is trained with the generator.
    """

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        dtype = jnp.dtype(config.precision)
        self.networks = {"generator": Network(network(config), make_optimizer(config.optimizer))}
        self.encoders: tuple[str, ...] = ()
        if config.correlation.weight:
            audio_encoder = DerivativeEncoder(
                config.correlation.width_mult, dtype, derivative=config.correlation.derivative
            )
            for name, module in (("audio", audio_encoder), ("motion", MotionEncoder(dtype=dtype))):
                self.encoders += (f"{name}_encoder",)
                self.networks[f"{name}_encoder"] = Network(
                    module, make_optimizer(config.correlation.optimizer)
                )
        clip = config.discriminators.get("clip")
        if clip and clip.weight:
            self.networks["discriminator"] = Network(
                Discriminator(dtype=dtype, **clip.model), make_optimizer(clip.optimizer)
            )
            self.discriminator_loss = ThreeStreamDiscriminatorLoss(
                self.networks["discriminator"], clip
            )
        self._uses_flow = bool(config.correlation.weight and config.correlation.derivative) or (
            self.discriminator_loss is not None
            and self.discriminator_loss.network.module.motion == "flow"
        )
        if "flownet" in model_cards:
            flownet_config = ml_collections.ConfigDict(model_cards["flownet"]["config"])
            flownet = flownet_method.network(flownet_config)
            self.networks["flownet"] = Network(flownet)
            if config.flow_trainable:
                self.networks["flownet_tuned"] = Network(
                    flownet, make_optimizer(config.flow_optimizer)
                )
        if "autoencoder" in model_cards:
            autoencoder_config = ml_collections.ConfigDict(model_cards["autoencoder"]["config"])
            self.networks["autoencoder"] = Network(autoencoder_method.network(autoencoder_config))

    def validate_config(self) -> None:
        """Raises ValueError for images of another size, and a loss without its network."""
        super().validate_config()
        config, name = self.config, self.config.data.crop
        self._validate_flow()
        if bool(config.loss.perceptual) != ("autoencoder" in self.model_cards):
            raise ValueError(
                f"config.loss.perceptual={config.loss.perceptual}, which needs "
                "config.frozen.autoencoder where it is not 0, and excludes it where it is 0"
            )
        if not config.loss.perceptual:
            return
        model_card = self.model_cards["autoencoder"]["config"]
        if model_card["method"] != "glance_autoencoder" or model_card["data"]["crop"] != name:
            raise ValueError(
                "config.frozen.autoencoder.checkpoint="
                f"{config.frozen.autoencoder.checkpoint} holds a {model_card['method']} of "
                f"{model_card['data']['crop']}; name a run of configs/glance_autoencoder.py with "
                f"config.data.crop={name}"
            )

    def _validate_flow(self) -> None:
        """Raises ValueError for unknown flow, and a flow network that lacks or is not used."""
        config, flows = self.config, (*optical_flow.METHODS, "flownet")
        if config.flow not in flows:
            raise ValueError(f"config.flow={config.flow!r}: choose one of {', '.join(flows)}")
        if config.flow_trainable and config.flow != "flownet":
            raise ValueError(
                f"config.flow_trainable=True trains FlowNetS, but config.flow={config.flow} has "
                "no weights; choose configs/glance.py:flow=flownet"
            )
        if (config.flow == "flownet" and self._uses_flow) != ("flownet" in self.model_cards):
            raise ValueError(
                f"config.flow={config.flow}: config.frozen.flownet is needed where it is flownet "
                "and a term uses flow, and is excluded elsewhere; choose "
                "configs/glance.py:flow=flownet"
            )

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        logging.info("optical flow: %s", self._describe_flow())
        keys = dict(zip(self.networks, jax.random.split(key, len(self.networks)), strict=True))
        clips = self._first_clips(batch, 1)
        side = SIZE // optical_flow.POOL
        clips = clips._replace(flow=jnp.zeros((1, FRAMES - 1, side, side, 2)))
        outputs, generator_variables = self.networks["generator"].module.init_with_output(
            keys["generator"], clips.reference, clips.audio
        )
        networks = {"generator": self.networks["generator"].init_state(generator_variables)}
        for name, encoder_inputs in zip(
            self.encoders, (outputs.audio_features, self._motion_inputs(clips)), strict=False
        ):
            variables = self.networks[name].module.init(keys[name], encoder_inputs)
            networks[name] = self.networks[name].init_state(variables)
        if self.discriminator_loss:
            inputs = self.discriminator_loss.discriminator_inputs(clips, key)
            module = self.networks["discriminator"].module
            variables = module.init(keys["discriminator"], *inputs, method="logits")
            networks["discriminator"] = self.networks["discriminator"].init_state(variables)
        if "flownet_tuned" in self.networks:
            flownet = self.networks["flownet_tuned"]
            pairs = jnp.zeros((1, SIZE, SIZE, 6))
            networks["flownet_tuned"] = flownet.init_state(
                flownet.module.init(keys["flownet_tuned"], pairs)
            )
        return init_train_state(key, networks)

    def init_from_frozen(self, state: State) -> State:
        """Copies the weights of the pretrained flow network into the one that is trained.

        Unless `config.init_from.flownet_tuned` names the weights of another run.
        """
        if "flownet_tuned" not in self.networks or self.config.init_from.flownet_tuned:
            return state
        copied = jax.tree.map(jnp.copy, state.networks["flownet"].variables)
        tuned = state.networks["flownet_tuned"].replace(**copied)
        return state.replace(networks={**state.networks, "flownet_tuned": tuned})

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Takes a step of the discriminator, then, on the same frames, of the others (eq. 2)."""
        without_flow = self._clip_batch(batch)
        generator, before = self.networks["generator"], state.networks["generator"]
        flownet = state.networks.get(self._flow_network)
        flow_params = flownet.params if flownet else {}

        def clip_flow(frames: jax.Array, flow_params: Tree) -> jax.Array | None:
            return self._clip_flow(frames, flownet.replace(params=flow_params) if flownet else None)

        def generate(
            params: Tree, flow_params: Tree
        ) -> tuple[tuple[jax.Array | None, LipClipBatch, jax.Array], Tree]:
            outputs, stats = generator.apply_train(
                params, before.batch_stats, without_flow.reference, without_flow.audio
            )
            real_flow = clip_flow(without_flow.frames, flow_params)
            flow = clip_flow(outputs.frames, flow_params)
            generated = without_flow._replace(frames=outputs.frames, flow=flow)
            return (real_flow, generated, outputs.audio_features), stats

        (real_flow, generated, audio_features), generator_vjp, stats = jax.vjp(
            generate, before.params, flow_params, has_aux=True
        )
        real = without_flow._replace(flow=real_flow)
        networks: dict[str, NetworkState] = {}
        scalars: Arrays = {}
        if self.discriminator_loss:
            networks["discriminator"], metrics = self.discriminator_loss.discriminator_step(
                state.networks["discriminator"], real, generated, key
            )
            scalars |= {f"discriminator/{name}": value for name, value in metrics.items()}

        def loss(
            real_flow: jax.Array | None,
            generated: LipClipBatch,
            audio_features: jax.Array,
            encoders: Tree,
        ) -> tuple[jax.Array, Tree]:
            return self._loss(
                {**state.networks, **networks},
                real._replace(flow=real_flow),
                generated,
                audio_features,
                encoders,
                key,
            )

        encoders = {name: state.networks[name].params for name in self.encoders}
        (value, (terms, encoder_stats)), (*output_grads, encoder_grads) = jax.value_and_grad(
            loss, argnums=(0, 1, 2, 3), has_aux=True
        )(real_flow, generated, audio_features, encoders)
        grads, flow_grads = generator_vjp(tuple(output_grads))
        networks["generator"] = generator.apply_gradients(before, grads, stats)
        for name in self.encoders:
            networks[name] = self.networks[name].apply_gradients(
                state.networks[name], encoder_grads[name], encoder_stats[name]
            )
        scalars |= {"loss": value, **terms, "grad_norm": global_norm(grads)}
        if flownet is not None and real_flow is not None and self.config.flow_trainable:
            networks[self._flow_network] = self.networks[self._flow_network].apply_gradients(
                flownet, flow_grads, flownet.batch_stats
            )
            # Towards 0 the flow degenerates, which eq. 1 does not penalise.
            scalars["flow_pixels"] = optical_flow.FLOW_SCALE * optical_flow.endpoint_error(
                real_flow, jnp.zeros_like(real_flow)
            )
        return state.next_step(**networks), scalars

    def generate_frames(
        self, variables: Variables, reference: jax.Array, audio: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """See FixedLengthClipMethod."""
        del noise  # the generator takes none
        return self.networks["generator"].module.apply(variables, reference, audio).frames

    @property
    def _flow_network(self) -> str:
        return "flownet_tuned" if self.config.flow_trainable else "flownet"

    def _describe_flow(self) -> str:
        if not self._uses_flow:
            return "none is used"
        if self.config.flow != "flownet":
            return self.config.flow
        kind = "trained further" if self.config.flow_trainable else "frozen"
        return f"FlowNetS of {self.config.frozen.flownet.checkpoint}, {kind}"

    def _clip_flow(self, frames: jax.Array, flownet: NetworkState | None) -> jax.Array | None:
        """Computes the flow of frames by `config.flow`; None where no term uses flow."""
        if not self._uses_flow:
            return None
        if flownet is None:
            return optical_flow.clip_flow(frames, self.config.flow)
        module = self.networks[self._flow_network].module
        return flownet_method.clip_flow(module, flownet.variables, frames)

    def _motion_inputs(self, clips: LipClipBatch) -> jax.Array:
        """Returns the inputs of the motion encoder: flow for audio changes, frames for audio."""
        # Without encoders the flow may be None and is unused.
        return cast(jax.Array, clips.flow) if self.config.correlation.derivative else clips.frames

    def _loss(
        self,
        networks: Mapping[str, NetworkState],
        real: LipClipBatch,
        generated: LipClipBatch,
        audio_features: jax.Array,
        encoders: Tree,
        key: jax.Array,
    ) -> tuple[jax.Array, Tree]:
        config = self.config
        terms = {"l1": losses.l1(generated.frames, real.frames)}
        stats: dict[str, Tree] = {}
        value = config.loss.l1 * terms["l1"]
        if config.correlation.weight:
            loss_real, loss_fake, stats = self._correlation_losses(
                networks, encoders, real, generated, audio_features
            )
            terms |= {"correlation_loss_real": loss_real, "correlation_loss_fake": loss_fake}
            value += config.correlation.weight * (loss_real + loss_fake) / 2
        if config.loss.perceptual:
            autoencoder = self.networks["autoencoder"].module  # in eval mode: deviation G7
            codes = [
                autoencoder.apply(networks["autoencoder"].variables, frames)[1]
                for frames in (real.frames, generated.frames)
            ]
            terms["perceptual"] = losses.mse(*codes)
            value += config.loss.perceptual * terms["perceptual"]
        if self.discriminator_loss:
            terms["gen_adv_loss"] = self.discriminator_loss.generator_loss(
                networks["discriminator"], generated, key
            )
            value += self.discriminator_loss.weight * terms["gen_adv_loss"]
        return value, (terms, stats)

    def _correlation_losses(
        self,
        networks: Mapping[str, NetworkState],
        encoders: Tree,
        real: LipClipBatch,
        generated: LipClipBatch,
        audio_features: jax.Array,
    ) -> tuple[jax.Array, jax.Array, dict[str, Tree]]:
        """Computes eq. 1 of real and generated frames, as the published code; and statistics."""
        stats = {name: networks[name].batch_stats for name in encoders}

        def encode(name: str, x: jax.Array) -> jax.Array:
            features, stats[name] = self.networks[name].apply_train(encoders[name], stats[name], x)
            return features

        encoded_audio = encode("audio_encoder", audio_features)
        loss_real, loss_fake = (
            losses.derivative_correlation_loss(
                encoded_audio,
                encode("motion_encoder", self._motion_inputs(clips)),
                self.config.correlation.mean_over_features,
            )
            for clips in (real, generated)
        )
        return loss_real, loss_fake, stats
