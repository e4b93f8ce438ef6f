"""Windows of mel columns that belong to video frames, in exact arithmetic.

A column c of `audio.mel_spectrogram` is at c / 80 seconds, a frame f at f / frame_rate. A window
begins with the column at or just before a time:

* the audio of a sync model's window of frames starts with the first of these frames
  (`mel_window_start`), and its length is the model's own;
* the generator is conditioned, for each frame, on the window that starts `WINDOW_LOOKBACK` = 40 ms
  before the frame (`generator_window_start`), 16 columns (0.2 s) around the frame.

Published Wav2Lip (Prajwal et al. 2020) trains its generator with that lookback of one frame at 25
frames a second, but at inference starts the window at the frame itself, so that the lips are 40 ms
early. Here training and inference share one rule, `audio_offset="corrected"`;
`audio_offset="reference"` keeps the published inference.
"""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import jax

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import overload

import numpy as np

from lipsync_jax.media.audio import MEL_RATE, MEL_SILENCE

MEL_WINDOW = 16  # columns of the generator's window: 0.2 s

WINDOW_LOOKBACK = Fraction(1, 25)  # seconds from a generator window's start to the frame it drives

# Deviation W10; `reference` is the published inference.
AUDIO_OFFSETS: Mapping[str, Fraction] = {"corrected": WINDOW_LOOKBACK, "reference": Fraction(0)}

Rate = Fraction | int | str
Array = TypeVar("Array", np.ndarray, "jax.Array")


def column_at(time: Fraction, rate: int = MEL_RATE) -> int:
    """Returns the column at or just before a time.

    Args:
        time: exact seconds from the start of the audio; may be negative.
        rate: columns a second.
    """
    return int(time * rate // 1)


@overload
def mel_window_start(frame: int, frame_rate: Rate = 25) -> int: ...
@overload
def mel_window_start(frame: np.ndarray, frame_rate: Rate = 25) -> np.ndarray: ...
def mel_window_start(frame: int | np.ndarray, frame_rate: Rate = 25) -> int | np.ndarray:
    """Returns the first mel column of a window at a frame: floor(80 · frame / frame_rate).

    Args:
        frame: frame number, or an integer array of them.
        frame_rate: frames a second, exact where known, e.g. `Fraction(30000, 1001)`.

    Returns:
        A column number, or an array of columns of the shape of `frame`.

    Raises:
        ValueError: the frame rate is not positive.
    """
    return _start(frame, frame_rate, Fraction(0))


@overload
def generator_window_start(
    frame: int,
    frame_rate: Rate = 25,
    lookback: Fraction = WINDOW_LOOKBACK,
    rate: int = MEL_RATE,
) -> int: ...
@overload
def generator_window_start(
    frame: np.ndarray,
    frame_rate: Rate = 25,
    lookback: Fraction = WINDOW_LOOKBACK,
    rate: int = MEL_RATE,
) -> np.ndarray: ...
def generator_window_start(
    frame: int | np.ndarray,
    frame_rate: Rate = 25,
    lookback: Fraction = WINDOW_LOOKBACK,
    rate: int = MEL_RATE,
) -> int | np.ndarray:
    """Returns the first column of the window that a generated frame is conditioned on.

    Args:
        frame: frame number, or an integer array of them.
        frame_rate: frames a second, exact where known.
        lookback: seconds by which the window starts before its frame, 40 ms at any frame rate,
            as in training.
        rate: columns a second.

    Returns:
        A column number, or an array of columns of the shape of `frame`; below 0 where the window
        starts before the audio.

    Raises:
        ValueError: the frame rate is not positive.
    """
    return _start(frame, frame_rate, lookback, rate)


def inference_starts_at(
    times: Sequence[Fraction],
    audio_offset: str = "corrected",
    lookback: Fraction = WINDOW_LOOKBACK,
    rate: int = MEL_RATE,
) -> np.ndarray:
    """Returns the first column of the window of every output frame.

    Windows may start before the audio or end after it: `gather_windows` pads them with silence.

    Args:
        times: exact seconds of each frame, from the first frame.
        audio_offset: `corrected` (as in training) or `reference` (the window starts at the frame,
            so that the lips are 40 ms early).
        lookback: seconds by which a window starts before its frame if the offset is `corrected`.
        rate: columns a second.

    Returns:
        int64 (len(times),): first columns.

    Raises:
        ValueError: no such audio offset.
    """
    lookback = lookback_of(audio_offset, lookback)
    return np.array([column_at(time - lookback, rate) for time in times], np.int64)


def lookback_of(audio_offset: str, corrected: Fraction = WINDOW_LOOKBACK) -> Fraction:
    """Returns the seconds by which windows start before their frames.

    Args:
        audio_offset: see `inference_starts_at`.
        corrected: seconds if the offset is `corrected`.

    Raises:
        ValueError: no such audio offset.
    """
    if audio_offset not in AUDIO_OFFSETS:
        raise ValueError(
            f"--audio-offset {audio_offset!r} is unknown; choose from {sorted(AUDIO_OFFSETS)}"
        )
    return corrected if audio_offset == "corrected" else AUDIO_OFFSETS[audio_offset]


def reference_inference_starts(columns: int, frame_rate: Rate = 25) -> np.ndarray:
    """Returns the windows of the published inference, with its offset and number of frames.

    Windows start at floor(80 · i / frame_rate) while 16 columns remain; one more frame has the last
    16 columns, and the audio after that frame has no video.

    Args:
        columns: mel columns.
        frame_rate: frames a second.

    Returns:
        int64 (frames,): first columns.

    Raises:
        ValueError: fewer than 16 columns, which the published code refuses too.
    """
    if columns < MEL_WINDOW:
        raise ValueError(
            f"{columns} mel columns are less than one window of {MEL_WINDOW}; use at least 0.19 s "
            "of audio, or `inference_starts_at`"
        )
    full_windows = np.arange(_num_full_frames(columns, frame_rate, Fraction(0)))
    return np.append(mel_window_start(full_windows, frame_rate), columns - MEL_WINDOW)


def gather_windows(
    features: np.ndarray,
    starts: np.ndarray,
    length: int = MEL_WINDOW,
    fill: float | Sequence[float] = MEL_SILENCE,
) -> np.ndarray:
    """Gathers windows of time-major features, padded with silence outside of them.

    Args:
        features: (columns, bins), e.g. a mel spectrogram.
        starts: integer (n,) or (n, m), first columns, anywhere.
        length: columns a window.
        fill: the value outside, or one for each bin; the default is the silence of
            `audio.mel_spectrogram`.

    Returns:
        Of `features`' type: (*starts.shape, length, bins).
    """
    columns = np.asarray(starts)[..., None] + np.arange(length)
    in_range = (columns >= 0) & (columns < len(features))
    windows = features[np.where(in_range, columns, 0)]
    windows[~in_range] = fill
    return windows


def windows_to_nhwc(windows: Array) -> Array:
    """Transposes windows for the audio encoders: bins become rows.

    Args:
        windows: (..., 16, 80) from `gather_windows`.

    Returns:
        (..., 80, 16, 1), NHWC for one leading axis.
    """
    return windows.swapaxes(-1, -2)[..., None]


def _rate(frame_rate: Rate) -> Fraction:
    rate = Fraction(frame_rate)
    if rate <= 0:
        raise ValueError(f"a frame rate must be positive, not {frame_rate}")
    return rate


def _start(
    frame: int | np.ndarray, frame_rate: Rate, lookback: Fraction, rate: int = MEL_RATE
) -> int | np.ndarray:
    """Computes floor(rate · (frame / frame_rate − lookback)) in integers."""
    scale, offset = rate / _rate(frame_rate), rate * Fraction(lookback)
    divisor = scale.denominator * offset.denominator
    slope = scale.numerator * offset.denominator
    return (frame * slope - offset.numerator * scale.denominator) // divisor


def _num_full_frames(columns: int, frame_rate: Rate, lookback: Fraction) -> int:
    """Returns how many frames from 0 on have windows that end within `columns`."""
    # floor(80·(f / rate − lookback)) ≤ columns − 16  <=>  f < rate·((columns − 15) / 80 + lookback)
    end = _rate(frame_rate) * (Fraction(columns - MEL_WINDOW + 1, MEL_RATE) + lookback)
    return max(0, int(-(-end // 1)))
