"""Videos of several methods side by side."""

import os
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax.evaluation.results import TRUTH
from lipsync_jax.evaluation.samples import Task
from lipsync_jax.evaluation.sync_models import RATE, SAMPLES
from lipsync_jax.media import audio, video_reader
from lipsync_jax.provenance import metadata
from lipsync_jax.provenance.visible_label import Label
from lipsync_jax.text import file_names, printable

_HEIGHT = 288  # pixels
_WIDEST = 640


def write(folder: str | os.PathLike, tasks: Sequence[Task]) -> list[tuple[str, str]]:
    """Writes each clip: the truth and all methods in a row, with the clip's sound.

    Args:
        folder: where; a clip `a/b` becomes `a_b.mp4`, see `text.file_names`.
        tasks: the clips.

    Returns:
        (clip, reason) of those that failed; a method without a video is left out of its row.
    """
    failed = []
    names = file_names(task.clip for task in tasks)
    for task in tasks:
        try:
            _write(Path(folder) / f"{names[task.clip]}.mp4", task)
        except (ValueError, OSError) as error:
            failed.append((task.clip, str(error)))
    return failed


def _write(path: Path, task: Task) -> None:
    real = task.real()
    columns = [(TRUTH, real)]
    for name, made in task.methods.items():
        try:
            columns.append((name, made(real)))
        except (ValueError, OSError):
            continue  # the evaluation lists it
    width, height = real.size
    size = min(_WIDEST, 2 * round(width * _HEIGHT / height / 2)), _HEIGHT
    labels = [Label(printable(name), size) for name, _ in columns]
    count = min(len(footage) for _, footage in columns)
    with tempfile.TemporaryDirectory(prefix="lipsync_") as scratch:
        sound = Path(scratch) / "sound.wav"
        part = real.samples[real.first :][: count * SAMPLES]
        audio.save(sound, part if len(part) else np.zeros(SAMPLES, np.float32), audio.SAMPLE_RATE)
        with video_reader.VideoWriter(
            path,
            Fraction(RATE),
            (size[0] * len(columns), size[1]),
            crf=20,
            preset="veryfast",
            audio=sound,
            metadata=metadata.tags("comparison"),
        ) as writer:
            streams = (footage.read() for _, footage in columns)
            for _, images in zip(range(count), zip(*streams, strict=False), strict=False):
                tiles = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
                marked = [label(tile) for label, tile in zip(labels, tiles, strict=True)]
                writer.write(np.concatenate(marked, axis=1))
