"""Speed of animation: real-time factor, and latency of frames on streaming audio.

    python benchmarks/animate.py [--networks grid v2018 jain] [--batch 1 4 16] [--seconds 8]
                                 [--threads N]

Networks have the sizes of the papers and of the published checkpoints, and random weights, which do
not change the speed. The real-time factor is the time of generation over the duration of the audio,
below 1 for real-time use; it includes audio features, resampling and pasting back, but no video
encoding. The latency of a frame is the time from the arrival of the last sample that the frame
needs to the generated frame.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SIZES = {
    "grid": ("vougioukas", {"audio_rate": 50_000, "audio_samples": 10_000, "identity_size": 128}),
    "v2018": ("vougioukas", {"audio_rate": 16_000, "audio_samples": 2560}),
    "jain": ("jain", {}),
}
RATE = 48_000  # of the audio, Hz
CHUNK = 0.01  # seconds


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=SIZES, default=[*SIZES])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=8.0, help="of audio")
    parser.add_argument("--threads", type=int, help="CPU cores to use (default: all)")
    return parser.parse_args()


def random_model(name: str):
    """Returns a network of that size, with weights that keep the scale of signals."""
    import jax
    import jax.numpy as jnp
    import ml_collections

    from lipsync_jax import methods
    from lipsync_jax.methods.jain import method as jain
    from lipsync_jax.methods.vougioukas import method as vougioukas
    from lipsync_jax.synthesis import animation_model

    method, fields = SIZES[name]
    network = {"vougioukas": vougioukas, "jain": jain}[method].network
    config = {
        "method": method,
        "precision": "float32",
        "frame_rate": 25,
        "audio_std": 25.0,
        "model": {"image_size": (128, 96), **fields},
        "data": {"crop": "aligned128x96"},
    }
    module = network(ml_collections.ConfigDict(config))
    audio_shape = (module.audio_samples,) if method == "vougioukas" else (35, 12)
    shapes = (*module.image_size, 3), (1, *audio_shape), (1, module.noise_size)
    inputs = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in shapes]
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        if path[-1].key in ("mean", "bias"):
            return np.zeros(leaf.shape, np.float32)
        values = rng.standard_normal(leaf.shape, np.float32)
        return values / np.sqrt(max(1, np.prod(leaf.shape[:-1])), dtype=np.float32)

    abstract = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    variables = jax.tree_util.tree_map_with_path(fill, abstract)
    inference = methods.load_inference({"config": config})
    return animation_model.compile_model(inference, {"generator": variables})


def noise_audio(seconds: float) -> np.ndarray:
    """Returns noise with the level of speech; the content does not change the speed."""
    samples = np.random.default_rng(1).normal(0, 0.1, round(seconds * RATE))
    return samples.astype(np.float32)


def latencies(animation, samples: np.ndarray) -> list[float]:
    """Returns the seconds from the last chunk of each frame to the frame."""
    arrived = 0.0

    def chunks() -> Iterator[np.ndarray]:
        nonlocal arrived
        for chunk in np.array_split(samples, round(len(samples) / RATE / CHUNK)):
            arrived = time.perf_counter()
            yield chunk

    return [time.perf_counter() - arrived for _ in animation.stream(chunks(), RATE)]


def main() -> None:
    chosen = arguments()
    if chosen.threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.threads])
    import jax

    from lipsync_jax.media import video_reader
    from lipsync_jax.synthesis.animation import Animator

    cores = len(os.sched_getaffinity(0))
    print(f"{jax.default_backend()}, {cores} cores, load {os.getloadavg()[0]:.1f}")
    print("| network | batch | real-time factor | CPU ms/frame | latency ms, median | 95 % |")
    print("|--|--|--|--|--|--|")
    samples = noise_audio(chosen.seconds)
    with tempfile.TemporaryDirectory() as folder:
        reference_path = Path(folder) / "reference.png"
        image = np.random.default_rng(2).integers(0, 255, (128, 96, 3))
        video_reader.write_image(reference_path, image.astype(np.uint8))
        for name in chosen.networks:
            animator = Animator(random_model(name))
            for batch in chosen.batch:
                animation = animator.prepare(reference_path, aligned=True, batch_size=batch)
                wall, cpu = time.perf_counter(), time.process_time()
                frames = len([*animation.stream_overlapped([samples], RATE)])
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                waits = 1000 * np.array(latencies(animation, samples))
                print(
                    f"| {name} | {batch} | {wall / chosen.seconds:.2f} | {1000 * cpu / frames:.0f} "
                    f"| {np.median(waits):.0f} | {np.percentile(waits, 95):.0f} |",
                    flush=True,
                )
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
