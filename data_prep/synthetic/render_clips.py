"""Renders clips of talking portraits: utterance, motion, and the crops of a simulated detector."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import CROP_SPECS, Clip, CropSpec, encode_frame
from lipsync_jax.data_prep.synthetic.articulation import (
    SAMPLE_RATE,
    Utterance,
    Voice,
    synthesize_utterance,
)
from lipsync_jax.data_prep.synthetic.face import FaceState, Identity, Portrait
from lipsync_jax.data_prep.synthetic.face.motion import animate_face
from lipsync_jax.faces import alignment

FRAME_RATE = Fraction(25)
CORPUS, VIDEO, SPEECH = range(3)  # independent streams of one seed
_SMOOTHING = 5  # frames over which boxes are averaged, as for real videos
_JITTER = 0.012  # of a detector's box and landmarks from frame to frame, relative to the box
_BIAS = 0.02  # constant error of a detector's box in one clip, relative to the box
_FRAME_UNITS = {
    "face": 2.4,
    "lips": 1.0,
    "square": 2.4,
}  # approximate width of an aligned crop, head units
_ALIGNED_OVERSAMPLING = 4 / 3  # pixel density before alignment over that of the crops


@dataclasses.dataclass(frozen=True)
class Performance:
    """Utterance and facial motion of one clip.

    Attributes:
        utterance: the audio; sample 0 coincides with frame 0.
        states: the face in every frame, `FRAME_RATE` a second.
    """

    utterance: Utterance
    states: list[FaceState]


def sample_performance(voice: Voice, seconds: float, rng: np.random.Generator) -> Performance:
    """Samples an utterance and the motion that goes with it.

    Args:
        voice: of the identity.
        seconds: a whole number of frames.
        rng: of the utterance and the motion.
    """
    utterance = synthesize_utterance(voice, seconds, rng)
    frames = round(seconds * FRAME_RATE)
    return Performance(
        utterance, animate_face(utterance.articulation, frames, float(FRAME_RATE), rng)
    )


def portrait_scale(crop_spec: CropSpec) -> float:
    """Returns the pixels per head unit of a portrait, twice the density of the crop."""
    if crop_spec.method == "aligned":
        return 2 * _ALIGNED_OVERSAMPLING * crop_spec.width / _FRAME_UNITS[crop_spec.region]
    return 2 * math.sqrt(crop_spec.height / 2.8 * crop_spec.width / 1.9)


def identity_seed(seed: int, number: int) -> np.random.SeedSequence:
    """Returns the seed of an identity of a corpus, whatever the corpus' size."""
    return np.random.SeedSequence(seed, spawn_key=(CORPUS, number))


def sample_speaker(seed: np.random.SeedSequence) -> tuple[Identity, Voice]:
    """Samples an identity and its voice."""
    rng = np.random.default_rng(seed.spawn(1)[0])
    identity = Identity.sample(rng)
    return identity, Voice.sample(rng, identity.tract)


def render_speaker(
    seed: np.random.SeedSequence,
    speaker: str,
    clip_numbers: Sequence[int],
    seconds: float,
    crop: str,
) -> list[Clip]:
    """Renders clips of one identity.

    Args:
        seed: of the identity and its clips; no seed may have been spawned from it before.
        speaker: name of the identity.
        clip_numbers: numbers of the clips; a clip does not depend on the other numbers.
        seconds: duration of each clip, a whole number of frames.
        crop: key of `clip.CROP_SPECS`.

    Returns:
        One clip per number, named `speaker/00` and on.
    """
    identity, voice = sample_speaker(seed)
    rngs = [np.random.default_rng(child) for child in seed.spawn(max(clip_numbers, default=-1) + 1)]
    crop_spec = CROP_SPECS[crop]
    portrait = Portrait(identity, portrait_scale(crop_spec))
    return [
        _render_clip(
            portrait,
            sample_performance(voice, seconds, rng),
            f"{speaker}/{number:02d}",
            speaker,
            crop_spec,
            rng,
        )
        for number, rng in ((number, rngs[number]) for number in clip_numbers)
    ]


def _render_clip(
    portrait: Portrait,
    performance: Performance,
    clip_id: str,
    speaker: str,
    crop_spec: CropSpec,
    rng: np.random.Generator,
) -> Clip:
    render = _render_aligned_crops if crop_spec.method == "aligned" else _render_box_crops
    images, landmarks = render(portrait, performance.states, crop_spec, rng)
    return Clip(
        clip_id=clip_id,
        speaker=speaker,
        frames=tuple(map(encode_frame, images)),
        frame_rate=FRAME_RATE,
        audio=performance.utterance.samples,
        audio_rate=SAMPLE_RATE,
        landmarks=landmarks,
        sync_offset=0.0,
        words=performance.utterance.words,
    )


def _render_box_crops(
    portrait: Portrait, states: list[FaceState], crop_spec: CropSpec, rng: np.random.Generator
) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Returns box crops and landmarks in crop pixels."""
    boxes, landmarks = crop_boxes(portrait, states, rng)
    shape = crop_spec.height, crop_spec.width
    images = (
        portrait.render(state, shape, tuple(box.tolist()))
        for state, box in zip(states, boxes, strict=True)
    )
    return images, faces.to_crop(landmarks, boxes, shape)


def _render_aligned_crops(
    portrait: Portrait, states: list[FaceState], crop_spec: CropSpec, rng: np.random.Generator
) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Returns aligned crops and landmarks in crop pixels."""
    shape, canonical = (crop_spec.height, crop_spec.width), alignment.CANONICAL[crop_spec.region]
    _, landmarks = detections(portrait, states, rng)
    corners = np.array(
        [[0, 0], [crop_spec.width, 0], [0, crop_spec.height], [crop_spec.width, crop_spec.height]]
    )
    inside = alignment.transform_points(
        corners, np.linalg.inv(alignment.align_matrices(landmarks, canonical))
    )
    window = np.concatenate([inside.min(axis=(0, 1)), inside.max(axis=(0, 1))])
    density = _ALIGNED_OVERSAMPLING * crop_spec.width / _FRAME_UNITS[crop_spec.region]
    columns, rows = (max(1, round(density * n)) for n in (window[2:] - window[:2]).tolist())
    landmarks = faces.to_crop(landmarks, window, (rows, columns))
    matrices = alignment.align_matrices(landmarks, canonical)
    images = (
        alignment.warp_crop(
            portrait.render(state, (rows, columns), tuple(window.tolist())), matrix, shape
        )
        for state, matrix in zip(states, matrices, strict=True)
    )
    return images, alignment.transform_points(landmarks, matrices)


def crop_boxes(
    portrait: Portrait, states: list[FaceState], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Simulates a detector and the smoothing of boxes that real videos undergo.

    Returns:
        float32 (frames, 4) boxes to crop and (frames, 5, 2) landmarks, frame head units.
    """
    boxes, landmarks = detections(portrait, states, rng)
    smoothed_landmarks = faces.smooth_boxes(landmarks, _SMOOTHING)
    return faces.face_box(faces.smooth_boxes(boxes, _SMOOTHING), smoothed_landmarks), landmarks


def detections(
    portrait: Portrait, states: list[FaceState], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Simulates a detector: boxes (frames, 4) and landmarks (frames, 5, 2), frame head units."""
    boxes = np.stack([portrait.box(state) for state in states])
    landmarks = np.stack([portrait.landmarks(state) for state in states])
    width = np.mean(boxes[:, 2] - boxes[:, 0])
    boxes = boxes + width * rng.normal(0, _BIAS, 4) + width * rng.normal(0, _JITTER, boxes.shape)
    return boxes, landmarks + width * rng.normal(0, 0.5 * _JITTER, landmarks.shape)
