"""Injects known audio offsets into videos, and compares with what `lipsync sync` measures.

    python benchmarks/sync_offsets.py CLIPS... [--sync-model DIR] [--offsets -5 0 5 12]
                                      [--detect-every 4] [--mismatched]

Without --sync-model, the built-in sync model is used. Each video is written with its audio shifted,
the images copied, and the written file is measured as any video. A clip's own offset is what is
measured at an injected offset of 0: a row is `recovered` where the measured offset differs from own
plus injected by at most a frame, `WRONG` where it differs by more and is reported as confident, and
`low confidence` otherwise. --mismatched adds a row for each video with another video's audio, which
is `WRONG` where any offset is confident. Offsets are in frames of 25 a second, positive where the
audio is later than the video. The exit status is 1 if a row is WRONG.
"""

import argparse
import contextlib
import tempfile
from fractions import Fraction
from pathlib import Path

from lipsync_jax import weights
from lipsync_jax.data_prep.corpora import video_files
from lipsync_jax.evaluation.sync import video_sync
from lipsync_jax.evaluation.sync.video_sync import TrackSync
from lipsync_jax.evaluation.sync_models import FRAME_RATE, SyncModel
from lipsync_jax.media import audio, mux

COLUMNS = (
    "clip", "injected", "measured", "change", "prominence", "stability", "mouth motion", "result",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+", help="videos, and folders of videos")
    parser.add_argument("--sync-model", type=Path, metavar="DIR")
    parser.add_argument("--offsets", type=int, nargs="+", default=[-5, 0, 5, 12], metavar="FRAMES")
    parser.add_argument("--detect-every", type=int, default=4, metavar="FRAMES")
    parser.add_argument("--mismatched", action="store_true", help="add rows with other audio")
    arguments = parser.parse_args()
    folder = weights.resolve(arguments.sync_model, weights.SYNC, "--sync-model")
    sync_model, results = SyncModel.load(folder), []

    def measure(video: Path, sound: Path, frames: int) -> TrackSync | None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "shifted.mkv"
            mux.mux(video, sound, path, delay=Fraction(frames, FRAME_RATE))
            tracks = video_sync.measure(
                path, sync_model, detect_every=arguments.detect_every, cache=False
            )
        return video_sync.longest(track for track in tracks if track.av_offset is not None)

    def show(name: str, injected: str, track: TrackSync | None, own: float | None) -> None:
        result, cells = "not measured", ["", "", "", "", ""]
        if track is not None:
            found, frames = track.av_offset, track.av_offset.subframe
            change = None if own is None else frames - own
            near = change is not None and abs(change - int(injected)) <= 1.0
            result = ("recovered" if near else "WRONG") if track.is_confident else "low confidence"
            cells = [
                f"{frames:+.1f}",
                "" if change is None else f"{change:+.1f}",
                f"{found.prominence:.3f}",
                f"{found.stability:.2f}",
                f"{track.vote.frames:+d}" if track.vote else "",
            ]
        results.append(result)
        print("| " + " | ".join([name, injected, *cells, result]) + " |", flush=True)

    print("| " + " | ".join(COLUMNS) + " |\n|" + "--|" * len(COLUMNS))
    clips = [clip for clip, _ in video_files(arguments.clips) if has_audio(clip)]
    for i, clip in enumerate(clips):
        plain = measure(clip, clip, 0)
        own = plain.av_offset.subframe if plain else None
        for frames in arguments.offsets:
            track = measure(clip, clip, frames) if frames else plain
            show(clip.stem, f"{frames:+d}", track, own)
        if arguments.mismatched and len(clips) > 1:
            other = clips[(i + 1) % len(clips)]
            show(clip.stem, f"audio of {other.stem}", measure(clip, other, 0), None)
    counts = {name: results.count(name) for name in dict.fromkeys(results)}
    print("\n" + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return int("WRONG" in counts)


def has_audio(path: Path) -> bool:
    """Returns whether a video has audio; says so where it has none."""
    with contextlib.suppress(ValueError):
        audio.load_from_video_start(path, audio.SAMPLE_RATE)
        return True
    print(f"{path.name} has no audio and is left out", flush=True)
    return False


if __name__ == "__main__":
    raise SystemExit(main())
