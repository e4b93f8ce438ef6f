"""The text file beside each clip of LRS2, LRS3 and VoxCeleb2: header, face boxes, word times."""

import dataclasses
import functools
import gzip
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lipsync_jax.data.clip import Word

_MARK = re.compile(r"\{[^}]*\}")  # {NS}: not scripted, {LG}: laughter
_HEADER = re.compile(r"([A-Za-z][\w ]*?)\s*:\s*(.*)")
_MAX_FRACTION = 2.0  # a box may leave the image, but not by its size; more means pixels


@dataclasses.dataclass(frozen=True)
class ClipText:
    """One text file.

    Attributes:
        header: its lines `Key: value`, by key; values without surrounding space.
        frames: int (n,), numbers of the clip's frames at 25 a second in the source video.
        boxes: float (n, 4), x, y, width and height of the face as fractions of the image of the
            source video. The clip has been cropped to that face already.
        words: words with seconds from the clip's first frame, lower case.
    """

    header: Mapping[str, str]
    frames: np.ndarray
    boxes: np.ndarray
    words: tuple[Word, ...]

    @property
    def transcript(self) -> str:
        """What is said, lower case, without marks such as `{NS}`."""
        return " ".join(_MARK.sub(" ", self.header.get("Text", "")).lower().split())


def read(file: Path) -> ClipText:
    """Reads a text file.

    Raises:
        ValueError: a line is not of the format, or boxes are in pixels, as VoxCeleb1's are.
        OSError: it can't be read.
    """
    stat = file.stat()
    return _read(file, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=16)
def _read(file: Path, *stamp: int) -> ClipText:
    header: dict[str, str] = {}
    boxes, words = [], []
    table = ""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if fields[0] in ("FRAME", "WORD"):
            table = fields[0]
        elif not table and (match := _HEADER.fullmatch(line.strip())):
            header[match[1]] = match[2]
        elif table == "FRAME" and len(fields) == 5:
            boxes.append(_numbers(file, number, fields))
        elif table == "WORD" and len(fields) >= 3:
            text = _MARK.sub("", fields[0]).lower()
            start, end = _numbers(file, number, fields[1:3])
            words += [Word(text, start, end)] if text else []
        else:
            raise ValueError(
                f"{file}, line {number}: {line!r} is neither `Key: value`, nor a row of a table "
                "FRAME X Y W H or WORD START END ASDSCORE; unpack the archive again"
            )
    table_values = np.array(boxes, float).reshape(-1, 5)
    if table_values[:, 1:].size and np.abs(table_values[:, 1:]).max() > _MAX_FRACTION:
        raise ValueError(
            f"{file}: face boxes are in pixels, as in VoxCeleb1, and not fractions of the image; "
            "this is another corpus"
        )
    return ClipText(header, table_values[:, 0].astype(int), table_values[:, 1:], tuple(words))


def _numbers(file: Path, line: int, fields: Sequence[str]) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError as error:
        raise ValueError(f"{file}, line {line}: {' '.join(fields)!r} are not numbers") from error


def read_ids(file: Path) -> list[str]:
    """Returns the first field of each line of a list, e.g. `5512345678901234567/00001 NF`.

    A list whose name ends in `.gz` is decompressed.
    """
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8-sig") as lines:
        return [line.split()[0] for line in lines if line.strip()]
