"""Corpus modules, one file per corpus.

A corpus module has `find(sources) -> list[Video]`, the videos and their speakers, and
`words(video) -> tuple[Word, ...]`, the transcript with times; and, where papers agree on a test
set, `TEST_SPEAKERS`, the names of its speakers. The module may be in any folder.
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
        speaker: identity of the speaker.
    """

    path: Path
    video_id: str
    speaker: str


def get(corpus: str) -> ModuleType:
    """Returns the module of a corpus.

    Args:
        corpus: one of NAMES, or the path of a corpus module, ending in `.py`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: no corpus has that name, or the file is no corpus module.
    """
    if corpus in NAMES:
        return importlib.import_module(f"{__name__}.{corpus}")
    if not corpus.endswith(".py"):
        raise ValueError(
            f"unknown corpus {corpus!r}; choose one of {', '.join(NAMES)}, or give the path of a "
            "module of your own, e.g. my_corpus.py"
        )
    return _load_module(Path(corpus).resolve())


def dataset_name(corpus: str) -> str:
    """Returns the name of a corpus' data set: the corpus name, or the stem of its file."""
    return Path(corpus).stem


@functools.cache
def _load_module(file: Path) -> ModuleType:
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
    missing = [name for name in ("find", "words") if not callable(getattr(module, name, None))]
    if missing:
        raise ValueError(
            f"--corpus {file} has no function {' and no function '.join(missing)}; "
            "docs/data.md describes corpus modules"
        )
    return module


def video_files(sources: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Lists the video files among and below some paths, sorted, each with its source folder.

    Hidden files and folders are skipped; links to folders are followed, each folder once.

    Raises:
        FileNotFoundError: a source does not exist, or the sources contain no video.
    """
    sources = [Path(source) for source in sources]
    files: dict[Path, tuple[Path, Path]] = {}
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist; name a video or a folder of videos")
        root = source if source.is_dir() else source.parent
        for path in _walk(source) if source.is_dir() else [source]:
            if path.suffix.lower() in SUFFIXES and path.is_file():
                files.setdefault(path.resolve(), (path, root))
    if not files:
        names = ", ".join(str(source) for source in sources)
        raise FileNotFoundError(f"no video is in {names}; known suffixes: {sorted(SUFFIXES)}")
    return sorted(files.values())


def _walk(folder: Path) -> Iterator[Path]:
    """Yields the visible files below a folder, through links, visiting each folder once."""
    visited = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real_path = os.path.realpath(here)
        if real_path in visited:
            folders.clear()
            continue
        visited.add(real_path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(names) if not name.startswith("."))


def with_unique_ids(videos: Iterable[Video]) -> list[Video]:
    """Gives videos of one id, say `a.mp4` and `a.mov`, different ids: later ones get a suffix."""
    used_ids: set[str] = set()
    result = []
    for video in videos:
        name, number = video.video_id, 2
        while name in used_ids:
            name, number = f"{video.video_id}~{number}", number + 1
        used_ids.add(name)
        result.append(dataclasses.replace(video, video_id=name))
    return result
