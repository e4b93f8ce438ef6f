"""The result of dubbing a video: edited frames, face sizes, times without a generated face."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lipsync_jax.faces import trajectory
from lipsync_jax.faces.trajectory import FaceTrajectory
from lipsync_jax.media.frame_source import FrameSource
from lipsync_jax.synthesis.dubbing_plan import DubbingPlan
from lipsync_jax.synthesis.frame_schedule import ScheduledFrame
from lipsync_jax.synthesis.progress import GenerationResult


def summarize(
    outfile: str | os.PathLike, video: FrameSource, plan: DubbingPlan, edited: int
) -> GenerationResult:
    """Returns the result of dubbing a video, without the elapsed times and the model.

    Args:
        outfile: path of the output video.
        video: the face video.
        plan: of the output's frames; all faces are detected.
        edited: number of frames with a generated face.
    """
    trajectories, schedule = plan.whole_trajectories, [*plan.schedule()]
    moments = [moment for _, moment in schedule]
    end = moments[-1] + 1 / video.output_rate

    def intervals(flags: np.ndarray) -> tuple[tuple[float, float], ...]:
        found = trajectory.intervals(moments, end, flags)
        return tuple((float(start), float(stop)) for start, stop in found)

    return GenerationResult(
        outfile=Path(outfile),
        frames=len(schedule),
        edited=edited,
        unchanged=len(schedule) - edited,
        missing_intervals=intervals(_frames_without_face(trajectories, schedule)),
        duration=float(end),
        frame_rate=video.output_rate,
        face_height=_median_face_height(trajectories, schedule),
        too_small_intervals=intervals(_frames_with_small_face(trajectories, schedule)),
        video_faces=plan.video_faces,
        frame_numbers=tuple(number for number, _ in schedule),
    )


def of_preview(
    result: GenerationResult, outfile: Path, frames: int, edited: int
) -> GenerationResult:
    """Returns the result of a preview alone, given what the whole video would have.

    Args:
        result: of the whole video, see `summarize`.
        outfile: path of the preview.
        frames: number of frames in the preview.
        edited: number of frames with a generated face.
    """
    return dataclasses.replace(
        result, outfile=outfile, frames=frames, edited=edited, unchanged=frames - edited,
        preview_only=True,
    )  # fmt: skip


def _frames_without_face(
    trajectories: Sequence[FaceTrajectory], schedule: Sequence[ScheduledFrame]
) -> np.ndarray:
    """Returns for each output frame whether none of the faces was found."""
    found = np.any([each.face_present for each in trajectories], axis=0)
    return ~found[[number for number, _ in schedule]]


def _frames_with_small_face(
    trajectories: Sequence[FaceTrajectory], schedule: Sequence[ScheduledFrame]
) -> np.ndarray:
    """Returns for each output frame whether a face was left unchanged because of its size."""
    too_small = np.any([each.too_small for each in trajectories], axis=0)
    return too_small[[number for number, _ in schedule]]


def _median_face_height(
    trajectories: Sequence[FaceTrajectory], schedule: Sequence[ScheduledFrame]
) -> float | None:
    """Returns the median height of the generated faces in pixels; None without faces."""
    numbers = [number for number, _ in schedule]
    boxes = np.concatenate([each.boxes[numbers] for each in trajectories])
    heights = (boxes[:, 3] - boxes[:, 1])[np.isfinite(boxes[:, 0])]
    return float(np.median(heights)) if len(heights) else None
