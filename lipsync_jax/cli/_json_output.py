"""`--json`: the result of a command as one JSON document, for scripts."""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from lipsync_jax import paths
from lipsync_jax.cli import _parser
from lipsync_jax.types import Json

if TYPE_CHECKING:
    from lipsync_jax.evaluation.sync.dub_sync import DubSync
    from lipsync_jax.evaluation.sync.video_sync import TrackSync
    from lipsync_jax.synthesis.progress import GenerationResult

# `main` gives these commands the option, and their code `arguments.json`.
COMMANDS = ("dub", "animate", "sync", "evaluate", "prepare")
_STDOUT = "-"


class JsonOutput:
    """Collects a command's result, and writes the result when the command ends.

    Within the context the standard output is free for the document: what this process, its
    libraries and its children print goes to the standard error.

    Attributes:
        renamed: text -> what the document has instead, such as a bucket's path for a local copy's.
    """

    def __init__(self, target: Path | None) -> None:
        """Collects for a file, for the standard output (`-`), or for nobody (None)."""
        self._target, self._values = target, dict[str, Json]()
        self._stdout: TextIO | None = None
        self._restore = contextlib.ExitStack()
        self.renamed: dict[str, str] = {}

    def update(self, **values: Json) -> None:
        """Adds values to the document: JSON values, paths, fractions, tuples."""
        self._values |= values

    def require_writable(self) -> None:
        """Makes the folder of the file.

        Raises:
            ValueError: the file is a folder or no JSON document, or its bucket can't be reached.
            OSError: the folder can't be made.
        """
        target = self._target
        if target is None or str(target) == _STDOUT:
            return
        self._target = None  # until the checks have passed
        paths.require_access(target, "--json")
        if target.is_dir():
            raise ValueError(f"--json={target} is a folder: name a file in it")
        if not paths.is_bucket(target) and not _may_replace(target):
            raise ValueError(
                f"--json={target} exists and is no JSON document, so it is not replaced: name "
                "another file, or give --json last, for the standard output"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target

    def __enter__(self) -> "JsonOutput":
        """Reserves the standard output if the document goes there."""
        if str(self._target) == _STDOUT:
            self._stdout, sys.stdout = sys.stdout, sys.stderr
            self._stdout.flush()
            self._restore.enter_context(_stdout_to_stderr())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes the document."""
        if self._stdout is not None:
            sys.stdout, self._stdout = self._stdout, None
            self._restore.close()
        if self._target is None:
            return
        # ASCII, so that any name of a file can be written in any locale.
        text = json.dumps(plain(self._values, self.renamed), indent=2, allow_nan=False) + "\n"
        if str(self._target) == _STDOUT:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            paths.write_text(self._target, text)


def _may_replace(file: Path) -> bool:
    """Returns whether a file is missing, empty, a device or begins as the document does.

    `lipsync sync --json a.mp4 b.mp4` names a video as the file to write.
    """
    if not file.is_file():
        return True
    with file.open("rb") as opened:
        return opened.read(1) in (b"", b"{")


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Points the file descriptor of the standard output to the standard error."""
    try:
        kept = os.dup(1)
    except OSError:  # closed
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def plain(value: Json, renamed: Mapping[str, str]) -> Json:
    """Converts paths, fractions, tuples and NumPy's values to JSON values; NaN to null.

    Args:
        value: with what JSON lacks.
        renamed: text -> what texts have instead.
    """
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): plain(each, renamed) for name, each in value.items()}
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        for old, new in renamed.items():
            text = text.replace(old, new)
        return text
    if isinstance(value, Sequence):
        return [plain(each, renamed) for each in value]
    if isinstance(value, Fraction):
        return float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`, whose value is a `JsonOutput`."""
    parser.add_argument(
        "--json", nargs="?", const=_STDOUT, type=_output, default=JsonOutput(None), metavar="FILE",
        help="write the result as JSON, to the standard output if no FILE is given; text then goes "
        "to the standard error",
    )  # fmt: skip


def _output(text: str) -> JsonOutput:
    return JsonOutput(_parser.path(text))


def of(arguments: argparse.Namespace) -> JsonOutput:
    """Returns the output of a command line; one for nobody if the command has no `--json`."""
    found = getattr(arguments, "json", None)
    return found if isinstance(found, JsonOutput) else JsonOutput(None)


def write_usage_error(line: Sequence[str], message: str) -> None:
    """Writes the error of a command line that can't be parsed, if it has `--json` without a FILE.

    A file is not written: with a wrong line, FILE may be one of the inputs.
    """
    parser = _parser.QuietParser(add_help=False, allow_abbrev=False)
    add_argument(parser)
    try:
        output = of(parser.parse_known_args(line)[0])
    except ValueError:
        return
    if str(output._target) == _STDOUT:
        with output:
            output.update(error=message)


def generation(
    result: "GenerationResult",
    face: Path | None,
    audio: Path | None,
    sync: "DubSync | None" = None,
) -> dict[str, Json]:
    """Returns the values of a dubbed or animated video.

    Args:
        result: of the run.
        face: path of the face video or image.
        audio: path of the driving audio; None if each face has its own.
        sync: the audio offset before and after dubbing, if measured.
    """
    return {
        "face": face,
        "audio": audio,
        "outfile": result.outfile,
        "preview_only": result.preview_only,
        "duration_seconds": result.duration,
        "frame_rate_fps": result.frame_rate,
        "frames": result.frames,
        "edited_frames": result.edited,
        "unchanged_frames": result.unchanged,
        "wall_seconds": result.wall_seconds,
        "generated_fps": result.frames_per_second,
        "faces": {
            "height_px": result.face_height,
            "generated_height_px": result.generated_height,
            "missing_seconds": result.missing_intervals,
            "too_small_seconds": result.too_small_intervals,
        },
        "sync": sync and {name: _sync(each) for name, each in sync._asdict().items()},
        "model": {"hash": result.model_hash, "credit": result.credit},
        "warnings": result.notes,
    }


def _sync(found: "TrackSync | str") -> dict[str, Json]:
    if isinstance(found, str):
        return {"is_confident": False, "reason": found, "offset_ms": None}
    return {name: value for name, value in track(found).items() if name != "distances"}


def track(found: "TrackSync") -> dict[str, Json]:
    """Returns the values of the audio offset of one face, positive where the audio is later.

    Keys: `face` (number), `start_seconds` and `end_seconds`, `is_confident`, `reason` (why the
    track was not measured), `offset_ms` (null if not measured) and, if measured, `offset_frames`
    (frames of 25 a second), `distance` (at that offset), `confidence`, `prominence`, `stability`,
    `motion_offset_frames` (by mouth motion and loudness, null if not measured) and `distances` (at
    offsets of -MAX_OFFSET to MAX_OFFSET frames).
    """
    values: dict[str, Json] = {
        "face": found.face,
        "start_seconds": found.start,
        "end_seconds": found.end,
        "is_confident": found.is_confident,
        "reason": found.reason,
        "offset_ms": found.offset_ms,
    }
    if found.av_offset is not None:
        values |= {
            "offset_frames": found.av_offset.frames,
            "distance": found.av_offset.distance,
            "confidence": found.av_offset.confidence,
            "prominence": found.av_offset.prominence,
            "stability": found.av_offset.stability,
            "motion_offset_frames": found.vote.frames if found.vote else None,
            "distances": found.av_offset.distances,
        }
    return values
