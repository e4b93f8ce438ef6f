"""Trained networks that animate a still, whatever their paper, loaded and compiled."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import cast

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import faces, methods
from lipsync_jax.data.audio_features import MFCC
from lipsync_jax.data.clip import GEOMETRIES
from lipsync_jax.faces import alignment
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.methods.common.recurrent_generator import RecurrentGenerator
from lipsync_jax.methods.glance.model import FRAMES, SIZE
from lipsync_jax.methods.jain import method as jain
from lipsync_jax.methods.speech2vid import method as speech2vid
from lipsync_jax.methods.vougioukas import method as temporal_gan
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.nn.dcgan import STILL
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis.audio_frontends import (
    Ear,
    LogMelEar,
    MFCCEar,
    RawEar,
    Samples,
    SpectrumEar,
)
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Card, Tree, Variables

# (check of the players' shapes, see `checkpoints.load_players`; their names) -> their variables.
Read = Callable[..., dict[str, Tree]]
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
        unit: it draws a multiple of so many frames at once.
    """

    size: tuple[int, int]
    frame_rate: Fraction
    ear: Ear
    noise_size: int
    noise_std: float
    place: Callable[[faces.Face], np.ndarray]
    look: Callable[[np.ndarray], Tree]
    start: Callable[[], Tree]
    perform: Callable[[Tree, np.ndarray, np.ndarray, Tree], tuple[Tree, Tree]]
    model: str
    unit: int = 1

    def say(
        self,
        looked: Tree,
        samples: Samples,
        batch: int,
        seed: int = 0,
        noise_std: float | None = None,
    ) -> Iterator[tuple[range, np.ndarray]]:
        """Draws a still saying a voice, until it ends.

        Args:
            looked: what `look` made of the still.
            samples: the voice, at the rate of `ear`.
            batch: frames at once, a multiple of `unit`.
            seed: of the noise.
            noise_std: its standard deviation; None takes `self.noise_std`.

        Yields:
            Numbers of frames; and a batch whose first ones they are, (batch, *size, 3), see
            `perform`.
        """
        std = self.noise_std if noise_std is None else noise_std
        rng, memory, last = np.random.default_rng(seed), self.start(), 0
        while True:
            first = last
            while last < first + batch and samples.length(last / self.frame_rate) > (
                last / self.frame_rate
            ):
                last += 1
            if first == last:
                return
            frames, missing = range(first, last), [(0, first + batch - last)]
            heard = self.ear.hear(samples, frames)
            noise = std * rng.standard_normal((len(frames), self.noise_size), np.float32)
            memory, drawn = self.perform(
                looked,
                np.pad(heard, [*missing, *[(0, 0)] * (heard.ndim - 1)]),
                np.pad(noise, [*missing, (0, 0)]),
                memory,
            )
            yield frames, drawn


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

    def read(check: checkpoints.Check, *players: str) -> dict[str, Tree]:
        return jax.device_put(checkpoints.load_players(directory, players, check))

    with checkpoints.fitting(directory):
        return METHODS[method](card, read)


def _temporal_gan(card: Card, read: Read) -> Performer:
    config = ml_collections.ConfigDict(card["config"])
    network, rate = temporal_gan.network(config), _frame_rate(card)
    ear = RawEar(network.audio_rate, network.audio_samples, rate)
    return _recurrent(card, read, network, ear)


def _jain(card: Card, read: Read) -> Performer:
    config = ml_collections.ConfigDict(card["config"])
    ear = MFCCEar(_frame_rate(card), float(config.mfcc_scale))
    return _recurrent(card, read, jain.network(config), ear)


def _recurrent(card: Card, read: Read, network: RecurrentGenerator, ear: Ear) -> Performer:
    """A generator that carries states of the sound and of noise from frame to frame."""

    def look(variables: Variables, picture: jax.Array) -> tuple[Tree, Tree]:
        still = picture[None].astype(jnp.float32) / 127.5 - 1
        moment = (jnp.zeros((1, 1, *n)) for n in (ear.shape, (network.noise_size,)))
        _, kept = network.apply(variables, still, *moment, mutable=[STILL])
        return network.apply(variables, still, method="encode_still"), kept

    def perform(
        variables: Variables, looked: Tree, heard: jax.Array, noise: jax.Array, carry: Tree
    ) -> tuple[Tree, jax.Array]:
        still, kept = looked
        drawn: Tree = network.apply(
            {**variables, **kept}, still, heard[None], noise[None], carry, method="animate"
        )
        carry, frames = drawn
        return carry, _as_bytes(frames[0])

    def check(found: Mapping[str, Variables]) -> None:
        picture = jax.ShapeDtypeStruct((*network.image_size, 3), jnp.uint8)
        heard, noise = (
            jax.ShapeDtypeStruct((1, *n), jnp.float32) for n in (ear.shape, (network.noise_size,))
        )
        still = jax.eval_shape(look, found["generator"], picture)
        carry = jax.eval_shape(lambda: network.start(1))
        jax.eval_shape(perform, found["generator"], still, heard, noise, carry)

    variables = read(check, "generator")["generator"]
    return Performer(
        size=(network.image_size[0], network.image_size[1]),
        frame_rate=_frame_rate(card),
        ear=ear,
        noise_size=network.noise_size,
        noise_std=float(card["config"].get("sample_noise_std", NOISE_STD)),
        place=_placing(card, (network.image_size[0], network.image_size[1])),
        look=functools.partial(jit(look), variables),
        start=functools.partial(network.start, 1),
        perform=functools.partial(jit(perform), variables),
        model=metadata.model_hash(variables),
    )


def _lip_clips(card: Card, read: Read) -> Performer:
    """A network that draws windows of sixteen frames, each from one draw of noise: cross-faded.

    Where a voice ends the windows go on, so the last frames are not those of `LipClips.animate`,
    whose last window ends with the clip.
    """
    config = ml_collections.ConfigDict(card["config"])
    method = cast(lip_video_gan.LipClips, methods.load(config))
    rate, size = lip_video_gan.FRAME_RATE, (SIZE, SIZE)
    ear = LogMelEar(rate, FRAMES, float(config.sound_mean), float(config.sound_scale))

    def perform(
        variables: Variables, picture: jax.Array, heard: jax.Array, noise: jax.Array, memory: Tree
    ) -> tuple[Tree, jax.Array]:
        begun, rest, clip_noise = memory
        clip_noise = jnp.where(begun, clip_noise, noise[0])
        heard = heard[:: lip_video_gan.HOP]
        still = picture.astype(jnp.float32) / 127.5 - 1
        still, of_clip = (jnp.broadcast_to(x, (len(heard), *x.shape)) for x in (still, clip_noise))
        windows = method.draw(variables, still, heard, of_clip)
        frames, rest = lip_video_gan.fade_on(begun, rest, windows)
        return (jnp.array(True), rest, clip_noise), _as_bytes(frames)

    def start() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rest = np.zeros((lip_video_gan.HOP, *size, 3), np.float32)
        return np.array(False), rest, np.zeros(method.noise_size, np.float32)

    picture = np.zeros((*size, 3), np.uint8)
    heard, noise = (
        np.zeros((lip_video_gan.HOP, *n), np.float32) for n in (ear.shape, (method.noise_size,))
    )
    variables = read(
        lambda found: jax.eval_shape(perform, found["generator"], picture, heard, noise, start()),
        "generator",
    )["generator"]
    return Performer(
        size=size,
        frame_rate=rate,
        ear=ear,
        noise_size=method.noise_size,
        noise_std=1.0,
        place=_placing(card, size),
        look=jax.device_put,
        start=start,
        perform=functools.partial(jit(perform), variables),
        model=metadata.model_hash(variables),
        unit=lip_video_gan.HOP,
    )


def _speech2vid(card: Card, read: Read) -> Performer:
    """A network that draws every frame by itself. Where it looks at several stills, all are one."""
    config = ml_collections.ConfigDict(card["config"])
    method = cast(speech2vid.Speech2Vid, methods.load(config))
    ear, size = SpectrumEar(MFCC, _frame_rate(card)), (speech2vid.FACE,) * 2

    def perform(
        players: Mapping[str, Variables],
        picture: jax.Array,
        heard: jax.Array,
        noise: jax.Array,
        memory: Tree,
    ) -> tuple[Tree, jax.Array]:
        del noise
        still = picture.astype(jnp.float32) / 255
        stills = jnp.tile(still, (len(heard), 1, 1, config.stills))
        _, sharp = method.draw(players, heard, stills)
        return memory, _as_bytes(speech2vid.widened(sharp) * 2 - 1)

    inputs = np.zeros((*size, 3), np.uint8), np.zeros((1, *ear.shape), np.float32)
    players = read(
        lambda found: jax.eval_shape(perform, found, *inputs, None, None), *method.players
    )
    return Performer(
        size=size,
        frame_rate=_frame_rate(card),
        ear=ear,
        noise_size=0,
        noise_std=0.0,
        place=_placing(card, size),
        look=jax.device_put,
        start=lambda: None,
        perform=functools.partial(jit(perform), players),
        model=metadata.model_hash(players),
    )


# Method of a checkpoint -> (card, reads its players) -> Performer.
METHODS: Mapping[str, Callable[[Card, Read], Performer]] = {
    "temporal_gan": _temporal_gan,
    "jain": _jain,
    "glance": _lip_clips,
    "vgan": _lip_clips,
    "speech2vid": _speech2vid,
}


def _as_bytes(frames: jax.Array) -> jax.Array:
    """[-1, 1] -> uint8."""
    return jnp.rint(jnp.clip(frames * 0.5 + 0.5, 0, 1) * 255).astype(jnp.uint8)


def _frame_rate(card: Card) -> Fraction:
    rate = card.get("frame_rate") or card["config"]["frame_rate"]
    return Fraction(rate).limit_denominator(1001)


def _placing(card: Card, size: tuple[int, int]) -> Callable[[faces.Face], np.ndarray]:
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
