"""Rebuilds the weights and inputs that the golden outputs of the Wav2Lip family belong to.

Nothing large is stored: every tensor is sampled from a seeded NumPy generator in the order of a
manifest, which lists the names and shapes of an official state dict. Outputs in
`golden_public_*.npz` were computed once from the same tensors by the official networks.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
GAIN = {"wav2lip": 0.8, "syncnet_color": 0.8}


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def manifest(network: str) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, in the official order."""
    text = (FOLDER / f"manifest_{network}.json").read_text(encoding="utf-8")
    return {name: tuple(entry["shape"]) for name, entry in json.loads(text).items()}


def expected(network: str) -> dict[str, np.ndarray]:
    """The golden arrays of a network."""
    with np.load(FOLDER / f"golden_public_{network}.npz") as archive:
        return dict(archive)


def weights(network: str, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict of float32 arrays (and int64 counters), by official names."""
    rng, shapes = generator(seed), manifest(network)
    state = {}
    for name, shape in shapes.items():
        prefix, _, leaf = name.rpartition(".")
        if leaf == "num_batches_tracked":
            state[name] = np.zeros((), np.int64)
            continue
        normal = f"{prefix}.running_mean" in shapes
        z = rng.standard_normal(shape)
        if leaf == "weight" and not normal:
            value = GAIN.get(network, 1.0) * math.sqrt(2 / math.prod(shape[1:])) * z
        elif leaf == "weight":
            value = 1 + 0.1 * z
        elif leaf == "running_var":
            value = 1 + 0.1 * np.abs(z)
        else:
            value = (0.1 if normal else 0.01) * z
        state[name] = value.astype(np.float32)
    return state


def checksum(state: dict[str, np.ndarray]) -> str:
    """SHA-256 of all float tensors in order."""
    digest = hashlib.sha256()
    for value in state.values():
        if value.dtype == np.float32:
            digest.update(value.tobytes())
    return digest.hexdigest()


def _mask(faces: np.ndarray) -> np.ndarray:
    """Blanks the lower half of the first three channels of (n, 6, ..., rows, columns)."""
    faces[:, :3, ..., faces.shape[-2] // 2 :, :] = 0
    return faces


def _mel(rng, *shape: int) -> np.ndarray:
    return 8 * rng.random((*shape, 1, 80, 16)) - 4


def inputs(network: str, seed: int = 0) -> dict[str, np.ndarray]:
    """A network's inputs, float32 in the official layout (channels first)."""
    return {name: x.astype(np.float32) for name, x in _sample_inputs(network, seed).items()}


def _sample_inputs(network: str, seed: int) -> dict[str, np.ndarray]:
    rng = generator(seed + (2 if network == "trainstep" else 1))
    if network == "wav2lip":
        return {
            "audio4": _mel(rng, 2),
            "face4": _mask(rng.random((2, 6, 96, 96))),
            "audio5": _mel(rng, 2, 5),
            "face5": _mask(rng.random((2, 6, 5, 96, 96))),
        }
    if network == "syncnet_color":
        return {"mel": _mel(rng, 4), "face": rng.random((4, 15, 48, 96))}
    if network == "wav2lip_disc_qual":
        return {"faces": rng.random((2, 3, 5, 96, 96))}
    if network == "syncnet_v2":
        values = {
            "lip": rng.integers(0, 256, (2, 3, 5, 224, 224)),
            "mfcc": 10 * rng.standard_normal((2, 1, 13, 20)),
            "vfeat": rng.standard_normal((40, 1024)),
        }
        noise = rng.standard_normal((40, 1024))
        return {**values, "afeat": np.roll(values["vfeat"], 3, axis=0) + 0.5 * noise}
    if network == "trainstep":
        return {
            "gt": rng.random((4, 3, 5, 96, 96)),
            "ref": rng.random((4, 3, 5, 96, 96)),
            "indiv_mels": _mel(rng, 4, 5),
            "mel": _mel(rng, 4),
            "exp_face": rng.random((8, 15, 48, 96)),
            "exp_mel": _mel(rng, 8),
            "exp_y": np.tile([[1.0], [0.0]], (4, 1)),
        }
    raise ValueError(f"no inputs for {network}")
