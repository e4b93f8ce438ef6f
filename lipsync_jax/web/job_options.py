"""The kinds of jobs, their files and their options."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from lipsync_jax import weights
from lipsync_jax.synthesis.options import AnimationOptions, DubbingOptions
from lipsync_jax.types import Argument, Json
from lipsync_jax.web.uploads import safe_name

DUB, ANIMATE, SYNC = "dub", "animate", "sync"
# Kind of a job -> roles of its files. Those of `speaker_role` replace `audio`, or are beside it.
KINDS: Mapping[str, tuple[str, ...]] = {
    DUB: ("face", "audio"),
    ANIMATE: ("face", "audio"),
    SYNC: ("video",),
}
NEED_CONSENT = (DUB, ANIMATE)
# Not those that name files of the server, nor those that make a file that browsers can't play.
DUB_OPTIONS = (
    "quality", "face_id", "on_missing_face", "loop", "silence_mode", "label", "crf", "smooth",
    "detect_every", "pads", "box", "min_face_height", "static", "resize_factor", "rotate", "crop",
    "blend", "match_colours", "sharpen", "source_detail", "audio_offset",
)  # fmt: skip
ANIMATE_OPTIONS = ("seed", "noise_std", "paste_back", "aligned", "resize_factor", "label", "crf")
# Of jobs, beside those of the library.
JOB_OPTIONS: Mapping[str, tuple[str, ...]] = {
    DUB: ("model", "first_seconds", *DUB_OPTIONS),
    ANIMATE: ("model", *ANIMATE_OPTIONS),
    SYNC: ("write_synced",),
}
_SPEAKER = re.compile(r"speaker_(\d+)")
_File = TypeVar("_File", Path, str)


def speaker_role(number: int) -> str:
    """Returns the role of the recording that drives the face of a number."""
    return f"speaker_{number}"


def speakers(files: Mapping[str, _File]) -> dict[int, _File]:
    """Returns the recordings of a job that drive one face each.

    Args:
        files: role -> path or name.

    Returns:
        Number of the face -> path or name; empty if one recording drives one face.
    """
    found = ((_SPEAKER.fullmatch(role), value) for role, value in files.items())
    return {int(match[1]): value for match, value in found if match}


def by_option(files: Mapping[str, Path]) -> dict[str, object]:
    """Returns the files of a job by the library's options, see `text.each_file`."""
    own = {role: path for role, path in files.items() if not _SPEAKER.fullmatch(role)}
    return {**own, "speakers": [*speakers(files).items()]}


def check(kind: str, options: Mapping[str, Json]) -> None:
    """Checks the names of a job's options, and that an answer can hold their values.

    Args:
        kind: one of KINDS.
        options: see JOB_OPTIONS.

    Raises:
        ValueError: says in words what is wrong.
    """
    unknown = set(options).difference(JOB_OPTIONS[kind])
    if unknown:
        raise ValueError(
            f"unknown options {', '.join(sorted(unknown))}; {kind} takes "
            f"{', '.join(JOB_OPTIONS[kind])}"
        )
    for name, value in options.items():
        try:  # answers with infinities, or with half of a character, can't be sent
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except ValueError as error:
            raise ValueError(
                f"{name} can't be stored ({error}); give finite numbers and valid text"
            ) from error


def require_consent(consent: Json) -> None:
    """Raises ValueError unless the user confirmed the consent of the persons."""
    if consent is not True:
        raise ValueError(
            "consent is missing: confirm that everyone shown and heard has agreed to this video"
        )


def settings(
    kind: str, options: Mapping[str, Json], files: Mapping[str, Path] = MappingProxyType({})
) -> dict[str, Argument]:
    """Returns the library's options of a job, checked.

    Args:
        kind: DUB or ANIMATE.
        options: see JOB_OPTIONS.
        files: role -> path; those of `speaker_role` become the option `speakers`.

    Raises:
        ValueError: an option has a wrong value.
    """
    names = DUB_OPTIONS if kind == DUB else ANIMATE_OPTIONS
    settings: dict[str, Argument] = {k: options[k] for k in names if options.get(k) is not None}
    if by_face := speakers(files):
        settings["speakers"] = by_face
    seconds = options.get("first_seconds")
    if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
        raise ValueError(f"first_seconds={seconds!r}: give a number above 0")
    try:
        if kind == DUB:
            DubbingOptions.from_quality(**settings)
        else:
            AnimationOptions(**settings)
    except TypeError as error:  # text where a number is expected, from a script
        raise ValueError(f"an option has a value of the wrong kind ({error})") from error
    return settings


def as_command(options: Mapping[str, Json], names: Mapping[str, str]) -> str:
    """Returns the `lipsync dub` line of a job.

    Args:
        options: of a dub, see `dub_options.read`; `first_seconds` has no counterpart.
        names: role -> the user's own name of the file; empty for one that is missing.
    """
    by_face = speakers(names)
    words, model = ["lipsync", "dub"], options.get("model")
    if model and model not in weights.names():
        words += ["--checkpoint-path", model]
    for role in ("face",) if by_face else KINDS[DUB]:
        words += [f"--{role}", names.get(role) or role.upper()]
    if by_face:
        words += ["--speaker", *(f"{number}={name or 'AUDIO'}" for number, name in by_face.items())]
    for name in DUB_OPTIONS:
        value = options.get(name)
        if value is not None:
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    words += ["--outfile", f"{Path(safe_name(names.get('face') or 'face')).stem}_dubbed.mp4"]
    return shlex.join(words)
