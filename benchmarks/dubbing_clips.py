"""Runs `lipsync dub` on real clips and altered versions of them, and writes one table.

    python benchmarks/dubbing_clips.py CLIPS_DIR --checkpoint-path DIR --out DIR [--seconds 8]

Each video in CLIPS_DIR is also cut, blanked for a second, rotated by metadata and re-timed. Each
version is dubbed in its own process, with its own audio or another clip's; outputs are read back,
and DIR/dubbing.md lists the measurements. At the end a small video of 1 and 10 minutes shows
whether memory grows with length.
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
from lipsync_jax.media.timeline import loop_indices
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
    "clip", "version", "exit", "duration error (ms)", "frames edited", "unchanged",
    "frames with face (%)", "frames/s", "peak memory (MB)", "marked",
)  # fmt: skip


# A process inherits its parent's peak memory, so a small process starts the command.
LAUNCH = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


class Run(NamedTuple):
    status: int
    output: str
    peak_mb: float  # MB


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--checkpoint-path", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seconds", type=Fraction, default=Fraction(8), help="of each clip")
    parser.add_argument("--versions", nargs="+", choices=(*VERSIONS, "none"), default=[*VERSIONS])
    parser.add_argument("--minutes", nargs="*", type=float, default=[1, 10],
                        help="lengths for which memory is measured; none to skip")  # fmt: skip
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[],
                        help="last: options that are passed to lipsync dub")  # fmt: skip
    return parser.parse_args()


def write(path: Path, frames: Iterable[Frame], rate: Fraction, rotation: int = 0) -> None:
    """Writes frames at their times; a rotation is applied, and reversed by the metadata."""
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


def with_cuts(frames: Iterable[Frame], rate: Fraction) -> Iterator[Frame]:
    """Alternates every two seconds with another shot: closer, mirrored and brighter."""
    for frame in frames:
        height, width = frame.image.shape[:2]
        if int(frame.time) // 2 % 2:
            close = frame.image[: height * 4 // 5, width // 10 : width * 9 // 10]
            close = np.ascontiguousarray(255 - (255 - close[:, ::-1]) // 2)
            yield frame._replace(image=cv2.resize(close, (width, height)))
        else:
            yield frame


def blanked(frames: Iterable[Frame], rate: Fraction) -> Iterator[Frame]:
    """Blanks the frames from second 1 to 2."""
    for frame in frames:
        yield frame._replace(image=frame.image * np.uint8(not 1 <= frame.time < 2))


def uneven(frames: Iterable[Frame], rate: Fraction) -> Iterator[Frame]:
    """Drops a third of the frames at random."""
    rng = np.random.default_rng(0)
    for frame in frames:
        if frame.index == 0 or rng.random() > 1 / 3:
            yield frame


def resampled(to: Fraction) -> Callable:
    return lambda frames, rate: video_reader.resample_fps(frames, to)


VERSIONS: dict[str, Callable] = {
    "as it is": whole,
    "cut": with_cuts,
    "blanked": blanked,
    "rotated": whole,
    **{name: resampled(rate) for name, rate in RATES.items()},
    "VFR": uneven,
}


def make_version(path: Path, clip: Path, version: str, seconds: Fraction) -> None:
    info = video_reader.probe(clip)
    frames = itertools.takewhile(lambda f: f.time < seconds, video_reader.read_frames(clip))
    rate = RATES.get(version, info.frame_rate)
    rotation = 90 if version == "rotated" else 0
    write(path, VERSIONS[version](frames, info.frame_rate), rate, rotation)


def audio_for(clip: Path, clips: list[Path]) -> Path:
    """Returns a file with the clip's audio, else with another clip's."""
    own_wav = clip.with_suffix(".wav")
    if own_wav.is_file():
        return own_wav
    for candidate in (clip, *clips):
        if video_reader.probe(candidate).has_audio:
            return candidate
    sys.exit(f"{clip.parent} has no audio; put a .wav with the name of a clip into the folder")


def save_audio(path: Path, source: Path, seconds: float) -> Path:
    """Writes some seconds of a recording, repeated if too short."""
    samples, rate = audio.load_from_video_start(source)
    audio.save(path, np.resize(samples, round(seconds * rate)), rate)
    return path


def generate(
    face: Path, audio_path: Path, out: Path, chosen: argparse.Namespace, *options: str
) -> Run:
    """Dubs one video in its own process; `options` are added to those chosen."""
    command = [
        *(sys.executable, "-m", "lipsync_jax.cli", "dub"),
        *("--checkpoint-path", chosen.checkpoint_path, "--face", face, "--audio", audio_path),
        *("--outfile", out, "--no-cache", *chosen.options, *options),
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


def row(clip: str, version: str, out: Path, audio_path: Path, run: Run) -> list[str]:
    """Returns the table's row of one output, measured on the file where possible."""
    if run.status:
        print(run.output, file=sys.stderr)
        return [clip, version, str(run.status), *["-"] * 5, f"{run.peak_mb:.0f}", "-"]
    times = [frame.time for frame in video_reader.read_frames(out)]
    end = times[-1] + 1 / video_reader.probe(out).frame_rate
    error = float(end - driving_audio.load(audio_path).duration)
    counts = re.search(r"(\d+) frames edited, (\d+) unchanged", run.output)
    edited, unchanged = map(int, counts.groups())
    speed = re.search(r"([\d.]+) frames/s", run.output)[1]
    missing = re.search(r"no face was found for ([\d.]+) s", run.output)
    face_percent = 100 * (1 - float(missing[1]) / float(end)) if missing else 100
    verify = [sys.executable, "-m", "lipsync_jax.cli", "verify", str(out)]
    marked = subprocess.run(verify, capture_output=True).returncode == 0
    cells = [f"{1000 * error:+.1f}", str(edited), str(unchanged), f"{face_percent:.1f}", speed]
    return [clip, version, "0", *cells, f"{run.peak_mb:.0f}", "yes" if marked else "NO"]


def small(clip: Path, path: Path, minutes: float) -> None:
    """Writes the clip forwards and backwards, downscaled, for some minutes."""
    images = []
    for frame in itertools.islice(video_reader.read_frames(clip), 100):
        height, width = frame.image.shape[:2]
        size = max(2, round(width * SMALL / height)), SMALL
        images.append(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA))
    order = itertools.chain.from_iterable(loop_indices(len(images), "ping-pong"))
    numbers = itertools.islice(order, round(minutes * 60 * 25))
    write(path, (Frame(Fraction(i, 25), images[n], i) for i, n in enumerate(numbers)), Fraction(25))


def main() -> None:
    chosen = arguments()
    chosen.out.mkdir(parents=True, exist_ok=True)
    suffixes = {".mp4", ".avi", ".mov", ".mkv", ".mpg", ".webm"}
    clips = sorted(path for path in chosen.clips.iterdir() if path.suffix.lower() in suffixes)
    if not clips:
        sys.exit(f"{chosen.clips} has no videos")
    table = chosen.out / "dubbing.md"
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]

    def add_row(cells: list[str]) -> None:
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")

    versions = [version for version in VERSIONS if version in chosen.versions]
    for clip, version in itertools.product(clips, versions):
        name = f"{clip.stem} {version}"
        face, out = chosen.out / f"{name} face.mp4", chosen.out / f"{name}.mp4"
        make_version(face, clip, version, chosen.seconds)
        audio_path = chosen.out / f"{clip.stem} audio.wav"
        save_audio(audio_path, audio_for(clip, clips), float(chosen.seconds))
        add_row(row(clip.stem, version, out, audio_path, generate(face, audio_path, out, chosen)))
        face.unlink()
    for minutes in chosen.minutes:
        face, out = chosen.out / "long face.mp4", chosen.out / f"{minutes:g} minutes.mp4"
        small(clips[0], face, minutes)
        audio_path = chosen.out / "long audio.wav"
        save_audio(audio_path, audio_for(clips[0], clips), 60 * minutes)
        # The faces of the small video are smaller than those that are dubbed by default.
        run = generate(face, audio_path, out, chosen, "--min-face-height", "0")
        add_row(row(clips[0].stem, f"{minutes:g} min", out, audio_path, run))
        face.unlink()
        audio_path.unlink()


if __name__ == "__main__":
    main()
