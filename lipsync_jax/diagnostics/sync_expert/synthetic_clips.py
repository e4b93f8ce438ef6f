"""Clips made in memory, in sync to the sample, and whether examples are cut out of them rightly."""

import functools
from fractions import Fraction

import cv2
import ml_collections
import numpy as np

from lipsync_jax.data import windows
from lipsync_jax.data.clip import GEOMETRIES, Clip, decode_frames, encode_frame
from lipsync_jax.data.feature_cache import MelCache
from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, Finding
from lipsync_jax.media.audio import MEL_RATE, SAMPLE_RATE
from lipsync_jax.methods.base import Arrays
from lipsync_jax.methods.wav2lip.sync_expert import FRAMES, MIN_NEGATIVE_DISTANCE, SyncExpertMethod

OUT_OF_STEP, UNBALANCED = "examples out of step", "labels unbalanced"

_RATE = Fraction(25)
_LENGTH = 50  # frames
_SYLLABLE = 4  # frames from one random mouth to the next


@functools.cache
def clips(geometry: str, count: int = 8) -> list[Clip]:
    """Faces of one colour each, whose mouth opens as the buzz gets louder and narrows as it rises.

    Args:
        geometry: a key of `records.GEOMETRIES`.
        count: clips; number i is the same at every call.
    """
    return [_clip(geometry, number) for number in range(count)]


def _clip(geometry: str, number: int) -> Clip:
    rng = np.random.default_rng(number)
    knots = np.arange(0, _LENGTH + _SYLLABLE, _SYLLABLE)
    loudness, pitch = (
        np.interp(np.arange(_LENGTH), knots, rng.random(len(knots))) for _ in range(2)
    )
    height, width = GEOMETRIES[geometry].height, GEOMETRIES[geometry].width
    skin = rng.integers(120, 200, 3)
    pictures = []
    for loud, high in zip(loudness, pitch, strict=True):
        # The grain makes every picture one of a kind, so that a window can be found again.
        grain = rng.integers(-6, 7, (height, width, 1))
        image = np.clip(skin + grain, 0, 255).astype(np.uint8)
        axes = (int(width * (0.22 - 0.12 * high)), 1 + int(height * 0.16 * loud))
        cv2.ellipse(image, (width // 2, height * 3 // 4), axes, 0, 0, 360, (30, 20, 60), -1)
        pictures.append(encode_frame(image))
    time = np.arange(int(_LENGTH / _RATE * SAMPLE_RATE)) / SAMPLE_RATE
    frames = np.arange(_LENGTH) / float(_RATE)
    phase = 2 * np.pi * np.cumsum(np.interp(time, frames, 120 + 240 * pitch)) / SAMPLE_RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    buzz = np.interp(time, frames, loudness) * buzz + 0.005 * rng.normal(size=len(time))
    return Clip(
        clip_id=f"known-answer/{number}",
        speaker=f"known-answer/{number}",
        frames=tuple(pictures),
        frame_rate=_RATE,
        audio=(8000 * buzz).astype(np.int16),
        audio_rate=SAMPLE_RATE,
        landmarks=np.full((_LENGTH, 5, 2), np.nan, np.float32),
    )


def check(method: SyncExpertMethod) -> list[Finding]:
    """Whether examples cut out of these clips are labelled as what they are.

    Args:
        method: with `config.augment` 0, so that pictures and sound can be found again.
    """
    made = [
        _found(clip, method.example(clip, np.random.default_rng(number)))
        for number, clip in enumerate(clips(method.config.data.geometry))
    ]
    lag, label, other = (np.concatenate(values) for values in zip(*made, strict=True))
    return [_in_step(lag, label > 0.5, other), _balance(label, method.config)]


def _found(clip: Clip, example: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By how many seconds each window's sound starts after its pictures; labels; `other`."""
    mel = MelCache(1).mel(clip)
    columns = np.arange(-windows.MEL_WINDOW, len(mel))
    heard = windows.take_windows(mel, columns)
    shown = decode_frames(clip, range(len(clip.frames))).astype(np.int16)
    lags = []
    for faces, sound in zip(example["faces"], example["mel"], strict=True):
        start = int(np.abs(shown - faces[0].astype(np.int16)).mean(axis=(1, 2, 3)).argmin())
        column = columns[int(np.abs(heard - sound).mean(axis=(1, 2)).argmin())]
        lags.append(column / MEL_RATE - start / float(clip.frame_rate))
    return np.array(lags), example["label"], example["other"]


def _in_step(lag: np.ndarray, label: np.ndarray, other: np.ndarray) -> Finding:
    in_sync = np.abs(lag) <= 1 / MEL_RATE
    apart = np.abs(lag) >= (MIN_NEGATIVE_DISTANCE - 1) / float(_RATE)
    own = ~label & ~other
    right = int((label & in_sync).sum()), int((own & apart).sum())
    measured = (
        f"of the windows cut out of known-answer clips {right[0]} of {int(label.sum())} labelled "
        f"true are in sync"
    )
    if own.any():
        measured += f", {right[1]} of {int(own.sum())} labelled false are apart"
    figures = {"lags_ms": [round(1000 * float(x), 1) for x in lag], "labels": label.tolist()}
    if right == (int(label.sum()), int(own.sum())):
        return Finding(
            "examples", OK, measured, "Windows are cut where they should be.", figures=figures
        )
    return Finding(
        "examples",
        FAULT,
        measured,
        "The method's `example` labels or aligns windows wrongly, so even perfect data would "
        "teach the expert the wrong thing.",
        f"Compare `SyncExpertMethod.example` and `data.windows.mel_window_start` with windows of "
        f"{FRAMES} frames and {windows.MEL_WINDOW} mel columns that start together.",
        OUT_OF_STEP,
        figures,
    )


def _balance(label: np.ndarray, config: ml_collections.ConfigDict) -> Finding:
    if config.loss != "cosine_bce":
        return Finding(
            "labels",
            OK,
            "the loss is contrastive: every window is true for its own sound and false for the "
            "others of its batch",
            "There are no labels to be out of balance.",
        )
    share = float(label.mean())
    measured = f"{share:.0%} of {len(label)} windows are labelled true"
    figures = {"share": share, "windows": len(label)}
    spread = 0.5 / np.sqrt(len(label))
    if abs(share - 0.5) < 4 * spread:
        return Finding("labels", OK, measured, "Neither answer wins by default.", figures=figures)
    bad = min(share, 1 - share) < 0.2
    return Finding(
        "labels",
        FAULT if bad else NOTE,
        measured,
        "Always giving the commoner answer lowers the loss without looking, and the expert "
        "stops there.",
        "Draw true and false pairs equally often in the method's `example`.",
        UNBALANCED if bad else "",
        figures,
    )
