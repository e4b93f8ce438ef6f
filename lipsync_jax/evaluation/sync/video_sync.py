"""By how much the sound of any video is early or late, face by face and shot by shot."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from lipsync_jax import faces
from lipsync_jax.evaluation import cropping
from lipsync_jax.evaluation.metrics.lse import SHIFT
from lipsync_jax.evaluation.sync import offset
from lipsync_jax.evaluation.sync_models import RATE, Judge
from lipsync_jax.faces import trajectory
from lipsync_jax.faces.trajectory import Survey
from lipsync_jax.media import audio, frame_source, mux
from lipsync_jax.synthesis import face_detection_pass
from lipsync_jax.synthesis.options import Options
from lipsync_jax.types import Argument

LEAST_SECONDS = 1  # shorter tracks are not measured

OnFrame = Callable[[int, int, float], None]


@dataclasses.dataclass(frozen=True)
class TrackSync:
    """The sync of one face through one shot.

    Attributes:
        face: its number, as `lipsync faces` shows it.
        start: seconds of its first frame.
        end: seconds of its end.
        found: what was measured; None where the track is too short, or lacks sound.
        reason: why it was not.
    """

    face: int
    start: float
    end: float
    found: offset.Sync | None
    reason: str = ""

    @property
    def lag_ms(self) -> float:
        """Milliseconds by which the sound comes after the picture; NaN if not measured."""
        return 1000 * self.found.exact / RATE if self.found else float("nan")

    @property
    def sure(self) -> bool:
        """Whether one offset stands out so clearly that it is to be believed."""
        return self.found is not None and self.found.clarity >= offset.CLEAR


def measure(
    path: str | os.PathLike,
    judge: Judge,
    shift: int = SHIFT,
    on_frame: OnFrame = lambda *_: None,
    **options: Argument,
) -> list[TrackSync]:
    """Measures every face of a video in every shot.

    Args:
        path: a video with sound, at any frame rate.
        judge: tells which lips belong to which sound.
        shift: frames of 25 a second to try either way.
        on_frame: called after each frame that was looked at, see `finding.survey`.
        **options: fields of `options.Options` about reading and detection.

    Returns:
        One for each track, in the order of time; none where no face was found.

    Raises:
        FileNotFoundError, ValueError: the video can't be read, or has no sound.
    """
    samples, _ = audio.load_aligned(path, audio.SAMPLE_RATE)
    settings = Options(**options)
    shown = frame_source.open_source(
        path, resize_factor=settings.resize_factor, rotate=settings.rotate, crop=settings.crop
    )
    survey = face_detection_pass.survey(shown, None, settings, on_frame)
    tracks = [(number, t) for number, person in enumerate(survey.people()) for t in person]
    return [
        _measure(shown, survey, number, track, samples, judge, shift, settings)
        for number, track in sorted(tracks, key=lambda pair: (pair[1].start, pair[0]))
    ]


def _measure(
    shown: frame_source.Source,
    survey: Survey,
    number: int,
    track: faces.Track,
    samples: np.ndarray,
    judge: Judge,
    shift: int,
    settings: Options,
) -> TrackSync:
    times = frame_source.even_times(survey.times, shown.frame_rate)
    start, end = times[track.start], _end(times, track.frames.stop, shown.frame_rate)
    about = number, float(start), float(end)
    if end - start < LEAST_SECONDS:
        return TrackSync(*about, None, f"shorter than {LEAST_SECONDS} s")
    boxes = boxes_for(judge, survey, track, settings)
    numbers = cropping.numbers_at_rate([times[i] - start for i in track.frames])
    images = cropping.read(shown, survey.times, [track.start + i for i in numbers])
    crops = (
        cropping.for_judge(image, boxes[i], judge.size, judge.cut)
        for i, image in zip(numbers, images, strict=True)
    )
    lips = judge.lips(crops)
    first = round(start * audio.SAMPLE_RATE)
    heard, inside = judge.sound_around(samples, first, len(lips), shift)
    try:
        return TrackSync(*about, offset.measure(lips, heard, inside, shift))
    except ValueError as error:
        return TrackSync(*about, None, str(error))


def boxes_for(
    judge: Judge, survey: Survey, track: faces.Track, settings: trajectory.FaceOptions
) -> np.ndarray:
    """The boxes of a judge's crops through a track, float32 (frames, 4)."""
    if judge.cut == "syncnet":
        return cropping.syncnet_boxes(track.boxes)
    span = track.frames
    return trajectory.path_of(survey, [track], settings).boxes[span.start : span.stop]


def _end(times: Sequence[Fraction], stop: int, frame_rate: Fraction) -> Fraction:
    return times[stop] if stop < len(times) else times[-1] + 1 / frame_rate


def common_lag(tracks: Sequence[TrackSync]) -> float:
    """The lag of a whole video in seconds: the mean of its sure tracks, weighed by length.

    Raises:
        ValueError: no track is sure, or sure ones differ by more than a frame and a half.
    """
    sure = [track for track in tracks if track.sure]
    if not sure:
        raise ValueError(
            "no face shows clearly by how much the sound is early or late, so nothing was moved; "
            "measure a stretch in which someone speaks on camera for some seconds"
        )
    lags = [track.lag_ms for track in sure]
    if max(lags) - min(lags) > 1500 / RATE:
        raise ValueError(
            f"its faces disagree: the sound lags by {min(lags):.0f} to {max(lags):.0f} ms, which "
            "no single shift can mend; cut the video where that changes, and fix each part"
        )
    lengths = [track.end - track.start for track in sure]
    return float(np.average(lags, weights=lengths)) / 1000


def fix(
    path: str | os.PathLike, outfile: str | os.PathLike, tracks: Sequence[TrackSync]
) -> tuple[float, tuple[str, ...]]:
    """Writes a video with its sound moved to where the lips are; the picture is copied as it is.

    Args:
        path: the video that was measured.
        outfile: .mp4, .m4v, .mov or .mkv.
        tracks: what `measure` found.

    Returns:
        Seconds by which the sound was moved later; and what the output can't hold, see
        `muxing.mux`.

    Raises:
        FileNotFoundError, ValueError: see `common_lag` and `muxing.mux`.
    """
    delay = -Fraction(common_lag(tracks)).limit_denominator(48_000)
    return float(delay), mux.mux(path, path, Path(outfile), delay=delay)
