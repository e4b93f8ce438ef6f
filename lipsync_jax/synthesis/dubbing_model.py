"""A trained face-editing method, loaded and compiled for one batch shape."""

import os
from collections.abc import Callable
from typing import Protocol, cast

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import methods
from lipsync_jax.data import windows
from lipsync_jax.data.audio_features import MEL, Spectrum
from lipsync_jax.data.clip import GEOMETRIES
from lipsync_jax.methods.wav2lip.method import mask_lower_half
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.provenance import metadata
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Tree, Variables

Draw = Callable[[np.ndarray, np.ndarray], jax.Array]


class Editor:
    """Redraws faces so that they say a sound. The face itself is the reference picture.

    Attributes:
        draw: (windows of sound float32 (n, columns, bins), faces uint8 (n, size, size, 3) BGR) ->
            the redrawn faces, of the faces' shape and type; an array that may still be on its way
            from the device.
        size: side of its faces, pixels.
        model: a name for its weights, see `provenance.model_hash`.
        hears: the spectrum that the windows are of.
    """

    def __init__(self, draw: Draw, size: int, model: str, hears: Spectrum = MEL) -> None:
        self.draw, self.size, self.model, self.hears = draw, size, model, hears

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Editor":
        """Loads a trained generator; see `load_generator`."""
        method, variables = load_generator(directory)
        size = GEOMETRIES[method.config.data.geometry].height
        draw = _compiled(method, variables)
        return cls(draw, size, metadata.model_hash(variables), method.hears)

    def __call__(self, sound: np.ndarray, faces: np.ndarray, batch_size: int) -> jax.Array:
        """Starts one batch; short ones are filled up, so that only one program is compiled.

        Args:
            sound: float32 (n, columns, bins), n <= batch_size.
            faces: uint8 (n, size, size, 3), BGR.
            batch_size: the shape to run.

        Returns:
            uint8 (batch_size, size, size, 3), BGR; rows from n on mean nothing. Reading it
            (`np.asarray`) waits for the device.
        """
        missing = [(0, batch_size - len(faces))]
        return self.draw(
            np.pad(sound, [*missing, (0, 0), (0, 0)]),
            np.pad(faces, [*missing, (0, 0), (0, 0), (0, 0)]),
        )

    def empty_inputs(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Zeros of the shapes that `draw` takes, to compile with."""
        return (
            np.zeros((count, self.hears.window, self.hears.bins), np.float32),
            np.zeros((count, self.size, self.size, 3), np.uint8),
        )


class FaceMethod(Protocol):
    """A method that redraws faces."""

    config: ml_collections.ConfigDict
    hears: Spectrum

    def draw(self, variables: Variables, audio: jax.Array, faces: jax.Array) -> jax.Array:
        """See `methods.wav2lip.method.Wav2LipMethod.draw`."""


def load_generator(directory: str | os.PathLike) -> tuple[FaceMethod, dict[str, Tree]]:
    """The method and the generator's variables of a checkpoint that redraws faces.

    Args:
        directory: a training run's workdir, or what `lipsync convert` wrote.

    Raises:
        FileNotFoundError: there is no checkpoint, or it has no generator.
        ValueError: its method does not redraw faces, or its weights are of another network.
    """
    config = ml_collections.ConfigDict(checkpoints.read_card(directory)["config"])
    with checkpoints.fitting(directory):
        loaded = methods.load(config)
    if not hasattr(loaded, "hears"):
        raise ValueError(
            f"checkpoint {directory} is of the method {config.method}, which draws no faces; "
            "name the folder of a generator, e.g. of configs/wav2lip.py"
        )

    method = cast(FaceMethod, loaded)

    def check(variables: Variables) -> None:
        size, hears = GEOMETRIES[config.data.geometry].height, method.hears
        inputs = (1, hears.bins, hears.window, 1), (1, size, size, 6)
        jax.eval_shape(method.draw, variables, *map(np.zeros, inputs))

    variables, _ = checkpoints.load_inference(directory, "generator", check)
    return method, variables


def _compiled(method: FaceMethod, variables: Variables) -> Draw:
    variables = jax.device_put(dict(variables))

    def draw(variables: Variables, sound: jax.Array, faces: jax.Array) -> jax.Array:
        faces = faces.astype(jnp.float32) / 255
        drawn = method.draw(
            variables,
            windows.as_images(sound),
            jnp.concatenate([mask_lower_half(faces), faces], axis=-1),
        )
        return jnp.rint(jnp.clip(drawn, 0, 1) * 255).astype(jnp.uint8)

    compiled = jit(draw)
    return lambda sound, faces: compiled(variables, sound, faces)
