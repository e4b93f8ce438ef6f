"""Trained networks that animate a still, whatever their paper, loaded and compiled."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.records import GEOMETRIES
from lipsync_jax.faces import alignment
from lipsync_jax.layers.compile import jit
from lipsync_jax.methods import jain, temporal_gan
from lipsync_jax.models.recurrent_generator import RecurrentGenerator
from lipsync_jax.synthesis import provenance
from lipsync_jax.synthesis.hearing import Ear, MFCCEar, RawEar
from lipsync_jax.training import checkpoints

NOISE_STD = 0.33  # of the published inference, where a checkpoint does not tell


@dataclasses.dataclass(frozen=True)
class Performer:
    """A network that lets a still speak, some frames at a time.

    Attributes:
        size: height and width of its pictures.
        frame_rate: frames a second, exact.
        ear: how it hears.
        noise_size: numbers of noise a frame; 0 for a network without.
        noise_std: their standard deviation, unless the user says.
        place: a face -> the matrix from its picture to the network's, see `alignment.similarity`.
        look: uint8 (*size, 3) RGB -> what `perform` takes of a still.
        start: () -> what it remembers before the first frame.
        perform: (looked, heard float32 (n, ...), noise float32 (n, noise_size), memory) -> the
            memory after these frames; the frames, uint8 (n, *size, 3) RGB, an array that may still
            be on its way from the device.
        model: a name for its weights, see `provenance.model_hash`.
    """

    size: tuple[int, int]
    frame_rate: Fraction
    ear: Ear
    noise_size: int
    noise_std: float
    place: Callable[[faces.Face], np.ndarray]
    look: Callable[[np.ndarray], Any]
    start: Callable[[], Any]
    perform: Callable[[Any, np.ndarray, np.ndarray, Any], tuple[Any, Any]]
    model: str


def load(directory: str | os.PathLike) -> Performer:
    """Loads a trained generator.

    Args:
        directory: a training run's workdir, or what `lipsync convert` wrote.

    Raises:
        FileNotFoundError: there is no checkpoint, or it has no generator.
        ValueError: its method does not animate stills, or its weights are of another network.
    """
    card = checkpoints.read_card(directory)
    method = card["config"]["method"]
    if method not in METHODS:
        raise ValueError(
            f"checkpoint {directory} is of the method {method}, which animates no stills; name one "
            f"of {', '.join(METHODS)}"
        )
    variables, _ = checkpoints.load_inference(directory, "generator")
    try:
        return METHODS[method](card, variables)
    except flax.errors.FlaxError as error:
        fault = str(error).partition(" (https")[0]
        raise ValueError(
            f"checkpoint {directory}: its weights are not those of the network it describes; "
            f"if another version of lipsync_jax wrote it, train or convert it anew ({fault})"
        ) from error


def _temporal_gan(card: Mapping[str, Any], variables: Mapping[str, Any]) -> Performer:
    config = ml_collections.ConfigDict(card["config"])
    network, rate = temporal_gan.network(config), _frame_rate(card)
    ear = RawEar(network.audio_rate, network.audio_samples, rate)
    return _recurrent(card, variables, network, ear)


def _jain(card: Mapping[str, Any], variables: Mapping[str, Any]) -> Performer:
    config = ml_collections.ConfigDict(card["config"])
    ear = MFCCEar(_frame_rate(card), config.mfcc_scale)
    return _recurrent(card, variables, jain.network(config), ear)


def _recurrent(
    card: Mapping[str, Any], variables: Mapping[str, Any], network: RecurrentGenerator, ear: Ear
) -> Performer:
    """A generator that carries states of the sound and of noise from frame to frame."""
    variables = jax.device_put(dict(variables))

    def look(variables, picture):
        still = picture[None].astype(jnp.float32) / 127.5 - 1
        return network.apply(variables, still, method="encode_still")

    def perform(variables, still, heard, noise, carry):
        carry, frames = network.apply(
            variables, still, heard[None], noise[None], carry, method="animate"
        )
        return carry, jnp.rint(jnp.clip(frames[0] * 0.5 + 0.5, 0, 1) * 255).astype(jnp.uint8)

    picture = np.zeros((*network.image_size, 3), np.uint8)
    still = jax.eval_shape(look, variables, picture)
    heard, noise = (np.zeros((1, *n), np.float32) for n in (ear.shape, (network.noise_size,)))
    jax.eval_shape(perform, variables, still, heard, noise, network.start(1))
    return Performer(
        size=tuple(network.image_size),
        frame_rate=_frame_rate(card),
        ear=ear,
        noise_size=network.noise_size,
        noise_std=card["config"].get("sample_noise_std", NOISE_STD),
        place=_placing(card, tuple(network.image_size)),
        look=functools.partial(jit(look), variables),
        start=functools.partial(network.start, 1),
        perform=functools.partial(jit(perform), variables),
        model=provenance.model_hash(variables),
    )


# Method of a checkpoint -> (card, the generator's variables) -> Performer.
METHODS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Performer]] = {
    "temporal_gan": _temporal_gan,
    "jain": _jain,
}


def _frame_rate(card: Mapping[str, Any]) -> Fraction:
    rate = card.get("frame_rate") or card["config"]["frame_rate"]
    return Fraction(rate).limit_denominator(1001)


def _placing(card: Mapping[str, Any], size: tuple[int, int]) -> Callable[[faces.Face], np.ndarray]:
    """How stills are cut: as the network's training data was."""
    if "canonical_face" in card:
        canonical = np.asarray(card["canonical_face"], np.float64)[list(alignment.LANDMARKS)]
        return lambda face: alignment.place(face.landmarks, canonical)
    geometry = GEOMETRIES[card["config"]["data"]["geometry"]]
    if geometry.cut == "aligned":
        canonical = alignment.CANONICAL[geometry.part]
        return lambda face: alignment.place(face.landmarks, canonical)
    return lambda face: _box_matrix(faces.face_box(face.box, face.landmarks), size)


def _box_matrix(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The matrix that stretches a box to a picture, between centres of pixels."""
    scale = np.array(size[::-1]) / (box[2:] - box[:2])
    matrix = np.diag([*scale, 1.0])
    matrix[:2, 2] = scale * (0.5 - box[:2]) - 0.5
    return matrix
