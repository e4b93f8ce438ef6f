"""What `lipsync generate` does with real clips, whole and ill-treated: one table.

    python benchmarks/synthesis.py CLIPS_DIR --checkpoint_path DIR --out DIR [--seconds 8]

Of each video in CLIPS_DIR come versions that are cut, blanked for a second, rotated by metadata and
re-timed. Each is dubbed in a process of its own, with its own sound or another clip's; the results
are read back, and DIR/synthesis.md tells how it went. At the end a small video of 1 and 10 minutes
shows whether memory grows.
"""

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from lipsync_jax.media import audio, video_reader
from lipsync_jax.media.timeline import passes
from lipsync_jax.media.video_reader import Frame
from lipsync_jax.synthesis import driving_audio

RATES = {
    "23.976": Fraction(24000, 1001),
    "29.97": Fraction(30000, 1001),
    "50": Fraction(50),
    "59.94": Fraction(60000, 1001),
}
SMALL = 240  # rows of the video that memory is measured with
COLUMNS = (
    "clip", "version", "exit", "duration error (ms)", "frames redrawn", "kept", "face seen (%)",
    "frames/s", "peak memory (MB)", "marked",
)  # fmt: skip


# A process inherits the peak memory of the one that starts it, so a small one stands between.
LAUNCH = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


class Run(NamedTuple):
    status: int
    said: str
    peak: float  # MB


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--checkpoint_path", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seconds", type=Fraction, default=Fraction(8), help="of each clip")
    parser.add_argument("--versions", nargs="+", choices=(*VERSIONS, "none"), default=[*VERSIONS])
    parser.add_argument("--minutes", nargs="*", type=float, default=[1, 10],
                        help="at which memory is measured; none to skip it")  # fmt: skip
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[],
                        help="last: options handed on to lipsync generate")  # fmt: skip
    return parser.parse_args()


def write(path: Path, frames: Iterable[Frame], rate: Fraction, rotation: int = 0) -> None:
    """Writes frames at their times; with a rotation, turned, and with a note to turn them back."""
    tick = Fraction(1, 90_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12"})
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", tick
        stream.codec_context.max_b_frames = 0
        for count, frame in enumerate(frames):
            image = np.rot90(frame.image, -rotation // 90)
            height, width = (n - n % 2 for n in image.shape[:2])
            if not count:
                stream.width, stream.height = width, height
                if rotation:
                    stream.set_display_rotation(rotation)
            encoded = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image[:height, :width]), format="rgb24"
            )
            encoded.pts, encoded.time_base = round(frame.time / tick), tick
            container.mux(stream.encode(encoded))
        container.mux(stream.encode(None))


def whole(frames: Iterable[Frame], rate: Fraction) -> Iterator[Frame]:
    yield from frames


def cut(frames: Iterable[Frame], rate: Fraction) -> Iterator[Frame]:
    """Every two seconds another shot: closer, mirrored and brighter."""
    for frame in frames:
        height, width = frame.image.shape[:2]
        if int(frame.time) // 2 % 2:
            close = frame.image[: height * 4 // 5, width // 10 : width * 9 // 10]
            close = np.ascontiguousarray(255 - (255 - close[:, ::-1]) // 2)
            yield frame._replace(image=cv2.resize(close, (width, height)))
        else:
            yield frame


def blanked(frames: Iterable[Frame], rate: Fraction) -> Iterator[Frame]:
    """Black from second 1 to 2."""
    for frame in frames:
        yield frame._replace(image=frame.image * np.uint8(not 1 <= frame.time < 2))


def uneven(frames: Iterable[Frame], rate: Fraction) -> Iterator[Frame]:
    """A third of the frames dropped at random, the rest at their own times."""
    rng = np.random.default_rng(0)
    for frame in frames:
        if frame.index == 0 or rng.random() > 1 / 3:
            yield frame


def retimed(to: Fraction) -> Callable:
    return lambda frames, rate: video_reader.constant_rate(frames, to)


VERSIONS: dict[str, Callable] = {
    "as it is": whole,
    "cut": cut,
    "blanked": blanked,
    "rotated": whole,
    **{name: retimed(rate) for name, rate in RATES.items()},
    "VFR": uneven,
}


def make(path: Path, clip: Path, version: str, seconds: Fraction) -> None:
    info = video_reader.probe(clip)
    frames = itertools.takewhile(lambda f: f.time < seconds, video_reader.read_frames(clip))
    rate = RATES.get(version, info.frame_rate)
    rotation = 90 if version == "rotated" else 0
    write(path, VERSIONS[version](frames, info.frame_rate), rate, rotation)


def voice_for(clip: Path, clips: list[Path]) -> Path:
    """The clip's own sound, else that of another."""
    beside = clip.with_suffix(".wav")
    for candidate in (beside, clip, *clips):
        if candidate.is_file() and (candidate == beside or video_reader.probe(candidate).has_audio):
            return candidate
    sys.exit(f"{clip.parent} has no sound at all; put a .wav of the same name beside a clip")


def save_voice(path: Path, source: Path, seconds: float) -> Path:
    """Some seconds of a voice, said again and again if need be."""
    samples, rate = audio.load_aligned(source)
    audio.save(path, np.resize(samples, round(seconds * rate)), rate)
    return path


def generate(face: Path, voice: Path, out: Path, chosen: argparse.Namespace) -> Run:
    """One dubbing in a process of its own."""
    command = [
        *(sys.executable, "-m", "lipsync_jax.cli", "generate"),
        *("--checkpoint_path", chosen.checkpoint_path, "--face", face, "--audio", voice),
        *("--outfile", out, "--no_cache", *chosen.options),
    ]
    with tempfile.NamedTemporaryFile("r") as peak:
        done = subprocess.run(
            [sys.executable, "-c", LAUNCH, peak.name, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        scale = 1 if sys.platform == "darwin" else 1024
        memory = int(peak.read()) * scale / 1e6
    return Run(done.returncode, done.stdout.decode(errors="replace"), memory)


def row(clip: str, version: str, out: Path, voice: Path, run: Run) -> list[str]:
    """What came out, measured on the file itself where it tells."""
    if run.status:
        print(run.said, file=sys.stderr)
        return [clip, version, str(run.status), *["-"] * 5, f"{run.peak:.0f}", "-"]
    times = [frame.time for frame in video_reader.read_frames(out)]
    end = times[-1] + 1 / video_reader.probe(out).frame_rate
    error = float(end - driving_audio.load(voice).duration)
    edited, kept = map(int, re.search(r"(\d+) frames redrawn, (\d+) left", run.said).groups())
    speed = re.search(r"([\d.]+) frames/s", run.said)[1]
    lost = re.search(r"no face was found for ([\d.]+) s", run.said)
    seen = 100 * (1 - float(lost[1]) / float(end)) if lost else 100
    verify = [sys.executable, "-m", "lipsync_jax.cli", "verify", str(out)]
    marked = subprocess.run(verify, capture_output=True).returncode == 0
    counts = [f"{1000 * error:+.1f}", str(edited), str(kept), f"{seen:.1f}", speed]
    return [clip, version, "0", *counts, f"{run.peak:.0f}", "yes" if marked else "NO"]


def small(clip: Path, path: Path, minutes: float) -> None:
    """The clip forwards and backwards, with few rows, for some minutes."""
    images = []
    for frame in itertools.islice(video_reader.read_frames(clip), 100):
        height, width = frame.image.shape[:2]
        size = max(2, round(width * SMALL / height)), SMALL
        images.append(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA))
    order = itertools.chain.from_iterable(passes(len(images), "ping-pong"))
    numbers = itertools.islice(order, round(minutes * 60 * 25))
    write(path, (Frame(Fraction(i, 25), images[n], i) for i, n in enumerate(numbers)), Fraction(25))


def main() -> None:
    chosen = arguments()
    chosen.out.mkdir(parents=True, exist_ok=True)
    kinds = {".mp4", ".avi", ".mov", ".mkv", ".mpg", ".webm"}
    clips = sorted(path for path in chosen.clips.iterdir() if path.suffix.lower() in kinds)
    if not clips:
        sys.exit(f"{chosen.clips} has no videos")
    table = chosen.out / "synthesis.md"
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]

    def tell(cells: list[str]) -> None:
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")

    versions = [version for version in VERSIONS if version in chosen.versions]
    for clip, version in itertools.product(clips, versions):
        name = f"{clip.stem} {version}"
        face, out = chosen.out / f"{name} face.mp4", chosen.out / f"{name}.mp4"
        make(face, clip, version, chosen.seconds)
        voice = chosen.out / f"{clip.stem} voice.wav"
        save_voice(voice, voice_for(clip, clips), float(chosen.seconds))
        tell(row(clip.stem, version, out, voice, generate(face, voice, out, chosen)))
        face.unlink()
    for minutes in chosen.minutes:
        face, out = chosen.out / "long face.mp4", chosen.out / f"{minutes:g} minutes.mp4"
        small(clips[0], face, minutes)
        voice = chosen.out / "long voice.wav"
        save_voice(voice, voice_for(clips[0], clips), 60 * minutes)
        run = generate(face, voice, out, chosen)
        tell(row(clips[0].stem, f"{minutes:g} min", out, voice, run))
        face.unlink()
        voice.unlink()


if __name__ == "__main__":
    main()
