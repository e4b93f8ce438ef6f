"""A ZIP file of videos as a stream, which is never on the disk or in memory as a whole."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_BLOCK = 1 << 20


def stream_zip(files: Iterable[tuple[str, Path | bytes]]) -> Iterator[bytes]:
    """Yields the bytes of a ZIP file; the videos are stored without compression.

    Args:
        files: (name in the archive, path or content) pairs.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, source in files:
            content = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
            with content as file, archive.open(name, "w", force_zip64=True) as entry:
                while block := file.read(_BLOCK):
                    entry.write(block)
                    yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Collects what is written since the last `take`; cannot seek, so `zipfile` never goes back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # buffers of one byte type
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
