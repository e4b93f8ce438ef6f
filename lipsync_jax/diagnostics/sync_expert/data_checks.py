"""Checks of the clips: their number, motion and speech."""

from collections.abc import Mapping, Sequence

import numpy as np

from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, Finding
from lipsync_jax.diagnostics.sync_expert.clip_stats import ClipStats
from lipsync_jax.types import Json

SINGLE_CLIP, TOO_FEW = "single-clip data set", "too few clips"
CONSTANT, SILENT = "constant frames", "silent clips"

MIN_CLIPS = 8  # distinct clips
# 13 minutes of one speaker gave the results in docs/results.md; published results took hours.
_MIN_MINUTES = {"info_nce": 10, "cosine_bce": 300}
_MIN_MOTION = 0.2  # grey values of 255, mean change of the lower face in 40 ms
_MAX_BAD_FRACTION = 0.1  # of the clips


def check_variety(stats: Sequence[ClipStats], total: int, objective: str) -> Finding:
    """Checks that there are enough distinct clips.

    Args:
        stats: of some clips.
        total: number of clips in the split.
        objective: `config.objective`; the published one needs more clips.
    """
    num_distinct = len({each.fingerprint for each in stats})
    seconds = float(np.mean([each.clip.duration for each in stats]))
    speakers = len({each.clip.speaker for each in stats})
    minutes = total * seconds / 60
    distinct_text = (
        f"{num_distinct} of {len(stats)}" if num_distinct < len(stats) else f"all of {num_distinct}"
    )
    measurement = (
        f"{_plural(total, 'training clip')} of {seconds:.1f} s on average, {minutes:.1f} minutes; "
        f"{distinct_text} inspected differ, by {_plural(speakers, 'speaker')}"
    )
    metrics: dict[str, Json] = {"clips": total, "distinct": num_distinct, "inspected": len(stats)}
    metrics["minutes"] = minutes
    if num_distinct < MIN_CLIPS:
        return Finding(
            "clips",
            FAULT,
            measurement,
            "The expert overfits to these clips and does not generalize to others.",
            f"Prepare at least {MIN_CLIPS} different clips, better hundreds; look in the report "
            "of `lipsync prepare` for rejected clips.",
            SINGLE_CLIP if num_distinct == 1 else TOO_FEW,
            metrics,
        )
    if minutes < _MIN_MINUTES[objective] or num_distinct < (1 - _MAX_BAD_FRACTION) * len(stats):
        return Finding(
            "clips",
            NOTE,
            measurement,
            f"That is little for the objective `{objective}`: it may stay at chance or overfit.",
            "Add clips, or use the variant `small_data` of configs/sync_expert.py, which learns "
            "from minutes.",
            metrics=metrics,
        )
    return Finding("clips", OK, measurement, "There is enough to learn from.", metrics=metrics)


def check_motion(stats: Sequence[ClipStats]) -> Finding:
    """Checks that the lower faces move."""
    motion = np.array([each.motion for each in stats])
    static = [
        each.clip.clip_id for each, value in zip(stats, motion, strict=True) if value < _MIN_MOTION
    ]
    measurement = (
        f"the lower face changes by {np.median(motion):.2f} grey values of 255 in 40 ms (median); "
        f"{_count(static, stats)} are static"
    )
    metrics = {"motion": [round(float(x), 3) for x in motion], "static": static}
    return _verdict(
        "faces",
        measurement,
        static,
        stats,
        metrics,
        "Lips move.",
        "A static image matches every audio equally, so positive pairs can't be told from negative "
        "ones.",
        "Look at the clips for frozen videos, photographs and crops beside the face.",
        CONSTANT,
    )


def check_speech(stats: Sequence[ClipStats]) -> Finding:
    """Checks that there is speech."""
    silent = [each.clip.clip_id for each in stats if each.speech == 0]
    speech_fraction = np.mean([each.speech for each in stats])
    measurement = f"speech in {speech_fraction:.0%} of the time; {_count(silent, stats)} have none"
    return _verdict(
        "audio",
        measurement,
        silent,
        stats,
        {"speech": float(speech_fraction), "silent": silent},
        "There is speech.",
        "Silence matches every image equally, so positive pairs can't be told from negative ones.",
        "Play the clips: is the audio track the right one, is it muted?",
        SILENT,
    )


def _verdict(
    check: str,
    measurement: str,
    bad: Sequence[str],
    stats: Sequence[ClipStats],
    metrics: Mapping[str, Json],
    ok_explanation: str,
    explanation: str,
    action: str,
    cause: str,
) -> Finding:
    """Returns a fault if many clips are bad, a note if some are."""
    if not bad:
        return Finding(check, OK, measurement, ok_explanation, metrics=metrics)
    if len(bad) <= _MAX_BAD_FRACTION * len(stats):
        return Finding(
            check, NOTE, f"{measurement} ({', '.join(bad)})", explanation, action, metrics=metrics
        )
    return Finding(check, FAULT, measurement, explanation, action, cause, metrics)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _count(bad: Sequence[str], stats: Sequence[ClipStats]) -> str:
    return f"{len(bad)} of {len(stats)} clips"
