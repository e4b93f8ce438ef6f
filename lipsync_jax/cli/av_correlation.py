"""`lipsync delay`: how motion and sound of a data set's clips are correlated over time shifts."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from lipsync_jax.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync delay`."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR",
                        help="what `lipsync prepare` wrote")  # fmt: skip
    parser.add_argument("--geometry", default="face96", help="of its crops (default: face96)")
    parser.add_argument("--split", default="train", help="train (default), validation or test")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="the first N clips only")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder for delay.json and delay.png")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Measures every clip, writes table and plot; returns 0, or 1 if no clip could be measured.

    Raises:
        FileNotFoundError, ValueError: there are no such clips.
    """
    from lipsync_jax.cli._terminal import quiet
    from lipsync_jax.data import loader
    from lipsync_jax.evaluation.report import plots
    from lipsync_jax.evaluation.sync import av_correlation

    quiet()
    folder = loader.find_dataset(str(arguments.data), arguments.geometry)
    clips = loader.Clips(folder, arguments.split)
    found, left_out = {}, {}
    for i in range(min(arguments.limit, len(clips)) if arguments.limit else len(clips)):
        clip = clips[i]
        try:
            found[clip.clip_id] = av_correlation.measure(clip)
        except ValueError as error:
            left_out[clip.clip_id] = str(error)
            print(printable(f"left out: {clip.clip_id}, {error}"), file=sys.stderr)
    if not found:
        print(f"none of the clips of {folder} could be measured", file=sys.stderr)
        return 1
    curves = np.stack([each.correlations for each in found.values()])
    best = np.array([each.best for each in found.values()])
    result = {
        "data": folder.name,
        "split": arguments.split,
        "shifts": list(av_correlation.SHIFTS),
        "mean_correlation": np.round(curves.mean(axis=0), 6).tolist(),
        "clips": {
            name: {"best": each.best, "correlations": np.round(each.correlations, 6).tolist()}
            for name, each in found.items()
        },
        "left_out": left_out,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, sort_keys=True) + "\n"
    (arguments.out / "delay.json").write_text(text)
    (arguments.out / "delay.png").write_bytes(plots.delays(av_correlation.SHIFTS, curves, best))
    print("frames by which motion follows sound    clips with it as the best    mean correlation")
    for shift, mean in zip(av_correlation.SHIFTS, curves.mean(axis=0), strict=True):
        print(f"{shift:+36d}    {np.mean(best == shift):26.1%}    {mean:16.3f}")
    print(
        f"wrote {arguments.out / 'av_correlation.json'} and {arguments.out / 'av_correlation.png'}"
    )
    return 0
