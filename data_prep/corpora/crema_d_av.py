"""CREMA-D (Cao et al. 2014): 91 actors say 12 sentences in six emotions.

The name is not `crema_d`, which is the data set of its audio alone in the catalogue of TFDS.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora.base import CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import (
    SUFFIXES,
    Video,
    by_speaker,
    find_videos,
    stub_fault,
)

# Tested on by Vougioukas et al. (2020).
TEST_SPEAKERS = frozenset("1015 1020 1021 1030 1033 1052 1062 1081 1082 1089".split())
FAULTS = {
    "1076_MTI_NEU_XX": "very short and silent",
    "1076_MTI_SAD_XX": "an error message is filmed, and the audio is silent",
    "1064_TIE_SAD_XX": "without a duration",
    "1064_IEO_DIS_MD": "a minute with all emotions",
}
SENTENCES = {
    "IEO": "it's eleven o'clock",
    "TIE": "that is exactly what happened",
    "IOM": "i'm on my way to the meeting",
    "IWW": "i wonder what this is about",
    "TAI": "the airplane is almost full",
    "MTI": "maybe tomorrow it will be cold",
    "IWL": "i would like a new alarm clock",
    "ITH": "i think i have a doctor's appointment",
    "DFA": "don't forget a jacket",
    "ITS": "i think i've seen this before",
    "TSI": "the surface is slick",
    "WSI": "we'll stop in a couple of minutes",
}
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX|X)")
_WANTED = "VideoFlash/1001_DFA_ANG_XX.flv"


class Builder(CorpusBuilder):
    """CREMA-D with its videos: acted emotions of 91 actors."""

    name = "crema_d_av"
    DESCRIPTION = (
        "CREMA-D: 7442 clips of 91 actors, 12 sentences in six emotions, which the clip id names: "
        "actor_sentence_emotion_level."
    )
    HOMEPAGE = "https://github.com/CheyneyComputerScience/CREMA-D"
    LICENSE = "Open Database License 1.0; contents: Database Contents License 1.0."
    CITATION = """@article{cao2014cremad,
  author = {Cao, Houwei and Cooper, David G. and Keutmann, Michael K. and Gur, Ruben C. and
            Nenkova, Ani and Verma, Ragini},
  title = {{CREMA-D}: Crowd-sourced Emotional Multimodal Actors Dataset},
  journal = {IEEE Transactions on Affective Computing},
  volume = {5}, number = {4}, pages = {377--390}, year = {2014},
  doi = {10.1109/TAFFC.2014.2336244}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Clone the repository with Git LFS, about 8 GB:
  git lfs install; git clone https://github.com/CheyneyComputerScience/CREMA-D
(mirror: https://gitlab.com/cs-cooper-lab/crema-d-mirror). A zip download has only pointers of
130 bytes in place of the videos. Needed are VideoFlash/*.flv, and AudioWAV/*.wav for videos without
audio, which copies from before December 2020 contain."""
    SPLITS = {  # noqa: RUF012
        "vougioukas2020": NamedSplit(
            by_speaker(lambda actor: "test" if actor in TEST_SPEAKERS else "train"),
            "Tests on 10 actors (Vougioukas et al. 2020); the validation actors are not published.",
        ),
        "tfds": NamedSplit(
            lambda videos: _tfds_split(videos),
            "The actors of `crema_d` 1.0.0 in TFDS: 70 % train, 10 % validation, 20 % test.",
        ),
    }
    BUILDER_CONFIGS = configs(SPLITS)


def find(sources: Iterable[Path]) -> list[Video]:
    """Returns the videos; the four that are known to be unusable, and LFS pointers, have a fault.

    Raises:
        FileNotFoundError: a source does not exist, or does not hold the corpus.
    """
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    return find_videos(sources, ("VideoFlash",), _scan, "CREMA-D", _WANTED, instructions)


def _scan(roots: Iterable[Path]) -> Iterable[Video]:
    videos: dict[str, Video] = {}
    for root in roots:
        for path in sorted((root / "VideoFlash").iterdir()):
            match = _NAME.fullmatch(path.stem)
            if match and path.suffix.lower() in SUFFIXES:
                video = Video(
                    path,
                    path.stem,
                    match[1],
                    audio_path=root / "AudioWAV" / f"{path.stem}.wav",
                    fault=FAULTS.get(path.stem) or stub_fault(path),
                )
                videos.setdefault(path.stem, video)
    return videos.values()


def _tfds_split(videos: Sequence[Video]) -> dict[str, str]:
    """TFDS shuffles the sorted actors by a seed of 0; all 91 must be known to get its choice."""
    actors = [str(number) for number in range(1001, 1092)]
    np.random.RandomState(0).shuffle(actors)
    ends = {"train": int(0.7 * 91), "validation": int((0.7 + 0.1) * 91), "test": 91}
    splits: dict[str, str] = {}
    start = 0
    for split, end in ends.items():
        splits |= dict.fromkeys(actors[start:end], split)
        start = end
    return {video.video_id: splits[video.speaker] for video in videos if video.speaker in splits}


def words(video: Video) -> tuple[Word, ...]:
    """None: the corpus has no word times."""
    del video
    return ()


def transcript(video: Video) -> str:
    """Returns the sentence, which the file's name tells; lower case."""
    return SENTENCES.get(video.video_id.split("_")[1], "")
