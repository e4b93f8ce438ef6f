"""Training windows per second, of processor time and by the clock, beside a folder of JPEG files.

    python -m benchmarks.loader [--seconds 3 60] [--windows 400] [--batch 16] [--repeats 3]
                                [--workers 0 1] [--step-ms 50]

Writes clips of synthetic frames of 96 x 96 pixels (about 4 kB as JPEG), prepares them as `lipsync
prepare` does, and reads windows of five frames for the sync expert and for Wav2Lip (two windows
each). The stand-in is a common habit: a folder of JPEG files a clip, the log-mel spectrogram of a
clip kept in memory once computed. Rounds alternate; medians are printed. Processor time includes
that of worker processes; the rate by the clock tells how the loader scales over cores, if nothing
else runs. The last column is the number of cores that make a batch in the time of a training step
(`--step-ms`), as long as each core is as fast as this one.
"""

import argparse
import functools
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from configs import sync_expert, wav2lip
from lipsync_jax import methods
from lipsync_jax.data import loader, pipeline
from lipsync_jax.data.clip import Clip, encode_frame
from lipsync_jax.data_prep import builder
from lipsync_jax.media import audio

FRAME_RATE, AUDIO_RATE, WINDOW = 25, 16_000, 5
BASELINE = "JPEG files, mels kept"
FRAMES_IN_STOCK = 200
FRAMES_OF_A_SET = 3000
WARM_UP_BATCHES = 16  # more than threads and workers make ahead


def synthetic_frames(rng: np.random.Generator, count: int) -> list[bytes]:
    """Returns JPEGs of about 4 kB, the size of a GRID speaker's crops: blurred noise and grain."""
    frames = []
    for _ in range(count):
        image = cv2.resize(rng.uniform(40, 220, (8, 8, 3)), (96, 96), interpolation=cv2.INTER_CUBIC)
        image += rng.normal(0, 3.5, image.shape)
        frames.append(encode_frame(np.clip(image, 0, 255).astype(np.uint8)))
    return frames


def make_clips(seconds: int) -> list[Clip]:
    rng = np.random.default_rng(seconds)
    stock = synthetic_frames(rng, FRAMES_IN_STOCK)
    frames = seconds * FRAME_RATE
    clips = []
    for number in range(max(6, FRAMES_OF_A_SET // frames)):
        order = rng.integers(0, len(stock), frames)
        samples = rng.normal(0, 1, seconds * AUDIO_RATE)
        samples *= np.repeat(rng.uniform(0, 4000, seconds * 8), AUDIO_RATE // 8)
        clips.append(
            Clip(
                clip_id=f"s{number % 3}/{number:05d}",
                speaker=f"s{number % 3}",
                frames=tuple(stock[i] for i in order),
                frame_rate=Fraction(FRAME_RATE),
                audio=np.clip(samples, -32768, 32767).astype(np.int16),
                audio_rate=AUDIO_RATE,
                landmarks=np.full((frames, 5, 2), 48, np.float32),
            )
        )
    return clips


def write_ours(clips: list[Clip], folder: Path) -> Path:
    return builder.write_clips({"train": clips}, folder, "bench", shards=2)


def write_plain(clips: list[Clip], folder: Path) -> Path:
    for clip in clips:
        where = folder / clip.clip_id
        where.mkdir(parents=True)
        for number, frame in enumerate(clip.frames):
            (where / f"{number}.jpg").write_bytes(frame)
        audio.save(where / "audio.wav", clip.samples(AUDIO_RATE), AUDIO_RATE)
    return folder


class PlainFolder:
    """One JPEG file a frame; log-mel spectrograms are kept once computed."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._kind = kind
        self._folders = sorted(path.parent for path in folder.rglob("audio.wav"))
        self._mels: dict[Path, np.ndarray] = {}
        self._random = random.Random(0)

    def _mel(self, folder: Path) -> np.ndarray:
        if folder not in self._mels:
            samples, _ = audio.load(folder / "audio.wav", AUDIO_RATE)
            self._mels[folder] = audio.mel_spectrogram(samples)
        return self._mels[folder]

    def _frames(self, folder: Path, start: int) -> np.ndarray:
        return np.stack(
            [cv2.imread(str(folder / f"{i}.jpg")) for i in range(start, start + WINDOW)]
        )

    def example(self) -> dict[str, np.ndarray]:
        folder = self._random.choice(self._folders)
        last = len(list(folder.glob("*.jpg"))) - WINDOW - 1
        first, other = self._random.sample(range(1, last), 2)
        mel, column = self._mel(folder), 80 * first // FRAME_RATE
        if self._kind == "sync_expert":
            start = self._random.choice((first, other))
            return {
                "frames": self._frames(folder, start),
                "audio": mel[column : column + 16],
                "label": np.float32(start == first),
            }
        starts = [
            min(80 * i // FRAME_RATE, len(mel) - 16) for i in range(first - 1, first + WINDOW - 1)
        ]
        return {
            "frames": self._frames(folder, first),
            "reference": self._frames(folder, other),
            "audio": np.stack([mel[start : start + 16] for start in starts]),
            "sync_audio": mel[min(column, len(mel) - 16) :][:16],
        }

    def batches(self, batch: int) -> Iterator[dict[str, np.ndarray]]:
        while True:
            rows = [self.example() for _ in range(batch)]
            yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def make_example(kind: str) -> pipeline.ExampleFn:
    expert_config = sync_expert.get_config()
    if kind == "sync_expert":
        return methods.load(expert_config, {}).make_example
    card = {"config": expert_config.to_dict()}
    return methods.load(wav2lip.get_config(), {"expert": card}).make_example


def cpu_seconds() -> float:
    """Returns processor time of this process and of its running worker processes."""
    ticks = 0
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def measure(batches: Iterator, batch: int, windows: int) -> tuple[float, float]:
    """Returns windows a second of processor time, and by the clock."""
    for _ in range(max(WARM_UP_BATCHES, 64 // batch)):
        next(batches)
    cpu, clock = cpu_seconds(), time.perf_counter()
    for _ in range(windows // batch):
        next(batches)
    read = windows // batch * batch
    return read / (cpu_seconds() - cpu), read / (time.perf_counter() - clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[3, 60], help="length of clips")
    parser.add_argument("--windows", type=int, default=400, help="windows a round")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0], help="worker processes")
    parser.add_argument("--step-ms", type=float, default=50.0, help="time of a training step")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    columns = f"{'clips':8}{'windows of':14}{'loader':26}{'windows / CPU s':>16}{'ratio':>8}"
    print(f"{columns}{'windows / s':>13}{'cores a step':>14}")
    for seconds in options.seconds:
        with tempfile.TemporaryDirectory() as folder:
            clips = make_clips(seconds)
            ours = write_ours(clips, Path(folder, "ours"))
            plain = write_plain(clips, Path(folder, "plain"))
            for kind in ("sync_expert", "wav2lip"):
                compare(kind, seconds, ours, plain, options)


def compare(kind: str, seconds: int, ours: Path, plain: Path, options: argparse.Namespace) -> None:
    batch = options.batch
    source = loader.ClipDataSource(ours, "train")
    example = make_example(kind)
    systems: dict[str, Callable[[], Iterator]] = {
        BASELINE: lambda: PlainFolder(plain, kind).batches(batch),
        **{
            f"lipsync_jax, {workers} workers": functools.partial(
                pipeline.training_batches, source, example, batch, seed=0, num_workers=workers
            )
            for workers in options.workers
        },
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for _ in range(options.repeats):
        for name, make in systems.items():
            batches = make()
            rates[name].append(measure(batches, batch, options.windows))
            batches.close()
    medians = {
        name: [statistics.median(column) for column in zip(*rounds, strict=True)]
        for name, rounds in rates.items()
    }
    for name, (rate, clock_rate) in medians.items():
        cores = batch / rate / (options.step_ms / 1000)
        print(
            f"{seconds:4} s   {kind:14}{name:26}{rate:16.0f}{rate / medians[BASELINE][0]:8.2f}"
            f"{clock_rate:13.0f}{cores:14.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
