"""The candidates of each video, cached on disk.

So an interrupted preparation resumes, and other thresholds decide without reading the videos.
"""

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep import array_file, corpora, sync_correction
from lipsync_jax.data_prep.candidates import Candidate, Candidates, MeasuredOffset
from lipsync_jax.data_prep.decision import THRESHOLDS, ExtractionResult, Features
from lipsync_jax.data_prep.settings import ExtractionSettings
from lipsync_jax.data_prep.stages import Rejected, StageCounts

FORMAT = 7  # increment when the extraction or the file's layout changes
_FEATURES = "audio features"
# Fields that are JSON values.
_PLAIN = (
    "num_frames",
    "num_frames_with_face",
    "num_frames_with_audio",
    "audio_rate",
    "is_whole",
    "notes",
)
_PLAIN_OF_ITEM = (
    "start",
    "end",
    "face_height",
    "outside",
    "sharpness",
    "relative_prominence",
    "first_sample",
)


def cache_path(folder: Path, video: corpora.Video) -> Path:
    """Returns the file that caches a video's candidates."""
    return folder / f"{hashlib.blake2b(video.video_id.encode(), digest_size=16).hexdigest()}.npz"


def cache_key(video: corpora.Video, corpus: str, settings: ExtractionSettings) -> str:
    """Returns a hash of what a video's candidates depend on: file, annotation and settings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # extraction warns again
        try:
            annotation = repr(corpora.annotation(corpus, video))
            if (expected := corpora.expected_frames(corpus, video)) is not None:
                annotation += f", {expected} frames"
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
        [
            _stable(value)
            for name, value in dataclasses.asdict(settings).items()
            if name not in THRESHOLDS
        ],
    )
    return hashlib.blake2b(repr(key_parts).encode(), digest_size=16).hexdigest()


def _stable(value: Any) -> Any:
    """Returns the name of a function, whose address differs in every process; else the value."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else value


def save(
    candidates: Candidates, file: Path, key: str, result: ExtractionResult | None = None
) -> None:
    """Writes the candidates of a video, and the audio features of a decision, to one file.

    Args:
        candidates: of `extract_clips.read_candidates`.
        file: path to write; its folder must exist.
        key: of `cache_key`; `load` compares it.
        result: of `decision.decide`.
    """
    features = result.features if result else {}
    counts = dict(candidates.stages)
    if result and _FEATURES in result.stages:  # the time of features that are not computed again
        counts[_FEATURES] = StageCounts(seconds=result.stages[_FEATURES].seconds)
    header: dict[str, Any] = {
        **{name: getattr(candidates, name) for name in _PLAIN},
        "rejected": [dataclasses.astuple(item) for item in candidates.rejected],
        "annotation": dataclasses.astuple(candidates.annotation),
        "stages": {name: each.as_json() for name, each in counts.items()},
        "items": [],
        "parts": [*features],
    }
    arrays: dict[str, np.ndarray] = {}
    for number, item in enumerate(candidates.items):
        offset = item.offset and dataclasses.astuple(item.offset)
        header["items"].append([*(getattr(item, name) for name in _PLAIN_OF_ITEM), offset])
        arrays |= array_file.pack_frames(f"{number}", item.frames)
        arrays |= {f"{number}/landmarks": item.landmarks, f"{number}/audio": item.audio}
    for number, values in enumerate(features.values()):
        arrays |= array_file.pack_features(f"part{number}", values)
    array_file.write(file, key, header, arrays)


def load(file: Path, key: str) -> tuple[Candidates, Features] | None:
    """Reads cached candidates; None where the file is missing or damaged or its key differs."""
    found = array_file.read(file, key)
    if found is None:
        return None
    header, arrays = found
    words, transcript, phones = header["annotation"]
    candidates = Candidates(
        tuple(_load_item(arrays, number, *item) for number, item in enumerate(header["items"])),
        tuple(Rejected(*item) for item in header["rejected"]),
        annotation=corpora.Annotation(
            tuple(Word(*word) for word in words), transcript, tuple(Word(*each) for each in phones)
        ),
        stages={name: StageCounts.from_json(each) for name, each in header["stages"].items()},
        **{**{name: header[name] for name in _PLAIN}, "notes": tuple(header["notes"])},
    )
    features = {
        tuple(part): array_file.unpack_features(f"part{number}", arrays)
        for number, part in enumerate(header["parts"])
    }
    return candidates, features


def _load_item(arrays: Mapping[str, np.ndarray], number: int, *values: Any) -> Candidate:
    *plain, offset = values
    return Candidate(
        **dict(zip(_PLAIN_OF_ITEM, plain, strict=True)),
        offset=offset and MeasuredOffset(*offset),
        frames=array_file.unpack_frames(f"{number}", arrays),
        landmarks=arrays[f"{number}/landmarks"],
        audio=arrays[f"{number}/audio"],
    )
