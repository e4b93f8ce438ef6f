"""Synthetic clips with exact sync, and checks of the training examples made from them."""

import functools
from fractions import Fraction

import cv2
import ml_collections
import numpy as np

from lipsync_jax.data.clip import CROP_SPECS, Clip, decode_frames, encode_frame
from lipsync_jax.data.feature_cache import FeatureCache
from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, Finding
from lipsync_jax.media.audio import SAMPLE_RATE
from lipsync_jax.methods.base import Arrays
from lipsync_jax.methods.common.sync_expert_method import SyncExpertMethod
from lipsync_jax.methods.inference import SyncInference

MISALIGNED, UNBALANCED = "misaligned training windows", "labels unbalanced"

_RATE = Fraction(25)
_LENGTH = 50  # frames
_SYLLABLE = 4  # frames between random mouth shapes


@functools.cache
def clips(crop: str, count: int = 8) -> list[Clip]:
    """Makes clips of plain faces: the mouth opens with the loudness and narrows with the pitch.

    Args:
        crop: a key of `clip.CROP_SPECS`.
        count: number of clips; clip i is the same at every call.
    """
    return [_clip(crop, number) for number in range(count)]


def _clip(crop: str, number: int) -> Clip:
    rng = np.random.default_rng(number)
    knots = np.arange(0, _LENGTH + _SYLLABLE, _SYLLABLE)
    loudness, pitch = (
        np.interp(np.arange(_LENGTH), knots, rng.random(len(knots))) for _ in range(2)
    )
    height, width = CROP_SPECS[crop].height, CROP_SPECS[crop].width
    skin = rng.integers(120, 200, 3)
    images = []
    for loud, high in zip(loudness, pitch, strict=True):
        # The noise makes every image unique, so that the position of a window can be found.
        grain = rng.integers(-6, 7, (height, width, 1))
        image = np.clip(skin + grain, 0, 255).astype(np.uint8)
        axes = (int(width * (0.22 - 0.12 * high)), 1 + int(height * 0.16 * loud))
        cv2.ellipse(image, (width // 2, height * 3 // 4), axes, 0, 0, 360, (30, 20, 60), -1)
        images.append(encode_frame(image))
    time = np.arange(int(_LENGTH / _RATE * SAMPLE_RATE)) / SAMPLE_RATE
    frames = np.arange(_LENGTH) / float(_RATE)
    phase = 2 * np.pi * np.cumsum(np.interp(time, frames, 120 + 240 * pitch)) / SAMPLE_RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    buzz = np.interp(time, frames, loudness) * buzz + 0.005 * rng.normal(size=len(time))
    return Clip(
        clip_id=f"synthetic/{number}",
        speaker=f"synthetic/{number}",
        frames=tuple(images),
        frame_rate=_RATE,
        audio=(8000 * buzz).astype(np.int16),
        audio_rate=SAMPLE_RATE,
        landmarks=np.full((_LENGTH, 5, 2), np.nan, np.float32),
    )


def check(method: SyncExpertMethod) -> list[Finding]:
    """Checks the alignment and the labels of examples made from synthetic clips.

    Args:
        method: with `config.augment_magnitude` 0, so that the positions of windows can be found.
    """
    window_lags = [
        _window_lags(clip, method.make_example(clip, np.random.default_rng(number)), method.expert)
        for number, clip in enumerate(clips(method.config.data.crop))
    ]
    lag, label, is_mismatched = (
        np.concatenate(values) for values in zip(*window_lags, strict=True)
    )
    return [
        _check_alignment(lag, label > 0.5, is_mismatched, method),
        _check_label_balance(label, method.config),
    ]


def _window_lags(
    clip: Clip, example: Arrays, expert: SyncInference
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the seconds from each window's frames to its audio, labels, mismatched flags."""
    spec = expert.audio_features
    features = FeatureCache(1).features(clip, spec)
    columns = np.arange(-spec.window, len(features))
    audio_windows = spec.gather(features, columns)
    frames = decode_frames(clip, range(len(clip.frames))).astype(np.int16)
    lags = []
    for window_frames, window in zip(example["frames"], example["audio"], strict=True):
        start = int(
            np.abs(frames - window_frames[0].astype(np.int16)).mean(axis=(1, 2, 3)).argmin()
        )
        column = columns[int(np.abs(audio_windows - window).mean(axis=(1, 2)).argmin())]
        lags.append(column / spec.rate - start / float(clip.frame_rate))
    return np.array(lags), example["label"], example["use_mismatched_audio"]


def _check_alignment(
    lag: np.ndarray, label: np.ndarray, is_mismatched: np.ndarray, method: SyncExpertMethod
) -> Finding:
    expert = method.expert
    spec = expert.audio_features
    in_sync = np.abs(lag) <= 1 / spec.rate
    out_of_sync = ~in_sync & (np.abs(lag) >= (method.negative_distance - 1) / float(_RATE))
    same_clip_negative = ~label & ~is_mismatched
    correct = int((label & in_sync).sum()), int((same_clip_negative & out_of_sync).sum())
    measurement = (
        f"of the windows of synthetic clips, {correct[0]} of {int(label.sum())} labelled true are "
        "in sync"
    )
    if same_clip_negative.any():
        measurement += (
            f", {correct[1]} of {int(same_clip_negative.sum())} labelled false are out of sync"
        )
    metrics = {"offsets_ms": [round(1000 * float(x), 1) for x in lag], "labels": label.tolist()}
    if correct == (int(label.sum()), int(same_clip_negative.sum())):
        return Finding(
            "examples", OK, measurement, "Audio and video windows are aligned.", metrics=metrics
        )
    return Finding(
        "examples",
        FAULT,
        measurement,
        "The method's `make_example` labels or aligns windows wrongly, so that the expert can't "
        "learn even from perfect data.",
        f"Compare `SyncExpertMethod.make_example` and `AudioFeatureSpec.window_starts` with "
        f"windows of {expert.window_frames} frames and {spec.window} columns of audio features "
        "that start together.",
        MISALIGNED,
        metrics,
    )


def _check_label_balance(label: np.ndarray, config: ml_collections.ConfigDict) -> Finding:
    if config.objective != "cosine_bce":
        return Finding(
            "labels",
            OK,
            "the objective is InfoNCE: the negatives of a window are the others of its batch",
            "There are no labels to balance.",
        )
    positive_fraction = float(label.mean())
    measurement = f"{positive_fraction:.0%} of {len(label)} windows are labelled true"
    metrics = {"positive_fraction": positive_fraction, "windows": len(label)}
    spread = 0.5 / np.sqrt(len(label))
    if abs(positive_fraction - 0.5) < 4 * spread:
        return Finding("labels", OK, measurement, "The labels are balanced.", metrics=metrics)
    bad = min(positive_fraction, 1 - positive_fraction) < 0.2
    return Finding(
        "labels",
        FAULT if bad else NOTE,
        measurement,
        "A constant prediction of the more frequent label lowers the loss, and the expert stays "
        "there.",
        "Sample positive and negative pairs equally often in the method's `make_example`.",
        UNBALANCED if bad else "",
        metrics,
    )
