"""A trained generator on clips of prepared shards: own voice, first frame as reference."""

import dataclasses
import os
from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import methods
from lipsync_jax.data import windows
from lipsync_jax.data.records import GEOMETRIES
from lipsync_jax.data.spectra import MEL, Spectrum
from lipsync_jax.evaluation.footage import Footage
from lipsync_jax.evaluation.judges import RATE
from lipsync_jax.layers.compile import jit
from lipsync_jax.methods.wav2lip import mask_lower_half
from lipsync_jax.synthesis import provenance
from lipsync_jax.training import checkpoints

_BATCH = 25  # frames


class Drawer:
    """Redraws the lower half of every face of a clip.

    Attributes:
        geometry: of the shards it takes, see `records.GEOMETRIES`.
        model: a name for its weights, see `provenance.model_hash`.
        hears: the spectrum that it hears windows of.
    """

    def __init__(self, geometry: str, model: str, draw: Callable, hears: Spectrum = MEL):
        self.geometry, self.model, self.hears, self._draw = geometry, model, hears, draw

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Drawer":
        """Loads a generator.

        Args:
            directory: a run's workdir, or what `lipsync convert` wrote.

        Raises:
            FileNotFoundError: there is no checkpoint, or it has no generator.
            ValueError: its method doesn't redraw faces.
        """
        config = ml_collections.ConfigDict(checkpoints.read_card(directory)["config"])
        method = methods.load(config)
        if not hasattr(method, "hears"):
            raise ValueError(
                f"checkpoint {directory} is of the method {config.method}, which redraws no faces; "
                "generate videos with it and give their folder as --videos"
            )
        variables, _ = checkpoints.load_inference(directory, "generator")
        on_device = jax.device_put(variables)

        def draw(variables, sound, faces, reference):
            faces = faces.astype(jnp.float32) / 255
            reference = jnp.broadcast_to(reference.astype(jnp.float32) / 255, faces.shape)
            inputs = jnp.concatenate([mask_lower_half(faces), reference], axis=-1)
            drawn = method.draw(variables, windows.as_images(sound), inputs)
            return jnp.rint(jnp.clip(drawn, 0, 1) * 255).astype(jnp.uint8)

        compiled = jit(draw)
        return cls(
            config.data.geometry,
            provenance.model_hash(variables),
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
