"""Single frames of a dubbed video, without dubbing the video.

Faces are detected around the requested frames only, unless the cache has those of the whole video.
"""

import bisect
import contextlib
import itertools
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from lipsync_jax.faces import trajectory
from lipsync_jax.faces.trajectory import VideoFaces
from lipsync_jax.media import packets
from lipsync_jax.media.frame_source import FramesDiffer, FrameSource
from lipsync_jax.media.planar import to_rgb
from lipsync_jax.provenance import visible_label
from lipsync_jax.synthesis import driving_audio, face_detection_pass
from lipsync_jax.synthesis.batching import Batcher
from lipsync_jax.synthesis.compositing import first_read_row
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from lipsync_jax.synthesis.frame_schedule import ScheduledFrame, schedule_frames
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.synthesis.renderer import FaceRenderer, SpeakerTrack

BATCH_SIZE = 1  # faces of the compiled program
_CONTEXT = Fraction(1)  # seconds before and after a frame in which faces are detected


class PreviewFrame(NamedTuple):
    """A frame before and after dubbing.

    Attributes:
        moment: seconds at which the output shows the frame.
        before: uint8 (height, width, 3) RGB.
        after: uint8 (height, width, 3) RGB.
        edited: whether a face was generated.
        nearest_face: where the frame shows no face, seconds of the nearest examined one that does.
    """

    moment: float
    before: np.ndarray
    after: np.ndarray
    edited: bool
    nearest_face: float | None


def preview(
    model: DubbingModel,
    video: FrameSource,
    audio: str | os.PathLike,
    moments: Iterable[float],
    options: DubbingOptions,
    reference: np.ndarray | None = None,
) -> list[PreviewFrame]:
    """Dubs single frames.

    They are those of the whole video, except for averages over time: each is the first of its
    averages. Of several people, the most prominent around each frame is dubbed, unless the options
    select one; faces are then detected in the whole video once, as where packets are damaged.

    Args:
        model: the network.
        video: the face video.
        audio: the driving audio.
        moments: seconds of the output; later than its end, the last frame.
        options: of dubbing; `speakers` has no effect.
        reference: appearance of the person, with `face_ref`.

    Raises:
        FileNotFoundError, ValueError: a file can't be read.
    """
    moments, label = [*moments], visible_label.watermark(options.label, video.size)
    recording = driving_audio.load(audio, model.audio_features)
    needs_vad = options.silence_mode != "model"
    envelope = driving_audio.vad_envelope(audio) if needs_vad else None

    def dub(known: VideoFaces) -> list[PreviewFrame]:
        schedule = [*schedule_frames(video, known.times, recording.length, options.loop)]
        shown = np.array([float(moment) for _, moment in schedule])
        # The last frame that begins at the moment or before, as a player shows it.
        chosen = [
            schedule[max(0, int(np.searchsorted(shown, moment + 1e-6, "right")) - 1)]
            for moment in moments
        ]
        if known.tracks:
            face_trajectory = face_detection_pass.select_trajectory(
                video, known, None, options, reference
            )
        else:
            numbers = [number for number, _ in chosen]
            face_trajectory = _trajectory_around(video, known.times, numbers, options)
        speaker_track = SpeakerTrack(face_trajectory, recording, envelope)
        batcher = Batcher(model, BATCH_SIZE, first_read_row(options, model.size))
        face_renderer = FaceRenderer(batcher, video, [speaker_track], options, label)
        has_face = np.isfinite(face_trajectory.boxes[:, 0])
        # In the order of time, since audio is read from its start again for an earlier moment.
        ordered = sorted(set(chosen), key=lambda frame: frame[1])
        rendered = {frame: _render(face_renderer, frame, schedule, has_face) for frame in ordered}
        return [rendered[frame] for frame in chosen]

    known = face_detection_pass.cached_faces(video, None, options)
    # Identities are clustered over the whole video.
    if known is None and not options.selects_identity and (times := _frame_times(video)):
        with contextlib.suppress(FramesDiffer):  # a damaged packet gives no frame
            return dub(VideoFaces(times, ()))
    if known is None:
        known = face_detection_pass.detect_faces_in_video(video, None, options, lambda *_: None)
    return dub(known)


def _render(
    face_renderer: FaceRenderer,
    frame: ScheduledFrame,
    schedule: Sequence[ScheduledFrame],
    has_face: np.ndarray,
) -> PreviewFrame:
    moment, edited = float(frame[1]), face_renderer.edited
    with (
        contextlib.closing(face_renderer.original_images([frame])) as originals,
        contextlib.closing(face_renderer.images([frame], parallel=False)) as images,
    ):
        before, after = to_rgb(next(originals)), to_rgb(next(images))
    candidates = (float(shown) for number, shown in schedule if has_face[number])
    nearest = min(candidates, key=lambda shown: abs(shown - moment), default=None)
    return PreviewFrame(
        moment,
        before,
        after,
        face_renderer.edited > edited,
        None if has_face[frame[0]] else nearest,
    )


def _frame_times(video: FrameSource) -> tuple[Fraction, ...]:
    """Returns the times of the frames without decoding them; () where that needs decoding."""
    if video.single_frame:
        return (Fraction(0),)
    try:
        times = packets.frame_times(video.path)
    except ValueError:  # an animated image, say
        return ()
    with contextlib.closing(video.frames(planes=True)) as frames:
        decoded = tuple(frame.time for frame in itertools.islice(frames, 3))
    return times if times[:3] == decoded else ()


def _trajectory_around(
    video: FrameSource, times: Sequence[Fraction], numbers: Sequence[int], options: DubbingOptions
) -> trajectory.FaceTrajectory:
    """Returns the trajectory of the face, known around the numbered frames."""
    wanted: set[int] = set()
    for number in numbers if options.box is None else ():
        first = bisect.bisect_left(times, times[number] - _CONTEXT)
        wanted.update(range(first, bisect.bisect_right(times, times[number] + _CONTEXT)))
    tracks = [track for part in _runs(wanted) for track in _detect(video, times, part, options)]
    return trajectory.face_trajectory(
        VideoFaces(tuple(times), tuple(tracks)),
        trajectory.select_main_tracks(tracks),
        options,
        options.min_face_height,
    )


def _runs(numbers: Iterable[int]) -> list[range]:
    """Returns the runs of consecutive numbers."""
    groups = itertools.groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    runs = ([number for _, number in group] for _, group in groups)
    return [range(run[0], run[-1] + 1) for run in runs]


def _detect(
    video: FrameSource, times: Sequence[Fraction], numbers: range, options: DubbingOptions
) -> list[trajectory.faces.Track]:
    """Tracks the faces of consecutive frames, by their numbers in the whole video."""
    with contextlib.closing(video.frames(times[numbers.start], planes=True)) as frames:
        found = trajectory.track_video(
            itertools.islice(frames, len(numbers)), video.frame_rate, options
        )
    if found.times != tuple(times[numbers.start : numbers.stop]):
        raise FramesDiffer(f"{video.path} has other frames than its packets")
    return [track.select(slice(None), track.start + numbers.start) for track in found.tracks]
