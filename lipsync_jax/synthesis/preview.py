"""A contact sheet of some frames before and after dubbing, written before the whole video."""

import contextlib
import os
from collections.abc import Sequence

import cv2
import numpy as np

from lipsync_jax.media import video_reader
from lipsync_jax.media.planar import Image, to_rgb
from lipsync_jax.synthesis.frame_schedule import ScheduledFrame
from lipsync_jax.synthesis.options import preview_path
from lipsync_jax.synthesis.renderer import FaceRenderer

_WIDTH = 480  # most pixels of one frame
_COLUMNS = 4


def write(
    outfile: str | os.PathLike,
    face_renderer: FaceRenderer,
    schedule: Sequence[ScheduledFrame],
    count: int,
) -> tuple[int, int]:
    """Writes an image of evenly spaced frames, each above its dubbed version.

    Args:
        outfile: the video; see `options.preview_path`.
        face_renderer: generates the frames.
        schedule: the video's frames.
        count: number of frames.

    Returns:
        The number of frames written, and of those with a generated face.
    """
    chosen = np.unique(np.linspace(0, len(schedule) - 1, count + 2)[1:-1].round().astype(int))
    scheduled_frames, edited_before = [schedule[i] for i in chosen], face_renderer.edited
    with (
        contextlib.closing(face_renderer.original_images(scheduled_frames)) as originals,
        contextlib.closing(face_renderer.images(scheduled_frames)) as images,
    ):
        pairs = zip(originals, images, strict=True)
        tiles = [np.concatenate([_shrink(old), _shrink(new)]) for old, new in pairs]
    edited = face_renderer.edited - edited_before
    face_renderer.edited = edited_before  # these frames are counted in the whole video
    contact_sheet = video_reader.contact_sheet(np.stack(tiles), min(len(tiles), _COLUMNS))
    video_reader.write_image(preview_path(outfile), contact_sheet)
    return len(tiles), edited


def _shrink(image: Image) -> np.ndarray:
    image = to_rgb(image)
    height, width = image.shape[:2]
    if width <= _WIDTH:
        return image
    size = _WIDTH, max(1, round(height * _WIDTH / width))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
