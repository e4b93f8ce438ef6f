"""Rebuilds the weights and inputs that the golden outputs of the temporal GANs belong to.

Everything is sampled from seeded NumPy generators in the order of a manifest with the numbers
of an official checkpoint and the names and shapes of its three state dicts. Outputs in
`golden_<preset>_public.npz` were computed once from the same tensors by the official networks.
"""

import json
import math
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
PARTS = ("encoder", "encoder_id", "generator")
FRAMES = 6


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def manifest(preset: str) -> dict:
    """`hyper`: the checkpoint's numbers; `modules`: part -> name -> shape, kind, fan_in."""
    return json.loads((FOLDER / f"manifest_{preset}.json").read_text(encoding="utf-8"))


def expected(name: str) -> dict[str, np.ndarray]:
    """The golden arrays of a file, e.g. `tiny_public` or `align`."""
    with np.load(FOLDER / f"golden_{name}.npz") as archive:
        return dict(archive)


def weights(preset: str, part: str, seed: int = 0) -> dict[str, np.ndarray]:
    """One state dict of float32 arrays (and int64 counters), by official names."""
    rng, state = generator(seed + 1000 * (1 + PARTS.index(part))), {}
    for name, entry in manifest(preset)["modules"][part].items():
        if entry["kind"] == "count":
            state[name] = np.zeros(entry["shape"], np.int64)
            continue
        z = rng.standard_normal(entry["shape"])
        if entry["kind"] == "weight":
            value = z * math.sqrt(2 / entry["fan_in"])
        else:
            value = {
                "bias": 0.01 * z,
                "bn_weight": 1 + 0.1 * z,
                "bn_bias": 0.1 * z,
                "running_mean": 0.1 * z,
                "running_var": 1 + 0.1 * np.abs(z),
            }[entry["kind"]]
        state[name] = value.astype(np.float32)
    return state


def checkpoint(preset: str, seed: int = 0) -> dict:
    """What an official file holds, with a made-up canonical face."""
    face = np.floor(generator(7).uniform(10, 90, (68, 2))).astype(np.float32)
    parts = {part: weights(preset, part, seed) for part in PARTS}
    return {**parts, "mean_face": face, **manifest(preset)["hyper"]}


def stride(preset: str) -> int:
    hyper = manifest(preset)["hyper"]
    return int(hyper["audio_rate"] / float(hyper["video_rate"]))


def inputs(preset: str, seed: int = 0) -> dict[str, np.ndarray]:
    """float32: image (1, 3, height, width), speech (samples,), noise (1, 6, 10), speech2."""
    hyper, rng = manifest(preset)["hyper"], generator(seed + 1000003)
    samples = FRAMES * stride(preset)
    values = {
        "image": rng.uniform(-1, 1, (1, 3, *hyper["img_size"])),
        "speech": 0.3 * rng.standard_normal(samples + 37),
        "noise": 0.33 * rng.standard_normal((1, FRAMES, hyper["aux_latent"])),
        "speech2": 0.3 * rng.standard_normal(samples),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}
