"""What corpora share: a raw video, how videos are found, and errors of a wrong folder."""

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lipsync_jax.data.clip import Word

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_MAX_DEPTH = 2  # levels below an input at which a corpus may begin
_MAX_FOLDERS = 2000  # that are inspected for the beginning of a corpus
_NUM_SHOWN = 8  # names that an error lists
_NUM_CHECKED = 32  # videos that are opened to see whether a corpus has content
_STUB_BYTES = 1024  # a Git LFS pointer has about 130
_STUB_PREFIX = b"version https://git-lfs"


@dataclasses.dataclass(frozen=True)
class Video:
    """One raw video of a corpus.

    Attributes:
        path: the file.
        video_id: unique in its corpus, e.g. `s1/bbal6n`; the stem of its clips' ids.
        speaker: identity of the speaker, or of the broadcast or talk where speakers are unknown.
        split: of the corpus' own split: `train`, `validation`, `test` or another; empty: none.
        annotation: the file of its transcript, alignment or labels.
        audio_path: the audio to use if the file has none; else a `.wav` of its name is used.
        fault: why no clip can be made of it, as known from the corpus' documentation.
        start: first second to use.
        end: last second to use; None for the video's end.
        region: the part of the image to use: x, y, width, height in heights of the image.
    """

    path: Path
    video_id: str
    speaker: str
    split: str = ""
    annotation: Path | None = None
    audio_path: Path | None = None
    fault: str = ""
    start: float = 0.0
    end: float | None = None
    region: tuple[float, float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What is known of what a video says; times in seconds from its first used frame."""

    words: tuple[Word, ...] = ()
    transcript: str = ""
    phones: tuple[Word, ...] = ()


class LayoutError(FileNotFoundError):
    """A folder does not hold the corpus that it should; the message says what it holds."""


def video_files(sources: Iterable[Path], instructions: str = "") -> list[tuple[Path, Path]]:
    """Returns the video files among and below some paths, sorted, each with its source folder.

    Hidden files and folders are skipped; links to folders are followed, each folder once.

    Args:
        sources: videos and folders.
        instructions: what to put where, for the message.

    Raises:
        FileNotFoundError: a source does not exist, or the sources contain no video.
    """
    sources = [Path(source) for source in sources]
    found: dict[Path, tuple[Path, Path]] = {}
    for source in sources:
        require_exists(source)
        root = source if source.is_dir() else source.parent
        for path in walk(source) if source.is_dir() else [source]:
            if path.suffix.lower() in SUFFIXES and path.is_file():
                found.setdefault(path.resolve(), (path, root))
    if not found:
        names = ", ".join(str(source) for source in sources)
        raise LayoutError(
            f"{names}: there is no video; known suffixes: {', '.join(sorted(SUFFIXES))}; "
            f"found: {describe(sources)}.{_unpack_hint(sources)}\n{instructions}".strip()
        )
    return sorted(found.values())


def require_exists(source: Path) -> None:
    """Raises FileNotFoundError if a source does not exist."""
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; name a video or a folder of videos")


def walk(folder: Path) -> Iterator[Path]:
    """Yields the visible files below a folder, through links, visiting each folder once.

    Logs a warning about each folder that can't be listed, whose files are missing.
    """
    visited = set()
    for here, folders, names in os.walk(folder, onerror=_warn, followlinks=True):
        real_path = os.path.realpath(here)
        if real_path in visited:
            folders.clear()
            continue
        visited.add(real_path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(names) if not name.startswith("."))


def _warn(error: OSError) -> None:
    log.warning("%s can't be listed, so its files are left out: %s", error.filename, error.strerror)


def with_unique_ids(videos: Iterable[Video]) -> list[Video]:
    """Gives videos of one id, say `a.mp4` and `a.mov`, different ids: later ones get a suffix."""
    used_ids: set[str] = set()
    next_number: dict[str, int] = {}
    result = []
    for video in videos:
        name, number = video.video_id, next_number.get(video.video_id, 2)
        while name in used_ids:
            name, number = f"{video.video_id}~{number}", number + 1
        used_ids.add(name)
        next_number[video.video_id] = number
        result.append(dataclasses.replace(video, video_id=name))
    return result


def with_utf8_names(video: Video) -> Video:
    """Escapes the bytes of a video's id and speaker that are not UTF-8, which data sets can't hold.

    File names of other systems may have such bytes; `path` stays as it is.
    """
    names = video.video_id, video.speaker
    valid = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
    if valid == [*names]:
        return video
    return dataclasses.replace(video, video_id=valid[0], speaker=valid[1])


def find_videos(
    sources: Iterable[Path],
    markers: Sequence[str],
    scan: Callable[[list[Path]], Iterable[Video]],
    corpus: str,
    wanted: str,
    instructions: str,
) -> list[Video]:
    """Lists the videos of a corpus that begins at a folder of a known name.

    Args:
        sources: see `find_roots`.
        markers: see `find_roots`.
        scan: folders of `find_roots` -> videos.
        corpus: its name, for the message.
        wanted: a file that the corpus should have, for the message.
        instructions: what to put where, for the message.

    Raises:
        FileNotFoundError: a source does not exist, or see `find_roots` and `collect`.
    """
    sources = [Path(source) for source in sources]
    roots = find_roots(sources, markers, corpus, instructions)
    return collect(scan(roots), corpus, sources, wanted, instructions)


def find_roots(
    sources: Iterable[Path], markers: Sequence[str], corpus: str, instructions: str
) -> list[Path]:
    """Returns the folders that hold a corpus: those with one of its marker folders.

    Args:
        sources: folders. A corpus may begin at each, at most two levels below, or above where the
            source is a marker folder itself.
        markers: relative paths of folders, e.g. `dev/mp4`, of which a corpus has at least one.
        corpus: its name, for the message.
        instructions: what to put where, for the message.

    Raises:
        FileNotFoundError: a source does not exist.
        LayoutError: no marker folder is found.
    """
    sources, roots = [Path(source) for source in sources], {}
    for source in sources:
        require_exists(source)
        here = source.resolve()
        below = itertools.islice(_folders_below(here), _MAX_FOLDERS)
        for candidate in itertools.chain([here], _ends_of(here, markers), below):
            if any((candidate / marker).is_dir() for marker in markers):
                roots[candidate] = True
                break
    if roots:
        return list(roots)
    raise layout_error(sources, f"a folder {' or '.join(markers)}", corpus, instructions)


def _ends_of(folder: Path, markers: Sequence[str]) -> Iterator[Path]:
    """Yields the folders that a folder is a marker of, e.g. the one above `lipread_mp4`."""
    for marker in markers:
        parts = Path(marker).parts
        for depth in range(1, len(parts) + 1):
            if folder.parts[-depth:] == parts[:depth]:
                yield folder.parents[depth - 1]


def find_file(folders: Iterable[Path], *names: str) -> Path | None:
    """Returns the first file of one of the names in one of the folders; None if there is none."""
    candidates = (folder / name for folder in folders for name in names)
    return next((path for path in candidates if path.is_file()), None)


def layout_error(
    sources: Sequence[Path], wanted: str, corpus: str, instructions: str
) -> LayoutError:
    """Returns the error of a folder without the corpus."""
    names = ", ".join(str(source) for source in sources)
    return LayoutError(
        f"{names}: there is no {corpus}; looked for {wanted}, there and {_MAX_DEPTH} levels below; "
        f"found: {describe(sources)}.{_unpack_hint(sources)}\n{instructions.strip()}"
    )


def describe(sources: Iterable[Path]) -> str:
    """Returns what lies in some folders, in a few words."""
    names = []
    for source in sources:
        if source.is_dir():
            with os.scandir(source) as entries:
                first = list(itertools.islice(entries, 1000))
            names += sorted(entry.name + "/" * entry.is_dir() for entry in first)
        else:
            names.append(source.name)
    more = len(names) - _NUM_SHOWN
    listed = ", ".join(names[:_NUM_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return listed or "nothing, the folder is empty"


def _unpack_hint(sources: Sequence[Path]) -> str:
    for source in sources:
        for path in sorted(source.iterdir()) if source.is_dir() else [source]:
            if (
                "part" in path.suffix
                or "part" in path.name.rpartition("_")[2]
                or (path.name.endswith(_ARCHIVES))
            ):
                return f" {path.name} is an archive: join and unpack it first."
    return ""


def _folders_below(root: Path) -> Iterator[Path]:
    """Yields the folders at most `_MAX_DEPTH` levels below, nearest first, as they are wanted."""
    level: Iterable[Path] = [root]
    for _ in range(_MAX_DEPTH):
        found = []
        for parent in level:
            for folder in subfolders(parent):
                found.append(folder)
                yield folder
        level = found


def subfolders(folder: Path) -> list[Path]:
    """Returns the folders in a folder that are not hidden, sorted."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir() and e.name[0] != ".")


def visible_files(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Returns the files of some suffixes in a folder, sorted, by their names alone.

    Hidden files are left out: macOS writes a file `._a.mp4` beside `a.mp4` on other file systems.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != ".")
    return [folder / name for name in names if os.path.splitext(name)[1].lower() in suffixes]


def collect(
    videos: Iterable[Video], corpus: str, sources: Iterable[Path], wanted: str, instructions: str
) -> list[Video]:
    """Lists the videos that a corpus finds.

    Raises:
        LayoutError: there are none, or the first ones have no content. A million files take
            minutes to list, so that these are opened before the others are looked for.
    """
    videos = iter(videos)
    found = list(itertools.islice(videos, _NUM_CHECKED))
    if not found:
        raise layout_error([Path(s) for s in sources], wanted, corpus, instructions)
    faults = [stub_fault(video.path) for video in found]
    if all(faults):
        raise LayoutError(
            f"no {corpus}: {found[0].path} is {faults[0]}, and no other of the first {len(found)} "
            f"videos has content.\n{instructions.strip()}"
        )
    return [*found, *videos]


def stub_fault(path: Path) -> str:
    """Returns what a file is if it is no video but a place holder, else an empty text."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "a link to a missing file: fetch that, e.g. by `git annex get`, or copy it there"
    if size == 0:
        return "an empty file"
    if size < _STUB_BYTES and path.read_bytes().startswith(_STUB_PREFIX):
        return "a Git LFS pointer, not the file: run `git lfs pull` in a clone of the repository"
    return ""


def by_speaker(
    choose: Callable[[str], str],
) -> Callable[[Sequence[Video]], Mapping[str, str]]:
    """Returns a split that is decided by the speaker.

    Args:
        choose: speaker -> `train`, `validation` or `test`, or an empty text for none.
    """
    return lambda videos: {
        video.video_id: split for video in videos if (split := choose(video.speaker))
    }


def official(videos: Sequence[Video]) -> Mapping[str, str]:
    """Returns the corpus' own split, as its folders and lists give it."""
    return {video.video_id: video.split for video in videos if video.split}
