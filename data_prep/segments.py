"""Cuts face tracks into segments of the length of a clip, and rejects the unusable ones."""

import dataclasses
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Generic, TypeVar

import numpy as np

from lipsync_jax import faces
from lipsync_jax.data_prep.settings import FRAME_RATE, ExtractionSettings
from lipsync_jax.data_prep.stages import StageLog

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """A part of a track that may become a clip.

    Attributes:
        track: the face.
        start: number of the first frame of the video at 25 a second.
        end: number of the frame after the last.
    """

    track: faces.Track
    start: int
    end: int

    def __len__(self) -> int:
        return max(self.end - self.start, 0)

    @property
    def rows(self) -> slice:
        """The segment's rows in the arrays of the track."""
        return slice(self.start - self.track.start, self.end - self.track.start)

    @property
    def face_height(self) -> float:
        """Mean height of the face, pixels of the video."""
        boxes = self.track.boxes[self.rows]
        return float((boxes[:, 3] - boxes[:, 1]).mean())


class Passing(Generic[Item]):
    """Tells which of many ranges of frames have a frame, for frames in ascending order.

    Args:
        ranges: an item, and its frames.
    """

    def __init__(self, ranges: Iterable[tuple[Item, range]]) -> None:
        # A long video has thousands of ranges, of which a frame is in one or two.
        self._coming = sorted(ranges, key=lambda each: each[1].start, reverse=True)
        self._here: list[tuple[Item, range]] = []

    def at(self, frame: int) -> list[Item]:
        """Returns the items whose ranges have the frame, by the starts of their ranges."""
        while self._coming and self._coming[-1][1].start <= frame:
            self._here.append(self._coming.pop())
        self._here = [each for each in self._here if frame < each[1].stop]
        return [item for item, _ in self._here]


def min_frames(settings: ExtractionSettings) -> int:
    """Returns the frames of the shortest clip."""
    return max(1, round(settings.min_seconds * FRAME_RATE))


def cut(
    video_id: str,
    tracks: list[faces.Track],
    cuts: list[int],
    settings: ExtractionSettings,
    undecoded_frames: Set[int],
    log: StageLog,
) -> list[Segment]:
    """Cuts tracks into segments, and drops those of which the speaker's face is not known.

    Args:
        video_id: for the log.
        tracks: of all faces.
        cuts: number of the first frame after each scene cut.
        settings: of the extraction.
        undecoded_frames: frames that no segment may have.
        log: gets the drops of the stage `face tracks`.
    """
    stage = "face tracks"
    max_frames, without = max(1, round(settings.max_seconds * FRAME_RATE)), sorted(undecoded_frames)
    found = [
        Segment(track, start, min(start + max_frames, stop))
        for track in tracks
        for first, stop in _runs(track.frames, without)
        for start in range(first, stop, max_frames)
    ]
    found = [segment for segment in found if len(segment) >= min_frames(settings)]
    if not found:
        longest_track = max((len(track) for track in tracks), default=0)
        detail = f"longest segment with a face: {float(longest_track / FRAME_RATE):.2f} s"
        log.reject(stage, video_id, "no face", detail)
    else:
        with_faces = {int(np.searchsorted(cuts, segment.start, "right")) for segment in found}
        if shots := len(cuts) + 1 - len(with_faces):
            log[stage].dropped["shots without a face"] += shots
    kept = []
    starts = np.array([track.frames.start for track in tracks])
    stops = np.array([track.frames.stop for track in tracks])
    for segment in found:
        at_once = np.flatnonzero((starts < segment.end) & (stops > segment.start))
        others = (tracks[i] for i in at_once if tracks[i] is not segment.track)
        relative_size = max((_relative_size(segment, track) for track in others), default=0.0)
        segment_id = f"{video_id}/{segment.start:06d}"
        missing = 1 - float(segment.track.detected[segment.rows].mean()) * settings.detect_every
        if relative_size > 2:
            log[stage].dropped["bystander"] += 1
        elif missing > settings.max_missing_fraction:
            log.reject(stage, segment_id, "face often lost", f"in {missing:.0%} of the frames")
        elif relative_size > 0.5:
            detail = f"another one has {relative_size:.0%} of its area"
            log.reject(stage, segment_id, "several faces", detail)
        else:
            kept.append(segment)
    return kept


def _runs(frames: range, without: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields the runs of consecutive frames, first and one past the last, that avoid some frames.

    Args:
        frames: consecutive numbers.
        without: numbers of the frames to avoid, ascending.
    """
    start = frames.start
    inside = without[bisect_left(without, frames.start) : bisect_left(without, frames.stop)]
    for number in (*inside, frames.stop):
        if number > start:
            yield start, number
        start = number + 1


def _relative_size(segment: Segment, other: faces.Track) -> float:
    """Returns the relative area of another face; 0 if visible for less than half of the segment."""
    first, last = max(segment.start, other.start), min(segment.end, other.frames.stop)
    if 2 * (last - first) < len(segment):
        return 0.0
    sizes = [
        np.prod(track.boxes[part][:, 2:] - track.boxes[part][:, :2], axis=1).mean()
        for track, part in (
            (other, slice(first - other.start, last - other.start)),
            (segment.track, segment.rows),
        )
    ]
    return float(sizes[0] / sizes[1])
