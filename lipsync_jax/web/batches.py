"""Batches: many dubs at once, from pairs of files or from a table. Each row becomes a job."""

import argparse
import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from lipsync_jax.cli import _batch, _options
from lipsync_jax.types import Json
from lipsync_jax.web.job_options import DUB, KINDS

MAX_ROWS = 200
_LONG = 190  # bytes of a file's name that uploads may have shortened, to 200
_FILES = (*KINDS[DUB], "outfile")  # columns that name files


@dataclasses.dataclass(frozen=True)
class Row:
    """One video to make.

    Attributes:
        files: role -> path of an upload.
        options: of a dub, see `job_options.JOB_OPTIONS`.
        names: role -> the user's own name of the file, where it is not the path's.
        outfile: the user's name of the result; empty for one made of the face's.
        error: why the row can't become a job, in words.
    """

    files: Mapping[str, Path]
    options: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outfile: str = ""
    error: str = ""


def pair_files(faces: Sequence[Path], recordings: Sequence[Path]) -> list[Row]:
    """Pairs faces with recordings: one with all, or in the order of their names.

    Raises:
        ValueError: there are none, or their numbers differ and neither is one.
    """
    if not faces or not recordings:
        raise ValueError("give at least one face and one recording of speech")
    if len(faces) == 1:
        pairs = [(faces[0], each) for each in recordings]
    elif len(recordings) == 1:
        pairs = [(each, recordings[0]) for each in faces]
    elif len(faces) == len(recordings):
        by_name = [sorted(files, key=lambda path: path.name) for files in (faces, recordings)]
        pairs = [*zip(*by_name, strict=True)]
    else:
        raise ValueError(
            f"{len(faces)} faces and {len(recordings)} recordings can't be paired: give equal "
            "numbers, or one of either, or a table that pairs them"
        )
    return [Row({"face": face, "audio": audio}) for face, audio in pairs]


def read_table(table: Path, faces: Sequence[Path], recordings: Sequence[Path]) -> list[Row]:
    """Reads a table like those of `lipsync dub --manifest`; its files are uploads.

    Args:
        table: see `_batch.read_rows`; cells of files count by their last part, and `outfile` may
            be missing.
        faces: uploads; a single one is that of rows that name none.
        recordings: likewise.

    Raises:
        ValueError: the file is no such table. Errors of one row are told by that row.
    """
    options = _batch.make_row_options(_options.add_dubbing, "dub")
    for action in options.parser._actions:
        action.default = argparse.SUPPRESS  # so that parsing returns what a row has
    rows = _batch.read_rows(table, options, table.name, required=())
    uploads = [*dict.fromkeys([*faces, *recordings])]
    alone = {
        role: files[0]
        for role, files in zip(KINDS[DUB], (faces, recordings), strict=True)
        if len(files) == 1
    }
    return [_read_row(row, options, uploads, alone) for row in rows]


def _read_row(
    row: Mapping[str, str],
    row_options: _batch.RowOptions,
    uploads: Sequence[Path],
    alone: Mapping[str, Path],
) -> Row:
    named = {column: re.split(r"[\\/]", row[column])[-1] for column in _FILES if column in row}
    outfile = named.pop("outfile", "")
    try:
        files = dict(alone) | {role: _find(name, uploads) for role, name in named.items()}
        cells = {column: cell for column, cell in row.items() if column not in _FILES}
        options = vars(_batch.parse_row(cells, row_options, argparse.Namespace()))
    except ValueError as error:
        return Row({}, names=named, outfile=outfile, error=str(error))
    return Row(files, options, named, outfile)


def _find(name: str, uploads: Sequence[Path]) -> Path:
    """Returns the upload of a name; uploads lose some characters, and the ends of long names."""
    found: list[Path] = []
    for key in (_composed, _letters):
        found = found or [path for path in uploads if key(path.name) == key(name)]
    found = found or [path for path in uploads if _is_start(path, name)]
    if not found:
        raise ValueError(f"no uploaded file is named {name}; add it to the faces or recordings")
    if len(found) > 1:
        raise ValueError(f"{len(found)} uploaded files are named {name}; rename one")
    return found[0]


def _is_start(path: Path, name: str) -> bool:
    """Returns whether an upload's name may be the start of a long one."""
    is_long = len(path.name.encode()) > _LONG
    return is_long and _letters(Path(name).stem).startswith(_letters(path.stem))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # macOS writes names decomposed


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", _composed(name)).casefold()
