"""The audio offset of a video before and after dubbing, for the report of `lipsync dub`."""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync_jax import faces
from lipsync_jax.evaluation.sync import offset_cache, video_sync
from lipsync_jax.evaluation.sync.video_sync import TrackSync
from lipsync_jax.evaluation.sync_models import FRAME_RATE, SyncModel
from lipsync_jax.faces.trajectory import VideoFaces
from lipsync_jax.media import packets
from lipsync_jax.types import Argument

SECONDS = Fraction(20)  # of each video that are measured, so that long videos cost little


class DubSync(NamedTuple):
    """The audio offset before and after dubbing; text says why it was not measured."""

    before: TrackSync | str
    after: TrackSync | str


def measure(
    face: str | os.PathLike,
    outfile: str | os.PathLike,
    sync_model: SyncModel,
    video_faces: VideoFaces | None = None,
    frame_numbers: Sequence[int] = (),
    **options: Argument,
) -> DubSync:
    """Measures a video before and after dubbing.

    Of each video the longest track of a face in the first SECONDS is measured. The offset before
    dubbing is kept in the user's cache folder, for other dubs of the same video.

    Args:
        face: the video that was dubbed, or an image, which has no offset.
        outfile: the dubbed video.
        sync_model: measures.
        video_faces: the faces of `face`, see `GenerationResult`; None to detect them.
        frame_numbers: of each frame of `outfile`, the number of the frame of `face`.
        **options: fields of `DubbingOptions` with which `face` was read: `rotate`, `crop`,
            `resize_factor`, `detector`, `cache`.
    """
    known = output = None
    if video_faces is not None and video_faces.tracks and len(video_faces.times) > 1:
        known = _first_seconds(video_faces)
        output = _output_faces(video_faces, frame_numbers, outfile)
    is_image = video_faces is not None and len(video_faces.times) == 1
    before: TrackSync | str = "the face is an image"
    if not is_image:
        before = _measure_before(face, sync_model, known, **options)
    # The output is rotated, cropped and resized already.
    detection = {name: options[name] for name in ("detector", "cache") if name in options}
    after = _measure(outfile, sync_model, output, **detection)
    return DubSync(before, after)


def describe(sync: DubSync) -> tuple[str, ...]:
    """Formats a line about each of the two, without line ends."""
    return tuple(
        f"sync {name}: "
        + (f"not measured, {found}" if isinstance(found, str) else format_offset(found))
        for name, found in sync._asdict().items()
    )


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


def _first_seconds(video_faces: VideoFaces) -> VideoFaces:
    return video_faces.first_frames(sum(time < SECONDS for time in video_faces.times))


def _output_faces(
    video_faces: VideoFaces, frame_numbers: Sequence[int], outfile: str | os.PathLike
) -> VideoFaces | None:
    """Returns the faces of a dubbed video, which are where the face video has them.

    None if the file's frames are not those that were written, so that faces must be detected.
    """
    times = packets.frame_times(outfile)
    if len(times) != len(frame_numbers):
        return None
    numbers = np.array(frame_numbers)
    tracks: list[faces.Track] = []
    for track in video_faces.tracks:
        places = np.flatnonzero((numbers >= track.start) & (numbers < track.frames.stop))
        jumps = (np.diff(places) > 1) | (np.abs(np.diff(numbers[places])) > 1)
        for part in np.split(places, np.flatnonzero(jumps) + 1):  # consecutive, either way
            rows = numbers[part] - track.start
            tracks += [track.select(rows, int(part[0]))] if len(part) else []
    return _first_seconds(VideoFaces(times, tuple(tracks)))


def _measure_before(
    face: str | os.PathLike,
    sync_model: SyncModel,
    video_faces: VideoFaces | None,
    **options: Argument,
) -> TrackSync | str:
    if not options.get("cache", True):
        return _measure(face, sync_model, video_faces, **options)
    settings = {name: value for name, value in options.items() if name != "cache"}
    name = offset_cache.cache_key(face, sync_model, video_faces, {**settings, "seconds": SECONDS})
    found: TrackSync | str | None = offset_cache.load(name)
    if found is None:
        found = _measure(face, sync_model, video_faces, **options)
        if isinstance(found, TrackSync):
            offset_cache.store(name, found)
    return found


def _measure(
    path: str | os.PathLike,
    sync_model: SyncModel,
    video_faces: VideoFaces | None,
    **options: Argument,
) -> TrackSync | str:
    try:
        tracks = video_sync.measure(
            path, sync_model, end=SECONDS, video_faces=video_faces, longest_only=True, **options
        )
    except (OSError, ValueError) as error:
        # The dubbed video is complete, so this may not fail the command; paths are in the report.
        return str(error).replace(str(path), Path(path).name)
    return video_sync.longest(tracks) or "no face was found"
