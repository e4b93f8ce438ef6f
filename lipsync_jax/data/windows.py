"""Which mel columns go with which video frame, in exact arithmetic.

A column c of `audio.mel_spectrogram` is at c / 80 seconds, a frame f at f / frame_rate. A window
is 16 columns (0.2 s) from the column at or just before a moment:

* the sync expert, and the sync loss, hear the window that starts with the first of their five
  frames (`mel_window_start`);
* the generator hears, for each frame, the window that starts `LEAD` = 40 ms before it
  (`generator_window_start`), so that it knows the sound before and after the lips it draws.

Published Wav2Lip (Prajwal et al. 2020) trains its generator so, one frame of 25 early, but at
inference starts the window at the frame itself: the lips come 40 ms before the sound. Here one rule
serves both, `alignment="matched"`; `alignment="published"` keeps the published inference.
"""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import jax

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import overload

import numpy as np

from lipsync_jax.media.audio import MEL_RATE, MEL_SILENCE

MEL_WINDOW = 16  # columns: 0.2 s, five frames at 25 a second
SYNC_FRAMES = 5

LEAD = Fraction(1, 25)  # seconds from a generator window's start to the frame it drives

ALIGNMENTS: Mapping[str, Fraction] = {"matched": LEAD, "published": Fraction(0)}

Rate = Fraction | int | str
Array = TypeVar("Array", np.ndarray, "jax.Array")


def window_at(time: Fraction, rate: int = MEL_RATE) -> int:
    """The column at or just before a moment.

    Args:
        time: seconds, exact; before the start of the sound it is negative.
        rate: columns a second.
    """
    return int(time * rate // 1)


@overload
def mel_window_start(frame: int, frame_rate: Rate = 25) -> int: ...
@overload
def mel_window_start(frame: np.ndarray, frame_rate: Rate = 25) -> np.ndarray: ...
def mel_window_start(frame: int | np.ndarray, frame_rate: Rate = 25) -> int | np.ndarray:
    """First mel column of the window that starts with a frame: floor(80 · frame / frame_rate).

    Args:
        frame: frame number, or an integer array of them.
        frame_rate: frames a second, as exact as it is known, e.g. `Fraction(30000, 1001)`.

    Returns:
        What `frame` is: a column number, or an array of its shape.

    Raises:
        ValueError: the frame rate is not positive.
    """
    return _start(frame, frame_rate, Fraction(0))


@overload
def generator_window_start(frame: int, frame_rate: Rate = 25, lead: Fraction = LEAD) -> int: ...
@overload
def generator_window_start(
    frame: np.ndarray, frame_rate: Rate = 25, lead: Fraction = LEAD
) -> np.ndarray: ...
def generator_window_start(
    frame: int | np.ndarray, frame_rate: Rate = 25, lead: Fraction = LEAD
) -> int | np.ndarray:
    """First mel column of the window that drives one generated frame.

    Args:
        frame: frame number, or an integer array of them.
        frame_rate: frames a second, as exact as it is known.
        lead: seconds by which the window starts before its frame. The models learned it in
            seconds, so it stays 40 ms at any frame rate.

    Returns:
        What `frame` is; below 0 where the window starts before the sound.

    Raises:
        ValueError: the frame rate is not positive.
    """
    return _start(frame, frame_rate, lead)


def training_windows(
    first: int, frame_rate: Rate = 25, lead: Fraction = LEAD
) -> tuple[int, np.ndarray]:
    """The windows of the five-frame training example that starts at frame `first`.

    Returns:
        The sync window's first column, and int64 (5,), the first column of each frame's own window.
    """
    frames = first + np.arange(SYNC_FRAMES)
    return mel_window_start(first, frame_rate), generator_window_start(frames, frame_rate, lead)


def inference_starts(frames: int, frame_rate: Rate = 25, alignment: str = "matched") -> np.ndarray:
    """One window for every output frame, none lost at the end.

    Windows may start before the sound or end after it: `take_windows` fills them with silence.

    Args:
        frames: frames to generate (`frames_covering` where the sound decides).
        frame_rate: frames a second.
        alignment: `matched` (as in training) or `published` (the window starts at the frame, the
            lips lead by 40 ms).

    Returns:
        int64 (frames,): first columns.

    Raises:
        ValueError: no such alignment, or the frame rate is not positive.
    """
    return generator_window_start(np.arange(frames), frame_rate, _lead(alignment))


def inference_starts_at(
    times: Sequence[Fraction],
    alignment: str = "matched",
    lead: Fraction = LEAD,
    rate: int = MEL_RATE,
) -> np.ndarray:
    """Like `inference_starts` for frames shown at uneven times, and for windows of other models.

    Args:
        times: exact seconds of each frame, from the first frame.
        alignment: see `inference_starts`.
        lead: seconds by which a window starts before its frame where alignment is `matched`.
        rate: columns a second.

    Returns:
        int64 (len(times),): first columns.

    Raises:
        ValueError: no such alignment.
    """
    lead = _lead(alignment, lead)
    return np.array([window_at(time - lead, rate) for time in times], np.int64)


def published_inference_starts(columns: int, frame_rate: Rate = 25) -> np.ndarray:
    """The published inference's whole table: its alignment, its end and its number of frames.

    Frames start at floor(80 · i / frame_rate) while 16 columns remain; one more frame takes the
    last 16 columns, and what sound is left goes without a picture.

    Args:
        columns: mel columns.
        frame_rate: frames a second.

    Returns:
        int64 (frames,): first columns.

    Raises:
        ValueError: fewer than 16 columns, which the published code cannot use either.
    """
    if columns < MEL_WINDOW:
        raise ValueError(
            f"{columns} mel columns are less than one window of {MEL_WINDOW}; use at least 0.19 s "
            "of sound, or `inference_starts`"
        )
    whole = np.arange(_frames_before(columns, frame_rate, Fraction(0)))
    return np.append(mel_window_start(whole, frame_rate), columns - MEL_WINDOW)


def frames_covering(samples: int, sample_rate: int, frame_rate: Rate) -> int:
    """The fewest frames that are shown for at least as long as the sound lasts."""
    return int(-(-samples * _rate(frame_rate) / sample_rate // 1))


def take_windows(
    features: np.ndarray,
    starts: np.ndarray,
    length: int = MEL_WINDOW,
    fill: float = MEL_SILENCE,
) -> np.ndarray:
    """Cuts windows out of time-major features; what lies outside them is silence.

    Args:
        features: (columns, bins), e.g. a mel spectrogram.
        starts: integer (n,) or (n, m), first columns, anywhere.
        length: columns a window.
        fill: the value outside; the default is the silence of `audio.mel_spectrogram`.

    Returns:
        Of `features`' type: (*starts.shape, length, bins).
    """
    columns = np.asarray(starts)[..., None] + np.arange(length)
    inside = (columns >= 0) & (columns < len(features))
    windows = features[np.where(inside, columns, 0)]
    windows[~inside] = fill
    return windows


def as_images(windows: Array) -> Array:
    """Windows as the audio encoders take them: bins are rows, columns are columns.

    Args:
        windows: (..., 16, 80) from `take_windows`.

    Returns:
        (..., 80, 16, 1), NHWC for one leading axis.
    """
    return windows.swapaxes(-1, -2)[..., None]


def _rate(frame_rate: Rate) -> Fraction:
    rate = Fraction(frame_rate)
    if rate <= 0:
        raise ValueError(f"a frame rate must be positive, not {frame_rate}")
    return rate


def _lead(alignment: str, matched: Fraction = LEAD) -> Fraction:
    if alignment not in ALIGNMENTS:
        raise ValueError(f"alignment {alignment!r} is unknown; choose from {sorted(ALIGNMENTS)}")
    return matched if alignment == "matched" else ALIGNMENTS[alignment]


def _start(frame: int | np.ndarray, frame_rate: Rate, lead: Fraction) -> int | np.ndarray:
    """floor(80 · (frame / rate − lead)), over integers alone."""
    rate = _rate(frame_rate)
    scale, offset = MEL_RATE / rate, MEL_RATE * Fraction(lead)
    divisor = scale.denominator * offset.denominator
    slope = scale.numerator * offset.denominator
    return (frame * slope - offset.numerator * scale.denominator) // divisor


def _frames_before(columns: int, frame_rate: Rate, lead: Fraction) -> int:
    """How many frames from 0 on have windows that end within `columns`."""
    # floor(80·(f / rate − lead)) ≤ columns − 16  <=>  f < rate·((columns − 15) / 80 + lead)
    end = _rate(frame_rate) * (Fraction(columns - MEL_WINDOW + 1, MEL_RATE) + lead)
    return max(0, int(-(-end // 1)))
