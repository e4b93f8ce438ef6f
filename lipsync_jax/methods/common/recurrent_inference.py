"""Inference of generators with recurrent states of audio and noise."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lipsync_jax.data.audio_frontends import AudioFrontend
from lipsync_jax.methods.common.animation_inference import (
    CroppedAnimationInference,
    read_frame_rate,
    to_uint8,
)
from lipsync_jax.methods.common.recurrent_generator import Carry, RecurrentGenerator
from lipsync_jax.nn.dcgan import REFERENCE_CACHE
from lipsync_jax.types import ModelCard, Tree, Variables

NOISE_STD = 0.33  # of the published inference; where a checkpoint has no value


class RecurrentInference(CroppedAnimationInference):
    """Animates with a `RecurrentGenerator`."""

    def __init__(
        self, model_card: ModelCard, generator: RecurrentGenerator, frontend: AudioFrontend
    ) -> None:
        height, width = generator.image_size
        super().__init__(model_card, (height, width))
        self.frame_rate = read_frame_rate(model_card)
        self.audio_frontend = frontend
        self.noise_size = generator.noise_size
        self.noise_std = float(model_card["config"].get("eval_noise_std", NOISE_STD))
        self._generator = generator

    def encode_image(self, variables: Mapping[str, Variables], image: jax.Array) -> Tree:
        """See `AnimationInference`."""
        reference = image[None].astype(jnp.float32) / 127.5 - 1
        shapes = self.audio_frontend.shape, (self.noise_size,)
        _, collections = self._generator.apply(
            variables["generator"],
            reference,
            *(jnp.zeros((1, 1, *shape)) for shape in shapes),
            mutable=[REFERENCE_CACHE],
        )
        code = self._generator.apply(variables["generator"], reference, method="encode_reference")
        return code, collections

    def initial_state(self) -> Carry:
        """See `AnimationInference`."""
        return self._generator.initial_carry(1)

    def step(
        self,
        variables: Mapping[str, Variables],
        encoded_image: Tree,
        features: jax.Array,
        noise: jax.Array,
        state: Tree,
    ) -> tuple[Tree, jax.Array]:
        """See `AnimationInference`."""
        reference_code, collections = encoded_image
        output: Tree = self._generator.apply(
            {**variables["generator"], **collections},
            reference_code,
            features[None],
            noise[None],
            state,
            method="generate",
        )
        carry, frames = output
        return carry, to_uint8(frames[0])
