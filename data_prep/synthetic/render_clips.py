"""Takes of portraits who talk: what is said, how they move, and the crops a detector would cut."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import GEOMETRIES, Clip, Geometry, encode_frame
from lipsync_jax.data_prep.synthetic.articulation import SAMPLE_RATE, Speech, Voice, speak
from lipsync_jax.data_prep.synthetic.face import FaceState, Identity, Portrait
from lipsync_jax.data_prep.synthetic.face.motion import perform
from lipsync_jax.faces import alignment

FRAME_RATE = Fraction(25)
_SMOOTHING = 5  # frames over which boxes are averaged, as for real videos
_JITTER = 0.012  # of a detector's box and landmarks from frame to frame, relative to the box
_BIAS = 0.02  # of the box of one take
_FRAME_UNITS = {"face": 2.4, "lips": 1.0, "square": 2.4}  # head units across an aligned crop, about
_SHARPER = 4 / 3  # density of the pictures that are aligned, over that of the crops


@dataclasses.dataclass(frozen=True)
class Take:
    """A person talking.

    Attributes:
        speech: the sound; its sample 0 sounds when frame 0 is shown.
        states: the face at every frame, `FRAME_RATE` a second.
    """

    speech: Speech
    states: list[FaceState]


def act(voice: Voice, seconds: float, rng: np.random.Generator) -> Take:
    """Lets a person say something.

    Args:
        voice: theirs.
        seconds: a whole number of frames.
        rng: decides on what is said and on every movement.
    """
    speech = speak(voice, seconds, rng)
    frames = round(seconds * FRAME_RATE)
    return Take(speech, perform(speech.articulation, frames, float(FRAME_RATE), rng))


def portrait_scale(geometry: Geometry) -> float:
    """Pixels a head unit a portrait needs, drawn at twice a crop's density."""
    if geometry.cut == "aligned":
        return 2 * _SHARPER * geometry.width / _FRAME_UNITS[geometry.part]
    return 2 * math.sqrt(geometry.height / 2.8 * geometry.width / 1.9)


def meet(seed: np.random.SeedSequence) -> tuple[Identity, Voice]:
    """The person that a seed makes, and their voice."""
    rng = np.random.default_rng(seed.spawn(1)[0])
    identity = Identity.sample(rng)
    return identity, Voice.sample(rng, identity.tract)


def film_speaker(
    seed: np.random.SeedSequence,
    speaker: str,
    takes: Sequence[int],
    seconds: float,
    geometry: str,
) -> list[Clip]:
    """Clips of one person.

    Args:
        seed: makes the person and everything they do; fresh, nothing spawned from it yet.
        speaker: their name.
        takes: numbers of the clips wanted; each is the same whatever others there are.
        seconds: of each, a whole number of frames.
        geometry: key of `records.GEOMETRIES`.

    Returns:
        One clip a take, named `speaker/00` and on.
    """
    identity, voice = meet(seed)
    rngs = [np.random.default_rng(child) for child in seed.spawn(max(takes, default=-1) + 1)]
    size = GEOMETRIES[geometry]
    portrait = Portrait(identity, portrait_scale(size))
    return [
        _film(portrait, act(voice, seconds, rng), f"{speaker}/{number:02d}", speaker, size, rng)
        for number, rng in ((number, rngs[number]) for number in takes)
    ]


def _film(
    portrait: Portrait,
    take: Take,
    clip_id: str,
    speaker: str,
    size: Geometry,
    rng: np.random.Generator,
) -> Clip:
    shoot = _shoot_aligned if size.cut == "aligned" else _shoot_boxes
    images, landmarks = shoot(portrait, take.states, size, rng)
    return Clip(
        clip_id=clip_id,
        speaker=speaker,
        frames=tuple(map(encode_frame, images)),
        frame_rate=FRAME_RATE,
        audio=take.speech.samples,
        audio_rate=SAMPLE_RATE,
        landmarks=landmarks,
        sync_offset=0.0,
        words=take.speech.words,
    )


def _shoot_boxes(
    portrait: Portrait, states: list[FaceState], size: Geometry, rng: np.random.Generator
) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Crops of boxes, and landmarks in their pixels."""
    boxes, landmarks = crop_boxes(portrait, states, rng)
    shape = size.height, size.width
    images = (
        portrait.render(state, shape, tuple(box.tolist()))
        for state, box in zip(states, boxes, strict=True)
    )
    return images, faces.to_crop(landmarks, boxes, shape)


def _shoot_aligned(
    portrait: Portrait, states: list[FaceState], size: Geometry, rng: np.random.Generator
) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Aligned crops, and landmarks in their pixels."""
    shape, canonical = (size.height, size.width), alignment.CANONICAL[size.part]
    _, landmarks = detections(portrait, states, rng)
    corners = np.array([[0, 0], [size.width, 0], [0, size.height], [size.width, size.height]])
    inside = alignment.to_frame(corners, np.linalg.inv(alignment.places(landmarks, canonical)))
    window = np.concatenate([inside.min(axis=(0, 1)), inside.max(axis=(0, 1))])
    density = _SHARPER * size.width / _FRAME_UNITS[size.part]
    columns, rows = (max(1, round(density * n)) for n in (window[2:] - window[:2]).tolist())
    landmarks = faces.to_crop(landmarks, window, (rows, columns))
    matrices = alignment.places(landmarks, canonical)
    images = (
        alignment.cut_out(
            portrait.render(state, (rows, columns), tuple(window.tolist())), matrix, shape
        )
        for state, matrix in zip(states, matrices, strict=True)
    )
    return images, alignment.to_frame(landmarks, matrices)


def crop_boxes(
    portrait: Portrait, states: list[FaceState], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and landmarks as a detector gives them, made into crops as those of real videos are.

    Returns:
        float32 (frames, 4) boxes to crop and (frames, 5, 2) landmarks, frame head units.
    """
    boxes, landmarks = detections(portrait, states, rng)
    smooth = faces.smooth_boxes(landmarks, _SMOOTHING)
    return faces.face_box(faces.smooth_boxes(boxes, _SMOOTHING), smooth), landmarks


def detections(
    portrait: Portrait, states: list[FaceState], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (frames, 4) and landmarks (frames, 5, 2) of a detector, in head units of the frame."""
    boxes = np.stack([portrait.box(state) for state in states])
    landmarks = np.stack([portrait.landmarks(state) for state in states])
    width = np.mean(boxes[:, 2] - boxes[:, 0])
    boxes = boxes + width * rng.normal(0, _BIAS, 4) + width * rng.normal(0, _JITTER, boxes.shape)
    return boxes, landmarks + width * rng.normal(0, 0.5 * _JITTER, landmarks.shape)
