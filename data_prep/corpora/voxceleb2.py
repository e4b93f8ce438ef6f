"""VoxCeleb2 (Chung, Nagrani, Zisserman 2018): interviews of 6,112 celebrities."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora import clip_text, lrs2
from lipsync_jax.data_prep.corpora.base import OFFICIAL, CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import (
    Video,
    find_file,
    find_videos,
    official,
    subfolders,
)

META = "vox2_meta.csv"
ENGLISH = ("vox-en.id.gz", "vox-en.id")
_SPLITS = {"dev": "train", "test": "test"}
_WANTED = "dev/mp4/id00012/AbCdEfGhIjK/00001.mp4"


class Builder(CorpusBuilder):
    """VoxCeleb2 with its videos: celebrities in interviews."""

    name = "voxceleb2"
    DESCRIPTION = (
        "VoxCeleb2: 1,128,246 clips of 6,112 speakers, 2,440 hours, many languages, at 25 frames a "
        "second, without transcripts. There is no official validation split."
    )
    HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html"
    LICENSE = "CC BY 4.0 for the data set; the videos keep their owners' rights."
    CITATION = """@inproceedings{chung2018voxceleb2,
  author = {Chung, Joon Son and Nagrani, Arsha and Zisserman, Andrew},
  title = {{VoxCeleb2}: Deep Speaker Recognition},
  booktitle = {INTERSPEECH}, year = {2018}, eprint = {1806.05622}, archivePrefix = {arXiv}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Ask with the form at https://mm.kaist.ac.kr/datasets/voxceleb/
(an institution's mail address is needed) for vox2_dev_mp4_partaa ... partai and vox2_test_mp4.zip.
Join and unpack so that there are dev/mp4 and test/mp4:
  cat vox2_dev_mp4_parta* > vox2_mp4.zip && unzip vox2_mp4.zip
dev/mp4/id00012/AbCdEfGhIjK/00001.mp4 ... The audio is in the videos; dev/aac is used where a video
has none. Optional: dev/txt and test/txt (face boxes); vox2_meta.csv, needed only if the archives
were unpacked without the folders dev and test; vox-en.id.gz of AV-HuBERT (split english)."""
    SPLITS = {  # noqa: RUF012
        OFFICIAL: NamedSplit(
            lambda videos: _known(videos),
            "The speakers of dev train, the 118 of test test.",
        ),
        "english": NamedSplit(
            lambda videos: _english(videos),
            "The clips that AV-HuBERT counts as English, by vox-en.id.gz.",
        ),
    }
    BUILDER_CONFIGS = configs(SPLITS)


def find(sources: Iterable[Path]) -> list[Video]:
    """Returns the videos; numbers repeat, so that an id has speaker, source video and number.

    Raises:
        FileNotFoundError: a source does not exist, or does not hold the corpus.
        ValueError: vox2_meta.csv is needed and can't be understood.
    """
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    markers = ("dev/mp4", "test/mp4", "mp4")
    return find_videos(sources, markers, _scan, "VoxCeleb2", _WANTED, instructions)


def _scan(roots: Iterable[Path]) -> Iterator[Video]:
    for root in roots:
        sets = {} if (root / "dev/mp4").is_dir() or (root / "test/mp4").is_dir() else _sets(root)
        for part in ("dev", "test", ""):
            for speaker in subfolders(root / part / "mp4"):
                split = _SPLITS.get(part or sets.get(speaker.name, ""), "")
                for path in lrs2.clips(speaker):
                    inner = f"{speaker.name}/{path.parent.name}/{path.stem}"
                    beside = root / part
                    yield Video(
                        path,
                        f"{part}/{inner}" if part else inner,
                        speaker.name,
                        split,
                        beside / "txt" / f"{inner}.txt",
                        beside / "aac" / f"{inner}.m4a",
                    )


def _sets(root: Path) -> dict[str, str]:
    """Speaker -> `dev` or `test`, by vox2_meta.csv in the corpus or above."""
    file = find_file((root, root.parent), META)
    return read_meta(file) if file else {}


def read_meta(file: Path) -> dict[str, str]:
    """Returns the set, `dev` or `test`, of each speaker.

    There are two editions: separated by commas, or by tabs with a column of names in front. Both
    are padded with spaces.

    Raises:
        ValueError: the columns `VoxCeleb2 ID` and `Set` are not there.
    """
    text = file.read_text(encoding="utf-8-sig")
    header = text.partition("\n")[0]
    rows = csv.reader(text.splitlines(), delimiter="\t" if "\t" in header else ",")
    names = [name.strip().lower() for name in next(rows, [])]
    try:
        speaker, subset = names.index("voxceleb2 id"), names.index("set")
    except ValueError as error:
        raise ValueError(f"{file}: expected the columns `VoxCeleb2 ID` and `Set`, found "
                         f"{names}") from error  # fmt: skip
    return {
        row[speaker].strip(): row[subset].strip().lower()
        for row in rows
        if len(row) > max(speaker, subset)
    }


def _known(videos: Sequence[Video]) -> dict[str, str]:
    splits = dict(official(videos))
    if not splits:
        root = videos[0].path.parents[3]
        raise ValueError(
            f"{root} has no folders dev and test: put {META} into it or beside it, which tells who "
            "belongs to which; or split by speaker: --split-by speaker"
        )
    return splits


def _english(videos: Sequence[Video]) -> dict[str, str]:
    roots = dict.fromkeys(p for v in videos for p in list(v.path.parents)[3:6])
    file = find_file(roots, *ENGLISH)
    if file is None:
        raise ValueError(
            f"split english needs {ENGLISH[0]} of AV-HuBERT (av_hubert/avhubert/preparation/data) "
            f"beside dev and test in {next(iter(roots))}; or use --split-by official"
        )
    wanted = {"/".join(clip_id.split("/")[-3:]) for clip_id in clip_text.read_ids(file)}
    splits = _known(videos)
    return {name: s for name, s in splits.items() if "/".join(name.split("/")[-3:]) in wanted}


def boxes(video: Video) -> clip_text.ClipText | None:
    """Returns the clip's header and its face boxes, as fractions of the source video's image.

    Raises:
        ValueError: boxes are in pixels, as in VoxCeleb1, or the file can't be understood.
    """
    file = video.annotation
    return clip_text.read(file) if file and file.is_file() else None


def expected_frames(video: Video) -> int | None:
    """Returns how many frames the clip's text file lists; None without one."""
    text = boxes(video)
    return len(text.frames) if text and len(text.frames) else None


def words(video: Video) -> tuple[Word, ...]:
    """None: the corpus has no transcripts."""
    del video
    return ()
