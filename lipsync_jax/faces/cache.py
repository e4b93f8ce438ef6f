"""A cache of the faces of videos in the user's cache folder."""

import functools
import hashlib
import io
import itertools
import os
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from lipsync_jax import __version__, faces, user_cache
from lipsync_jax.faces.tracking import PER_FRAME
from lipsync_jax.faces.trajectory import VideoFaces

_FORMAT_VERSION = 5  # raise it when frames are decoded or faces stored in another way


def cache_key(video: str | os.PathLike, settings: Mapping[str, object]) -> str:
    """Returns the name of an entry, which depends on the video's content and the settings.

    Args:
        video: the face video.
        settings: everything that detection depends on; of a detector's file the content is used.
    """
    digest = hashlib.sha256(f"{__version__} {_FORMAT_VERSION} {sorted(settings.items())}".encode())
    weights = Path(str(settings.get("detector")).partition(":")[2] or ".")
    for path in (video, weights):
        if Path(path).is_file():
            status = os.stat(path)
            digest.update(_content_hash(os.path.abspath(path), status.st_size, status.st_mtime_ns))
    return digest.hexdigest()[:32]


@functools.lru_cache(maxsize=16)
def _content_hash(path: str, size: int, mtime_ns: int) -> bytes:
    """Returns the hash of a file, which is read once while size and time are as they were."""
    del size, mtime_ns
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def load(name: str, end: Fraction | None) -> VideoFaces | None:
    """Loads the faces of a video.

    Args:
        name: from `cache_key`.
        end: seconds up to which faces are needed; None for the whole video.

    Returns:
        The faces up to `end` or beyond, or None without such an entry.
    """
    path = _path(name)
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            complete, last = bool(arrays["complete"]), Fraction(*arrays["times"][-1].tolist())
            if not complete and (end is None or last < end):
                return None
            video_faces = _from_arrays(arrays)
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return None  # no entry, or an incomplete one: detect again
    user_cache.mark_used(path)
    return video_faces


def store(name: str, video_faces: VideoFaces, complete: bool) -> None:
    """Stores the faces of a video; does nothing if the folder can't be written to.

    Args:
        name: from `cache_key`.
        video_faces: the faces.
        complete: whether they cover the whole video.
    """
    file = io.BytesIO()
    # The stub takes any keyword for its `allow_pickle`.
    np.savez_compressed(file, complete=complete, **_to_arrays(video_faces))  # type: ignore[arg-type]
    user_cache.write_entry(_path(name), file.getvalue())


def digest(video_faces: VideoFaces) -> str:
    """Returns a hash of the faces of a video."""
    hashed = hashlib.sha256()
    for name, values in sorted(_to_arrays(video_faces).items()):
        hashed.update(f"{name} {values.dtype} {values.shape} ".encode())
        hashed.update(np.ascontiguousarray(values).data)
    return hashed.hexdigest()


def _path(name: str) -> Path:
    return user_cache.folder("faces") / f"{name}.npz"


def _to_arrays(video_faces: VideoFaces) -> dict[str, np.ndarray]:
    tracks = video_faces.tracks
    arrays = {
        "times": np.array([t.as_integer_ratio() for t in video_faces.times], np.int64).reshape(
            -1, 2
        ),
        "starts": np.array([t.start for t in tracks], np.int64),
        "lengths": np.array([len(t) for t in tracks], np.int64),
    }
    if tracks:
        arrays |= {f: np.concatenate([getattr(t, f) for t in tracks]) for f in PER_FRAME}
        # Tracks of VideoFaces have both.
        arrays["descriptor"] = np.stack([t.descriptor for t in tracks])  # type: ignore[misc]
        arrays["thumbnail"] = np.stack([t.thumbnail for t in tracks])  # type: ignore[misc]
    return arrays


def _from_arrays(arrays: Mapping[str, np.ndarray]) -> VideoFaces:
    times = tuple(Fraction(a, b) for a, b in arrays["times"].tolist())
    starts, lengths = arrays["starts"].tolist(), arrays["lengths"].tolist()
    if not starts:
        return VideoFaces(times, ())
    columns = [arrays[f] for f in PER_FRAME]
    ends = itertools.accumulate(lengths)
    tracks = [
        faces.Track(
            start,
            **{
                field: column[end - n : end]
                for field, column in zip(PER_FRAME, columns, strict=True)
            },
            descriptor=descriptor,
            thumbnail=thumbnail,
        )
        for start, n, end, descriptor, thumbnail in zip(
            starts, lengths, ends, arrays["descriptor"], arrays["thumbnail"], strict=True
        )
    ]
    return VideoFaces(times, tuple(tracks))
