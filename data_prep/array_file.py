"""Files of arrays and a header with a key, which are read whole or not at all."""

import json
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_DAMAGE_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def write(
    file: Path, key: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes a `.npz` file, atomically.

    Args:
        file: path to write; its folder must exist.
        key: `read` compares it.
        header: JSON values.
        arrays: any names except `header`.
    """
    text = json.dumps({"key": key, **header})
    # Machines that share the folder may have processes of one number.
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        with unfinished.open("wb") as stream:
            stored: dict[str, Any] = {"header": np.frombuffer(text.encode(), np.uint8), **arrays}
            np.savez(stream, **stored)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def read(file: Path, key: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Reads a file of `write`; None where the file is missing or damaged or its key differs."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes())
            if header["key"] != key:
                return None
            return header, {name: stored[name] for name in stored.files}
    except _DAMAGE_ERRORS:
        return None


def pack_frames(prefix: str, frames: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Returns encoded frames as two arrays."""
    return {
        f"{prefix}/frames": np.frombuffer(b"".join(frames), np.uint8),
        f"{prefix}/lengths": np.array([len(frame) for frame in frames], np.int64),
    }


def unpack_frames(prefix: str, arrays: Mapping[str, np.ndarray]) -> tuple[bytes, ...]:
    """Returns the frames of `pack_frames`."""
    data = arrays[f"{prefix}/frames"].tobytes()
    ends = np.cumsum(arrays[f"{prefix}/lengths"]).tolist()
    return tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False))


def pack_features(prefix: str, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns audio features under names of their own."""
    return {f"{prefix}/features/{name}": values for name, values in features.items()}


def unpack_features(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the audio features of `pack_features`."""
    start = f"{prefix}/features/"
    return {n.removeprefix(start): values for n, values in arrays.items() if n.startswith(start)}
