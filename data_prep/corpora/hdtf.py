"""HDTF (Zhang et al. 2021): talking heads of YouTube, published as lists of addresses and times."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora.base import CorpusBuilder, configs
from lipsync_jax.data_prep.corpora.layout import (
    Video,
    collect,
    layout_error,
    video_files,
    walk,
)

log = logging.getLogger(__name__)

_TIME_LIST, _CROP_LIST, _SIZE_LIST = "_annotion_time.txt", "_crop_wh.txt", "_resolution.txt"
_CUT = re.compile(r"(.+)_(\d+)")
_WANTED = "lists *_annotion_time.txt, and videos of their names, e.g. WDA_Name_000.mp4"


class Builder(CorpusBuilder):
    """HDTF: high-resolution talking heads of YouTube."""

    name = "hdtf"
    DESCRIPTION = (
        "HDTF: 436 clips of 369 YouTube videos, 17 hours, 720 or 1080 rows, without transcripts. "
        "There is no official split; `speaker` is the video's name without its number."
    )
    HOMEPAGE = "https://github.com/MRzzm/HDTF"
    LICENSE = "CC BY 4.0 for the lists; the videos keep their owners' rights."
    CITATION = """@inproceedings{zhang2021flow,
  author = {Zhang, Zhimeng and Li, Lincheng and Ding, Yu and Fan, Changjie},
  title = {Flow-Guided One-Shot Talking Face Generation With a High-Resolution Audio-Visual
           Dataset},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {3661--3670}, year = {2021}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Get the lists: git clone https://github.com/MRzzm/HDTF (its
folder HDTF_dataset has RD_, WDA_ and WRA_annotion_time.txt, _crop_wh.txt, _resolution.txt and
_video_url.txt). Fetch the videos of _video_url.txt yourself, within YouTube's terms, with audio,
and save each under its name in that list: WDA_Name_000.mp4. Put the videos into the folder of the
lists or below it. Videos are cut and cropped as the lists say; ready clips, WDA_Name_000_0.mp4, are
used as they are. Many addresses no longer work; what is missing is left out."""
    BUILDER_CONFIGS = configs({})


def find(sources: Iterable[Path]) -> list[Video]:
    """Returns the clips of the lists whose videos are there, and ready clips.

    Raises:
        FileNotFoundError: a source does not exist, or holds no list or no video of the lists.
        ValueError: a list can't be understood.
    """
    sources = [Path(source) for source in sources]
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    paths = [path for path, _ in video_files(sources, instructions)]
    lists = list(_list_files(sources))
    times = {
        name: [_interval(file, field) for field in fields]
        for file in lists
        if file.name.endswith(_TIME_LIST)
        for name, *fields in _rows(file)
    }
    if not times:
        raise layout_error(sources, _WANTED, "HDTF", instructions)
    regions = _regions(lists)
    videos: dict[str, Video] = {}
    for path in paths:
        name = path.stem
        if name in times:
            for number, (start, end) in enumerate(times[name]):
                clip = f"{name}_{number}"
                region = regions.get(clip)
                videos.setdefault(  # a ready clip of that name comes first
                    clip,
                    Video(path, clip, _speaker(name), start=start, end=end, region=region),
                )
        elif (match := _CUT.fullmatch(name)) and match[1] in times:
            videos[name] = Video(path, name, _speaker(match[1]))
    result = [videos[name] for name in sorted(videos)]
    result = collect(result, "HDTF", sources, _WANTED, instructions)
    total = sum(len(intervals) for intervals in times.values())
    if len(result) < total:
        log.warning("%d of the %d clips of the lists have no video", total - len(result), total)
    return result


def _list_files(sources: Sequence[Path]) -> Iterator[Path]:
    for source in sources:
        for file in walk(source) if source.is_dir() else source.parent.iterdir():
            is_list = file.name.endswith((_TIME_LIST, _CROP_LIST, _SIZE_LIST))
            if is_list and not file.name.startswith("."):
                yield file


def _rows(file: Path) -> Iterator[list[str]]:
    """The fields of a list's lines, the first one without `.mp4`; lists may begin with a mark."""
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        if fields := line.split():
            yield [fields[0].removesuffix(".mp4"), *fields[1:]]


def _interval(file: Path, field: str) -> tuple[float, float]:
    times = field.split("-")
    try:
        start, end = (
            sum(float(part) * 60**power for power, part in enumerate(reversed(time.split(":"))))
            for time in times
        )
    except ValueError as error:
        raise ValueError(
            f"{file}: {field!r} is not `mm:ss-mm:ss`; clone the lists again"
        ) from error
    if end <= start:
        raise ValueError(f"{file}: the interval {field} ends before it begins")
    return start, end


def _regions(lists: Sequence[Path]) -> Mapping[str, tuple[float, float, float, float]]:
    """Clip -> x, y, width, height in heights of the image, for the clips that have a crop line."""
    heights = {
        name: _number(file, fields[0])
        for file in lists
        if file.name.endswith(_SIZE_LIST)
        for name, *fields in _rows(file)
        if fields
    }
    regions = {}
    for file in lists:
        if file.name.endswith(_CROP_LIST):
            for clip, *fields in _rows(file):
                height = heights.get(clip.rpartition("_")[0])
                if len(fields) == 4 and height:
                    x, width, y, rows = (_number(file, field) / height for field in fields)
                    regions[clip] = (x, y, width, rows)
    return regions


def _number(file: Path, field: str) -> float:
    try:
        return float(field)
    except ValueError as error:
        raise ValueError(
            f"{file}: {field!r} is no number of pixels; clone the lists again"
        ) from error


def _speaker(name: str) -> str:
    match = _CUT.fullmatch(name)
    return match[1] if match else name


def words(video: Video) -> tuple[Word, ...]:
    """None: the corpus has no transcripts."""
    del video
    return ()
