"""The first pass over a face video: where its faces are, and which of them speak."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import cast

import numpy as np

from lipsync_jax import faces
from lipsync_jax.faces import cache, trajectory
from lipsync_jax.faces.trajectory import FacePath, Survey
from lipsync_jax.media import prefetch, video_reader
from lipsync_jax.media.frame_source import Source
from lipsync_jax.media.video_reader import Frame
from lipsync_jax.synthesis.options import Options

QUEUE = 4  # single frames that may wait between two stages
_DOUBT = 0.03  # difference of two likenesses to a reference that decides nothing

OnFrame = Callable[[int, int, float], None]  # frames done, of how many, seconds since the start


def survey(shown: Source, end: Fraction | None, options: Options, on_frame: OnFrame) -> Survey:
    """Finds the faces of a video, or remembers where they were.

    Args:
        shown: the video.
        end: seconds that are needed; None for all.
        options: how.
        on_frame: called after each frame.

    Returns:
        A survey of the frames before `end` and of a stretch behind it, so that averages over time
        don't depend on where it ends.
    """
    if end is not None:
        end += max(Fraction(1), 16 / shown.frame_rate)
    # A box needs no looking, a picture no time; a function as detector has no lasting name.
    lasting = options.cache and isinstance(options.detector, str) and not shown.still
    name = cache.key(shown.path, _settings(options)) if lasting else ""
    found = cache.load(name, end) if lasting else None
    if found is not None:
        found = found.until(_frames_before(found, end))
        on_frame(len(found.times), len(found.times), 0.0)
        return found
    total = shown.frames_estimate
    if end is not None:
        total = min(total, math.ceil(end * shown.frame_rate) + 1)
    begun, whole = time.monotonic(), True

    def until(frames: Iterator[Frame]) -> Iterator[Frame]:
        nonlocal whole
        for frame in frames:
            yield frame
            if end is not None and frame.time >= end:
                whole = False
                return

    def count(done: int) -> None:
        on_frame(done, max(done, total), time.monotonic() - begun)

    with contextlib.closing(prefetch.prefetch(shown.frames(), QUEUE)) as frames:
        found = trajectory.look(until(frames), shown.frame_rate, options, count)
    if lasting:
        cache.store(name, found, whole)
    return found


def _settings(options: Options) -> dict[str, object]:
    names = ("resize_factor", "rotate", "crop", "detect_every", "detector")
    settings = {name: getattr(options, name) for name in names}
    if options.box is None:  # the one that `auto` stands for: another machine may have another
        settings["detector"] = faces.resolve_detector(cast(str, options.detector))
    return settings | {"box": options.box is not None}


def _frames_before(found: Survey, end: Fraction | None) -> int:
    """Frames up to the first at or after `end`, as reading would have stopped there."""
    if end is None:
        return len(found.times)
    return 1 + next((i for i, t in enumerate(found.times) if t >= end), len(found.times))


def read_reference(path: str | os.PathLike, options: Options) -> np.ndarray:
    """What the person of a picture looks like, see `faces.likeness`.

    Raises:
        FileNotFoundError, ValueError: it can't be read, or shows no face.
    """
    with contextlib.closing(video_reader.read_frames(path)) as frames:
        image = next(frames).image
    found = faces.detect(image, options.detector)
    if not found:
        raise ValueError(f"face_ref {path}: no face is found in it; give a picture that shows one")
    return faces.likeness(image, found[0])


def path_to_redraw(
    shown: Source,
    found: Survey,
    end: Fraction | None,
    options: Options,
    reference: np.ndarray | None = None,
) -> FacePath:
    """The one face to redraw.

    Args:
        shown: the video.
        found: its faces.
        end: seconds that will be shown; None for all.
        options: who.
        reference: what the person looks like, with `face_ref`.

    Raises:
        ValueError: there is no face, not that person, or the reference is ambiguous.
    """
    count = len(found.times) if end is None else sum(moment < end for moment in found.times)
    if options.box is None and all(track.start >= count for track in found.tracks):
        raise ValueError(
            f"{shown.path}: no face was found in any of {count} frames; check that it is upright "
            "(--rotate turns it), or give its place with --box"
        )
    number = options.face_id
    if reference is not None:
        number = _most_alike(shown, found, reference, options.face_ref)
    if number is not None:
        return path_of_person(shown, found, number, options)
    return trajectory.path_of(found, trajectory.choose(found.tracks), options)


def path_of_person(shown: Source, found: Survey, number: int, options: Options) -> FacePath:
    """The face of a person by his id.

    Raises:
        ValueError: there is no such person.
    """
    people = found.people()
    if not 0 <= number < len(people):
        known = "only face 0" if len(people) == 1 else f"faces 0 to {len(people) - 1}"
        raise ValueError(
            f"{shown.path} shows {known if people else 'no face'}, there is no face {number}; "
            f"see them with: lipsync faces {shown.path}"
        )
    return trajectory.path_of(found, people[number], options)


def _most_alike(
    shown: Source, found: Survey, reference: np.ndarray, path: str | os.PathLike | None
) -> int:
    likes = [
        float(max(track.likeness @ reference for track in tracks)) for tracks in found.people()
    ]
    order = np.argsort(likes)[::-1].tolist()
    if len(order) > 1 and likes[order[0]] - likes[order[1]] < _DOUBT:
        raise ValueError(
            f"face_ref {path} resembles the faces {order[0]} and {order[1]} of {shown.path} alike; "
            "choose one with --face_id"
        )
    return order[0]


def check_missing(shown: Source, path: FacePath, end: Fraction | None) -> None:
    """Looks whether a face is there all the time.

    Args:
        shown: the video.
        path: its face.
        end: seconds that will be shown; None for all.

    Raises:
        ValueError: it isn't; with the times.
    """
    last = path.times[-1] + 1 / shown.frame_rate
    needed = [end is None or moment < end for moment in path.times]
    flags = [not there and need for there, need in zip(path.found, needed, strict=True)]
    gaps = trajectory.spans(path.times, last, flags)
    if gaps:
        where = ", ".join(f"{float(a):.2f}-{float(b):.2f}" for a, b in gaps)
        raise ValueError(
            f"{shown.path}: no face from second to second {where}; cut these parts out, or choose "
            "--on-missing-face keep or hold"
        )
