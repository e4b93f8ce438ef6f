"""Audio offsets of any video, for each face in each shot.

Audio offsets are positive where the audio is later than the video.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from lipsync_jax import faces
from lipsync_jax.evaluation import cropping
from lipsync_jax.evaluation.metrics.lse import MAX_OFFSET
from lipsync_jax.evaluation.sync import motion_offset, offset
from lipsync_jax.evaluation.sync_models import FRAME_RATE, SAMPLES_PER_FRAME, SyncModel
from lipsync_jax.faces import trajectory
from lipsync_jax.faces.trajectory import VideoFaces
from lipsync_jax.media import audio, frame_source, mux
from lipsync_jax.synthesis import face_detection_pass
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.types import Argument

MIN_SECONDS = 1  # shorter tracks are not measured
# With `offset.MIN_STABILITY`, what makes an offset of small prominence confident, see
# docs/how-to/sync.md.
MIN_VOTE_WINDOWS = 100  # 4 s: fewer seconds are too few to resample

OnFrame = Callable[[int, int, float], None]


@dataclasses.dataclass(frozen=True)
class TrackSync:
    """The audio offset of one face in one shot.

    Attributes:
        face: number of the face, as `lipsync list-faces` shows it.
        start: seconds of the track's first frame.
        end: seconds of the track's end.
        av_offset: the offset; None where the track is too short, or lacks audio.
        reason: why the offset was not measured.
        vote: the offset without a network; None where it was not measured.
    """

    face: int
    start: float
    end: float
    av_offset: offset.AVOffset | None
    reason: str = ""
    vote: motion_offset.MotionOffset | None = None

    @property
    def offset_ms(self) -> float:
        """Milliseconds by which the audio is later than the video; NaN if not measured."""
        return 1000 * self.av_offset.subframe / FRAME_RATE if self.av_offset else float("nan")

    @property
    def is_confident(self) -> bool:
        """Whether the offset can be relied on.

        Either its prominence is at least `offset.MIN_PROMINENCE`; or, for people unlike those of
        the sync model's training, where prominence is small, `offset.MIN_STABILITY` of the
        resamples of at least MIN_VOTE_WINDOWS windows give that offset, and the measure without a
        network gives an offset within a frame of it. An offset at the end of the range is never
        confident.
        """
        found = self.av_offset
        if found is None or found.at_limit:
            return False
        agrees = self.vote is not None and (
            abs(self.vote.frames - found.subframe) <= offset.TOLERANCE + 0.5
        )
        stable = found.windows >= MIN_VOTE_WINDOWS and found.stability >= offset.MIN_STABILITY
        return found.prominence >= offset.MIN_PROMINENCE or (stable and agrees)


def measure(
    path: str | os.PathLike,
    sync_model: SyncModel,
    max_offset: int = MAX_OFFSET,
    on_frame: OnFrame = lambda *_: None,
    end: Fraction | None = None,
    video_faces: VideoFaces | None = None,
    longest_only: bool = False,
    **options: Argument,
) -> list[TrackSync]:
    """Measures the audio offset of every face of a video in every shot.

    Args:
        path: a video with audio, at any frame rate.
        sync_model: embeds video and audio.
        max_offset: largest offset to try, frames of 25 a second, both ways.
        on_frame: called after each frame, see `face_detection_pass.detect_faces_in_video`.
        end: seconds of the video that are measured, about; None for all.
        video_faces: the faces of these seconds; None to detect them.
        longest_only: measure the longest track only, the first of equal ones.
        **options: fields of `DubbingOptions` about reading and detection.

    Returns:
        One result for each track, in the order of time; empty where no face was found.

    Raises:
        FileNotFoundError, ValueError: the video can't be read, or has no audio.
    """
    settings = DubbingOptions(**options)
    video = frame_source.open_frame_source(
        path, resize_factor=settings.resize_factor, rotate=settings.rotate, crop=settings.crop
    )
    audio_end = None
    if end is not None:
        # Tracks end later, and offsets compare with later audio.
        later = face_detection_pass.seconds_after_end(video) + Fraction(max_offset, FRAME_RATE)
        audio_end = end + later + 1
    samples, _ = audio.load_from_video_start(path, audio.SAMPLE_RATE, seconds=audio_end)
    if video_faces is None:
        video_faces = face_detection_pass.detect_faces_in_video(video, end, settings, on_frame)
    tracks = [
        (number, t)
        for number, tracks_of_identity in enumerate(video_faces.identities())
        for t in tracks_of_identity
    ]
    tracks.sort(key=lambda pair: (pair[1].start, pair[0]))
    times = frame_source.snap_times(video_faces.times, video.frame_rate)
    if longest_only:

        def length(pair: tuple[int, faces.Track]) -> Fraction:
            return _end(times, pair[1].frames.stop, video.frame_rate) - times[pair[1].start]

        tracks = [max(tracks, key=length)] if tracks else []
    return [
        _measure(
            video, video_faces, times, number, track, samples, sync_model, max_offset, settings
        )
        for number, track in tracks
    ]


def _measure(
    video: frame_source.FrameSource,
    video_faces: VideoFaces,
    times: Sequence[Fraction],
    number: int,
    track: faces.Track,
    samples: np.ndarray,
    sync_model: SyncModel,
    max_offset: int,
    settings: DubbingOptions,
) -> TrackSync:
    start, end = times[track.start], _end(times, track.frames.stop, video.frame_rate)
    where = number, float(start), float(end)
    if end - start < MIN_SECONDS:
        return TrackSync(*where, None, f"shorter than {MIN_SECONDS} s")
    boxes, rolls = crop_boxes(sync_model, video_faces, track, settings)
    indices = cropping.frame_indices_at_rate([times[i] - start for i in track.frames])
    numbers = [track.start + i for i in indices]
    images = cropping.read_frames(video, video_faces.times, numbers, planes=True)
    crops = (
        cropping.crop_for_model(
            image, boxes[i], sync_model.size, sync_model.crop_style, float(rolls[i])
        )
        for i, image in zip(indices, images, strict=True)
    )
    motion = motion_offset.MouthMotion()
    video_embeddings = sync_model.embed_video(motion.watch(crops))
    first = round(start * audio.SAMPLE_RATE)
    audio_embeddings, mask = sync_model.embed_audio_with_offsets(
        samples, first, len(video_embeddings), max_offset
    )
    vote = motion_vote(motion, samples, first, max_offset)
    try:
        found = offset.measure(video_embeddings, audio_embeddings, mask, max_offset)
        return TrackSync(*where, found, vote=vote)
    except ValueError as error:
        return TrackSync(*where, None, str(error))


def motion_vote(
    motion: motion_offset.MouthMotion, samples: np.ndarray, audio_start: int, max_offset: int
) -> motion_offset.MotionOffset | None:
    """Measures the offset of a track without a network; None where there is too little of it.

    Args:
        motion: that has watched the track's crops.
        samples: float32 (samples,), 16 kHz.
        audio_start: index of the sample at the time of the first crop.
        max_offset: largest offset to try, frames, both ways.
    """
    changes = motion.values()
    levels = motion_offset.speech_levels(
        samples, audio_start, len(changes), max_offset, SAMPLES_PER_FRAME
    )
    return motion_offset.measure(changes, levels, max_offset)


def crop_boxes(
    sync_model: SyncModel,
    video_faces: VideoFaces,
    track: faces.Track,
    settings: trajectory.FaceOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a sync model's crops of a track: boxes float32 (frames, 4), rolls float32 (frames,).

    The boxes are turned by the rolls, see `FaceTrajectory`.
    """
    if sync_model.crop_style == "syncnet":
        return cropping.syncnet_boxes(track.boxes), np.zeros(len(track), np.float32)
    span = slice(track.frames.start, track.frames.stop)
    found = trajectory.face_trajectory(video_faces, [track], settings)
    return found.boxes[span], found.rolls[span]


def _end(times: Sequence[Fraction], stop: int, frame_rate: Fraction) -> Fraction:
    return times[stop] if stop < len(times) else times[-1] + 1 / frame_rate


def longest(tracks: Iterable[TrackSync]) -> TrackSync | None:
    """Returns the longest track, the first of equal ones; None without tracks."""
    return max(tracks, key=lambda track: track.end - track.start, default=None)


def video_offset(tracks: Sequence[TrackSync]) -> float:
    """Returns the audio offset of a video in seconds: the mean of confident tracks by length.

    Positive where the audio is later than the video.

    Raises:
        ValueError: no track is confident, or confident ones differ by more than a frame and a half.
    """
    confident = [track for track in tracks if track.is_confident]
    if not confident:
        raise ValueError(
            "no face has a confident audio offset, so the audio was not shifted; use a part of the "
            "video in which someone speaks on camera for some seconds"
        )
    offsets_ms = [track.offset_ms for track in confident]
    if max(offsets_ms) - min(offsets_ms) > 1500 / FRAME_RATE:
        raise ValueError(
            f"the faces disagree: audio offsets from {min(offsets_ms):.0f} to "
            f"{max(offsets_ms):.0f} ms, which no single shift corrects; cut the video where the "
            "offset changes, and correct each part"
        )
    lengths = [track.end - track.start for track in confident]
    return float(np.average(offsets_ms, weights=lengths)) / 1000


def shift_audio(
    path: str | os.PathLike, outfile: str | os.PathLike, tracks: Sequence[TrackSync]
) -> tuple[float, tuple[str, ...]]:
    """Writes a video with its audio shifted by minus the offset; images are copied, not encoded.

    Args:
        path: the measured video.
        outfile: .mp4, .m4v, .mov or .mkv.
        tracks: the result of `measure`.

    Returns:
        Seconds by which the audio was shifted to later times; and the streams that the output can't
        hold, see `mux.mux`.

    Raises:
        FileNotFoundError, ValueError: see `video_offset` and `mux.mux`.
    """
    delay = -Fraction(video_offset(tracks)).limit_denominator(48_000)
    return float(delay), mux.mux(path, path, Path(outfile), delay=delay)
