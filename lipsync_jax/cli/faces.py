"""`lipsync faces`: a sheet of the people in a video, with the numbers they are chosen by."""

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

_SIDE = 192  # pixels of a portrait on the sheet
_CAPTION = 48  # pixels below it
_COLUMNS = 6
_LISTED = 6  # stretches that are named


class Person(NamedTuple):
    """Somebody in a video.

    Attributes:
        number: for `face_id` and `speakers`.
        spans: (start, end) seconds in which the face is seen.
        portrait: uint8 (size, size, 3) RGB.
    """

    number: int
    spans: tuple[tuple[float, float], ...]
    portrait: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync faces`."""
    from lipsync_jax.cli._options import add_looking

    parser.add_argument("video", type=Path, help="the face video")
    parser.add_argument("--outfile", type=Path, metavar="PNG",
                        help="the sheet (default: VIDEO's name with .faces.png)")  # fmt: skip
    add_looking(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the sheet and prints who is seen when; returns 0, or 1 if nobody is."""
    from lipsync_jax.cli._terminal import ProgressLine, timestamp
    from lipsync_jax.synthesis.progress import Progress

    options = {**vars(arguments)}
    path, sheet = options.pop("video"), options.pop("outfile")
    sheet = sheet or path.with_suffix(".faces.png")
    for name in ("command", "run"):
        options.pop(name, None)
    line = ProgressLine(sys.stderr)
    try:
        people = who_is_seen(path, lambda *state: line(Progress("faces", *state)), **options)
    finally:
        line.close()
    if not people:
        print(f"{printable(path)}: no face was found", file=sys.stderr)
        return 1
    write_sheet(sheet, people)
    some = f"{len(people)} face{'s' * (len(people) > 1)}"
    print(f"{printable(path)}: {some}, shown in {printable(sheet)}")
    for person in people:
        total = sum(b - a for a, b in person.spans)
        named = [f"{timestamp(a)}-{timestamp(b)}" for a, b in person.spans[:_LISTED]]
        more = len(person.spans) - len(named)
        named += [f"and {more} more" if more else ""]
        print(f"face {person.number}: {total:.2f} s, {', '.join(filter(None, named))}")
    return 0


def who_is_seen(
    path: str | os.PathLike, on_frame: Callable[[int, int, float], None], **options: Argument
) -> list[Person]:
    """The people of a video, by number.

    Args:
        path: the video.
        on_frame: see `finding.survey`.
        **options: fields of `options.Options` about reading and detection. The numbers are those
            of a generation with the same ones.

    Raises:
        FileNotFoundError, ValueError: the video or an option can't be used.
    """
    from lipsync_jax.faces import trajectory
    from lipsync_jax.media import frame_source
    from lipsync_jax.synthesis import face_detection_pass
    from lipsync_jax.synthesis.options import Options

    settings = Options(**options)
    shown = frame_source.open_source(
        path, resize_factor=settings.resize_factor, rotate=settings.rotate, crop=settings.crop
    )
    found = face_detection_pass.survey(shown, None, settings, on_frame)
    end = found.times[-1] + 1 / shown.frame_rate
    people = []
    for number, tracks in enumerate(found.people()):
        seen = np.zeros(len(found.times), bool)
        for track in tracks:
            seen[track.frames.start : track.frames.stop] = True
        spans = trajectory.spans(found.times, Fraction(end), seen)
        best = max(tracks, key=lambda t: float((t.boxes[:, 3] - t.boxes[:, 1]).sum()))
        times = tuple((float(a), float(b)) for a, b in spans)
        assert best.portrait is not None  # a survey asks for portraits
        people.append(Person(number, times, best.portrait))
    return people


def write_sheet(path: str | os.PathLike, people: Sequence[Person]) -> None:
    """Writes portraits with numbers and first moments, .png or what the suffix says."""
    from lipsync_jax.media import video_reader

    tiles = np.stack([_tile(person) for person in people])
    video_reader.write_image(path, video_reader.contact_sheet(tiles, min(len(tiles), _COLUMNS)))


def _tile(person: Person) -> np.ndarray:
    import cv2

    from lipsync_jax.cli._terminal import timestamp

    image = np.zeros((_SIDE + _CAPTION, _SIDE, 3), np.uint8)
    cubic = cv2.INTER_CUBIC
    image[:_SIDE] = cv2.resize(person.portrait, (_SIDE, _SIDE), interpolation=cubic)
    seen = f"{sum(b - a for a, b in person.spans):.1f} s, from {timestamp(person.spans[0][0], 1)}"
    for text, row, size in ((f"face {person.number}", 18, 0.6), (seen, 38, 0.4)):
        place = (6, _SIDE + row)
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, [255] * 3, 1, cv2.LINE_AA)
    return image
