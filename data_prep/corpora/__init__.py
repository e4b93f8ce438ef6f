"""What is particular to each corpus, one file a corpus.

A corpus module has `find(sources) -> list[Video]`, which videos there are and who talks in them,
`words(video) -> tuple[Word, ...]`, their transcript with times, and `TEST_SPEAKERS`, whom papers
test on.
"""

import dataclasses
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

NAMES = ("folder", "grid")
SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)


@dataclasses.dataclass(frozen=True)
class Video:
    """One raw video of a corpus.

    Attributes:
        path: the file.
        video_id: unique in its corpus, e.g. `s1/bbal6n`; the stem of its clips' ids.
        speaker: who talks.
    """

    path: Path
    video_id: str
    speaker: str


def get(name: str) -> ModuleType:
    """The module of a corpus.

    Raises:
        ValueError: there is no corpus of that name.
    """
    if name not in NAMES:
        raise ValueError(f"unknown corpus {name!r}; choose one of {', '.join(NAMES)}")
    return importlib.import_module(f"lipsync_jax.data_prep.corpora.{name}")


def files(sources: Iterable[Path]) -> list[tuple[Path, Path]]:
    """The video files among and below some paths, sorted, each with the folder it was found from.

    Hidden files and folders are skipped.

    Raises:
        FileNotFoundError: a source does not exist, or they hold no video.
    """
    sources = [Path(source) for source in sources]
    found = {}
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist; name a video or a folder of videos")
        inside = source.rglob("*") if source.is_dir() else [source]
        root = source if source.is_dir() else source.parent
        for path in inside:
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
                found.setdefault(path.resolve(), (path, root))
    if not found:
        names = ", ".join(str(source) for source in sources)
        raise FileNotFoundError(f"no video is in {names}; known endings: {sorted(SUFFIXES)}")
    return sorted(found.values())


def unique(videos: Iterable[Video]) -> list[Video]:
    """Gives videos of one id, say `a.mp4` and `a.mov`, different ids: later ones get a suffix."""
    taken: set[str] = set()
    result = []
    for video in videos:
        name, number = video.video_id, 2
        while name in taken:
            name, number = f"{video.video_id}~{number}", number + 1
        taken.add(name)
        result.append(dataclasses.replace(video, video_id=name))
    return result
