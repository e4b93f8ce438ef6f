"""A few frames before and after, drawn ahead of the whole run."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax.media import video_reader
from lipsync_jax.synthesis.renderer import Planned, Redrawing

_WIDTH = 480  # most pixels of one frame
_COLUMNS = 4


def path_for(outfile: str | os.PathLike) -> Path:
    """Where the preview of a video goes: beside it, as NAME.preview.png."""
    return Path(outfile).with_suffix(".preview.png")


def write(
    outfile: str | os.PathLike, run: Redrawing, planned: Sequence[Planned], count: int
) -> None:
    """Writes a picture of evenly spaced frames, each above its redrawn self.

    Args:
        outfile: the video; see `path_for`.
        run: what will draw the video.
        planned: the video's frames.
        count: how many to show.
    """
    chosen = np.unique(np.linspace(0, len(planned) - 1, count + 2)[1:-1].round().astype(int))
    some, before = [planned[i] for i in chosen], run.edited
    with (
        contextlib.closing(run.originals(some)) as originals,
        contextlib.closing(run.images(some)) as images,
    ):
        pairs = zip(originals, images, strict=True)
        tiles = [np.concatenate([_small(old), _small(new)]) for old, new in pairs]
    run.edited = before  # these frames will come again
    sheet = video_reader.contact_sheet(np.stack(tiles), min(len(tiles), _COLUMNS))
    video_reader.write_image(path_for(outfile), sheet)


def _small(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if width <= _WIDTH:
        return image
    size = _WIDTH, max(1, round(height * _WIDTH / width))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
