"""Extraction results of each video, cached on disk so that an interrupted preparation resumes."""

import dataclasses
import hashlib
import json
import uuid
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lipsync_jax.data.clip import Clip, Word
from lipsync_jax.data.feature_cache import ClipWithFeatures, compute_features
from lipsync_jax.data_prep import corpora, stages, sync_correction
from lipsync_jax.data_prep.extract_clips import ExtractionResult
from lipsync_jax.data_prep.settings import FRAME_RATE, ExtractionSettings
from lipsync_jax.data_prep.stages import Rejected, StageCounts

FORMAT = 6  # increment when the extraction or the file's layout changes
_DAMAGE_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def cache_path(folder: Path, video: corpora.Video) -> Path:
    """Returns the file that caches a video's result."""
    return folder / f"{hashlib.blake2b(video.video_id.encode(), digest_size=16).hexdigest()}.npz"


def cache_key(video: corpora.Video, corpus: str, settings: ExtractionSettings) -> str:
    """Returns a hash of all that a video's result depends on: file, transcript and settings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # extraction warns again
        try:
            annotation = repr(corpora.annotation(corpus, video))
        except (ValueError, OSError) as error:
            annotation = str(error)
    stamps = []
    weights = Path(str(settings.detector).partition(":")[2])  # of yunet:FILE
    for path in (video.path, video.path.with_suffix(".wav"), video.audio_path, weights):
        if path and path.is_file():
            stat = path.stat()
            stamps.append((stat.st_size, stat.st_mtime_ns))
    model = sync_correction.model_folder(settings)
    key_parts = (
        FORMAT,
        model and sync_correction.model_fingerprint(model),
        video.video_id,
        video.speaker,
        (video.fault, video.start, video.end, video.region),
        stamps,
        annotation,
        [_stable(value) for value in dataclasses.astuple(settings)],
    )
    return hashlib.blake2b(repr(key_parts).encode(), digest_size=16).hexdigest()


def _stable(value: Any) -> Any:
    """Returns the name of a function, whose address differs in every process; else the value."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else value


def save(result: ExtractionResult, file: Path, key: str) -> None:
    """Writes a result to one `.npz` file, atomically.

    Args:
        result: of `extract_clips.extract_clips`.
        file: path to write; its folder must exist.
        key: of `cache_key`; `load` compares it.
    """
    header: dict[str, Any] = {
        "key": key,
        "num_frames": result.num_frames,
        "num_frames_with_face": result.num_frames_with_face,
        "notes": result.notes,
        "rejected": [dataclasses.astuple(item) for item in result.rejected],
        "stages": stages.as_json(result.stages),
        "clips": [],
    }
    arrays = {}
    for number, clip in enumerate(result.clips):
        words, phones = (
            [dataclasses.astuple(word) for word in words] for words in (clip.words, clip.phones)
        )
        sync = clip.sync_offset, clip.sync_confidence
        header["clips"].append(
            [clip.clip_id, clip.speaker, clip.audio_rate, words, clip.transcript, phones, sync]
        )
        for name, values in compute_features(clip).items():
            arrays[f"{number}/features/{name}"] = values
        arrays[f"{number}/frames"] = np.frombuffer(b"".join(clip.frames), np.uint8)
        arrays[f"{number}/lengths"] = np.array([len(frame) for frame in clip.frames])
        arrays[f"{number}/audio"] = clip.audio
        arrays[f"{number}/landmarks"] = clip.landmarks
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    # Machines that share the folder may have processes of one number.
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        with unfinished.open("wb") as stream:
            np.savez(stream, **arrays)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def load(file: Path, key: str | None = None) -> ExtractionResult | None:
    """Reads a cached result; None where the file is missing or damaged or its key differs."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            if key is not None and header["key"] != key:
                return None
            clips = [_load_clip(arrays, number, *c) for number, c in enumerate(header["clips"])]
    except _DAMAGE_ERRORS:
        return None
    return ExtractionResult(
        clips=tuple(clips),
        rejected=tuple(Rejected(*item) for item in header["rejected"]),
        num_frames=header["num_frames"],
        num_frames_with_face=header["num_frames_with_face"],
        notes=tuple(header["notes"]),
        stages={name: StageCounts.from_json(each) for name, each in header["stages"].items()},
    )


def _load_clip(
    arrays,
    number: int,
    clip_id: str,
    speaker: str,
    rate: int,
    words: list,
    transcript: str,
    phones: list,
    sync: list,
) -> Clip:
    prefix = f"{number}/features/"
    features = {n.removeprefix(prefix): arrays[n] for n in arrays.files if n.startswith(prefix)}
    data = arrays[f"{number}/frames"].tobytes()
    ends = np.cumsum(arrays[f"{number}/lengths"]).tolist()
    clip = Clip(
        clip_id=clip_id,
        speaker=speaker,
        frames=tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False)),
        frame_rate=FRAME_RATE,
        audio=arrays[f"{number}/audio"],
        audio_rate=rate,
        landmarks=arrays[f"{number}/landmarks"],
        sync_offset=sync[0],
        sync_confidence=sync[1],
        words=tuple(Word(*word) for word in words),
        transcript=transcript,
        phones=tuple(Word(*phone) for phone in phones),
    )
    return ClipWithFeatures.of(clip, features)
