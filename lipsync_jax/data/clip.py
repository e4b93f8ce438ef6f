"""The record of a clip, which data_prep writes and the loader reads."""

import dataclasses
from collections.abc import Mapping, Sequence
from fractions import Fraction

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
    frames: tuple[bytes, ...]
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
        ValueError: a frame is not a readable JPEG.
    """
    images = []
    for index in indices:
        image = cv2.imdecode(np.frombuffer(clip.frames[index], np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"clip {clip.clip_id}: frame {index} is not a readable JPEG")
        images.append(image)
    return np.stack(images)


def to_record(clip: Clip) -> dict[str, Entry]:
    """Converts a clip to the plain values of its TFDS features."""
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
    }


def from_record(record: Mapping[str, Entry]) -> Clip:
    """Converts a record of a TFDS data source to a clip; the inverse of `to_record`."""
    numerator, denominator = (int(x) for x in record["frame_rate"])
    return Clip(
        clip_id=_text(record["clip_id"]),
        speaker=_text(record["speaker"]),
        frames=tuple(bytes(frame) for frame in record["frames"]),
        frame_rate=Fraction(numerator, denominator),
        audio=np.asarray(record["audio"], np.int16),
        audio_rate=int(record["audio_rate"]),
        landmarks=np.asarray(record["landmarks"], np.float32),
        sync_offset=float(record["sync_offset"]),
        sync_confidence=float(record["sync_confidence"]),
        words=_rows(record["words"]),
        # Data sets of version 1.0.0 have neither of these.
        transcript=_text(record.get("transcript", "")),
        phones=_rows(record.get("phones")),
    )


def _columns(words: Sequence[Word]) -> dict[str, Entry]:
    return {
        "text": [word.text for word in words],
        "start": [word.start for word in words],
        "end": [word.end for word in words],
    }


def _rows(columns: Entry | None) -> tuple[Word, ...]:
    if columns is None:
        return ()
    return tuple(
        Word(_text(text), float(start), float(end))
        for text, start, end in zip(columns["text"], columns["start"], columns["end"], strict=True)
    )


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
