"""Trained networks of any method that animate an image, loaded and compiled."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.audio_frontends import AudioFrontend
from lipsync_jax.methods.inference import AnimationInference
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis.streaming_audio import StreamingAudio
from lipsync_jax.training.inference import load_inference, load_networks
from lipsync_jax.types import Tree, Variables


@dataclasses.dataclass(frozen=True)
class AnimationModel:
    """A network that animates a reference image, some frames at a time.

    Attributes:
        size: height and width of the frames.
        frame_rate: frames a second, exact.
        audio_frontend: computes the audio features.
        noise_size: noise values a frame; 0 for a network without noise.
        noise_std: standard deviation of the noise, unless the user gives another.
        align: a face -> the matrix from its image to the network's crop, see
            `alignment.align_matrix`.
        encode_image: uint8 (*size, 3) RGB -> the encoded image that `step` takes.
        initial_state: () -> the state before the first frame.
        step: (encoded image, audio features float32 (n, ...), noise float32 (n, noise_size), state)
            -> the state after these frames; the frames, uint8 (n, *size, 3) RGB, a device array
            that may not be ready.
        model_hash: identifies the weights, see `metadata.model_hash`.
        frame_multiple: the number of frames at once is a multiple of this.
        window_frames: see `AnimationInference`.
        generate_windows: (encoded image, audio features, noise) -> windows, see
            `AnimationInference`; None without `window_frames`.
    """

    size: tuple[int, int]
    frame_rate: Fraction
    audio_frontend: AudioFrontend
    noise_size: int
    noise_std: float
    align: Callable[[faces.Face], np.ndarray]
    encode_image: Callable[[np.ndarray], Tree]
    initial_state: Callable[[], Tree]
    step: Callable[[Tree, np.ndarray, np.ndarray, Tree], tuple[Tree, Tree]]
    model_hash: str
    frame_multiple: int = 1
    window_frames: int = 0
    generate_windows: Callable[[Tree, np.ndarray, np.ndarray], Tree] | None = None

    def generate(
        self,
        encoded_image: Tree,
        audio: StreamingAudio,
        batch_size: int,
        seed: int = 0,
        noise_std: float | None = None,
    ) -> Iterator[tuple[range, np.ndarray]]:
        """Generates frames until the audio ends.

        Args:
            encoded_image: the reference image, see `encode_image`.
            audio: driving audio, at the rate of `audio_frontend`.
            batch_size: frames at once, a multiple of `frame_multiple`.
            seed: of the noise.
            noise_std: standard deviation of the noise; None takes `self.noise_std`.

        Yields:
            Indices of frames; and a batch that begins with these frames, (batch, *size, 3), see
            `step`.
        """
        std = self.noise_std if noise_std is None else noise_std
        rng, state, last = np.random.default_rng(seed), self.initial_state(), 0
        while True:
            first = last
            while last < first + batch_size and audio.length(last / self.frame_rate) > (
                last / self.frame_rate
            ):
                last += 1
            if first == last:
                return
            frames, missing = range(first, last), [(0, first + batch_size - last)]
            features = self.audio_frontend.extract(audio, frames)
            noise = std * rng.standard_normal((len(frames), self.noise_size), np.float32)
            state, generated = self.step(
                encoded_image,
                np.pad(features, [*missing, *[(0, 0)] * (features.ndim - 1)]),
                np.pad(noise, [*missing, (0, 0)]),
                state,
            )
            yield frames, generated


def load(directory: str | os.PathLike) -> AnimationModel:
    """Loads a trained generator.

    Args:
        directory: a training run's workdir, or what `lipsync convert` wrote.

    Raises:
        FileNotFoundError: there is no checkpoint, or it has no generator.
        ValueError: its method does not animate images, or the weights have other shapes than the
            network.
    """
    inference = load_declaration(directory)
    variables = load_networks(
        directory, inference.networks, functools.partial(check_shapes, inference)
    )
    return compile_model(inference, variables)


def load_declaration(directory: str | os.PathLike) -> AnimationInference:
    """Returns what a checkpoint's networks need, before any weight is read; see `load`."""
    return load_inference(
        directory,
        AnimationInference,
        "which does not animate images; give a checkpoint of a method that does, e.g. a run of "
        "configs/vougioukas.py",
    )


def compile_model(
    inference: AnimationInference, variables: Mapping[str, Variables]
) -> AnimationModel:
    """Returns a model with its weights on the device.

    Args:
        inference: of the method.
        variables: of `inference.networks`.
    """
    on_device = jax.device_put(dict(variables))
    return AnimationModel(
        size=inference.image_size,
        frame_rate=inference.frame_rate,
        audio_frontend=inference.audio_frontend,
        noise_size=inference.noise_size,
        noise_std=inference.noise_std,
        align=inference.align,
        encode_image=functools.partial(jit(inference.encode_image), on_device),
        initial_state=inference.initial_state,
        step=functools.partial(jit(inference.step), on_device),
        model_hash=model_hash(inference, variables),
        frame_multiple=inference.frame_multiple,
        window_frames=inference.window_frames,
        generate_windows=functools.partial(jit(inference.generate_windows), on_device)
        if inference.window_frames
        else None,
    )


def model_hash(inference: AnimationInference, variables: Mapping[str, Variables]) -> str:
    """Computes the hash of all networks' variables, see `metadata.model_hash`.

    That of a single network is the hash of its variables.
    """
    alone = len(inference.networks) == 1
    return metadata.model_hash(variables[inference.networks[0]] if alone else variables)


def check_shapes(inference: AnimationInference, variables: Mapping[str, Variables]) -> Tree:
    """Raises an error if the networks cannot be applied to variables of these shapes.

    Returns:
        The shapes of the encoded image.
    """
    inputs = step_inputs(inference, variables, inference.frame_multiple)
    jax.eval_shape(inference.step, variables, *inputs)
    return inputs[0]


def step_inputs(
    inference: AnimationInference, variables: Mapping[str, Tree], frames: int
) -> tuple[Tree, jax.ShapeDtypeStruct, jax.ShapeDtypeStruct, Tree]:
    """Returns the shapes of what a step takes: encoded image, features, noise and state.

    Args:
        inference: of the method.
        variables: of `inference.networks`, arrays or their shapes.
        frames: of the step.
    """
    image = jax.ShapeDtypeStruct((*inference.image_size, 3), jnp.uint8)
    features, noise = (
        jax.ShapeDtypeStruct((frames, *shape), jnp.float32)
        for shape in (inference.audio_frontend.shape, (inference.noise_size,))
    )
    encoded_image = jax.eval_shape(inference.encode_image, variables, image)
    return encoded_image, features, noise, jax.eval_shape(inference.initial_state)
