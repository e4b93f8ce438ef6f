"""Injects audio offsets into videos, and checks that `lipsync prepare` corrects or drops them.

    python benchmarks/prepare_offsets.py CLIPS... [--offsets -8 0 8] [--max-sync-offset 6]
                                         [--sync-model DIR] [--detect-every 4]

Each video, one that is in sync, is written with its audio shifted, the images copied, and its clips
are extracted as `lipsync prepare` does. The offset that is left is measured without a network, by
correlation of a clip's samples with those of the unshifted video at the same frames. A clip is
`corrected` where at most a frame is left, else `WRONG`; and `not compared` where the unshifted
video gives no clip of its frames. Offsets are in frames of 25 a second, positive where the audio is
later than the video. The exit status is 1 if a clip is WRONG.
"""

import argparse
import collections
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import scipy.signal

from lipsync_jax.data.clip import Clip
from lipsync_jax.data_prep.corpora import Video, video_files
from lipsync_jax.data_prep.extract_clips import extract_clips
from lipsync_jax.data_prep.settings import BUILT_IN, FRAME_RATE, NO_SYNC_MODEL, ExtractionSettings
from lipsync_jax.media import mux

TOLERANCE = 1.05  # frames: one, and the milliseconds to which the times of .mkv are rounded


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+", help="videos, and folders of videos")
    parser.add_argument("--offsets", type=int, nargs="+", default=range(-8, 9), metavar="FRAMES")
    parser.add_argument("--max-sync-offset", type=int, default=6, metavar="FRAMES")
    parser.add_argument("--sync-model", default=BUILT_IN, metavar="DIR")
    parser.add_argument("--detect-every", type=int, default=4, metavar="FRAMES")
    arguments = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()

    def extract(path: Path, sync_model: str) -> tuple[tuple[Clip, ...], list[str]]:
        settings = ExtractionSettings(
            sync_model=sync_model,
            max_sync_offset=arguments.max_sync_offset,
            detect_every=arguments.detect_every,
        )
        result = extract_clips(Video(path, path.stem, path.parent.name), "folder", settings)
        return result.clips, [f"{item.reason} ({item.detail})" for item in result.rejected]

    print("| clip | injected | left | result |\n|--|--|--|--|")
    for path, _ in video_files(arguments.clips):
        unshifted, _ = extract(path, NO_SYNC_MODEL)
        for frames in arguments.offsets:
            with tempfile.TemporaryDirectory() as scratch:
                shifted = Path(scratch) / f"{path.stem}.mkv"
                mux.mux(path, path, shifted, delay=Fraction(frames, FRAME_RATE))
                clips, reasons = extract(shifted, arguments.sync_model)
            left = [offset_between(unshifted, clip) for clip in clips]
            results = [result_of(each) for each in left] or ["dropped"]
            counts.update(results)
            numbers = ", ".join("" if each is None else f"{each:+.2f}" for each in left)
            shown = ", ".join([*results, *reasons])
            print(f"| {path.parent.name}/{path.stem} | {frames:+d} | {numbers} | {shown} |",
                  flush=True)  # fmt: skip
    print("\n" + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return int("WRONG" in counts)


def result_of(left: float | None) -> str:
    """Returns the result of a clip, of whose audio offset some frames are left."""
    if left is None:
        return "not compared"
    return "corrected" if abs(left) <= TOLERANCE else "WRONG"


def offset_between(unshifted: Sequence[Clip], clip: Clip) -> float | None:
    """Returns the frames by which the audio of a clip is later than in the unshifted clips.

    None where none of these shows the clip's first frame.
    """
    plain = next((each for each in unshifted if clip.frames[0] in each.frames), None)
    if plain is None:
        return None
    start = list(plain.frames).index(clip.frames[0])
    step = float(clip.audio_rate / FRAME_RATE)
    expected = np.asarray(plain.audio[round(start * step) :], float)
    correlation = scipy.signal.correlate(np.asarray(clip.audio, float), expected, method="fft")
    lags = scipy.signal.correlation_lags(len(clip.audio), len(expected))
    return float(lags[correlation.argmax()] / step)


if __name__ == "__main__":
    raise SystemExit(main())
