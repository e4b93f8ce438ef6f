"""What became of each video, kept on disk so that an interrupted preparation goes on."""

import dataclasses
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lipsync_jax.data.clip import Clip, Word
from lipsync_jax.data_prep import corpora
from lipsync_jax.data_prep.extract_clips import FRAME_RATE, Dropped, Outcome, Settings

FORMAT = 2  # raise it when cutting or the file's layout changes
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def file_of(folder: Path, source: corpora.Video) -> Path:
    """Where a video's outcome is kept."""
    return folder / f"{hashlib.blake2b(source.video_id.encode(), digest_size=16).hexdigest()}.npz"


def key_of(source: corpora.Video, corpus: str, settings: Settings) -> str:
    """Text that changes whenever a video's outcome might: its file, transcript and settings."""
    try:
        words = repr(corpora.get(corpus).words(source))
    except (ValueError, OSError) as error:
        words = str(error)
    stamps = []
    weights = Path(str(settings.detector).partition(":")[2])  # of yunet:FILE
    for path in (source.path, source.path.with_suffix(".wav"), weights):
        if path.is_file():
            stat = path.stat()
            stamps.append((stat.st_size, stat.st_mtime_ns))
    about = (FORMAT, source.video_id, source.speaker, stamps, words, dataclasses.astuple(settings))
    return hashlib.blake2b(repr(about).encode(), digest_size=16).hexdigest()


def save(outcome: Outcome, file: Path, key: str) -> None:
    """Keeps an outcome in one `.npz` file, whole or not at all.

    Args:
        outcome: of `cut.cut`.
        file: where; its folder must exist.
        key: of `key_of`; `load` compares it.
    """
    about: dict[str, Any] = {
        "key": key,
        "frames": outcome.frames,
        "found": outcome.found,
        "notes": outcome.notes,
        "dropped": [dataclasses.astuple(item) for item in outcome.dropped],
        "clips": [],
    }
    arrays = {}
    for number, clip in enumerate(outcome.clips):
        words = [dataclasses.astuple(word) for word in clip.words]
        about["clips"].append([clip.clip_id, clip.speaker, clip.audio_rate, words])
        arrays[f"{number}/frames"] = np.frombuffer(b"".join(clip.frames), np.uint8)
        arrays[f"{number}/lengths"] = np.array([len(frame) for frame in clip.frames])
        arrays[f"{number}/audio"] = clip.audio
        arrays[f"{number}/landmarks"] = clip.landmarks
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.part")
    with unfinished.open("wb") as stream:
        np.savez(stream, **arrays)
    unfinished.replace(file)


def load(file: Path, key: str | None = None) -> Outcome | None:
    """Reads a kept outcome; None if there is none, it is damaged, or its key differs."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            if key is not None and about["key"] != key:
                return None
            clips = [_load_clip(arrays, number, *c) for number, c in enumerate(about["clips"])]
    except _DAMAGED:
        return None
    return Outcome(
        clips=tuple(clips),
        dropped=tuple(Dropped(*item) for item in about["dropped"]),
        frames=about["frames"],
        found=about["found"],
        notes=tuple(about["notes"]),
    )


def _load_clip(arrays, number: int, clip_id: str, speaker: str, rate: int, words: list) -> Clip:
    data = arrays[f"{number}/frames"].tobytes()
    ends = np.cumsum(arrays[f"{number}/lengths"]).tolist()
    return Clip(
        clip_id=clip_id,
        speaker=speaker,
        frames=tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False)),
        frame_rate=FRAME_RATE,
        audio=arrays[f"{number}/audio"],
        audio_rate=rate,
        landmarks=arrays[f"{number}/landmarks"],
        words=tuple(Word(*word) for word in words),
    )
