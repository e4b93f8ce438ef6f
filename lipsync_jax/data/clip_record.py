"""A clip's record as the data source reads it: whole, or only what is asked for."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np

from lipsync_jax.data.clip import Clip, EncodedFrames, RowReader, Word
from lipsync_jax.types import Json

# The arrays of a record: type, and shape of a row.
ARRAYS: Mapping[str, tuple[type, tuple[int, ...]]] = {
    "audio": (np.int16, ()),
    "landmarks": (np.float32, (5, 2)),
    "mel": (np.float32, (80,)),
    "mfcc": (np.float32, (12,)),
    "speech_activity": (np.uint8, ()),
}
AUDIO_FEATURES = ("mel", "mfcc", "speech_activity")


def empty_array(name: str) -> np.ndarray:
    """Returns an array of `ARRAYS` without rows."""
    dtype, shape = ARRAYS[name]
    return np.zeros((0, *shape), dtype)


class ClipRecord(Protocol):
    """Access to the values of one record."""

    @property
    def head(self) -> Mapping[str, Json]:
        """The values that are neither frames nor arrays, see `ParsedRecord.head`."""

    @property
    def frames(self) -> EncodedFrames:
        """The JPEGs of the frames."""

    def array(self, name: str) -> RowReader | None:
        """Returns an array of `ARRAYS`; None where the record has none of that name."""


class StoredClip(Clip):
    """A clip whose fields are read from its record when they are first used."""

    _record: ClipRecord | None = None

    @classmethod
    def of(cls, record: ClipRecord) -> "StoredClip":
        """Returns the clip of a record, of which nothing is read yet."""
        clip = cls.__new__(cls)
        clip.__dict__["_record"] = record
        return clip

    @functools.cached_property
    def clip_id(self) -> str:
        """See Clip."""
        return self._stored.head["clip_id"]

    @functools.cached_property
    def speaker(self) -> str:
        """See Clip."""
        return self._stored.head["speaker"]

    @functools.cached_property
    def frames(self) -> EncodedFrames:
        """See Clip."""
        return self._stored.frames

    @functools.cached_property
    def frame_rate(self) -> Fraction:
        """See Clip."""
        return Fraction(*self._stored.head["frame_rate"])

    @functools.cached_property
    def audio(self) -> np.ndarray:
        """See Clip."""
        return self._whole("audio")

    @functools.cached_property
    def audio_rate(self) -> int:
        """See Clip."""
        return self._stored.head["audio_rate"]

    @functools.cached_property
    def landmarks(self) -> np.ndarray:
        """See Clip."""
        return self._whole("landmarks")

    @functools.cached_property
    def sync_offset(self) -> float:
        """See Clip."""
        return self._stored.head["sync_offset"]

    @functools.cached_property
    def sync_confidence(self) -> float:
        """See Clip."""
        return self._stored.head["sync_confidence"]

    @functools.cached_property
    def words(self) -> tuple[Word, ...]:
        """See Clip."""
        return tuple(Word(*word) for word in self._stored.head["words"])

    @functools.cached_property
    def transcript(self) -> str:
        """See Clip."""
        return self._stored.head["transcript"]

    @functools.cached_property
    def phones(self) -> tuple[Word, ...]:
        """See Clip."""
        return tuple(Word(*phone) for phone in self._stored.head["phones"])

    def stored_features(self, name: str) -> RowReader | None:
        """See Clip."""
        # None for copies of `dataclasses.replace`, whose audio may be another.
        return None if self._record is None else self._record.array(name)

    @property
    def _stored(self) -> ClipRecord:
        assert self._record is not None  # else each field was given to the constructor
        return self._record

    def _whole(self, name: str) -> np.ndarray:
        rows = self._stored.array(name)
        return empty_array(name) if rows is None else rows[:]


class ParsedRecord:
    """A whole record, parsed; its values are copied when asked for.

    Args:
        serialized: a `tf.train.Example`.
    """

    def __init__(self, serialized: bytes) -> None:
        from tensorflow_datasets.proto import tf_example_pb2

        self._features = tf_example_pb2.Example.FromString(serialized).features.feature

    @functools.cached_property
    def head(self) -> Mapping[str, Json]:
        """See ClipRecord."""
        return {
            "clip_id": self._text("clip_id"),
            "speaker": self._text("speaker"),
            "frame_rate": [int(x) for x in self._values("frame_rate")],
            "audio_rate": int(self._values("audio_rate")[0]),
            "sync_offset": float(self._values("sync_offset")[0]),
            "sync_confidence": float(self._values("sync_confidence")[0]),
            "words": self._words("words"),
            # Data sets of version 1.0.0 have neither of these.
            "transcript": self._text("transcript"),
            "phones": self._words("phones"),
        }

    @functools.cached_property
    def frames(self) -> "ListedFrames":
        """See ClipRecord."""
        return ListedFrames(self._values("frames"))

    def array(self, name: str) -> np.ndarray | None:
        """See ClipRecord."""
        if name not in self._features:
            return None
        dtype, shape = ARRAYS[name]
        feature = self._features[name]
        values: np.ndarray
        if feature.WhichOneof("kind") == "bytes_list":
            values = np.frombuffer(b"".join(feature.bytes_list.value), dtype)
        else:
            values = np.array(self._values(name), dtype)
        # No audio features could be computed where an array of them is empty.
        return values.reshape(-1, *shape) if len(values) or name not in AUDIO_FEATURES else None

    def _values(self, name: str) -> Sequence[Json]:
        if name not in self._features:
            return ()
        feature = self._features[name]
        kind = feature.WhichOneof("kind")
        return () if kind is None else getattr(feature, kind).value

    def _text(self, name: str) -> str:
        return b"".join(self._values(name)).decode()

    def _words(self, name: str) -> list[tuple[str, float, float]]:
        columns = (self._values(f"{name}/{column}") for column in ("text", "start", "end"))
        return [(text.decode(), start, end) for text, start, end in zip(*columns, strict=True)]


class ListedFrames(EncodedFrames):
    """Frames that are in memory already.

    Args:
        frames: their JPEGs.
    """

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def take(self, indices: Iterable[int]) -> list[bytes]:
        """See EncodedFrames."""
        return [self._frames[index] for index in indices]
