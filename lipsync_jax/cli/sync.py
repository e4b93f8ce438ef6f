"""`lipsync sync`: measures the audio offset of a video, and removes the offset.

Audio offsets are positive where the audio is later than the video.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax import weights
from lipsync_jax.cli import _json_output, _parser
from lipsync_jax.text import printable

if TYPE_CHECKING:
    from lipsync_jax.evaluation.sync.video_sync import TrackSync
    from lipsync_jax.evaluation.sync_models import SyncModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync sync`."""
    from lipsync_jax.cli._options import add_detection_options

    parser.add_argument("video", type=Path, help="a video of people who speak, with audio")
    parser.add_argument("--sync-model", type=_parser.checkpoint, metavar="DIR",
                        help="a run of configs/sync_expert.py, or the folder that "
                        "`lipsync convert syncnet_v2.model` wrote (default: the built-in model, "
                        "see `lipsync models`)")  # fmt: skip
    parser.add_argument("--write-synced", type=Path, metavar="OUT",
                        help="write the video with its audio shifted; images are copied without "
                        "encoding")  # fmt: skip
    parser.add_argument("--max-offset", type=int, default=15, metavar="FRAMES",
                        help="largest offset to try, frames of 25 a second, both ways "
                        "(default: 15)")  # fmt: skip
    add_detection_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures a video and prints the offsets; returns 1 if no face has a confident offset."""
    from lipsync_jax.cli._terminal import generation_progress, quiet
    from lipsync_jax.evaluation.sync import video_sync
    from lipsync_jax.evaluation.sync_models import SyncModel
    from lipsync_jax.media import mux
    from lipsync_jax.synthesis import model_info
    from lipsync_jax.synthesis.progress import Progress

    options = {**vars(arguments)}
    for name in ("command", "run"):
        options.pop(name, None)
    path, outfile, output = (options.pop(name) for name in ("video", "write_synced", "json"))
    max_offset = options.pop("max_offset")
    if max_offset < 3:
        raise ValueError(f"--max-offset {max_offset}: give at least 3 frames")
    if outfile is not None:
        mux.check_output(outfile)
    quiet()
    folder = weights.resolve(options.pop("sync_model"), weights.SYNC, "--sync-model")
    sync_model, credit = SyncModel.load(folder), model_info.credit(folder)
    with generation_progress() as show:
        tracks = video_sync.measure(
            path, sync_model, max_offset, lambda *state: show(Progress("faces", *state)), **options
        )
    name = printable(path)
    print("\n".join([name, *map(describe, tracks)]) if tracks else f"{name}: no face found")
    print(f"  {credit}")
    output.update(**as_json(path, sync_model, tracks, credit), written=None, warnings=[])
    if outfile is not None:
        try:
            delay, lost = video_sync.shift_audio(path, outfile, tracks)
        except ValueError as error:
            raise ValueError(f"--write-synced {outfile} was not written: {error}") from error
        direction = "later" if delay >= 0 else "earlier"
        output.update(written={"outfile": outfile, "audio_shift_ms": 1000 * delay})
        print(f"wrote {printable(outfile)}, audio {abs(1000 * delay):.0f} ms {direction}")
        if lost:
            hint = "" if outfile.suffix.lower() == ".mkv" else "; .mkv holds more kinds"
            message = f"{outfile} cannot hold {', '.join(lost)}, which are left out{hint}"
            output.update(warnings=[message])
            print(printable(message))
    return 0 if any(track.is_confident for track in tracks) else 1


def describe(track: "TrackSync") -> str:
    """Formats a `video_sync.TrackSync` in a line."""
    from lipsync_jax.cli._terminal import timestamp
    from lipsync_jax.evaluation.sync import dub_sync

    where = f"  {timestamp(track.start)}-{timestamp(track.end)}  face {track.face}: "
    return where + dub_sync.format_offset(track)


def as_json(
    path: Path, sync_model: "SyncModel", tracks: "Sequence[TrackSync]", credit: str = ""
) -> dict:
    """Returns the values of `--json`.

    Args:
        path: of the video.
        sync_model: that measured.
        tracks: the faces, see `_json_output.track`.
        credit: as in `model_info.credit`.
    """
    return {
        "video": path,
        "sync_model": {"kind": sync_model.kind, "model": sync_model.model_hash, "credit": credit},
        "tracks": [_json_output.track(track) for track in tracks],
    }
