"""What is to be evaluated: folders of videos, pairs of a file list, or clips of shards."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lipsync_jax.data.clip import GEOMETRIES, Clip
from lipsync_jax.data.loader import Clips, check_geometry, find_dataset
from lipsync_jax.evaluation import baselines, face_clip
from lipsync_jax.evaluation.face_clip import Footage
from lipsync_jax.evaluation.generators import Actor, Drawer
from lipsync_jax.evaluation.protocol import Protocol
from lipsync_jax.media import audio

SUFFIXES = (".mp4", ".mkv", ".mov", ".m4v", ".avi", ".mpg", ".mpeg", ".webm", ".wmv", ".flv")


@dataclasses.dataclass(frozen=True)
class Task:
    """One clip and what methods made of it.

    Attributes:
        clip: its name.
        real: the true footage.
        baselines: name -> footage, of the true one.
        methods: name -> footage, of the true one.
        silent: the same, generated from silence; methods may be missing.
        paired: whether generated pictures should look like the true ones.
        said: the words of its voice; empty where they are not known.
        voice: the clip whose voice it is; empty where it is its own.
        geometry: of shards, see `records.GEOMETRIES`; empty for videos.
    """

    clip: str
    real: Callable[[], Footage]
    methods: Mapping[str, Callable[[Footage], Footage]]
    baselines: Callable[[Footage], Mapping[str, Footage]] = baselines.baselines
    silent: Mapping[str, Callable[[Footage], Footage]] = dataclasses.field(default_factory=dict)
    paired: bool = True
    said: str = ""
    voice: str = ""
    geometry: str = ""


def videos_of(folder: str | os.PathLike) -> dict[str, Path]:
    """A folder's videos by their names without suffix, those in its folders as `sub/name`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no videos, or two of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist; give a folder of videos")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file() or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(
                f"{folder} has both {found[name].name} and {path.name}; names without their "
                "suffixes must differ"
            )
        found[name] = path
    if not found:
        raise ValueError(f"{folder} holds no videos ({', '.join(SUFFIXES)})")
    return found


def from_folders(
    methods: Mapping[str, Path],
    references: str | os.PathLike,
    protocol: Protocol,
    silent: Mapping[str, Path] | None = None,
) -> list[Task]:
    """Videos beside references of the same names.

    Args:
        methods: name -> folder of what it generated; a video that is missing is a failure.
        references: folder of the true videos.
        protocol: how they are looked at.
        silent: name -> folder of the same, generated from silence.

    Raises:
        FileNotFoundError, ValueError: see `videos_of`; or no name is in both.
    """
    true = videos_of(references)
    made = {name: videos_of(folder) for name, folder in methods.items()}
    hushed = {name: videos_of(folder) for name, folder in (silent or {}).items()}
    clips = [clip for clip in true if any(clip in found for found in made.values())]
    if not clips:
        raise ValueError(
            f"no video of {', '.join(str(f) for f in methods.values())} has the name of one in "
            f"{references}, such as {next(iter(true))}; give them the same names"
        )
    return [
        Task(
            clip=clip,
            real=_of_video(true[clip], protocol),
            methods={name: _follow(found.get(clip), protocol) for name, found in made.items()},
            silent={n: _follow(found[clip], protocol) for n, found in hushed.items()
                    if clip in found},
        )
        for clip in clips
    ]  # fmt: skip


def read_pairs(path: str | os.PathLike, root: str | os.PathLike, order: str) -> list[tuple]:
    """The lines of a file list in Wav2Lip's evaluation format.

    Args:
        path: two names a line, with a space between. In the lists of LRS2, LRS3 and LRW they are
            audio and video without suffix; in those of ReSyncED video and audio, with suffixes.
        root: the folder that names start at.
        order: `audio-video` or `video-audio`.

    Returns:
        (audio path, video path) of each line; a name without suffix gets .mp4.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a line doesn't have two names.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"file list {path} does not exist; give a text file")
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        names = line.split()
        if not names:
            continue
        if len(names) != 2:
            raise ValueError(f"{path}, line {number}: two names are needed, not {line!r}")
        first, second = (Path(root, name if Path(name).suffix else f"{name}.mp4") for name in names)
        pairs.append((first, second) if order == "audio-video" else (second, first))
    if not pairs:
        raise ValueError(f"file list {path} is empty")
    return pairs


def from_pairs(
    pairs: Sequence[tuple[Path, Path]],
    methods: Mapping[str, Callable[[int], Path]],
    protocol: Protocol,
) -> list[Task]:
    """Faces that were to say other clips' voices: only their sync and sharpness can be scored.

    The truth beside them is the face's own video with its own voice; the baseline is that video,
    unedited, with the other voice.

    Args:
        pairs: (audio, video) paths.
        methods: name -> the generated video of a line, by its number from 0.
        protocol: how they are looked at.
    """
    return [
        Task(
            clip=f"{number} {sound.stem} {face.stem}",
            real=_of_video(face, protocol),
            methods={name: _following(made, number, protocol) for name, made in methods.items()},
            baselines=_unedited(sound),
            paired=False,
            voice=sound.stem,
        )
        for number, (sound, face) in enumerate(pairs)
    ]


def _following(
    made: Callable[[int], Path], number: int, protocol: Protocol
) -> Callable[[Footage], Footage]:
    return lambda real: face_clip.following(made(number), real, protocol)


def _of_clip(clips: Clips, number: int, part: str) -> Callable[[], Footage]:
    return lambda: face_clip.from_clip(clips[number], part)


def from_shards(
    drawers: Mapping[str, Drawer | Actor], data: str | os.PathLike, split: str, limit: int
) -> list[Task]:
    """Clips of prepared shards, drawn anew to their own voices.

    Args:
        drawers: name -> generator, all of one geometry, and all redrawing faces or all animating
            stills.
        data: the folder that `lipsync prepare` wrote.
        split: `train`, `validation` or `test`.
        limit: clips at most; 0 takes all.

    Raises:
        FileNotFoundError, ValueError: there are no such shards, or generators differ in geometry.
    """
    geometry, animates = _check(drawers)
    clips = Clips(find_dataset(str(data), geometry), split)
    check_geometry(clips, geometry)
    count = min(limit, len(clips)) if limit else len(clips)
    known = [_name_and_words(clips[i]) for i in range(count)]
    part = GEOMETRIES[geometry].part
    return [
        Task(
            clip=name,
            real=_of_clip(clips, i, part),
            baselines=baselines.of_stills if animates else baselines.baselines,
            methods=dict(drawers),
            silent={
                name: functools.partial(drawer, silent=True) for name, drawer in drawers.items()
            },
            said=said,
            geometry=geometry,
        )
        for i, (name, said) in enumerate(known)
    ]


def _check(drawers: Mapping[str, Drawer | Actor]) -> tuple[str, bool]:
    """The geometry of all generators, and whether they animate stills."""
    geometries = sorted({drawer.geometry for drawer in drawers.values()})
    if len(geometries) > 1:
        raise ValueError(f"checkpoints of {' and '.join(geometries)} can't share shards")
    kinds = {drawer.animates for drawer in drawers.values()}
    if len(kinds) > 1:
        raise ValueError(
            "some of the checkpoints redraw faces and some animate stills; evaluate them apart"
        )
    return geometries[0], kinds.pop()


def _name_and_words(clip: Clip) -> tuple[str, str]:
    return clip.clip_id, " ".join(word.text for word in clip.words)


def _of_video(path: Path, protocol: Protocol) -> Callable[[], Footage]:
    return lambda: face_clip.from_video(path, protocol)


def _follow(path: Path | None, protocol: Protocol) -> Callable[[Footage], Footage]:
    def made(real: Footage) -> Footage:
        if path is None:
            raise FileNotFoundError("it generated no such video")
        return face_clip.following(path, real, protocol)

    return made


def _unedited(sound: Path) -> Callable[[Footage], Mapping[str, Footage]]:
    def made(real: Footage) -> Mapping[str, Footage]:
        samples, _ = audio.load_aligned(sound, audio.SAMPLE_RATE)
        return {baselines.UNEDITED: dataclasses.replace(real, samples=samples)}

    return made
