"""`lipsync av-correlation`: correlates audio and mouth motion of prepared clips over time shifts.

A shift is positive where motion follows the audio: it is the negative of an audio offset, which is
positive where the audio is later than the video.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from lipsync_jax import paths
from lipsync_jax.cli import _parser
from lipsync_jax.progress import ProgressBar
from lipsync_jax.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync av-correlation`."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR",
                        help="folder that `lipsync prepare` wrote")  # fmt: skip
    parser.add_argument("--crop", default="face96", help="crop of the clips (default: face96)")
    parser.add_argument("--split", default="train", help="train (default), validation or test")
    parser.add_argument("--limit", type=_parser.count, default=0, metavar="N",
                        help="the first N clips only")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder for av_correlation.json and av_correlation.png")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Measures every clip, writes table and plot; returns 1 if no clip could be measured.

    Keys of av_correlation.json: `shifts` (frames by which motion follows the audio; the audio
    offset is the negative), `mean_correlation` (one per shift), `clips` (name -> `best_shift`,
    frames, and `correlations`), `left_out` (name -> reason), `data` and `split`.

    Raises:
        FileNotFoundError, ValueError: the data set or the split does not exist.
    """
    from lipsync_jax.cli._terminal import quiet
    from lipsync_jax.data import loader
    from lipsync_jax.evaluation.report import plots
    from lipsync_jax.evaluation.sync import av_correlation

    quiet()
    folder = loader.find_dataset(str(arguments.data), arguments.crop)
    clips = loader.ClipDataSource(folder, arguments.split)
    arguments.out.mkdir(parents=True, exist_ok=True)
    correlations, skipped = {}, {}
    count = min(arguments.limit, len(clips)) if arguments.limit else len(clips)
    with ProgressBar("clips", count) as bar:
        for i in range(count):
            clip = clips[i]
            try:
                correlations[clip.clip_id] = av_correlation.measure(clip)
            except ValueError as error:
                skipped[clip.clip_id] = str(error)
                print(printable(f"left out: {clip.clip_id}, {error}"), file=sys.stderr)
            bar(i + 1)
    if not correlations:
        print(f"no clip of {printable(folder)} could be measured", file=sys.stderr)
        return 1
    curves = np.stack([each.correlations for each in correlations.values()])
    best = np.array([each.best_shift for each in correlations.values()])
    result = {
        "data": folder.name,
        "split": arguments.split,
        "shifts": list(av_correlation.SHIFTS),
        "mean_correlation": np.round(curves.mean(axis=0), 6).tolist(),
        "clips": {
            name: {
                "best_shift": each.best_shift,
                "correlations": np.round(each.correlations, 6).tolist(),
            }
            for name, each in correlations.items()
        },
        "left_out": skipped,
    }
    text = json.dumps(result, indent=1, sort_keys=True) + "\n"
    table, plot = (arguments.out / f"av_correlation.{suffix}" for suffix in ("json", "png"))
    paths.write_text(table, text)
    paths.write_bytes(plot, plots.shift_correlations(av_correlation.SHIFTS, curves, best))
    print("frames by which motion follows audio    clips with this best shift    mean correlation")
    for shift, mean in zip(av_correlation.SHIFTS, curves.mean(axis=0), strict=True):
        print(f"{shift:+36d}    {np.mean(best == shift):26.1%}    {mean:16.3f}")
    print(f"wrote {printable(table)} and {printable(plot)}")
    return 0
