"""The audio offset of a video before and after dubbing, for the report of `lipsync dub`."""

import os
from fractions import Fraction
from pathlib import Path

from lipsync_jax.evaluation.sync import video_sync
from lipsync_jax.evaluation.sync.video_sync import TrackSync
from lipsync_jax.evaluation.sync_models import FRAME_RATE, SyncModel
from lipsync_jax.types import Argument

SECONDS = Fraction(20)  # of each video that are measured, so that long videos cost little
_DETECT_EVERY = 4  # frames


def describe(
    face: str | os.PathLike,
    outfile: str | os.PathLike,
    sync_model: SyncModel,
    **options: Argument,
) -> tuple[str, ...]:
    """Measures a video before and after dubbing, and writes a line about each.

    Of each video the longest track of a face in the first SECONDS is measured.

    Args:
        face: the video that was dubbed, or an image, which has no offset.
        outfile: the dubbed video.
        sync_model: measures.
        **options: fields of `DubbingOptions` with which `face` was read: `rotate`, `crop`,
            `resize_factor`, `detector`, `cache`.

    Returns:
        Lines without line ends; a video that can't be measured has a line that says why.
    """
    before = _describe(face, sync_model, **options)
    # The output is rotated, cropped and resized already.
    detection = {name: options[name] for name in ("detector", "cache") if name in options}
    return f"sync before: {before}", f"sync after: {_describe(outfile, sync_model, **detection)}"


def format_offset(track: TrackSync) -> str:
    """Formats the offset and the confidence of a track, and whether to rely on the offset."""
    if track.av_offset is None:
        return f"not measured, {track.reason}"
    frames, offset_ms = track.av_offset.subframe, track.offset_ms
    direction = "late" if offset_ms > 0 else "early"
    in_frames = f"{frames:+.1f} frames of {FRAME_RATE} a second"
    text = f"audio {abs(offset_ms):.0f} ms {direction} ({in_frames})"
    if abs(frames) < 0.5:
        text = f"in sync ({offset_ms:+.0f} ms)"
    text += (
        f", confidence {track.av_offset.confidence:.2f}, "
        f"prominence {track.av_offset.prominence:.2f}, stability {track.av_offset.stability:.2f}"
    )
    if track.vote is not None:
        text += f", by mouth motion {track.vote.frames:+d} frames"
    return text if track.is_confident else f"LOW CONFIDENCE, not reliable: {text}"


def _describe(path: str | os.PathLike, sync_model: SyncModel, **options: Argument) -> str:
    try:
        tracks = video_sync.measure(
            path, sync_model, end=SECONDS, **{"detect_every": _DETECT_EVERY, **options}
        )
    except (OSError, ValueError) as error:
        # The dubbed video is complete, so this may not fail the command; paths are in the report.
        return f"not measured, {str(error).replace(str(path), Path(path).name)}"
    track = video_sync.longest(tracks)
    return "not measured, no face was found" if track is None else format_offset(track)
