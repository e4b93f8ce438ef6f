"""The index of a split's shards: where each frame and each array lies, so that windows are cheap.

Preparation writes the index beside the shards, in `index/`. Every byte that the index addresses is
compared with what ArrayRecord reads before the index is written, and frames carry checksums.
"""

import array
import functools
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lipsync_jax.data.clip import EncodedFrames
from lipsync_jax.data.clip_record import ARRAYS, ParsedRecord
from lipsync_jax.data.shard_file import ShardFile
from lipsync_jax.types import Json, Untyped

FORMAT = 1
_OPEN_SHARDS = 256
_SPEECH = "speech_activity"  # a byte a frame, kept in the index: to sample a window reads all of it
_STORED = tuple(name for name in ARRAYS if name != _SPEECH)
# Columns of the table of clips; start and size in bytes follow for each array.
_SHARD, _POSITION, _FIRST_FRAME, _NUM_FRAMES, _HEAD, _HEAD_SIZE, _HAS_SPEECH, _ARRAY = range(8)


def folder_of(dataset: Path, split: str) -> Path:
    """Returns the folder of a split's index."""
    return dataset / "index" / split


def write(
    dataset: Path,
    split: str,
    shards: Sequence[Path],
    counted: Callable[[Iterable[tuple[int, int]]], Iterable[tuple[int, int]]] = iter,
) -> None:
    """Writes the index of a split, in place of an older one.

    Args:
        dataset: folder of the prepared data set.
        split: name of the split.
        shards: of the split, in order.
        counted: yields what it is given, the place of each record; for a display of progress.

    Raises:
        ValueError: records can't be addressed; says why.
    """
    from array_record.python import array_record_module

    # Plain buffers: a large corpus has hundreds of millions of frames.
    clips, frames = array.array("q"), array.array("I")
    speech, heads = bytearray(), bytearray()
    num_frames = 0
    for number, shard in enumerate(shards):
        reader, file = array_record_module.ArrayRecordReader(str(shard)), ShardFile(shard)
        count = reader.num_records()
        for k, (position, size) in enumerate(counted(file.record_positions(count))):
            serialized = reader.read([k])[0]
            if file.read(position, size) != serialized:
                raise ValueError(f"record {k} of {shard} is not where its header says")
            record = ParsedRecord(serialized)
            head = json.dumps(record.head).encode()
            row = [number, position, num_frames, len(record.frames), len(heads), len(head)]
            end = 0
            for frame in record.frames:
                end = _find(serialized, frame, end) + len(frame)
                frames.extend((end - len(frame), len(frame), zlib.crc32(frame)))
            num_frames += len(record.frames)
            activity = record.array(_SPEECH)
            row.append(activity is not None)
            speech += bytes(len(record.frames)) if activity is None else activity.tobytes()
            for name in _STORED:
                values = record.array(name)
                data = b"" if values is None else values.tobytes()
                row += (_find(serialized, data) if data else 0, len(data))
            clips.extend(row)
            heads += head
        reader.close()
    folder = folder_of(dataset, split)
    unfinished = folder.with_name(f"{split}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    columns = _ARRAY + 2 * len(_STORED)
    np.save(unfinished / "clips.npy", np.frombuffer(clips, np.int64).reshape(-1, columns))
    np.save(unfinished / "frames.npy", np.frombuffer(frames, np.uint32).reshape(-1, 3))
    np.save(unfinished / "speech.npy", np.frombuffer(speech, np.uint8))
    np.save(unfinished / "heads.npy", np.frombuffer(heads, np.uint8))
    stamp = json.dumps({"format": FORMAT, "shards": _sizes(shards)})
    (unfinished / "index.json").write_text(stamp, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def is_current(dataset: Path, split: str, shards: Sequence[Path]) -> bool:
    """Returns whether a split has an index of these shards."""
    try:
        stamp = json.loads((folder_of(dataset, split) / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return stamp == {"format": FORMAT, "shards": _sizes(shards)}


class ClipIndex:
    """An index in use: gives access to the records of a split; thread-safe, may be pickled.

    Args:
        dataset: folder of the prepared data set.
        split: name of the split.
        shards: of the split, in order.
    """

    def __init__(self, dataset: Path, split: str, shards: Sequence[Path]) -> None:
        self._arguments = dataset, split, tuple(shards)
        folder = folder_of(dataset, split)
        # Views of the mapped files: pages are shared by all processes that read the data set.
        self.clips, self.frames, self.speech, self.heads = (
            np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray)
            for name in ("clips", "frames", "speech", "heads")
        )
        # What is left out is closed when no thread reads it any more.
        self._open = functools.lru_cache(_OPEN_SHARDS)(ShardFile)

    def __reduce__(self) -> tuple[type, tuple]:
        return ClipIndex, self._arguments

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> "IndexedRecord":
        return IndexedRecord(self, number)

    def shard(self, number: int) -> ShardFile:
        """Returns an open shard."""
        return self._open(self.shard_path(number))

    def shard_path(self, number: int) -> Path:
        """Returns the path of a shard."""
        return self._arguments[2][number]


class IndexedRecord:
    """One record, of which only what is asked for is read; see `clip_record.ClipRecord`.

    Args:
        index: of the split.
        number: of the record in the split.
    """

    def __init__(self, index: ClipIndex, number: int) -> None:
        self._index = index
        self._row: list[int] = index.clips[number].tolist()

    @functools.cached_property
    def head(self) -> Mapping[str, Json]:
        """See ClipRecord."""
        start, size = self._row[_HEAD], self._row[_HEAD_SIZE]
        return json.loads(self._index.heads[start : start + size].tobytes())

    @property
    def frames(self) -> "IndexedFrames":
        """See ClipRecord."""
        first, count = self._row[_FIRST_FRAME], self._row[_NUM_FRAMES]
        return IndexedFrames(self, self._index.frames[first : first + count])

    def array(self, name: str) -> "np.ndarray | IndexedArray | None":
        """See ClipRecord."""
        if name == _SPEECH:
            first, count = self._row[_FIRST_FRAME], self._row[_NUM_FRAMES]
            has_speech = self._row[_HAS_SPEECH]
            return self._index.speech[first : first + count] if has_speech else None
        column = _ARRAY + 2 * _STORED.index(name)
        start, size = self._row[column : column + 2]
        return IndexedArray(self, name, start, size) if size else None

    def read(self, start: int, size: int) -> bytes:
        """Returns bytes of the record.

        Raises:
            ValueError: the shard ends early.
        """
        data = self._index.shard(self._row[_SHARD]).read(self._row[_POSITION] + start, size)
        if len(data) != size:
            raise self.damaged("ends early")
        return data

    def damaged(self, what: str) -> ValueError:
        """Returns the error that names the shard."""
        shard = self._index.shard_path(self._row[_SHARD])
        clip_id = self.head["clip_id"]
        return ValueError(f"{shard} {what} (clip {clip_id}). Prepare the data set again.")


class IndexedFrames(EncodedFrames):
    """The frames of a record, each of which is read by itself.

    Args:
        record: the record.
        bounds: uint32 (frames, 3), start in the record, size and CRC-32 of each.
    """

    def __init__(self, record: IndexedRecord, bounds: np.ndarray) -> None:
        self._record, self._bounds = record, bounds

    def __len__(self) -> int:
        return len(self._bounds)

    def take(self, indices: Iterable[int]) -> Sequence[memoryview]:
        """Reads some frames; successive ones at once.

        Raises:
            ValueError: a frame differs from its checksum; names the shard.
        """
        indices = list(indices)
        taken: list[memoryview] = []
        while len(taken) < len(indices):
            first = len(taken)
            last = first + 1
            while last < len(indices) and indices[last] == indices[last - 1] + 1:
                last += 1
            bounds = self._bounds[indices[first] : indices[last - 1] + 1].tolist()
            if len(bounds) != last - first:
                raise IndexError(f"the clip has {len(self)} frames, not {indices[last - 1] + 1}")
            base = bounds[0][0]
            data = memoryview(self._record.read(base, bounds[-1][0] + bounds[-1][1] - base))
            for number, (start, size, checksum) in zip(indices[first:last], bounds, strict=True):
                frame = data[start - base : start - base + size]
                if zlib.crc32(frame) != checksum:
                    raise self._record.damaged(f"is damaged at frame {number}")
                taken.append(frame)
        return taken


class IndexedArray:
    """An array of a record, rows of which are read when asked for.

    Args:
        record: the record.
        name: a key of `ARRAYS`.
        start: of the array in the record, bytes.
        size: of the array, bytes.
    """

    def __init__(self, record: IndexedRecord, name: str, start: int, size: int) -> None:
        self._record, self._start = record, start
        dtype, self._shape = ARRAYS[name]
        self._dtype = np.dtype(dtype)
        self._row_size = self._dtype.itemsize * math.prod(self._shape)
        self._rows = size // self._row_size

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Reads some rows."""
        first, last, step = rows.indices(self._rows)
        size = max(0, last - first) * self._row_size
        data = self._record.read(self._start + first * self._row_size, size)
        return np.frombuffer(data, self._dtype).reshape(-1, *self._shape)[::step]


def _find(serialized: bytes, part: bytes, start: int = 0) -> int:
    position = serialized.find(part, start)
    if position < 0:
        raise ValueError("a value is not stored as its bytes")
    return position


def _sizes(shards: Sequence[Path]) -> list[list[Untyped]]:
    return [[shard.name, shard.stat().st_size] for shard in shards]
