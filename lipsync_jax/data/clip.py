"""The record of a clip, which data_prep writes and the loader reads."""

import abc
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Protocol, overload

import cv2
import numpy as np

from lipsync_jax.media.audio import resample
from lipsync_jax.types import Entry


@dataclasses.dataclass(frozen=True)
class CropSpec:
    """How faces are cropped from their frames.

    Attributes:
        height: rows of a stored crop, pixels.
        width: columns of a stored crop, pixels.
        method: `box` (the detector's box, stretched to the crop) or `aligned` (a similarity
            transform from landmarks).
        region: of an aligned crop, a key of `faces.alignment.CANONICAL`.
    """

    height: int
    width: int
    method: str
    region: str = "face"


CROP_SPECS: Mapping[str, CropSpec] = {
    "face96": CropSpec(96, 96, "box"),  # Wav2Lip, LipGAN
    "face128": CropSpec(128, 128, "box"),
    "face192": CropSpec(192, 192, "box"),
    "face256": CropSpec(256, 256, "box"),
    "face384": CropSpec(384, 384, "box"),
    "face64": CropSpec(64, 64, "box"),  # small networks
    "aligned128x96": CropSpec(128, 96, "aligned"),  # temporal GANs
    "aligned112x112": CropSpec(112, 112, "aligned", "square"),  # Speech2Vid
    "lips64": CropSpec(64, 64, "aligned", "lips"),  # At a Glance
}


@dataclasses.dataclass(frozen=True)
class Word:
    """One aligned word; start and end in seconds from the clip's first frame."""

    text: str
    start: float
    end: float


class RowReader(Protocol):
    """An array of a record, rows of which can be read."""

    def __len__(self) -> int:
        """Returns the number of rows."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Returns some rows."""


class EncodedFrames(Sequence[bytes]):
    """The JPEGs of a clip's frames, read when asked for; equal to a tuple of equal JPEGs."""

    @abc.abstractmethod
    def take(self, indices: Iterable[int]) -> Sequence[bytes | memoryview]:
        """Returns the JPEGs of some frames; numbers from 0 to `len` - 1."""

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[bytes, ...]: ...
    def __getitem__(self, index: int | slice) -> bytes | tuple[bytes, ...]:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return tuple(map(bytes, self.take(chosen)))
        return bytes(self.take([chosen])[0])

    def __iter__(self) -> Iterator[bytes]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple | EncodedFrames) and self[:] == other[:]

    __hash__ = None  # type: ignore[assignment]  # a comparison reads every frame


@dataclasses.dataclass(frozen=True)
class Clip:
    """One talking face, cropped, with its speech.

    Attributes:
        clip_id: unique in its data set, e.g. `s1/bbal6n`.
        speaker: identity of the speaker, by which data sets are split.
        frames: one JPEG (BGR when decoded by OpenCV) a video frame, all of the builder config's
            crop. Frame i is shown at i / frame_rate seconds.
        frame_rate: frames a second, exact.
        audio: int16 (samples,), mono, at the source's own rate; sample 0 and frame 0 start at the
            same time.
        audio_rate: samples a second.
        landmarks: float32 (frames, 5, 2), x and y in crop pixels: the two eyes, the nose tip and
            the two mouth corners, image-left first; NaN where unknown.
        sync_offset: seconds by which the audio is later than the video; NaN when not measured.
        sync_confidence: confidence of that offset; NaN when not measured.
        words: the words with times, where an alignment is known; lower case.
        transcript: what is said, lower case; empty where unknown. Without an alignment it is known
            for whole videos only.
        phones: the phones with times, where an alignment is known.
    """

    clip_id: str
    speaker: str
    frames: Sequence[bytes]
    frame_rate: Fraction
    audio: np.ndarray
    audio_rate: int
    landmarks: np.ndarray
    sync_offset: float = float("nan")
    sync_confidence: float = float("nan")
    words: tuple[Word, ...] = ()
    transcript: str = ""
    phones: tuple[Word, ...] = ()

    @property
    def duration(self) -> Fraction:
        """Returns the seconds of video."""
        return len(self.frames) / self.frame_rate

    def stored_features(self, name: str) -> RowReader | None:
        """Returns audio features that were computed at preparation.

        Args:
            name: `mel` or `mfcc`, float32 (columns, bins) as `AudioFeatureSpec.compute` returns
                them, or `speech_activity`, uint8 (frames,).

        Returns:
            Their rows; None where the data set has none.
        """
        del name
        return None

    def samples(self, rate: int) -> np.ndarray:
        """Returns the audio resampled to a rate, float32 (samples,), full scale 1."""
        return resample(np.asarray(self.audio, np.float32) / 32768, self.audio_rate, rate)


def encode_frame(image: np.ndarray, quality: int = 95) -> bytes:
    """Compresses one BGR uint8 (height, width, 3) crop as JPEG."""
    succeeded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not succeeded:
        raise ValueError(f"a crop of shape {image.shape} and type {image.dtype} can't be encoded")
    return data.tobytes()


def decode_frames(clip: Clip, indices: np.ndarray | Sequence[int]) -> np.ndarray:
    """Decodes some frames of a clip.

    Args:
        clip: the clip.
        indices: frame numbers, (n,).

    Returns:
        uint8 (n, height, width, 3), BGR.

    Raises:
        ValueError: a frame is not a readable JPEG, or `indices` is empty.
    """
    indices = [int(index) for index in indices]
    frames: Sequence[bytes | memoryview]
    if isinstance(clip.frames, EncodedFrames):
        frames = clip.frames.take(indices)
    else:
        frames = [clip.frames[index] for index in indices]
    images: np.ndarray | None = None
    for number, (index, frame) in enumerate(zip(indices, frames, strict=True)):
        image = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"clip {clip.clip_id}: frame {index} is not a readable JPEG")
        if images is None:
            images = np.empty((len(indices), *image.shape), np.uint8)
        images[number] = image
    if images is None:
        raise ValueError(f"clip {clip.clip_id}: no frames were asked for")
    return images


def to_record(clip: Clip, features: Mapping[str, np.ndarray]) -> dict[str, Entry]:
    """Converts a clip to the plain values of its TFDS features.

    Args:
        clip: the clip.
        features: of `feature_cache.compute_features`.
    """
    return {
        "clip_id": clip.clip_id,
        "speaker": clip.speaker,
        "frames": list(clip.frames),
        "frame_rate": np.array(
            [clip.frame_rate.numerator, clip.frame_rate.denominator], dtype=np.int64
        ),
        "audio": np.asarray(clip.audio, np.int16),
        "audio_rate": clip.audio_rate,
        "landmarks": np.asarray(clip.landmarks, np.float32),
        "sync_offset": clip.sync_offset,
        "sync_confidence": clip.sync_confidence,
        "words": _columns(clip.words),
        "transcript": clip.transcript,
        "phones": _columns(clip.phones),
        **features,
    }


def _columns(words: Sequence[Word]) -> dict[str, Entry]:
    return {
        "text": [word.text for word in words],
        "start": [word.start for word in words],
        "end": [word.end for word in words],
    }
