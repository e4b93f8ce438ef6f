"""`lipsync sync`: says by how much the sound of a video is early or late, and mends it."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax.text import printable

if TYPE_CHECKING:
    from lipsync_jax.evaluation.sync.video_sync import TrackSync
    from lipsync_jax.evaluation.sync_models import Judge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync sync`."""
    from lipsync_jax.cli._options import add_looking

    parser.add_argument("video", type=Path, help="a video of people who speak, with its sound")
    parser.add_argument("--checkpoint_path", "--checkpoint-path", type=Path, required=True,
                        metavar="DIR", help="who judges: a run of configs/sync_expert.py, or what "
                        "`lipsync convert syncnet_v2.model` wrote")  # fmt: skip
    parser.add_argument("--fix", type=Path, metavar="OUT",
                        help="write the video with its sound moved; the picture is not encoded "
                        "anew")  # fmt: skip
    parser.add_argument("--shift", type=int, default=15, metavar="FRAMES",
                        help="frames of 25 a second to try either way (default: 15)")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    add_looking(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures a video and prints what was found; returns 0, or 1 if no face is sure."""
    from lipsync_jax.cli._terminal import ProgressLine, quiet
    from lipsync_jax.evaluation.sync import video_sync
    from lipsync_jax.evaluation.sync_models import Judge
    from lipsync_jax.synthesis.progress import Progress

    options = {**vars(arguments)}
    for name in ("command", "run"):
        options.pop(name, None)
    path, outfile, out = (options.pop(name) for name in ("video", "fix", "json"))
    shift = options.pop("shift")
    if shift < 3:
        raise ValueError(f"--shift {shift}: give at least 3 frames")
    quiet()
    judge = Judge.load(options.pop("checkpoint_path"))
    line = ProgressLine(sys.stderr)
    try:
        tracks = video_sync.measure(
            path, judge, shift, lambda *state: line(Progress("faces", *state)), **options
        )
    finally:
        line.close()
    name = printable(path)
    print("\n".join([name, *map(describe, tracks)]) if tracks else f"{name}: no face found")
    if out is not None:
        out.write_text(json.dumps(as_json(path, judge, tracks), indent=2, sort_keys=True) + "\n")
    if outfile is not None:
        try:
            delay, lost = video_sync.fix(path, outfile, tracks)
        except ValueError as error:
            raise ValueError(f"{path} was not fixed: {error}") from error
        word = "later" if delay >= 0 else "earlier"
        print(f"wrote {printable(outfile)}, its sound {abs(1000 * delay):.0f} ms {word}")
        if lost:
            hint = "" if outfile.suffix.lower() == ".mkv" else "; .mkv holds more kinds"
            said = f"{outfile} cannot hold {', '.join(lost)}, which is left out{hint}"
            print(printable(said))
    return 0 if any(track.sure for track in tracks) else 1


def describe(track: "TrackSync") -> str:
    """A line about a `sync.TrackSync`."""
    from lipsync_jax.cli._terminal import timestamp

    where = f"  {timestamp(track.start)}-{timestamp(track.end)}  face {track.face}: "
    if track.found is None:
        return f"{where}not measured, {track.reason}"
    frames, lag = track.found.exact, track.lag_ms
    side = "late" if lag > 0 else "early"
    said = f"sound {abs(lag):.0f} ms {side} ({frames:+.1f} frames of 25 a second)"
    if abs(frames) < 0.5:
        said = f"in sync ({lag:+.0f} ms)"
    said += f", confidence {track.found.confidence:.2f}, clarity {track.found.clarity:.2f}"
    return where + (said if track.sure else f"LOW CONFIDENCE, don't rely on it: {said}")


def as_json(path: Path, judge: "Judge", tracks: "Sequence[TrackSync]") -> dict:
    """What was found, as JSON values; lags are positive where the sound comes after the picture."""

    def number(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    return {
        "video": path.name,
        "judge": {"kind": judge.kind, "model": judge.model},
        "tracks": [
            {
                "face": track.face,
                "start": track.start,
                "end": track.end,
                "sure": track.sure,
                "reason": track.reason,
                "lag_ms": number(track.lag_ms),
                **(
                    {
                        "lag_frames": track.found.lag,
                        "distance": track.found.distance,
                        "confidence": track.found.confidence,
                        "clarity": track.found.clarity,
                        "distances": [number(value) for value in track.found.distances],
                    }
                    if track.found
                    else {}
                ),
            }
            for track in tracks
        ],
    }
