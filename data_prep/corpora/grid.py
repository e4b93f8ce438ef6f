"""The GRID corpus (Cooke et al. 2006): 33 speakers on video, 1000 six-word sentences of 3 s each.

Sentence ids are unique in the whole corpus, so an alignment is looked up by its file's name alone:
in the archives of Zenodo many alignments lie under another talker's number.
"""

import dataclasses
import logging
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data.grid_alignments import read_alignment
from lipsync_jax.data_prep.corpora.base import CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import (
    Video,
    by_speaker,
    collect,
    video_files,
    walk,
    with_unique_ids,
)
from lipsync_jax.data_prep.splits import hash_position

log = logging.getLogger(__name__)

# Tested on by Vougioukas et al. (2018, 2020). They split the 33 by subject, 50/20/30 %, and do not
# name the validation speakers, so these are held out of the others by a hash.
TEST_SPEAKERS = frozenset(f"s{n}" for n in (2, 4, 11, 13, 15, 18, 19, 25, 31, 33))
_UNSEEN = frozenset({"s1", "s2", "s20", "s22"})
_SENTENCE = re.compile(r"[blps][bgrw][abiw][a-vx-z][1-9z][anps]")
_FULL_SIZE = re.compile(r"mpg_?6000|(^|_)6000(_|$)")  # 720x576, the other edition has 360x288
_NAMED = re.compile(r"(?:grid_)?(?:id|s)(\d+)_(?:(?:vcd|6000)_)?([a-z0-9]{6})")
_WANTED = "s1/bbaf2n.mpg"
_ABOVE = 2  # folders above a talker's folder in which `align/` may lie
_VOCABULARY: Sequence[Mapping[str, str]] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},  # a letter is its own name
    dict(zip("123456789z", "one two three four five six seven eight nine zero".split(),
             strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)  # fmt: skip


class Builder(CorpusBuilder):
    """GRID: command sentences of 33 talkers."""

    name = "grid"
    DESCRIPTION = (
        "GRID: 33 talkers on video, 1000 sentences of six words each, 3 s at 25 frames a second, "
        "with word alignments."
    )
    HOMEPAGE = "https://spandh.dcs.shef.ac.uk/gridcorpus/"
    LICENSE = "CC BY 4.0 (mirror at Zenodo); freely available for research use (home page)."
    CITATION = """@article{cooke2006grid,
  author = {Cooke, Martin and Barker, Jon and Cunningham, Stuart and Shao, Xu},
  title = {An audio-visual corpus for speech perception and automatic speech recognition},
  journal = {Journal of the Acoustical Society of America},
  volume = {120}, number = {5}, pages = {2421--2424}, year = {2006},
  doi = {10.1121/1.2229005}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """GRID is free. Either of these, unpacked into one folder:
  https://zenodo.org/records/3625687: s1.zip ... s34.zip (there is no s21) and alignments.zip,
    which give s1/bbaf2n.mpg ... and alignments/s1/bbaf2n.align ...
  https://spandh.dcs.shef.ac.uk/gridcorpus/: for each talker sN/video/sN.mpg_vcd.zip (360x288) or
    sN.mpg_6000.part1.tar and part2.tar (720x576), and sN/align/sN.tar.
Leave audio_25k away: its silence is cut off, so that it is not in step with the video; the audio of
the .mpg files is used."""
    SPLITS = {  # noqa: RUF012
        "unseen": NamedSplit(
            by_speaker(lambda s: "test" if s in _UNSEEN else "train"),
            "Tests on s1, s2, s20 and s22, trains on the other 29 (LipNet and others).",
        ),
        "overlapped": NamedSplit(
            lambda videos: _overlapped(videos),
            "Tests on 255 random sentences of each talker; the published choice is not known, "
            "here it is by a hash of the sentence.",
        ),
        "vougioukas2018": NamedSplit(
            by_speaker(lambda s: "test" if s in TEST_SPEAKERS else "train"),
            "Tests on s2, 4, 11, 13, 15, 18, 19, 25, 31, 33; for about their share of validation "
            "use --validation 0.3 (Vougioukas et al. 2018 and 2020).",
        ),
        "chen2018": NamedSplit(
            by_speaker(lambda s: "test" if s == "s33" else "train"),
            "Tests on s33 (Chen et al. 2018, published code).",
        ),
    }
    BUILDER_CONFIGS = configs(SPLITS)


def find(sources: Iterable[Path]) -> list[Video]:
    """Lists the videos below some folders, one per sentence, with their alignments.

    Args:
        sources: videos or folders; the nearest folder named like `s12` is the speaker, or else
            the folder that holds the video; `id2_vcd_swwp2s.mpg` is of talker 2. Of the two
            sizes of a sentence the larger one is used.

    Raises:
        FileNotFoundError: a source does not exist, or the sources contain no video, or the first
            videos have no content.
    """
    sources = [Path(source) for source in sources]
    videos: list[Video] = []
    sentences: dict[str, int] = {}
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    for path, _ in video_files(sources, instructions):
        speaker, stem = _identify(path)
        video = Video(path, f"{speaker}/{stem}", speaker)
        number = sentences.setdefault(video.video_id, len(videos))
        if number == len(videos) or not _sentence(stem):
            videos.append(video)
        elif _FULL_SIZE.search(str(path)) and not _FULL_SIZE.search(str(videos[number].path)):
            videos[number] = video
    videos.sort(key=lambda video: (video.video_id, str(video.path)))
    collect(videos, "GRID", sources, _WANTED, instructions)  # refuses videos without content
    return with_unique_ids(_with_alignments(videos, sources))


def _identify(path: Path) -> tuple[str, str]:
    """The talker and the sentence of a video."""
    if (match := _NAMED.fullmatch(path.stem)) and _sentence(match[2]):
        return f"s{match[1]}", match[2]
    folders = [parent.name for parent in path.resolve().parents if parent.name]
    speaker_folders = (name for name in folders if re.fullmatch(r"s\d+", name))
    return next(speaker_folders, folders[0] if folders else "unknown"), path.stem


def _with_alignments(videos: list[Video], sources: Sequence[Path]) -> list[Video]:
    """Adds each sentence's alignment, from whatever folder, and says how many lack one."""
    files: dict[str, Path] = {}
    for folder in _alignment_folders(sources):
        for file in walk(folder):
            if file.suffix == ".align":
                files.setdefault(file.stem, file)
    videos = [
        dataclasses.replace(video, annotation=files.get(video.video_id.rpartition("/")[2]))
        for video in videos
    ]
    if missing := [video for video in videos if video.annotation is None]:
        log.warning(
            "%d of %d videos, e.g. %s, have no alignment, so their clips have no word times; "
            "looked for %s.align in any folder below %s, and in align/ and alignments/ above",
            len(missing),
            len(videos),
            missing[0].path,
            missing[0].video_id.rpartition("/")[2],
            ", ".join(str(source) for source in sources),
        )
    return videos


def _alignment_folders(sources: Sequence[Path]) -> Iterable[Path]:
    for source in sources:
        folder = (source if source.is_dir() else source.parent).resolve()
        above = folder.parents[:_ABOVE]
        if source.is_dir():
            yield folder
        else:  # all that lies around one file may be a lot
            above = [folder, *above]
        for parent in above:
            yield from (p for name in ("align", "alignments") if (p := parent / name).is_dir())


def _sentence(sentence_id: str) -> str:
    """The six words that a sentence's id stands for; empty for another name."""
    if not _SENTENCE.fullmatch(sentence_id):
        return ""
    symbols = zip(sentence_id, _VOCABULARY, strict=True)
    return " ".join(names.get(symbol, symbol) for symbol, names in symbols)


def _overlapped(videos: Sequence[Video]) -> dict[str, str]:
    by_talker: dict[str, list[str]] = {}
    for video in videos:
        by_talker.setdefault(video.speaker, []).append(video.video_id)
    result: dict[str, str] = {}
    for ids in by_talker.values():
        ids.sort(key=hash_position)
        num_test = round(len(ids) * 255 / 1000)
        result |= {name: "test" if i < num_test else "train" for i, name in enumerate(ids)}
    return result


def words(video: Video) -> tuple[Word, ...]:
    """Returns the words of a video's alignment, without silences; none where there is no file.

    An alignment of other words than the sentence's id stands for is not used, with a warning.

    Raises:
        ValueError: a line is not `start end word`.
    """
    file = video.annotation or video.path.with_suffix(".align")
    if not file.is_file():
        return ()
    aligned = read_alignment(file)
    spoken, expected = [word.text for word in aligned], iter(transcript(video).split())
    if transcript(video) and not all(word in expected for word in spoken):  # in this order
        warnings.warn(
            f"{file} is of another sentence ({' '.join(spoken)!r}, not {transcript(video)!r}); "
            "it is not used",
            stacklevel=2,
        )
        return ()
    return aligned


def transcript(video: Video) -> str:
    """Returns the sentence, which the file's name tells."""
    return _sentence(video.video_id.rpartition("/")[2].partition("~")[0])
