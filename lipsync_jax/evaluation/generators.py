"""A trained generator on clips of prepared shards: own voice, first frame as reference or still."""

import dataclasses
import math
import os
from collections.abc import Callable
from fractions import Fraction
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.data import windows
from lipsync_jax.data.audio_features import MEL, Spectrum
from lipsync_jax.data.clip import GEOMETRIES
from lipsync_jax.evaluation import cropping
from lipsync_jax.evaluation.face_clip import Footage
from lipsync_jax.evaluation.sync_models import RATE
from lipsync_jax.methods.wav2lip.method import mask_lower_half
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis import animation_model
from lipsync_jax.synthesis.animation_model import Performer
from lipsync_jax.synthesis.audio_frontends import Samples
from lipsync_jax.synthesis.dubbing_model import load_generator
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Variables

_BATCH = 25  # frames


def load(directory: str | os.PathLike) -> "Drawer | Actor":
    """Loads a generator of any method.

    Args:
        directory: a run's workdir, or what `lipsync convert` wrote.

    Raises:
        FileNotFoundError: there is no checkpoint, or it has no generator.
        ValueError: its method draws no speaking faces, or its weights are of another network.
    """
    method = checkpoints.read_card(directory)["config"]["method"]
    return (Actor if method in animation_model.METHODS else Drawer).load(directory)


class Drawer:
    """Redraws the lower half of every face of a clip.

    Attributes:
        geometry: of the shards it takes, see `records.GEOMETRIES`.
        model: a name for its weights, see `provenance.model_hash`.
        hears: the spectrum that it hears windows of.
        animates: whether all of the picture is drawn, of a still.
    """

    animates: ClassVar = False

    def __init__(self, geometry: str, model: str, draw: Callable, hears: Spectrum = MEL) -> None:
        self.geometry, self.model, self.hears, self._draw = geometry, model, hears, draw

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Drawer":
        """Loads a generator of a method that redraws faces; see `editor.load_generator`."""
        method, variables = load_generator(directory)
        on_device = jax.device_put(variables)

        def draw(
            variables: Variables, sound: jax.Array, faces: jax.Array, reference: jax.Array
        ) -> jax.Array:
            faces = faces.astype(jnp.float32) / 255
            reference = jnp.broadcast_to(reference.astype(jnp.float32) / 255, faces.shape)
            inputs = jnp.concatenate([mask_lower_half(faces), reference], axis=-1)
            drawn = method.draw(variables, windows.as_images(sound), inputs)
            return jnp.rint(jnp.clip(drawn, 0, 1) * 255).astype(jnp.uint8)

        compiled = jit(draw)
        return cls(
            method.config.data.geometry,
            metadata.model_hash(variables),
            lambda sound, faces, reference: compiled(on_device, sound, faces, reference),
            method.hears,
        )

    def __call__(self, real: Footage, silent: bool = False) -> Footage:
        """The clip, redrawn.

        Args:
            real: of `footage.from_clip`; the generator sees the upper half of each frame, and the
                whole first frame as its reference.
            silent: whether it hears digital silence and not the clip's voice.
        """
        size = GEOMETRIES[self.geometry].height
        faces = real.crops(size)
        spectrum = self.hears.compute(np.zeros_like(real.samples) if silent else real.samples)
        times = [Fraction(frame, RATE) for frame in range(len(faces))]
        sound = self.hears.take(spectrum, self.hears.starts(times))
        drawn = []
        for i in range(0, len(faces), _BATCH):
            part, heard = faces[i : i + _BATCH], sound[i : i + _BATCH]
            missing = [(0, _BATCH - len(part))]
            made = self._draw(
                np.pad(heard, [*missing, (0, 0), (0, 0)]),
                np.pad(part, [*missing, (0, 0), (0, 0), (0, 0)]),
                faces[0],
            )
            drawn.append(np.asarray(made)[: len(part)])
        pictures = np.concatenate(drawn)[..., ::-1]
        return dataclasses.replace(real, read=lambda: iter(np.ascontiguousarray(pictures)))


class Actor:
    """Lets the first frame of a clip say the clip's voice.

    Attributes:
        geometry: of the shards it takes, see `records.GEOMETRIES`.
        model: a name for its weights.
        animates: whether all of the picture is drawn, of a still.
    """

    animates: ClassVar = True

    def __init__(self, geometry: str, performer: Performer) -> None:
        self.geometry, self.model, self._performer = geometry, performer.model, performer

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Actor":
        """Loads a generator of a method that animates stills."""
        geometry = checkpoints.read_card(directory)["config"].get("data", {}).get("geometry")
        if geometry is None:
            raise ValueError(
                f"checkpoint {directory} does not say which pictures it was trained on "
                "(config.data.geometry), so it can't be given prepared clips; animate stills with "
                "`lipsync animate` and evaluate the videos"
            )
        return cls(geometry, animation_model.load(directory))

    def __call__(self, real: Footage, silent: bool = False) -> Footage:
        """The clip as it is drawn: its frames nearest in time, as long as its voice lasts.

        Args:
            real: of `footage.from_clip`.
            silent: whether it hears digital silence and not the clip's voice.
        """
        assert real.voice is not None  # `from_clip` gives it
        performer, (samples, rate) = self._performer, real.voice
        batch = math.ceil(_BATCH / performer.unit) * performer.unit
        heard = Samples([samples * 0 if silent else samples], rate, performer.ear.rate)
        looked = performer.look(next(iter(real.read())))
        made = performer.say(looked, heard, batch)
        frames = np.concatenate([np.asarray(images)[: len(some)] for some, images in made])
        times = [number / performer.frame_rate for number in range(len(frames))]
        pictures = frames[np.array(cropping.numbers_at_rate(times))]
        return dataclasses.replace(
            real.first_frames(len(pictures)), read=lambda: iter(pictures[: len(real)])
        )
