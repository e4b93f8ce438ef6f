"""LRW (Chung & Zisserman 2016): 500 words, 29 frames each, the word in the middle."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora import clip_text
from lipsync_jax.data_prep.corpora.base import OFFICIAL, CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import (
    Video,
    find_videos,
    official,
    subfolders,
    visible_files,
)

CENTER = 29 / 25 / 2  # seconds: the middle of the clip, in which the middle of the word lies
_FOLDERS = {"train": "train", "val": "validation", "test": "test"}
_DURATION = re.compile(r"([\d.]+)")
_WANTED = "lipread_mp4/ABOUT/train/ABOUT_00001.mp4"


class Builder(CorpusBuilder):
    """LRW: words in the wild, of the BBC."""

    name = "lrw"
    DESCRIPTION = (
        "LRW: 500 words, up to 1000 training clips of each and 50 for validation and test, 29 "
        "frames at 25 a second, the word in the middle. Speakers are not known."
    )
    HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrw1.html"
    LICENSE = "Non-commercial academic research, by agreement with the BBC."
    CITATION = """@inproceedings{chung2016lrw,
  author = {Chung, Joon Son and Zisserman, Andrew},
  title = {Lip Reading in the Wild},
  booktitle = {Asian Conference on Computer Vision (ACCV)}, year = {2016}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Sign the agreement at
https://www.bbc.co.uk/rd/projects/lip-reading-datasets and send it; the reply has a user name and a
password for lrw-v1-partaa ... partag at
https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrw1.html. Join and unpack:
  cat lrw-v1-parta* > lrw-v1.tar && tar -xf lrw-v1.tar
which gives lipread_mp4/ABOUT/train/ABOUT_00001.mp4 and .txt ... Name the folder of lipread_mp4."""
    SPLITS = {  # noqa: RUF012
        OFFICIAL: NamedSplit(official, "The folders train, val and test.")
    }
    BUILDER_CONFIGS = configs(SPLITS)


def find(sources: Iterable[Path]) -> list[Video]:
    """Returns the videos; each counts as a speaker of its own, as the corpus names none.

    Raises:
        FileNotFoundError: a source does not exist, or does not hold the corpus.
    """
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    return find_videos(sources, ("lipread_mp4",), _scan, "LRW", _WANTED, instructions)


def _scan(roots: Iterable[Path]) -> Iterator[Video]:
    for root in roots:
        for word in subfolders(root / "lipread_mp4"):
            for folder, split in _FOLDERS.items():
                for path in visible_files(word / folder, (".mp4",)):
                    # Numbers start again in each split, so an id needs the folder.
                    name = f"{word.name}/{folder}/{path.stem}"
                    yield Video(path, name, name, split, path.with_suffix(".txt"))


def words(video: Video) -> tuple[Word, ...]:
    """Returns the word, around the middle of the clip for its duration.

    Raises:
        ValueError: the text file has no duration.
    """
    if video.annotation is None or not video.annotation.is_file():
        return ()
    duration = clip_text.read(video.annotation).header.get("Duration", "")
    if not (match := _DURATION.match(duration)):
        raise ValueError(
            f"{video.annotation}: expected a line `Duration: 0.37 seconds`, found {duration!r}"
        )
    half = float(match[1]) / 2
    return (Word(_word(video), max(0.0, CENTER - half), CENTER + half),)


def _word(video: Video) -> str:
    return video.video_id.partition("/")[0].lower()
