"""LRS2-BBC (Afouras et al. 2018): sentences of BBC television."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora import clip_text
from lipsync_jax.data_prep.corpora.base import OFFICIAL, CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import (
    Video,
    find_file,
    find_videos,
    official,
    subfolders,
    visible_files,
)

LISTS = {"train": "train", "val": "validation", "test": "test"}  # of main/; pretrain/ is whole
_WANTED = "mvlrs_v1/main/5512345678901234567/00001.mp4"
_URL = "https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrs2.html"


class Builder(CorpusBuilder):
    """LRS2: sentences of the BBC."""

    name = "lrs2"
    DESCRIPTION = (
        "LRS2-BBC: 144,482 utterances of television, 224 hours, at 25 frames a second. The split "
        "`pretrain` has word times, the others have transcripts. Speakers are not known; "
        "`speaker` is the broadcast."
    )
    HOMEPAGE = _URL
    LICENSE = "Non-commercial academic research, by agreement with the BBC."
    CITATION = """@article{afouras2018deep,
  author = {Afouras, Triantafyllos and Chung, Joon Son and Senior, Andrew and Vinyals, Oriol and
            Zisserman, Andrew},
  title = {Deep Audio-Visual Speech Recognition},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  year = {2018}, eprint = {1809.02108}, archivePrefix = {arXiv}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""Sign the agreement at
https://www.bbc.co.uk/rd/projects/lip-reading-datasets and send it; the reply (about a week) has a
user name and a password for {_URL}.
Download lrs2_v1_partaa ... partae and, beside them, pretrain.txt, train.txt, val.txt and test.txt,
which are not in the archive. Join and unpack:
  cat lrs2_v1_parta* > lrs2_v1.tar && tar -xf lrs2_v1.tar
which gives mvlrs_v1/main and mvlrs_v1/pretrain. Put the four lists beside mvlrs_v1 or into it."""
    SPLITS = {  # noqa: RUF012
        OFFICIAL: NamedSplit(
            lambda videos: _listed(videos),
            "The lists train, val and test of `main`; `pretrain` is a split of its own.",
        ),
        "main": NamedSplit(
            lambda videos: {k: v for k, v in _listed(videos).items() if v != "pretrain"},
            "`main` alone, as Wav2Lip was trained (Prajwal et al. 2020).",
        ),
        "pretrain": NamedSplit(
            lambda videos: {k: v.replace("pretrain", "train") for k, v in _listed(videos).items()},
            "The official split with `pretrain` among the training clips.",
        ),
    }
    BUILDER_CONFIGS = configs(SPLITS)


def find(sources: Iterable[Path]) -> list[Video]:
    """Returns the videos of `main` and `pretrain`, with their split as the lists say.

    Raises:
        FileNotFoundError: a source does not exist, or does not hold the corpus.
    """
    sources = [Path(source) for source in sources]
    scan = functools.partial(_scan, sources=sources)
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    return find_videos(sources, ("main", "pretrain"), scan, "LRS2", _WANTED, instructions)


def _scan(roots: Iterable[Path], sources: Sequence[Path]) -> Iterator[Video]:
    for root in roots:
        lists = _read_lists(root, sources)
        for part in ("main", "pretrain"):
            for path in clips(root / part):
                inner = f"{path.parent.name}/{path.stem}"
                split = "pretrain" if part == "pretrain" else lists.get(inner, "")
                text = path.with_suffix(".txt")
                yield Video(path, f"{part}/{inner}", path.parent.name, split, text)


def clips(part: Path) -> Iterator[Path]:
    """Yields the videos of a part, `part/BROADCAST/00001.mp4`, in order."""
    for folder in subfolders(part):
        yield from visible_files(folder, (".mp4",))


def _read_lists(root: Path, sources: Sequence[Path]) -> dict[str, str]:
    """Broadcast and number -> split, by the lists in the corpus, above it or in the sources."""
    folders = [root, root.parent, *(source for source in sources if source.is_dir())]
    splits: dict[str, str] = {}
    for name, split in LISTS.items():
        if file := find_file(folders, f"{name}.txt"):
            # test.txt has a second field, NF or MV.
            splits |= dict.fromkeys(clip_text.read_ids(file), split)
    return splits


def _listed(videos: Sequence[Video]) -> dict[str, str]:
    main = [video for video in videos if video.video_id.startswith("main/")]
    if main and not any(video.split for video in main):
        root = main[0].path.parents[2]
        raise ValueError(
            f"no list names the clips of {root / 'main'}: looked for train.txt, val.txt and "
            f"test.txt in {root} and {root.parent}; download them from {_URL}, they are not in the "
            "archive. Or split by broadcast: --split-by speaker"
        )
    return dict(official(videos))


def words(video: Video) -> tuple[Word, ...]:
    """Returns the words with times, which `pretrain` has.

    Raises:
        ValueError: the text file can't be understood.
    """
    file = video.annotation
    return clip_text.read(file).words if file and file.is_file() else ()


def transcript(video: Video) -> str:
    """Returns the sentence, lower case, without marks such as `{NS}`."""
    file = video.annotation
    return clip_text.read(file).transcript if file and file.is_file() else ""
