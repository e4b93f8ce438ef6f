"""Writes a dubbed video, once more where the plan of its frames proves wrong."""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import TracebackType
from typing import Self

from lipsync_jax.media.video_reader import VideoWriter
from lipsync_jax.synthesis.dubbing_plan import DubbingPlan, PlanChanged
from lipsync_jax.synthesis.frame_schedule import ScheduledFrame
from lipsync_jax.synthesis.progress import OnProgress, Progress
from lipsync_jax.synthesis.renderer import FaceRenderer


class DubbingOutput:
    """The output video. Use it in a `with`, which completes the file, or leaves none."""

    def __init__(self, open_writer: Callable[[], VideoWriter]) -> None:
        """Opens the file, so that an unusable codec or folder is reported at once."""
        self._open_writer, self._writer = open_writer, open_writer()

    def write(
        self,
        make_renderer: Callable[[], FaceRenderer],
        plan: DubbingPlan,
        on_progress: OnProgress,
    ) -> int:
        """Generates and writes all frames; returns the number of those with a generated face.

        Args:
            make_renderer: returns what generates the frames; called again where the plan changes.
            plan: of the frames.
            on_progress: called after each frame.
        """
        try:
            return self._write(make_renderer(), plan, on_progress)
        except PlanChanged:
            self._writer.abort()
            self._writer = self._open_writer()
            plan.wait(on_progress, complete=True)
            return self._write(make_renderer(), plan, on_progress)

    def _write(
        self, face_renderer: FaceRenderer, plan: DubbingPlan, on_progress: OnProgress
    ) -> int:
        begun, writer = time.monotonic(), self._writer
        moments: collections.deque[Fraction] = collections.deque()  # of frames being generated

        def schedule() -> Iterator[ScheduledFrame]:
            for number, moment in plan.schedule():
                moments.append(moment)
                yield number, moment

        with contextlib.closing(face_renderer.images(schedule())) as images:
            for image in images:
                writer.write(image, moments.popleft())
                length = max(plan.length, writer.frames)
                on_progress(Progress("generate", writer.frames, length, time.monotonic() - begun))
        return face_renderer.edited

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)
