"""A trained dubbing network, loaded and compiled for one batch shape."""

import os
from collections.abc import Callable
from typing import Protocol, cast

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import methods
from lipsync_jax.data import windows
from lipsync_jax.data.audio_features import MEL, AudioFeatureSpec
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods.wav2lip.method import mask_lower_half
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.provenance import metadata
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Tree, Variables

GenerateFn = Callable[[np.ndarray, np.ndarray], jax.Array]


class DubbingModel:
    """Generates the mouths of faces from audio. Each face is its own reference image.

    Attributes:
        generate: (audio windows float32 (n, columns, bins), faces uint8 (n, size, size, 3) BGR) ->
            the generated faces, of the faces' shape and dtype; a device array that may not be
            ready.
        size: rows and columns of the face crops, pixels.
        model_hash: identifies the weights, see `metadata.model_hash`.
        audio_features: the audio features that the windows hold.
    """

    def __init__(
        self,
        generate: GenerateFn,
        size: int,
        model_hash: str,
        audio_features: AudioFeatureSpec = MEL,
    ) -> None:
        self.generate, self.size, self.model_hash, self.audio_features = (
            generate,
            size,
            model_hash,
            audio_features,
        )

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "DubbingModel":
        """Loads a trained generator; see `load_generator`."""
        method, variables = load_generator(directory)
        size = CROP_SPECS[method.config.data.crop].height
        generate = _compile_generator(method, variables)
        return cls(generate, size, metadata.model_hash(variables), method.audio_features)

    def __call__(self, audio: np.ndarray, faces: np.ndarray, batch_size: int) -> jax.Array:
        """Starts one batch; a short batch is padded, so that only one program is compiled.

        Args:
            audio: float32 (n, columns, bins), n <= batch_size.
            faces: uint8 (n, size, size, 3), BGR.
            batch_size: faces of the compiled program.

        Returns:
            uint8 (batch_size, size, size, 3), BGR; rows from n on are padding. `np.asarray`
            waits for the device.
        """
        missing = [(0, batch_size - len(faces))]
        return self.generate(
            np.pad(audio, [*missing, (0, 0), (0, 0)]),
            np.pad(faces, [*missing, (0, 0), (0, 0), (0, 0)]),
        )

    def empty_inputs(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns zeros of the shapes that `__call__` takes, to compile with."""
        return (
            np.zeros((count, self.audio_features.window, self.audio_features.bins), np.float32),
            np.zeros((count, self.size, self.size, 3), np.uint8),
        )


class FaceMethod(Protocol):
    """A method that generates the mouth of a given face."""

    config: ml_collections.ConfigDict
    audio_features: AudioFeatureSpec

    def generate_frames(
        self, variables: Variables, audio: jax.Array, faces: jax.Array
    ) -> jax.Array:
        """See `methods.wav2lip.method.Wav2LipMethod.generate_frames`."""


def load_generator(directory: str | os.PathLike) -> tuple[FaceMethod, dict[str, Tree]]:
    """Loads the method and the generator's variables of a dubbing checkpoint.

    Args:
        directory: a training run's workdir, or what `lipsync convert` wrote.

    Raises:
        FileNotFoundError: there is no checkpoint, or it has no generator.
        ValueError: its method does not dub, or the weights have other shapes than the network.
    """
    config = ml_collections.ConfigDict(checkpoints.read_model_card(directory)["config"])
    with checkpoints.raise_on_shape_mismatch(directory):
        loaded = methods.load(config)
    if not hasattr(loaded, "audio_features"):
        raise ValueError(
            f"checkpoint {directory} is of the method {config.method}, which does not dub faces; "
            "give a generator's folder, e.g. a run of configs/wav2lip.py"
        )

    method = cast(FaceMethod, loaded)

    def check(variables: Variables) -> None:
        size, feature_spec = CROP_SPECS[config.data.crop].height, method.audio_features
        inputs = (1, feature_spec.bins, feature_spec.window, 1), (1, size, size, 6)
        jax.eval_shape(method.generate_frames, variables, *map(np.zeros, inputs))

    variables, _ = checkpoints.load_network(directory, "generator", check)
    return method, variables


def _compile_generator(method: FaceMethod, variables: Variables) -> GenerateFn:
    variables = jax.device_put(dict(variables))

    def generate(variables: Variables, audio: jax.Array, faces: jax.Array) -> jax.Array:
        faces = faces.astype(jnp.float32) / 255
        generated = method.generate_frames(
            variables,
            windows.windows_to_nhwc(audio),
            jnp.concatenate([mask_lower_half(faces), faces], axis=-1),
        )
        return jnp.rint(jnp.clip(generated, 0, 1) * 255).astype(jnp.uint8)

    compiled = jit(generate)
    return lambda audio, faces: compiled(variables, audio, faces)
