"""Videos of several methods side by side."""

import os
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax.evaluation.results import TRUTH
from lipsync_jax.evaluation.samples import EvalSample
from lipsync_jax.evaluation.sync_models import FRAME_RATE, SAMPLES_PER_FRAME
from lipsync_jax.media import audio, video_reader
from lipsync_jax.provenance import metadata
from lipsync_jax.provenance.visible_label import VisibleWatermark
from lipsync_jax.text import printable, unique_file_names

_HEIGHT = 288  # pixels
_MAX_WIDTH = 640


def write(folder: str | os.PathLike, samples: Sequence[EvalSample]) -> list[tuple[str, str]]:
    """Writes each clip: the ground truth and all methods side by side, with the clip's audio.

    Args:
        folder: output folder; a clip `a/b` becomes `a_b.mp4`, see `text.unique_file_names`.
        samples: the clips.

    Returns:
        (clip, reason) of clips that failed; a method without a video is left out.
    """
    failed = []
    names = unique_file_names(sample.clip for sample in samples)
    for sample in samples:
        try:
            _write(Path(folder) / f"{names[sample.clip]}.mp4", sample)
        except (ValueError, OSError) as error:
            failed.append((sample.clip, str(error)))
    return failed


def _write(path: Path, sample: EvalSample) -> None:
    reference = sample.reference()
    columns = [(TRUTH, reference)]
    for name, load in sample.methods.items():
        try:
            columns.append((name, load(reference)))
        except (ValueError, OSError):
            continue  # listed in the result
    width, height = reference.size
    size = min(_MAX_WIDTH, 2 * round(width * _HEIGHT / height / 2)), _HEIGHT
    labels = [VisibleWatermark(printable(name), size) for name, _ in columns]
    count = min(len(clip) for _, clip in columns)
    with tempfile.TemporaryDirectory(prefix="lipsync_") as scratch:
        audio_path = Path(scratch) / "audio.wav"
        part = reference.samples[reference.audio_start :][: count * SAMPLES_PER_FRAME]
        audio.save(
            audio_path,
            part if len(part) else np.zeros(SAMPLES_PER_FRAME, np.float32),
            audio.SAMPLE_RATE,
        )
        with video_reader.VideoWriter(
            path,
            Fraction(FRAME_RATE),
            (size[0] * len(columns), size[1]),
            crf=20,
            preset="veryfast",
            audio=audio_path,
            metadata=metadata.tags("comparison"),
        ) as writer:
            streams = (clip.read_frames() for _, clip in columns)
            for _, images in zip(range(count), zip(*streams, strict=False), strict=False):
                tiles = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
                labelled = [label(tile) for label, tile in zip(labels, tiles, strict=True)]
                writer.write(np.concatenate(labelled, axis=1))
