"""`lipsync data stats`: writes statistics of a prepared data set as an HTML page and as JSON."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.text import printable

_FRAMES = 6  # of a speaker's contact sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync data`."""
    add = parser.add_argument
    add("action", choices=("stats",), help="stats: write an HTML page of statistics")
    add("data", type=Path, metavar="SHARDS",
        help="folder that `lipsync prepare` wrote, or a data set in it")  # fmt: skip
    add("--crop", default="", metavar="CROP",
        help="crop of the clips, if the folder holds several data sets")  # fmt: skip
    add("--out", type=Path, default=Path("data_stats.html"), metavar="FILE",
        help="page to write (default: %(default)s)")  # fmt: skip
    add("--json", type=Path, metavar="FILE",
        help="write the numbers as JSON too; -: print them")  # fmt: skip
    add("--max-speakers", type=int, default=40, metavar="N",
        help="speakers of whom the page shows frames (default: %(default)s)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Writes the page; returns 1 if a clip can't be read.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no data set.
        ValueError: the folder holds several data sets, an option is out of range, or no clip can
            be read.
        OSError: a file can't be written.
    """
    import lipsync_jax
    from lipsync_jax.data import loader, statistics
    from lipsync_jax.evaluation.report import data_page
    from lipsync_jax.progress import ProgressBar

    if arguments.max_speakers < 0:
        raise ValueError(f"--max-speakers {arguments.max_speakers}: expected 0 or more")
    to_stdout = str(arguments.json) == "-"
    files = [("--out", arguments.out)]
    if arguments.json and not to_stdout:
        files.append(("--json", arguments.json))
    for option, file in files:
        if file.is_dir():
            raise ValueError(f"{option} {file} is a folder; name a file in it")
    folder = loader.only_dataset(arguments.data, arguments.crop)
    clips = statistics.ClipsBySplit(folder)
    for _, file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    with ProgressBar("clips", len(clips)) as bar:
        summaries, unreadable = clips.summarize(bar)
    by_speaker = statistics.group_by_speaker(summaries)
    shown = _spread(list(by_speaker), arguments.max_speakers)
    result = {
        "data": clips.name,
        "lipsync_jax": lipsync_jax.__version__,
        **statistics.compute(summaries),
        "unreadable": [dataclasses.asdict(each) for each in unreadable],
    }
    page = data_page.render(
        result, {name: clips.sample_frames(by_speaker[name], _FRAMES) for name in shown}
    )
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for (_, file), content in zip(files, (page, text), strict=False):
        paths.write_text(file, content)
        size = file.stat().st_size / 1e3
        _log(f"wrote {printable(file)}, {len(summaries)} clips, {size:.0f} kB")
    if to_stdout:
        print(text, end="")
    for each in unreadable[:3]:
        _log(printable(f"left out: record {each.record} of {each.split}, {each.reason}"))
    if unreadable:
        _log(f"{len(unreadable)} of {len(clips)} clips can't be read")
    return 1 if unreadable else 0


def _spread(names: list[str], count: int) -> list[str]:
    """Returns at most `count` of the names, spread evenly."""
    if len(names) <= count:
        return names
    return [names[number * len(names) // count] for number in range(count)]


def _log(line: str) -> None:
    print(line, file=sys.stderr)
