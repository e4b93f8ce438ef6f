"""Parts of a rendered corpus: ranges of seeds that several machines render into one folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lipsync_jax.data.clip import Clip
from lipsync_jax.data_prep.synthetic import render_clips

Job = tuple[np.random.SeedSequence, str, range, float, str]  # arguments of `render_speaker`
Item = TypeVar("Item")


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
    from lipsync_jax.data_prep import clip_cache  # slow to import
    from lipsync_jax.data_prep.extract_clips import ExtractionResult

    file = _file(folder, job)
    if clip_cache.load(file, recipe_key) is None:
        clips = tuple(render_clips.render_speaker(*job))
        clip_cache.save(ExtractionResult(clips), file, recipe_key)
    return len(job[2])


def clips(folder: Path, recipe_key: str, job: Job) -> Sequence[Clip]:
    """Returns the clips of a job: those of its file or, without one, rendered now."""
    file = _file(folder, job)
    if file.is_file():
        from lipsync_jax.data_prep import clip_cache

        result = clip_cache.load(file, recipe_key)
        if result is not None:
            return result.clips
    return render_clips.render_speaker(*job)


def _file(folder: Path, job: Job) -> Path:
    _, speaker, numbers, _, _ = job
    return folder / f"{speaker}-{numbers.start}-{numbers.stop}.npz"
