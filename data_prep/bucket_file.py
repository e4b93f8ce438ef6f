"""The temporary files by which TFDS sorts more records than fit into memory."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

_HEAD = struct.Struct("=QQQ")  # both halves of the hash, and the size of the record
_BUFFER = 1 << 18  # bytes that one of a thousand buckets keeps in memory


class BucketFile:
    """The records of a range of hashes; in place of the `_Bucket` of TFDS, which needs TensorFlow.

    The file is open only while it is written to: a process may have fewer open files than TFDS has
    buckets.

    Args:
        path: the file, which is made when it is needed.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = Path(path)
        self._waiting = bytearray()
        self._length = 0
        self.size = 0

    def __len__(self) -> int:
        return self._length

    def add(self, key: int, data: bytes) -> None:
        """Adds a record with its hash, 128 bits."""
        self._waiting += _HEAD.pack(key >> 64, key & (1 << 64) - 1, len(data)) + data
        self._length += 1
        self.size += len(data)
        if len(self._waiting) > _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Writes what is still in memory."""
        if self._waiting:
            with self._path.open("ab") as file:
                file.write(self._waiting)
            self._waiting.clear()

    def read_values(self) -> Iterator[tuple[int, bytes]]:
        """Yields the hash and the data of each record, in the order in which they were added."""
        self.flush()
        if self._length:
            with self._path.open("rb") as file:
                for _ in range(self._length):
                    high, low, size = _HEAD.unpack(file.read(_HEAD.size))
                    yield high << 64 | low, file.read(size)

    def del_file(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)
