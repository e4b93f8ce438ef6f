"""LRS3-TED (Afouras, Chung, Zisserman 2018): sentences of TED talks; no longer given out."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora import clip_text, lrs2
from lipsync_jax.data_prep.corpora.base import OFFICIAL, CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import Video, find_file, find_videos, official

log = logging.getLogger(__name__)

PARTS = {"pretrain": "pretrain", "trainval": "train", "test": "test"}
VALIDATION_LIST = "lrs3-valid.id"
_WANTED = "trainval/AbCdEfGhIjK/50001.mp4"


class Builder(CorpusBuilder):
    """LRS3: sentences of TED talks, for those who hold the corpus."""

    name = "lrs3"
    DESCRIPTION = (
        "LRS3-TED: 151,819 utterances of TED talks, 439 hours, at 25 frames a second, with word "
        "times. Speakers are not known; `speaker` is the talk."
    )
    HOMEPAGE = "https://mmai.io/datasets/lip_reading/"
    LICENSE = "Withdrawn. Metadata CC BY 4.0; the videos keep the terms of TED (CC BY-NC-ND 4.0)."
    CITATION = """@misc{afouras2018lrs3,
  author = {Afouras, Triantafyllos and Chung, Joon Son and Zisserman, Andrew},
  title = {{LRS3-TED}: a large-scale dataset for visual speech recognition},
  year = {2018}, eprint = {1809.00496}, archivePrefix = {arXiv}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """LRS3 is withdrawn: its authors no longer give it out, and
https://mmai.io/datasets/lip_reading/ lists it as not available. This builder serves those who hold
a copy. Unpack lrs3_trainval.zip, lrs3_test_v0.4.zip and the pretrain parts
  cat lrs3_pretrain_parta* > lrs3_pretrain.zip && unzip lrs3_pretrain.zip
into one folder, which then has pretrain/, trainval/ and test/, each with one folder for each talk.
For the usual validation split put lrs3-valid.id of AV-HuBERT beside them."""
    SPLITS = {  # noqa: RUF012
        OFFICIAL: NamedSplit(
            official,
            "trainval is `train`, test is `test`, pretrain a split of its own. There is no "
            "official validation split.",
        ),
        "pretrain": NamedSplit(
            lambda videos: {
                name: split.replace("pretrain", "train") for name, split in official(videos).items()
            },
            "The official split with `pretrain` among the training clips.",
        ),
        "avhubert": NamedSplit(
            lambda videos: _with_list(videos),
            "The official split with the 1200 validation clips of AV-HuBERT.",
        ),
    }
    BUILDER_CONFIGS = configs(SPLITS)


def find(sources: Iterable[Path]) -> list[Video]:
    """Returns the videos, with their split as their folders say.

    Raises:
        FileNotFoundError: a source does not exist, or does not hold the corpus.
    """
    log.warning("LRS3 is withdrawn: use a copy within the terms under which it was given to you")
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    return find_videos(sources, ("trainval", "pretrain"), _scan, "LRS3", _WANTED, instructions)


def _scan(roots: Iterable[Path]) -> Iterator[Video]:
    for root in roots:
        for part, split in PARTS.items():
            for path in lrs2.clips(root / part):
                talk = path.parent.name
                name = f"{part}/{talk}/{path.stem}"
                yield Video(path, name, talk, split, path.with_suffix(".txt"))


def _with_list(videos: Sequence[Video]) -> dict[str, str]:
    root = videos[0].path.parents[2]
    file = find_file((root, root.parent), VALIDATION_LIST)
    if file is None:
        raise ValueError(
            f"split avhubert needs {VALIDATION_LIST} of AV-HuBERT (av_hubert/avhubert/preparation/"
            f"data) in {root} or {root.parent}; or use --split-by official"
        )
    held_out = set(clip_text.read_ids(file))
    splits = official(videos)
    return {name: "validation" if name in held_out else split for name, split in splits.items()}


def words(video: Video) -> tuple[Word, ...]:
    """Returns the words with times.

    Raises:
        ValueError: the text file can't be understood.
    """
    return lrs2.words(video)


def transcript(video: Video) -> str:
    """Returns the sentence, lower case."""
    return lrs2.transcript(video)
