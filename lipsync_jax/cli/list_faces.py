"""`lipsync list-faces`: shows the identities of a video with the numbers that select them."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync_jax.text import printable
from lipsync_jax.types import Argument

_SIDE = 192  # pixels of a thumbnail on the contact sheet
_CAPTION = 48  # pixels below it
_COLUMNS = 6
_MAX_LISTED = 6  # intervals that are listed


class VideoIdentity(NamedTuple):
    """One identity of a video.

    Attributes:
        number: for `face_id` and `speakers`.
        intervals: (start, end) seconds in which the face is visible.
        thumbnail: uint8 (size, size, 3) RGB.
    """

    number: int
    intervals: tuple[tuple[float, float], ...]
    thumbnail: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync list-faces`."""
    from lipsync_jax.cli._options import add_detection_options

    parser.add_argument("video", type=Path, help="the face video")
    parser.add_argument("--outfile", type=Path, metavar="PNG",
                        help="contact sheet (default: VIDEO's name with .faces.png)")  # fmt: skip
    add_detection_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the contact sheet, prints when each face is visible; returns 1 if there is none."""
    from lipsync_jax.cli._terminal import generation_progress, timestamp
    from lipsync_jax.media import video_reader
    from lipsync_jax.synthesis.progress import Progress

    options = {**vars(arguments)}
    path, outfile = options.pop("video"), options.pop("outfile")
    outfile = outfile or path.with_suffix(".faces.png")
    if outfile.exists() and path.exists() and outfile.samefile(path):
        raise ValueError(f"--outfile {outfile} is the video itself; give another path")
    video_reader.check_image_path(outfile)
    for name in ("command", "run"):
        options.pop(name, None)
    with generation_progress() as show:
        identities = list_identities(
            path, lambda *state: show(Progress("faces", *state)), **options
        )
    if not identities:
        print(f"{printable(path)}: no face was found", file=sys.stderr)
        return 1
    write_contact_sheet(outfile, identities)
    count = f"{len(identities)} face{'s' * (len(identities) > 1)}"
    print(f"{printable(path)}: {count}, shown in {printable(outfile)}")
    for identity in identities:
        total = sum(b - a for a, b in identity.intervals)
        named = [f"{timestamp(a)}-{timestamp(b)}" for a, b in identity.intervals[:_MAX_LISTED]]
        more = len(identity.intervals) - len(named)
        named += [f"and {more} more" if more else ""]
        print(f"face {identity.number}: {total:.2f} s, {', '.join(filter(None, named))}")
    return 0


def list_identities(
    path: str | os.PathLike, on_frame: Callable[[int, int, float], None], **options: Argument
) -> list[VideoIdentity]:
    """Lists the identities of a video, by number.

    Args:
        path: the video.
        on_frame: see `face_detection_pass.detect_faces_in_video`.
        **options: fields of `DubbingOptions` about reading and detection; dubbing with equal
            options numbers faces equally.

    Raises:
        FileNotFoundError, ValueError: the video or an option can't be used.
    """
    from lipsync_jax import faces
    from lipsync_jax.faces import trajectory
    from lipsync_jax.media import frame_source
    from lipsync_jax.synthesis import face_detection_pass
    from lipsync_jax.synthesis.options import DubbingOptions

    settings = DubbingOptions(**options)
    video = frame_source.open_frame_source(
        path, resize_factor=settings.resize_factor, rotate=settings.rotate, crop=settings.crop
    )
    video_faces = face_detection_pass.detect_faces_in_video(video, None, settings, on_frame)
    end = video_faces.times[-1] + 1 / video.frame_rate
    identities = []
    for number, tracks in enumerate(video_faces.identities()):
        present = np.zeros(len(video_faces.times), bool)
        for track in tracks:
            present[track.frames.start : track.frames.stop] = True
        intervals = trajectory.intervals(video_faces.times, Fraction(end), present)
        best = faces.main_track(tracks)
        times = tuple((float(a), float(b)) for a, b in intervals)
        # An identity has a track, and `detect_faces_in_video` keeps its thumbnail.
        assert best is not None and best.thumbnail is not None
        identities.append(VideoIdentity(number, times, best.thumbnail))
    return identities


def write_contact_sheet(path: str | os.PathLike, identities: Sequence[VideoIdentity]) -> None:
    """Writes thumbnails with numbers and first times as an image; the suffix sets the format."""
    from lipsync_jax.media import video_reader

    tiles = np.stack([_tile(identity) for identity in identities])
    video_reader.write_image(path, video_reader.contact_sheet(tiles, min(len(tiles), _COLUMNS)))


def _tile(identity: VideoIdentity) -> np.ndarray:
    import cv2

    from lipsync_jax.cli._terminal import timestamp

    image = np.zeros((_SIDE + _CAPTION, _SIDE, 3), np.uint8)
    cubic = cv2.INTER_CUBIC
    image[:_SIDE] = cv2.resize(identity.thumbnail, (_SIDE, _SIDE), interpolation=cubic)
    seconds = sum(b - a for a, b in identity.intervals)
    caption = f"{seconds:.1f} s, from {timestamp(identity.intervals[0][0], 1)}"
    for text, row, size in ((f"face {identity.number}", 18, 0.6), (caption, 38, 0.4)):
        origin = (6, _SIDE + row)
        cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, [255] * 3, 1, cv2.LINE_AA)
    return image
