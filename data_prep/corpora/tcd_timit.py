"""TCD-TIMIT (Harte & Gillen 2015): TIMIT sentences, 59 volunteers and 3 professional lipspeakers.

The number tells a volunteer; the letter of the sex differs between published lists.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora.base import OFFICIAL, CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import (
    Video,
    by_speaker,
    find_file,
    find_videos,
    official,
    subfolders,
    visible_files,
)

UNITS_PER_SECOND = 10_000_000  # HTK's times are in 100 ns
_TEST = frozenset({8, 9, 15, 18, 25, 28, 33, 34, 36, 41, 44, 45, 49, 54, 55, 56, 58})
_VOUGIOUKAS_TEST = frozenset({8, 9, 15, 18, 25, 28, 33, 41, 55, 56})
_LEFT_OUT = frozenset({27, 35, 53})  # for their accent
_LIPSPEAKER = re.compile(r"lipspkr\D*(\d)", re.IGNORECASE)
_VOLUNTEER = re.compile(r"(\d{1,2})[MF]?", re.IGNORECASE)
_LABEL_PATH = re.compile(r"([^/\\]+)[/\\]Clips[/\\][^/\\]+[/\\]([^/\\.]+)", re.IGNORECASE)
_PROMPT = re.compile(r"(.*?)\s*\((\w+)\)\s*")  # TIMIT's PROMPTS.TXT: `She had ... year. (sa1)`
_WANTED = "volunteers/01M/Clips/straightcam/*.mp4"


class Builder(CorpusBuilder):
    """TCD-TIMIT: TIMIT sentences of 62 speakers."""

    name = "tcd_timit"
    DESCRIPTION = (
        "TCD-TIMIT: 59 volunteers with 98 sentences each, 3 lipspeakers with 377 each, filmed from "
        "the front at 29.97 frames a second, here 25; phones with times."
    )
    HOMEPAGE = "https://sigmedia.tcd.ie/"
    LICENSE = "Free for research; account by request."
    CITATION = """@article{harte2015tcdtimit,
  author = {Harte, Naomi and Gillen, Eoin},
  title = {{TCD-TIMIT}: An Audio-Visual Corpus of Continuous Speech},
  journal = {IEEE Transactions on Multimedia},
  volume = {17}, number = {5}, pages = {603--615}, year = {2015},
  doi = {10.1109/TMM.2015.2407694}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Ask for an account at https://sigmedia.tcd.ie/ (contact:
sigmedia_database@tcd.ie, subject [TCDTimit Question]). Download straightcam.zip of each speaker and
unpack it so that there are
  volunteers/01M/Clips/straightcam/sa1.mp4 (and sa1.wav) ...
  lipspeakers/Lipspkr1/Clips/straightcam/sa1.mp4 ...
Beside these two folders: the master label files (*.mlf) for the phones, and, for the words,
PROMPTS.TXT of TIMIT (LDC93S1), if you have it. Views at 30 degrees are not used."""
    SPLITS = {  # noqa: RUF012
        OFFICIAL: NamedSplit(
            official,
            "The recommended speaker-independent split: tests on 17 volunteers and lipspeaker 3; "
            "volunteers 27, 35 and 53 are left out.",
        ),
        "volunteers": NamedSplit(
            lambda videos: official([v for v in videos if not _is_lipspeaker(v.speaker)]),
            "The recommended split of the volunteers alone: 39 train, 17 test.",
        ),
        "vougioukas2018": NamedSplit(
            by_speaker(lambda speaker: _vougioukas(speaker)),
            "The recommended split with 7 of its 17 test volunteers for validation (Vougioukas et "
            "al. 2018 and 2020); no lipspeakers.",
        ),
    }
    BUILDER_CONFIGS = configs(SPLITS)


def find(sources: Iterable[Path]) -> list[Video]:
    """Returns the videos from the front, with the label file that holds each one's phones.

    Raises:
        FileNotFoundError: a source does not exist, or does not hold the corpus.
    """
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    markers = ("volunteers", "lipspeakers")
    return find_videos(sources, markers, _scan, "TCD-TIMIT", _WANTED, instructions)


def _scan(roots: Iterable[Path]) -> list[Video]:
    videos: dict[str, Video] = {}
    for root in roots:
        labelled = {key: file for file in _label_files(root) for key in _read_labels(file)}
        for path in _clips(root):
            speaker = path.parents[2].name
            name = f"{path.parents[3].name}/{speaker}/{path.stem}"
            key = _key(speaker, path.stem)
            video = Video(path, name, speaker, _recommended(speaker), labelled.get(key))
            videos.setdefault(name, video)
    return [videos[name] for name in sorted(videos)]


def _clips(root: Path) -> Iterator[Path]:
    for group in (root / "volunteers", root / "lipspeakers"):
        for speaker in subfolders(group):
            yield from visible_files(speaker / "Clips" / "straightcam")


def _number(speaker: str) -> int:
    match = _VOLUNTEER.fullmatch(speaker)
    return int(match[1]) if match else 0


def _is_lipspeaker(speaker: str) -> bool:
    return bool(_LIPSPEAKER.match(speaker))


def _recommended(speaker: str) -> str:
    if match := _LIPSPEAKER.match(speaker):
        return "test" if match[1] == "3" else "train"
    number = _number(speaker)
    if not number or number in _LEFT_OUT:
        return ""
    return "test" if number in _TEST else "train"


def _vougioukas(speaker: str) -> str:
    if _is_lipspeaker(speaker):
        return ""
    number = _number(speaker)
    if number in _VOUGIOUKAS_TEST:
        return "test"
    return "validation" if number in _TEST else _recommended(speaker)


def _key(speaker: str, sentence: str) -> tuple[str, str]:
    """A speaker's and a sentence's name without what differs between lists."""
    match = _LIPSPEAKER.match(speaker)
    return f"lipspeaker {match[1]}" if match else str(_number(speaker)), sentence.lower()


def _label_files(root: Path) -> list[Path]:
    folders = [root, *subfolders(root)]
    return [file for folder in folders for file in visible_files(folder, (".mlf",))]


def _read_labels(file: Path) -> dict[tuple[str, str], tuple[Word, ...]]:
    stat = file.stat()
    return _parse_labels(file, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4)
def _parse_labels(file: Path, *stamp: int) -> dict[tuple[str, str], tuple[Word, ...]]:
    """Reads an HTK master label file: speaker and sentence -> phones, without silences.

    Raises:
        ValueError: a line is neither a path nor `start end phone`.
    """
    result: dict[tuple[str, str], tuple[Word, ...]] = {}
    key: tuple[str, str] | None = None
    phones: list[Word] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith("#!MLF!#"):
            continue
        if line.startswith('"'):
            match = _LABEL_PATH.search(line)
            key, phones = (_key(match[1], match[2]) if match else None), []
        elif line.strip() == ".":
            if key:
                result[key] = tuple(phones)
        elif len(fields) >= 3 and fields[0].isdigit() and fields[1].isdigit():
            start, end = (int(field) / UNITS_PER_SECOND for field in fields[:2])
            phones += [Word(fields[2], start, end)] if fields[2] != "sil" else []
        else:
            raise ValueError(f"{file}, line {number}: {line!r} is not `start end phone`")
    return result


@functools.lru_cache(maxsize=4)
def _read_prompts(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    matches = [_PROMPT.fullmatch(line) for line in lines if not line.startswith(";")]
    return {match[2].lower(): match[1] for match in matches if match}


def words(video: Video) -> tuple[Word, ...]:
    """None: the corpus has times of phones, see `phones`."""
    del video
    return ()


def phones(video: Video) -> Sequence[Word]:
    """Returns a video's phones, without silences; none if no label file names the video.

    Raises:
        ValueError: the label file can't be understood.
    """
    if video.annotation is None:
        return ()
    return _read_labels(video.annotation).get(_key(video.speaker, video.path.stem), ())


def transcript(video: Video) -> str:
    """Returns the prompt of TIMIT, lower case, without punctuation; empty without PROMPTS.TXT."""
    root = video.path.parents[4]
    file = find_file([root], "PROMPTS.TXT", "prompts.txt")
    prompt = _read_prompts(file).get(video.path.stem.lower(), "") if file else ""
    return " ".join(re.sub(r"[^\w'\s]", " ", prompt.lower()).split())
