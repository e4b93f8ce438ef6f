"""A photo in tiles, as iPhones write it: HEVC images and a grid that puts them together."""

import struct
from pathlib import Path

import av
import numpy as np


def write_heic(path: Path, image: np.ndarray, tile: int = 64) -> Path:
    """Writes uint8 RGB whose sizes are multiples of the tile's."""
    rows, columns = image.shape[0] // tile, image.shape[1] // tile
    tiles, header = [], b""
    for row in range(rows):
        for column in range(columns):
            part = image[row * tile :, column * tile :][:tile, :tile]
            header, data = _encode(path.with_suffix(".mp4"), part)
            tiles.append(data)
    path.with_suffix(".mp4").unlink()
    grid = len(tiles) + 1
    shape = image.shape[1], image.shape[0]
    payload = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *shape)
    names = [_full(b"infe", struct.pack(">HH4sB", i, 0, b"hvc1", 0), 2, 1) for i in range(1, grid)]
    names.append(_full(b"infe", struct.pack(">HH4sB", grid, 0, b"grid", 0), 2))
    parts = struct.pack(f">HH{len(tiles)}H", grid, len(tiles), *range(1, grid))
    sizes = [_full(b"ispe", struct.pack(">II", *size)) for size in ((tile, tile), shape)]
    properties = _box(b"ipco", _box(b"hvcC", header) + b"".join(sizes))
    used = [struct.pack(">HBBB", i, 2, 0x81, 2) for i in range(1, grid)]
    used.append(struct.pack(">HBB", grid, 1, 3))
    properties += _full(b"ipma", struct.pack(">I", grid) + b"".join(used))
    start = _box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(begin: int) -> bytes:
        places = b""
        for number, data in enumerate(tiles, 1):
            places += struct.pack(">HHHHII", number, 0, 0, 1, begin, len(data))
            begin += len(data)
        places += struct.pack(">HHHHII", grid, 1, 0, 1, 0, len(payload))
        return _full(
            b"meta",
            _full(b"hdlr", b"\0\0\0\0pict" + bytes(13))
            + _full(b"pitm", struct.pack(">H", grid))
            + _full(b"iloc", struct.pack(">BBH", 0x44, 0, grid) + places, 1)
            + _full(b"iinf", struct.pack(">H", grid) + b"".join(names))
            + _full(b"iref", _box(b"dimg", parts))
            + _box(b"iprp", properties)
            + _box(b"idat", payload),
        )

    head = start + meta(len(start) + len(meta(0)) + 8)
    path.write_bytes(head + _box(b"mdat", b"".join(tiles)))
    return path


def _encode(path: Path, image: np.ndarray) -> tuple[bytes, bytes]:
    """The decoder's configuration and the data of one image."""
    with av.open(str(path), "w") as container:
        options = {"x265-params": "log-level=error:qp=10:info=0", "preset": "ultrafast"}
        stream = container.add_stream("libx265", rate=1, options=options)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.pts = packet.dts = 0  # libx265's are undefined for a video of one frame
            container.mux(packet)
    with av.open(str(path)) as container:
        header = container.streams.video[0].codec_context.extradata
        return header, b"".join(bytes(packet) for packet in container.demux() if packet.size)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + content)
