"""What is particular to each corpus, one file a corpus.

A corpus module has `find(sources) -> list[Video]`, which videos there are and who talks in them,
and `words(video) -> tuple[Word, ...]`, their transcript with times; and, where papers agree on
them, `TEST_SPEAKERS`, the names of the speakers in their test sets. It may lie anywhere.
"""

import dataclasses
import functools
import importlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
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


def get(corpus: str) -> ModuleType:
    """Returns the module of a corpus.

    Args:
        corpus: one of NAMES, or the path of a module of one's own, ending in `.py`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no corpus of that name, or the file is no corpus module.
    """
    if corpus in NAMES:
        return importlib.import_module(f"{__name__}.{corpus}")
    if not corpus.endswith(".py"):
        raise ValueError(
            f"unknown corpus {corpus!r}; choose one of {', '.join(NAMES)}, or give the path of a "
            "module of your own, e.g. my_corpus.py"
        )
    return _load(Path(corpus).resolve())


def name_of(corpus: str) -> str:
    """Returns the name of a corpus' data set: its own, or its file's."""
    return Path(corpus).stem


@functools.cache
def _load(file: Path) -> ModuleType:
    if not file.is_file():
        raise FileNotFoundError(f"--corpus {file} does not exist; check the path")
    spec = importlib.util.spec_from_file_location(f"corpus_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(
            f"--corpus {file} can't be imported: {type(error).__name__}: {error}"
        ) from error
    lacking = [name for name in ("find", "words") if not callable(getattr(module, name, None))]
    if lacking:
        raise ValueError(
            f"--corpus {file} has no function {' and no function '.join(lacking)}; "
            "docs/data.md says what a corpus module needs"
        )
    return module


def files(sources: Iterable[Path]) -> list[tuple[Path, Path]]:
    """The video files among and below some paths, sorted, each with the folder it was found from.

    Hidden files and folders are skipped; links to folders are followed, each folder once.

    Raises:
        FileNotFoundError: a source does not exist, or they hold no video.
    """
    sources = [Path(source) for source in sources]
    found = {}
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist; name a video or a folder of videos")
        root = source if source.is_dir() else source.parent
        for path in _walk(source) if source.is_dir() else [source]:
            if path.suffix.lower() in SUFFIXES and path.is_file():
                found.setdefault(path.resolve(), (path, root))
    if not found:
        names = ", ".join(str(source) for source in sources)
        raise FileNotFoundError(f"no video is in {names}; known endings: {sorted(SUFFIXES)}")
    return sorted(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    """Yields the files below a folder that are not hidden, through links, without going round."""
    entered = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(here)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(names) if not name.startswith("."))


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
