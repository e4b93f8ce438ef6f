"""Where faces were found is kept in the user's cache folder: a video is looked through once."""

import contextlib
import hashlib
import itertools
import os
import uuid
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from lipsync_jax import __version__, faces
from lipsync_jax.faces.trajectory import Survey

_READING = 2  # raise it when frames are read in another way
MOST = 200  # surveys kept, the latest used
_FIELDS = ("boxes", "landmarks", "scores", "detected")


def folder() -> Path:
    """The user's cache folder for surveys."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "lipsync_jax" / "faces"


def key(video: str | os.PathLike, settings: Mapping[str, object]) -> str:
    """A name for a survey: it depends on the file's content, not on its place, and on how.

    Args:
        video: the face video.
        settings: all that the survey depends on; a detector's file counts by its content.
    """
    digest = hashlib.sha256(f"{__version__} {_READING} {sorted(settings.items())}".encode())
    weights = Path(str(settings.get("detector")).partition(":")[2] or ".")
    for path in (video, weights):
        if Path(path).is_file():
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def load(name: str, end: Fraction | None) -> Survey | None:
    """Reads a survey.

    Args:
        name: see `key`.
        end: seconds up to which it is needed; None for the whole video.

    Returns:
        A survey that reaches beyond `end`, or None.
    """
    path = folder() / f"{name}.npz"
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            whole, last = bool(arrays["whole"]), Fraction(*arrays["times"][-1].tolist())
            if not whole and (end is None or last < end):
                return None
            survey = _unpacked(arrays)
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return None  # not there, or not whole: look again
    with contextlib.suppress(OSError):
        os.utime(path)
    return survey


def store(name: str, survey: Survey, whole: bool) -> None:
    """Keeps a survey; where the folder can't be written to, it does without.

    Args:
        name: see `key`.
        survey: what was found.
        whole: whether it covers all of the video.
    """
    path = folder() / f"{name}.npz"
    partial = path.with_name(f".{uuid.uuid4().hex}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            # The stub takes any keyword for its `allow_pickle`.
            np.savez_compressed(file, whole=whole, **_packed(survey))  # type: ignore[arg-type]
        os.replace(partial, path)
        found = sorted(folder().glob("[!.]*.npz"), key=lambda file: file.stat().st_mtime)
        for old in found[:-MOST]:
            old.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _packed(survey: Survey) -> dict[str, np.ndarray]:
    tracks = survey.tracks
    arrays = {
        "times": np.array([t.as_integer_ratio() for t in survey.times], np.int64).reshape(-1, 2),
        "starts": np.array([t.start for t in tracks], np.int64),
        "lengths": np.array([len(t) for t in tracks], np.int64),
    }
    if tracks:
        arrays |= {f: np.concatenate([getattr(t, f) for t in tracks]) for f in _FIELDS}
        # A survey asks for both, so none is None.
        arrays["likeness"] = np.stack([t.likeness for t in tracks])  # type: ignore[misc]
        arrays["portrait"] = np.stack([t.portrait for t in tracks])  # type: ignore[misc]
    return arrays


def _unpacked(arrays: Mapping[str, np.ndarray]) -> Survey:
    times = tuple(Fraction(a, b) for a, b in arrays["times"].tolist())
    starts, lengths = arrays["starts"].tolist(), arrays["lengths"].tolist()
    if not starts:
        return Survey(times, ())
    columns = [arrays[f] for f in _FIELDS]
    ends = itertools.accumulate(lengths)
    tracks = [
        faces.Track(
            start,
            **{
                field: column[end - n : end] for field, column in zip(_FIELDS, columns, strict=True)
            },
            likeness=likeness,
            portrait=portrait,
        )
        for start, n, end, likeness, portrait in zip(
            starts, lengths, ends, arrays["likeness"], arrays["portrait"], strict=True
        )
    ]
    return Survey(times, tuple(tracks))
