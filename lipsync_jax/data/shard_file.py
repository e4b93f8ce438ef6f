"""Reads byte ranges of uncompressed ArrayRecord shards, without reading the whole record.

A shard is a Riegeli file: chunks of a 40-byte header and their data, interrupted by a header of 24
bytes at the start of every block of 64 KiB. *Payload positions* count the bytes between the block
headers; in them, each record is contiguous.
"""

import os
import struct
import weakref
from collections.abc import Iterator
from pathlib import Path

IS_SUPPORTED = hasattr(os, "pread")  # not on Windows, where whole records are read
_BLOCK, _BLOCK_HEADER, _CHUNK_HEADER = 1 << 16, 24, 40
_PAYLOAD = _BLOCK - _BLOCK_HEADER


class ShardFile:
    """One open shard; reads are thread-safe.

    Args:
        path: of the shard.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, position: int, size: int) -> bytes:
        """Returns `size` bytes from a payload position on, fewer at the end of the file."""
        if size <= 0:
            return b""
        start, end = _file_position(position), _file_position(position + size - 1) + 1
        data = os.pread(self._descriptor, end - start, start)
        boundary = _BLOCK - start % _BLOCK
        if boundary >= len(data):
            return data
        pieces = [data[:boundary]]
        while boundary < len(data):
            pieces.append(data[boundary + _BLOCK_HEADER : boundary + _BLOCK])
            boundary += _BLOCK
        return b"".join(pieces)

    def record_positions(self, count: int) -> Iterator[tuple[int, int]]:
        """Yields payload position and size of each of the shard's `count` records, in order.

        Raises:
            ValueError: the records are compressed or grouped, so they can't be addressed.
        """
        position = _CHUNK_HEADER  # after the file's signature
        for _ in range(count):
            header = self.read(position, _CHUNK_HEADER)
            if len(header) < _CHUNK_HEADER:
                raise ValueError("the shard ends early")
            _, data_size, _, kind, size = struct.unpack("<5Q", header)
            data_start = position + _CHUNK_HEADER
            # Chunk type `r` in the low byte, then the number of records; compression type 0.
            if kind != (1 << 8 | ord("r")) or self.read(data_start, 1) != b"\0":
                raise ValueError("the shard's records are compressed or grouped")
            position = data_start + data_size
            yield position - size, size


def _file_position(payload_position: int) -> int:
    block, offset = divmod(payload_position, _PAYLOAD)
    return block * _BLOCK + _BLOCK_HEADER + offset
