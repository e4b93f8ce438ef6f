"""Measures where `lipsync dub` spends its processor time, stage by stage.

    python benchmarks/dubbing.py [--face VIDEO --audio AUDIO] [--width 0.125] [--repeats 3]
                                 [--beside 'COMMAND {face} {audio}'] [--options ...]

Without --face, a rendered talking person of five seconds is dubbed. The generator has random
weights, which do not change its speed; a narrow one shows what everything around it costs. Each
repeat dubs twice, in a process and a cache folder of its own: cold (nothing but Python's bytecode
is cached) and warm (detections and compiled programs are cached). All runs use one core; times are
processor time, of all threads together, so that they hardly depend on other work; medians are
printed.

The stages are measured in a second pair of processes, where they run one after the other instead of
side by side. --beside runs another program in turns with the whole command, and prints the ratio.
"""

import argparse
import contextlib
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STARTED = time.process_time()
STAGES = (
    "start-up", "load model", "compile", "audio", "decode", "convert to RGB", "detect", "track",
    "crop", "network", "paste", "convert to YUV", "encode", "sync report", "rest",
)  # fmt: skip


class StageClock:
    """Sums processor time by stage; time of a stage within another counts for the inner one."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner: list[float] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.process_time()
        self._inner.append(0.0)
        try:
            yield
        finally:
            spent = time.process_time() - begun
            self.seconds[name] += spent - self._inner.pop()
            if self._inner:
                self._inner[-1] += spent

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Counts a function's calls, or a generator function's steps, as a stage."""
        function = getattr(owner, attribute)

        def call(*args: Any, **options: Any) -> Any:
            with self.stage(name):
                result = function(*args, **options)
            return self._steps(result, name) if hasattr(result, "send") else result

        setattr(owner, attribute, call)

    def _steps(self, generator: Any, name: str) -> Iterator[Any]:
        try:
            while True:
                with self.stage(name):
                    try:
                        item = next(generator)
                    except StopIteration:
                        return
                yield item
        finally:
            generator.close()


class _Now:
    """Runs what is submitted at once."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> "_Now":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def submit(self, function: Callable, *args: Any) -> "_Now":
        self._value = function(*args)
        return self

    def result(self) -> Any:
        return self._value


class _Last:
    """Runs an iterator to its end at once, in place of `prefetch.Newest`."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def __enter__(self) -> "_Last":
        *_, self._item = self._items
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def wait(self, _: Any = None) -> Any:
        return self._item

    get = wait


def dub_by_stages(line: list[str]) -> Counter[str]:
    """Dubs in this process, stage after stage; returns the seconds of each."""
    from lipsync_jax.cli import dub, main
    from lipsync_jax.faces import tracking, trajectory
    from lipsync_jax.media import packets, pixels, prefetch, video_writer
    from lipsync_jax.synthesis import batching, compositing, driving_audio, dubbing, renderer

    clock = StageClock()
    clock.seconds["start-up"] = time.process_time() - STARTED
    prefetch.prefetch = lambda items, depth: iter(items)  # type: ignore[assignment]
    prefetch.Newest = _Last  # type: ignore[assignment,misc]
    dubbing.ThreadPoolExecutor = _Now  # type: ignore[assignment,misc]
    for owner, attribute, name in (
        (dubbing.DubbingModel, "load", "load model"),
        (batching.Batcher, "compile", "compile"),
        (driving_audio, "load", "audio"),
        (packets, "decode_packets", "decode"),
        (pixels.FrameConverter, "__call__", "convert to RGB"),
        (tracking, "detect", "detect"),
        (trajectory.VideoTracker, "add", "track"),
        (renderer.FaceRenderer, "_crop_face", "crop"),
        (batching.Batcher, "submit", "network"),
        (batching.PendingBatch, "result", "network"),
        (compositing.Compositor, "__call__", "paste"),
        (video_writer, "_to_yuv", "convert to YUV"),
        (video_writer.VideoWriter, "_encode", "encode"),
        (video_writer.VideoWriter, "close", "encode"),
        (dub, "_measure_sync", "sync report"),
    ):
        clock.wrap(owner, attribute, name)
    with clock.stage("rest"):
        status = main.main(line)
    if status:
        sys.exit(status)
    return clock.seconds


def processor_seconds(command: list[str], cache: Path) -> float:
    """Runs a command; returns its user and system seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else every run compiles all modules
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def write_model(folder: Path, width: float) -> None:
    """Writes a checkpoint of Wav2Lip's generator with random weights."""
    import jax
    import numpy as np

    from lipsync_jax.configs import wav2lip
    from lipsync_jax.methods.wav2lip.method import network
    from lipsync_jax.training import checkpoints

    config = wav2lip.get_config()
    config.model.width_mult = width
    shapes = (1, 80, 16, 1), (1, 96, 96, 6)
    inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    abstract = jax.eval_shape(network(config).init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(0)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        if path[-1].key in ("mean", "bias"):
            return np.zeros(leaf.shape, np.float32)
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return rng.standard_normal(leaf.shape, np.float32) / np.float32(fan_in**0.5)

    variables = jax.tree_util.tree_map_with_path(fill, abstract)
    checkpoints.export_networks(folder, {"generator": variables}, {"config": config.to_dict()})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--face", type=Path, help="video (default: a rendered person)")
    parser.add_argument("--audio", type=Path, help="16 kHz WAV; needed with --face")
    parser.add_argument("--size", type=int, default=720, help="rows of the rendered video")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the rendered video")
    parser.add_argument("--checkpoint-path", type=Path, help="(default: random weights)")
    parser.add_argument("--width", type=float, default=0.125, help="width_mult of random weights")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside", help="another program to run in turns; {face}, {audio}: paths")
    parser.add_argument("--by-stages", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[],
                        help="last: options that are passed to lipsync dub")  # fmt: skip
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    if chosen.by_stages:
        chosen.by_stages.write_text(json.dumps(dub_by_stages(chosen.options)))
        return
    if (chosen.face is None) != (chosen.audio is None):
        sys.exit("--face and --audio belong together; give both or none")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        face, audio = chosen.face, chosen.audio
        if face is None:
            from lipsync_jax.data_prep.synthetic import recordings

            face, audio, _ = recordings.write_dubbing_example(
                folder, chosen.seconds, size=chosen.size
            )
        checkpoint = chosen.checkpoint_path
        if checkpoint is None:
            checkpoint = folder / "model"
            write_model(checkpoint, chosen.width)
        line = [
            "dub", "--checkpoint-path", checkpoint, "--face", face, "--audio", audio,
            "--outfile", folder / "out.mp4", *chosen.options,
        ]  # fmt: skip
        measure([str(word) for word in line], folder, face, audio, chosen)


def measure(
    line: list[str], folder: Path, face: Path, audio: Path, chosen: argparse.Namespace
) -> None:
    """Runs everything `repeats` times, and prints the tables."""
    whole: dict[str, list[float]] = {"cold": [], "warm": [], "beside": []}
    stages: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for repeat in range(chosen.repeats):
        for temperature in ("cold", "warm"):
            command = [sys.executable, "-m", "lipsync_jax.cli", *line]
            whole[temperature].append(processor_seconds(command, folder / f"cache {repeat}"))
        if chosen.beside:
            words = shlex.split(chosen.beside)
            words = [word.format(face=face, audio=audio) for word in words]
            whole["beside"].append(processor_seconds(words, folder / "beside"))
        for temperature in ("cold", "warm"):
            report = folder / "stages.json"
            command = [sys.executable, __file__, "--by-stages", str(report), "--options", *line]
            processor_seconds(command, folder / f"stages {repeat}")
            stages[temperature].append(json.loads(report.read_text()))
    print("| stage | cold, CPU s | warm, CPU s |")
    print("|--|--|--|")
    for stage in STAGES:
        row = [
            statistics.median(run.get(stage, 0.0) for run in stages[temperature])
            for temperature in ("cold", "warm")
        ]
        print(f"| {stage} | {row[0]:.2f} | {row[1]:.2f} |")
    medians = {key: statistics.median(values) for key, values in whole.items() if values}
    print(f"| **whole command** | {medians['cold']:.2f} | {medians['warm']:.2f} |")
    if chosen.beside:
        print(f"| program beside it | {medians['beside']:.2f} | |")
        ratios = [medians[key] / medians["beside"] for key in ("cold", "warm")]
        print(f"| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
