"""Rebuilds the weights and inputs that the golden outputs of the At-a-Glance family belong to.

Everything is sampled from seeded NumPy generators in the order of a manifest, which lists names,
shapes and kinds of a state dict. Outputs in `<network>.npz` were computed once from those tensors
by PyTorch networks: those published with the papers, or ones built from their tables. Of large
outputs every n-th value is stored, and the sums over all.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

FOLDER = Path(__file__).parent
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def manifest(network: str) -> dict:
    """`state_dict`: name -> shape; `kinds` and `fan_in` by name; `inputs`."""
    return json.loads((FOLDER / f"{network}.json").read_text(encoding="utf-8"))


def expected(network: str) -> dict[str, np.ndarray]:
    """The golden arrays of a network."""
    with np.load(FOLDER / f"{network}.npz") as archive:
        return dict(archive)


def weights(network: str, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict of float32 arrays, by official names, without counters and second names."""
    found, rng, state = manifest(network), generator(seed), {}
    for name, shape in found["state_dict"].items():
        kind = found["kinds"][name]
        if kind in ("count", "alias"):
            continue
        z = rng.standard_normal(shape)
        if kind == "weight":
            z *= math.sqrt(2 / found["fan_in"][name])
        elif kind == "bias":
            z *= 0.01
        elif kind in ("bn_bias", "running_mean"):
            z *= 0.1
        else:  # the scale, and the variance
            z = 1 + 0.1 * (np.abs(z) if kind == "running_var" else z)
        state[name] = z.astype(np.float32)
    return state


def inputs(network: str, seed: int = 0) -> list[np.ndarray]:
    """float32 inputs in the official order, channels last."""
    rng, arrays = generator(seed + 1000003), []
    for entry in manifest(network)["inputs"].values():
        normal = entry["dist"] == "normal"
        x = rng.standard_normal(entry["shape"]) if normal else rng.uniform(-1, 1, entry["shape"])
        arrays.append(np.moveaxis(x.astype(np.float32), 1, -1))
    return arrays


def layers(network: str) -> list[str]:
    """Official names of all layers with weights of their own, in order."""
    found = manifest(network)
    return [
        name.removesuffix(".weight") for name, kind in found["kinds"].items() if kind == "weight"
    ]


def norms(network: str) -> dict[str, str]:
    """Official name of a layer -> that of the BatchNorm that follows it."""
    found, last = {}, None
    for name, kind in manifest(network)["kinds"].items():
        if kind == "weight":
            last = name.removesuffix(".weight")
        elif kind == "bn_weight":
            found[last] = name.removesuffix(".weight")
    return found


def variables(network: str, module, names: list[str | None], shapes: list[tuple]) -> dict:
    """The golden weights as variables of a module.

    Args:
        network: whose.
        module: the network to test.
        names: paths of its layers, e.g. "encoder/conv_0", in the official order; None where the
            official network holds a layer that it never runs.
        shapes: of its inputs.
    """
    state, found = weights(network), norms(network)
    official = dict(zip(names, layers(network), strict=True))
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    leaves = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), *given))
    for name, layer in zip(names, layers(network), strict=True):
        if name is None:
            prefixes = (f"{layer}.", f"{found.get(layer, layer)}.")
            state = {k: v for k, v in state.items() if not k.startswith(prefixes)}
    filled = {}
    for path, leaf in leaves.items():
        _, *layer, kind = path
        norm = layer[-1] == "norm"
        name = official["/".join(layer[:-1] if norm else layer)]
        value = state.pop(f"{found[name] if norm else name}.{LEAVES.get(kind, kind)}")
        if (
            kind == "kernel"
        ):  # official kernels begin with both channel axes; dense ones have no others
            size, (inner, outer) = leaf.shape[:-2], leaf.shape[-2:]
            value = np.moveaxis(value.reshape(outer, inner, *size), (0, 1), (-1, -2))
        assert value.shape == leaf.shape, (path, name)
        filled[path] = np.ascontiguousarray(value)
    assert not state, list(state)
    return unflatten_dict(filled)


def check(
    golden: dict[str, np.ndarray],
    name: str,
    found,
    rounding: float = 0.0,
    channels: int = 1,
    values: Callable[[np.ndarray], np.ndarray] | None = None,
):
    """Compares with a golden array, within 1e-4 of its largest value.

    Args:
        golden: arrays of a network.
        name: of one, e.g. "eval/video".
        found: the output to test, channels last.
        rounding: largest error that float32 makes, where that is more (`parity.Run.rounding`).
        channels: the channel axis of the golden array.
        values: function of the golden array for the comparison; None: the array.
    """
    found = np.asarray(found, np.float64)
    found = found if found.ndim == 1 else np.moveaxis(found, -1, channels)
    assert found.size == math.prod(golden[f"{name}#shape"]), (name, found.shape)
    size, stride, total, magnitude = golden[f"{name}#meta"]
    expected = golden[name] if values is None else values(golden[name])
    part = found.reshape(-1)[:: int(stride)]
    atol = max(1e-4 * np.abs(expected).max(), rounding)
    np.testing.assert_allclose(part, expected, rtol=0, atol=atol, err_msg=name)
    if values is not None:
        return
    np.testing.assert_allclose(
        np.abs(found).sum() / size, magnitude / size, atol=atol, err_msg=name
    )
    np.testing.assert_allclose(found.sum() / size, total / size, atol=atol, err_msg=name)


def check_statistics(golden: dict[str, np.ndarray], network: str, names: list[str], stats: dict):
    """Compares running statistics after a training step, where golden ones are stored."""
    official = {norm: names[layers(network).index(layer)] for layer, norm in norms(network).items()}
    stats, before, compared = flatten_dict(stats, sep="/"), weights(network), 0
    for name, value in golden.items():
        if not name.startswith("train/after:"):
            continue
        norm, _, kind = name.removeprefix("train/after:").rpartition(".")
        if official[norm] is None:
            continue
        found = stats[f"{official[norm]}/norm/{kind.removeprefix('running_')}"]
        scale = np.abs(value).max()
        if kind == "running_mean":
            np.testing.assert_allclose(found, value, atol=1e-4 * scale, err_msg=name)
        else:  # of the unbiased variance, a few per mille larger
            step = np.abs(value - 0.9 * before[f"{norm}.{kind}"])
            np.testing.assert_array_less(np.abs(found - value), 1e-4 * scale + step)
        compared += 1
    assert compared
