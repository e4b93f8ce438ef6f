"""Faces for live sessions: prepared, and tried, so that no session starts that must stutter."""

import dataclasses
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator

import numpy as np

from lipsync_jax.live.pipeline import LiveFace
from lipsync_jax.live.voice import BLOCK, SOUND_RATE
from lipsync_jax.media import frame_source
from lipsync_jax.synthesis.dubbing import LipSyncPipeline
from lipsync_jax.synthesis.face_detection_pass import UnusableFaceError
from lipsync_jax.types import Argument

TRIAL_FRAMES = 50
MAX_FRAME_BYTES = 256 << 20  # of the face's frames in memory
MAX_SECONDS = 12  # of the face's frames: a face starts as soon, however long its video is
_SHARE = 0.75  # of a frame's time that its generation may take; the rest is for the encoder
_MIN_HEIGHT = 160  # pixels; a smaller face is not tried
LABEL = "synthetic"
MAX_HEIGHT = 480  # rows of the frames


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a machine can hold, by a trial.

    Attributes:
        frame_seconds: of generating a frame.
        frame_rate: frames a second that are sent.
        stride: every n-th frame is generated, and sent n times.
        is_halved: whether the face has half the wanted width and height.
        is_enough: whether generation is fast enough with these.
    """

    frame_seconds: float
    frame_rate: float
    stride: int = 1
    is_halved: bool = False
    is_enough: bool = True

    def describe(self) -> str:
        """Returns one sentence for people."""
        measured = f"{1000 * self.frame_seconds:.0f} ms a frame"
        generated, sent = self.frame_rate / self.stride, self.frame_rate
        if not self.is_enough:
            reached = _SHARE / self.frame_seconds
            return (
                f"too slow: {measured}, even at half the size and every second frame; the face "
                f"will move {reached:.1f} times a second. Use a GPU, a smaller network "
                "or fewer other programs"
            )
        changes = ["half the size"] if self.is_halved else []
        if self.stride > 1:
            changes.append(
                f"{generated:.1f} frames a second generated, each sent {self.stride} times"
            )
        reason = f"; the machine needs {', '.join(changes)}" if changes else ""
        return f"{sent:.1f} frames a second, {measured}{reason}"


@dataclasses.dataclass(frozen=True)
class PreparedFace:
    """A face that a session can start with at once.

    Attributes:
        name: shown in the page.
        streaming: generates its frames.
        plan: what the machine can hold.
        model_hash: identifies the weights, see `metadata.model_hash`.
        credit: of the model, see `model_info.credit`.
    """

    name: str
    streaming: LiveFace
    plan: Plan
    model_hash: str
    credit: str = ""


def measure(face: LiveFace, frames: int = TRIAL_FRAMES) -> float:
    """Returns the mean seconds in which a face generates a frame of speech."""
    generated = face.stream(_speech_like(), SOUND_RATE, is_wanted=None, speech=None)
    next(generated)
    begun = time.perf_counter()
    for _ in itertools.islice(generated, frames):
        pass
    return (time.perf_counter() - begun) / frames


def prepare(
    pipeline: LipSyncPipeline,
    path: str | os.PathLike,
    *,
    name: str | None = None,
    max_height: int = MAX_HEIGHT,
    label: str = LABEL,
    on_step: Callable[[str], object] = lambda text: None,
    measure: Callable[[LiveFace], float] = measure,
    **options: Argument,
) -> PreparedFace:
    """Detects the face of a video, compiles, and tries what the machine can hold.

    A machine that is too slow gets half the size, then every second frame.

    Args:
        pipeline: the network.
        path: a video or an image of a face, of which the first `MAX_SECONDS` are used, or as many
            frames as `MAX_FRAME_BYTES` holds.
        name: shown in the page; the file's name by default.
        max_height: rows of the frames, at most; a whole number divides larger ones.
        label: written on every frame, since a stream has no metadata; empty for none.
        on_step: called with a line before slow work.
        measure: returns the seconds that a face needs for a frame.
        **options: fields of `options.DubbingOptions`.

    Raises:
        FileNotFoundError, ValueError: see `LipSyncPipeline.prepare`.
    """
    name = name or os.path.basename(path)
    height = frame_source.open_frame_source(path).size[1]
    factor = max(1, math.ceil(height / max_height))
    streaming, plan = None, None
    for resize in (factor, 2 * factor):
        if streaming is not None and height // resize < _MIN_HEIGHT:
            break
        on_step(f"{name}: detecting the face and compiling")
        try:
            smaller = pipeline.prepare(
                path,
                max_frame_bytes=MAX_FRAME_BYTES,
                max_seconds=MAX_SECONDS,
                **{"batch_size": 1, "label": label or None, "resize_factor": resize, **options},
            )
        except ValueError as error:
            if streaming is not None:
                break  # the face would be too small to be found
            if isinstance(error, UnusableFaceError):
                raise ValueError(f"{error.fact}; {_advice(factor, max_height)}") from error
            raise
        on_step(f"{name}: trying {TRIAL_FRAMES} frames")
        streaming, rate = smaller, float(smaller.frame_rate)
        plan = Plan(measure(streaming), rate, is_halved=resize > factor)
        if plan.frame_seconds <= _SHARE / rate:
            break
    assert streaming is not None and plan is not None
    if plan.frame_seconds > _SHARE / plan.frame_rate:
        is_enough = plan.frame_seconds <= 2 * _SHARE / plan.frame_rate
        plan = dataclasses.replace(plan, stride=2, is_enough=is_enough)
    return PreparedFace(name, streaming, plan, pipeline.model.model_hash, pipeline.credit)


def _advice(factor: int, max_height: int) -> str:
    """Returns what to do about an unusable face, with options that a live face has."""
    less_reduced = factor > 1 and max_height < MAX_HEIGHT
    return "give a video or an image of one upright, larger face" + (
        f", or a `max_height` above {max_height}" if less_reduced else ""
    )


def _speech_like() -> Iterator[np.ndarray]:
    """Yields blocks of noise that grows and fades like syllables."""
    rng = np.random.default_rng(0)
    for i in itertools.count():
        seconds = (i * BLOCK + np.arange(BLOCK)) / SOUND_RATE
        yield (4000 * np.sin(12 * seconds) ** 2 * rng.normal(size=BLOCK)).astype(np.int16)
