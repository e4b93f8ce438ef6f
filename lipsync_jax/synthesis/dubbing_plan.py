"""Plans the output while faces are still being detected, so that dubbing begins early.

Which face is the most prominent, and whether the frames are evenly spaced, is certain at the end of
the video only. Until then a plan assumes what holds for the frames so far. When later frames prove
an assumption wrong, `PlanChanged` is raised, and the output is written again: the result is always
that of the whole video.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax.faces import trajectory
from lipsync_jax.faces.trajectory import FaceTrajectory, VideoFaces
from lipsync_jax.media.frame_source import FrameSource
from lipsync_jax.media.prefetch import Newest
from lipsync_jax.synthesis.driving_audio import DrivingAudio
from lipsync_jax.synthesis.face_detection_pass import SearchedFrames
from lipsync_jax.synthesis.frame_schedule import ScheduledFrame, schedule_frames
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.synthesis.progress import OnProgress, Progress


class PlanChanged(Exception):
    """Frames were planned that the output does not have: write the output again."""


def begins_early(options: DubbingOptions) -> bool:
    """Returns whether the first frames may be dubbed before all faces are detected.

    Not where faces are selected by identity, since identities are clustered over the whole video;
    with `on_missing_face="error"`, which is to fail before slow work; nor with a preview, whose
    frames are from all parts of the video.
    """
    return not (options.selects_identity or options.on_missing_face == "error" or options.preview)


class KnownTrajectory:
    """A `FaceTrajectory` that grows; later frames are appended.

    Attributes:
        times, boxes, rolls, landmarks: see `FaceTrajectory`.
    """

    def __init__(self) -> None:
        self.times: list[Fraction] = []
        self.boxes = np.empty((0, 4), np.float32)
        self.rolls = np.empty(0, np.float32)
        self.landmarks = np.empty((0, 5, 2), np.float32)

    def update(self, known: FaceTrajectory) -> None:
        """Takes a longer trajectory."""
        self.times += known.times[len(self.times) :]
        self.boxes, self.rolls, self.landmarks = known.boxes, known.rolls, known.landmarks

    def equals(self, other: FaceTrajectory, count: int) -> bool:
        """Returns whether the face is at the same places in the first `count` frames."""
        return all(
            np.array_equal(a[:count], b[:count], equal_nan=True)
            for a, b in (
                (self.boxes, other.boxes),
                (self.rolls, other.rolls),
                (self.landmarks, other.landmarks),
            )
        )


class DubbingPlan:
    """The frames of the output, and the faces in them, as far as known.

    Attributes:
        trajectories: of the faces to dub; they grow until all frames are searched.
        video_faces: all faces, once all frames are searched; None before.
        whole_trajectories: of the faces to dub in all frames; empty before.
    """

    def __init__(
        self,
        search: Newest[SearchedFrames],
        select: Callable[[VideoFaces], Sequence[FaceTrajectory]],
        count: int,
        video: FrameSource,
        audio: DrivingAudio,
        options: DubbingOptions,
    ) -> None:
        """Takes the running search.

        Args:
            search: of the faces of the video; before its end only for options of which
                `begins_early` holds.
            select: returns the trajectories to dub, given the faces of all frames.
            count: number of these trajectories.
            video: the face video.
            audio: determines the output's length.
            options: of dubbing.
        """
        self._search, self._select, self._options = search, select, options
        self._video, self._audio = video, audio
        self._state: SearchedFrames | None = None
        self._schedule: list[ScheduledFrame] = []
        self.trajectories = [KnownTrajectory() for _ in range(count)]
        self.video_faces: VideoFaces | None = None
        self.whole_trajectories: Sequence[FaceTrajectory] = ()

    @property
    def length(self) -> int:
        """Number of frames of the output; approximate until all frames are searched."""
        if self.video_faces is not None:
            return len(self._schedule)
        estimate = round(self._audio.duration * self._video.output_rate)
        return self._video.frames_estimate if self._options.loop == "none" else estimate

    def wait(self, on_progress: OnProgress, complete: bool = False) -> None:
        """Waits until the first frames are planned, or all.

        Args:
            on_progress: called with stage `faces`.
            complete: whether to wait for all frames; discards a plan that was wrong.

        Raises:
            ValueError: see `face_detection_pass.select_trajectory`.
        """
        if complete:
            self._schedule, self._state = [], None
        while self.video_faces is None and (complete or not self._schedule):
            previous, state = self._state, self._search.wait(self._state)
            if previous is None or state.done != previous.done:
                on_progress(Progress("faces", state.done, state.total, state.seconds))
            self._update(state, 0)

    def schedule(self) -> Iterator[ScheduledFrame]:
        """Yields the frames of the output; waits for frames that are not planned yet.

        Raises:
            PlanChanged: an earlier frame should not have been yielded.
            ValueError: see `wait`.
        """
        for done in itertools.count():
            self._update(self._search.get(), done)
            while done == len(self._schedule) and self.video_faces is None:
                self._update(self._search.wait(self._state), done)
            if done == len(self._schedule):
                return
            yield self._schedule[done]

    def _update(self, state: SearchedFrames, done: int) -> None:
        """Plans further frames; the first `done` were yielded already."""
        previous, self._state = self._state, state
        if (
            self.video_faces is not None
            or state.video_faces is None
            or (previous is not None and state.video_faces is previous.video_faces)
        ):
            return
        found, settled = state.video_faces, len(state.video_faces.times)
        if state.complete:
            trajectories = self._select(found)
        else:
            trajectories = [self._early_trajectory(found)]
            settled = self._settled(found, trajectories[0], state.settled)
        frames = schedule_frames(
            self._video, trajectories[0].times, self._audio.length, self._options.loop
        )
        if not state.complete:
            frames = itertools.takewhile(lambda frame: frame[0] < settled, frames)
        schedule = list(frames)
        used = 1 + max((number for number, _ in self._schedule[:done]), default=-1)
        pairs = [*zip(self.trajectories, trajectories, strict=True)]
        same = all(known.equals(new, used) for known, new in pairs)
        if not same or schedule[:done] != self._schedule[:done]:
            raise PlanChanged
        for known, new in pairs:
            known.update(new)
        self._schedule = schedule
        if state.complete:
            self.video_faces, self.whole_trajectories = found, trajectories

    def _early_trajectory(self, found: VideoFaces) -> FaceTrajectory:
        tracks = trajectory.select_main_tracks(found.tracks)
        options = self._options
        return trajectory.face_trajectory(found, tracks, options, options.min_face_height)

    def _settled(self, found: VideoFaces, chosen: FaceTrajectory, settled: int) -> int:
        """Returns the number of frames that may be dubbed before all are searched."""
        # Whether there is a face at all that is not spurious and large enough decides over errors.
        real = self._options.box is not None or not all(map(trajectory.is_spurious, found.tracks))
        if not real or not np.isfinite(chosen.boxes[:settled]).any():
            return 0
        return min(settled, len(found.times) - 1)  # the last frame's duration is not known
