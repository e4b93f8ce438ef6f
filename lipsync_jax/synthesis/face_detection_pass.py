"""The first pass over a face video: detects the faces and selects those to dub."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from typing import NamedTuple, cast

import numpy as np

from lipsync_jax import faces
from lipsync_jax.faces import Track, cache, trajectory
from lipsync_jax.faces.trajectory import FaceTrajectory, VideoFaces
from lipsync_jax.media import prefetch, video_reader
from lipsync_jax.media.frame_source import FrameSource
from lipsync_jax.synthesis.options import DubbingOptions

QUEUE = 4  # single frames that may wait between two stages
LOOK_AHEAD = 2  # seconds of a video that are searched before its first frame is dubbed
# Frames of these at least: more than any gap in a track, a step of detection and the averages.
_MIN_LOOK_AHEAD = 50
_MIN_SIMILARITY_MARGIN = 0.03  # smaller differences of two similarities are ambiguous

OnFrame = Callable[[int, int, float], None]  # frames done, of how many, seconds since the start


class UnusableFaceError(ValueError):
    """A video shows no face that can be dubbed.

    Attributes:
        fact: the message without the advice, whose options some callers lack.
    """

    def __init__(self, fact: str, advice: str) -> None:
        """Joins both to the message."""
        super().__init__(f"{fact}; {advice}")
        self.fact = fact


class SearchedFrames(NamedTuple):
    """How far the faces of a video are known while its frames are being searched.

    Attributes:
        done: frames searched so far.
        total: approximate number of all frames to search.
        seconds: since the start.
        video_faces: the faces of the frames of some moment before; None before the first.
        settled: frames from the start in which later frames will not move these faces.
        complete: whether `video_faces` is the result.
    """

    done: int
    total: int
    seconds: float
    video_faces: VideoFaces | None = None
    settled: int = 0
    complete: bool = False


def detect_faces_in_video(
    video: FrameSource, end: Fraction | None, options: DubbingOptions, on_frame: OnFrame
) -> VideoFaces:
    """Detects the faces of a video, or loads them from the cache.

    Args:
        video: the video.
        end: seconds that are needed; None for all.
        options: of reading and detection.
        on_frame: called after each frame with frames done, total frames and seconds.

    Returns:
        The faces of the frames before `end` and of a second after, so that temporal averages
        before `end` don't depend on `end`.
    """
    done = 0
    with contextlib.closing(search_frames(video, end, options)) as states:
        for state in states:
            if state.done > done:  # the result comes with the number of the last frame
                on_frame(state.done, state.total, state.seconds)
            done = state.done
    assert state.video_faces is not None  # of the last state
    return state.video_faces


def search_frames(
    video: FrameSource, end: Fraction | None, options: DubbingOptions, early: bool = False
) -> Generator[SearchedFrames, None, None]:
    """Detects the faces of a video as `detect_faces_in_video`, and tells how far it has come.

    Args:
        video: the video.
        end: seconds that are needed; None for all.
        options: of reading and detection.
        early: whether to tell what is known of the faces before all frames were searched.

    Yields:
        A state after each frame, and one with the result. With `early` the faces are those of the
        first LOOK_AHEAD seconds and, later, of spans a quarter longer each, so that all of these
        spans together cost as much as five times the last.
    """
    if end is not None:
        end += seconds_after_end(video)
    name = _cache_name(video, options)
    video_faces = _load(name, end)
    if video_faces is not None:
        count = len(video_faces.times)
        yield SearchedFrames(count, count, 0.0, video_faces, count, True)
        return
    total = video.frames_estimate
    if end is not None:
        total = min(total, math.ceil(end * video.frame_rate) + 1)
    begun, reached_end, count, settled = time.monotonic(), True, 0, 0
    tracker = trajectory.VideoTracker(video.frame_rate, options)
    next_early = max(math.ceil(LOOK_AHEAD * video.frame_rate), _MIN_LOOK_AHEAD)
    with contextlib.closing(prefetch.prefetch(video.frames(planes=True), QUEUE)) as frames:
        for count, frame in enumerate(frames, 1):
            tracker.add(frame)
            if early and count >= next_early:
                video_faces, settled = tracker.faces_so_far()
                next_early = math.ceil(1.25 * count)
            total = max(total, count)
            yield SearchedFrames(count, total, time.monotonic() - begun, video_faces, settled)
            if end is not None and frame.time >= end:
                reached_end = False
                break
    video_faces = tracker.end()
    if name:
        cache.store(name, video_faces, reached_end)
    yield SearchedFrames(count, total, time.monotonic() - begun, video_faces, count, True)


def seconds_after_end(video: FrameSource) -> Fraction:
    """Returns the seconds after `end` whose faces are detected too, see `detect_faces_in_video`."""
    return max(Fraction(1), 16 / video.frame_rate)


def cached_faces(
    video: FrameSource, end: Fraction | None, options: DubbingOptions
) -> VideoFaces | None:
    """Loads the faces of a video from the cache; None if the cache lacks them.

    Args:
        video: the video.
        end: seconds that are needed; None for all.
        options: of reading and detection.
    """
    return _load(_cache_name(video, options), end)


def _load(name: str, end: Fraction | None) -> VideoFaces | None:
    video_faces = cache.load(name, end) if name else None
    if video_faces is None:
        return None
    return video_faces.first_frames(_frames_before(video_faces, end))


def _cache_name(video: FrameSource, options: DubbingOptions) -> str:
    """Returns the name of the cache's entry; empty where the faces are not stored."""
    # A constant box or an image is quick; a function as detector has no name to store by.
    cacheable = options.cache and isinstance(options.detector, str) and not video.single_frame
    return cache.cache_key(video.path, _cache_settings(options)) if cacheable else ""


def _cache_settings(options: DubbingOptions) -> dict[str, object]:
    names = ("resize_factor", "rotate", "crop", "detect_every", "follow", "detector")
    settings = {name: getattr(options, name) for name in names}
    if options.box is None:  # what `auto` resolves to, which may differ between machines
        settings["detector"] = faces.resolve_detector(cast(str, options.detector))
    return settings | {"box": options.box is not None}


def _frames_before(video_faces: VideoFaces, end: Fraction | None) -> int:
    """Returns the number of frames up to the first at or after `end`, where reading stops."""
    if end is None:
        return len(video_faces.times)
    return 1 + next(
        (i for i, t in enumerate(video_faces.times) if t >= end), len(video_faces.times)
    )


def reference_appearance(path: str | os.PathLike, options: DubbingOptions) -> np.ndarray:
    """Computes the appearance of the person in an image, see `faces.appearance_descriptor`.

    Raises:
        FileNotFoundError, ValueError: the image can't be read, or shows no face.
    """
    with contextlib.closing(video_reader.read_frames(path)) as frames:
        image = next(frames).image
    found = faces.detect(image, options.detector)
    if not found:
        raise ValueError(f"`face_ref` {path}: no face was found; give an image that shows one")
    return faces.appearance_descriptor(image, found[0])


def select_trajectory(
    video: FrameSource,
    video_faces: VideoFaces,
    end: Fraction | None,
    options: DubbingOptions,
    reference: np.ndarray | None = None,
) -> FaceTrajectory:
    """Selects the face to dub.

    Args:
        video: the video.
        video_faces: faces of the video.
        end: seconds of the output; None for all.
        options: select the face.
        reference: appearance of the person, with `face_ref`.

    Raises:
        UnusableFaceError: there is no face, or one smaller than `min_face_height` throughout.
        ValueError: there is not that identity, or the reference is ambiguous.
    """
    count = (
        len(video_faces.times) if end is None else sum(moment < end for moment in video_faces.times)
    )
    if options.box is None and all(track.start >= count for track in video_faces.tracks):
        advice = (
            "check that the video is upright (`rotate` turns it), or give the face's box with `box`"
        )
        if options.resize_factor > 1:
            width, height = video.size
            advice = (
                f"`resize_factor` {options.resize_factor} reduces its frames to {width}x{height} "
                f"pixels: give a smaller one; or {advice}"
            )
        raise UnusableFaceError(f"{video.path}: no face was found in any of {count} frames", advice)
    face_id = options.face_id
    if reference is not None:
        face_id = _most_similar_identity(video, video_faces, reference, options.face_ref)
    if face_id is not None:
        return identity_trajectory(video, video_faces, face_id, options)
    tracks = trajectory.select_main_tracks(video_faces.tracks)
    return _large_enough_trajectory(video, video_faces, tracks, options)


def identity_trajectory(
    video: FrameSource, video_faces: VideoFaces, face_id: int, options: DubbingOptions
) -> FaceTrajectory:
    """Returns the trajectory of an identity.

    Raises:
        UnusableFaceError: the face is smaller than `min_face_height` throughout.
        ValueError: the video has no identity of that number.
    """
    identities = video_faces.identities()
    if not 0 <= face_id < len(identities):
        known = "only face 0" if len(identities) == 1 else f"faces 0 to {len(identities) - 1}"
        raise ValueError(
            f"{video.path} shows {known if identities else 'no face'}, there is no face {face_id}; "
            f"list the faces with: lipsync list-faces {video.path}"
        )
    return _large_enough_trajectory(video, video_faces, identities[face_id], options)


def _large_enough_trajectory(
    video: FrameSource, video_faces: VideoFaces, tracks: Sequence[Track], options: DubbingOptions
) -> FaceTrajectory:
    result = trajectory.face_trajectory(video_faces, tracks, options, options.min_face_height)
    if result.too_small.any() and not np.isfinite(result.boxes).any():
        height = max(float(np.median(t.boxes[:, 3] - t.boxes[:, 1])) for t in tracks)
        raise UnusableFaceError(
            f"{video.path}: the face is {height:.0f} pixels high, and faces below "
            f"{options.min_face_height} pixels are left unchanged, since they can't be generated "
            "well",
            "give a video with a larger face, or generate this face nevertheless with "
            "`min_face_height` 0",
        )
    return result


def _most_similar_identity(
    video: FrameSource,
    video_faces: VideoFaces,
    reference: np.ndarray,
    path: str | os.PathLike | None,
) -> int:
    similarities = [
        float(max(track.descriptor @ reference for track in tracks))
        for tracks in video_faces.identities()
    ]
    order = np.argsort(similarities)[::-1].tolist()
    if len(order) > 1 and similarities[order[0]] - similarities[order[1]] < _MIN_SIMILARITY_MARGIN:
        raise ValueError(
            f"`face_ref` {path} resembles the faces {order[0]} and {order[1]} of {video.path} "
            "alike; choose one with `face_id`"
        )
    return order[0]


def require_faces(
    video: FrameSource, face_trajectory: FaceTrajectory, end: Fraction | None
) -> None:
    """Checks that a face is present in all frames.

    Args:
        video: the video.
        face_trajectory: the face.
        end: seconds of the output; None for all.

    Raises:
        ValueError: the face is absent at some times, which the message lists.
    """
    last = face_trajectory.times[-1] + 1 / video.frame_rate
    needed = [end is None or moment < end for moment in face_trajectory.times]
    flags = [
        not present and need
        for present, need in zip(face_trajectory.face_present, needed, strict=True)
    ]
    gaps = trajectory.intervals(face_trajectory.times, last, flags)
    if gaps:
        times = ", ".join(f"{float(a):.2f}-{float(b):.2f}" for a, b in gaps)
        raise ValueError(
            f"{video.path}: no face from second to second {times}; cut these parts out, or choose "
            "`on_missing_face` keep or hold"
        )
