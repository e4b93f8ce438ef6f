"""Parts of a rendered corpus: ranges of seeds that several machines render into one folder."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lipsync_jax.data.clip import Clip, Word
from lipsync_jax.data.feature_cache import ClipWithFeatures, compute_features
from lipsync_jax.data_prep import array_file
from lipsync_jax.data_prep.synthetic import render_clips

Job = tuple[np.random.SeedSequence, str, range, float, str]  # arguments of `render_speaker`
Item = TypeVar("Item")
# Fields of a clip, by how they are stored; the frame rate is always one.
_PLAIN = ("clip_id", "speaker", "audio_rate", "sync_offset", "sync_confidence", "transcript")
_WORDS = ("words", "phones")
_ARRAYS = ("audio", "landmarks")


def parse(text: str) -> tuple[int, int]:
    """Returns number and count of `--part`, e.g. (3, 8) of `3/8`.

    Raises:
        ValueError: the text is not of that form, or the number is out of range.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"--part {text}: expected I/N with I from 1 to N, e.g. 3/8")
    return int(number), int(count)


def select(items: Sequence[Item], part: tuple[int, int]) -> Sequence[Item]:
    """Returns the range of the items that is part I of N; the parts together are all items."""
    number, count = part
    return items[(number - 1) * len(items) // count : number * len(items) // count]


def key(recipe: dict[str, Any]) -> str:
    """Returns what the rendered clips of a recipe depend on, without the size of the corpus."""
    return json.dumps({name: recipe[name] for name in ("seed", "seconds", "crop", "format")})


def render(folder: Path, recipe_key: str, job: Job) -> int:
    """Renders the clips of a job into a file, unless they are there; returns their number."""
    file = _file(folder, job)
    if array_file.read(file, recipe_key) is None:
        clips = render_clips.render_speaker(*job)
        heads: list[dict[str, Any]] = []
        arrays: dict[str, np.ndarray] = {}
        for number, clip in enumerate(clips):
            heads.append({name: getattr(clip, name) for name in _PLAIN} | _words(clip))
            arrays |= array_file.pack_frames(f"{number}", clip.frames)
            arrays |= array_file.pack_features(f"{number}", compute_features(clip))
            arrays |= {f"{number}/{name}": getattr(clip, name) for name in _ARRAYS}
        array_file.write(file, recipe_key, {"clips": heads}, arrays)
    return len(job[2])


def clips(folder: Path, recipe_key: str, job: Job) -> Sequence[Clip]:
    """Returns the clips of a job: those of its file or, without one, rendered now."""
    found = array_file.read(_file(folder, job), recipe_key)
    if found is None:
        return render_clips.render_speaker(*job)
    header, arrays = found
    return [_load(f"{number}", head, arrays) for number, head in enumerate(header["clips"])]


def _words(clip: Clip) -> dict[str, list]:
    return {n: [dataclasses.astuple(word) for word in getattr(clip, n)] for n in _WORDS}


def _load(prefix: str, head: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Clip:
    fields: dict[str, Any] = {name: arrays[f"{prefix}/{name}"] for name in _ARRAYS}
    fields |= head | {name: tuple(Word(*word) for word in head[name]) for name in _WORDS}
    frames = array_file.unpack_frames(prefix, arrays)
    clip = Clip(frames=frames, frame_rate=render_clips.FRAME_RATE, **fields)
    return ClipWithFeatures.of(clip, array_file.unpack_features(prefix, arrays))


def _file(folder: Path, job: Job) -> Path:
    _, speaker, numbers, _, _ = job
    return folder / f"{speaker}-{numbers.start}-{numbers.stop}.npz"
