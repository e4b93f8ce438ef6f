"""Checkpoints of the official temporal GAN code (grid.dat, timit.dat, crema.dat) -> our variables.

Each is a dict of three state dicts, `encoder` (sound), `encoder_id` (still) and `generator` (noise
and frames), and of the numbers that describe them. Their discriminators were never published.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lipsync_jax.methods.vougioukas.model import Generator
from lipsync_jax.nn.unet import HALVINGS
from lipsync_jax.types import Foreign, Json, Tree

_LARGEST = 192_000  # of any number in a file: rates, sizes
PARTS = ("encoder", "encoder_id", "generator")
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_GATES = {
    "input_kernel": "weight_ih",
    "hidden_kernel": "weight_hh",
    "input_bias": "bias_ih",
    "hidden_bias": "bias_hh",
}


class Checkpoint(NamedTuple):
    """What one of the files holds.

    Attributes:
        model: fields of `models.temporal_gan.Generator`.
        variables: {"params": ..., "batch_stats": ...} of float32 NumPy arrays.
        frame_rate: frames a second.
        canonical_face: float (68, 2), x and y of the landmarks in a frame; pixel centres are
            whole numbers.
    """

    model: dict[str, Json]
    variables: dict[str, Tree]
    frame_rate: float
    canonical_face: np.ndarray


def recognises(tree: Tree) -> bool:
    """Whether what `torch_files.read` returned is such a checkpoint."""
    return isinstance(tree, Mapping) and all(isinstance(tree.get(part), dict) for part in PARTS)


def read(tree: Mapping[str, Foreign]) -> Checkpoint:
    """A checkpoint out of what `torch_files.read` returned.

    Args:
        tree: `recognises` it. Counters of batches may be there or not.

    Raises:
        ValueError: entries are missing, or names or shapes of tensors are not those of the network
            that the numbers describe.
    """
    given = tensors(tree)
    model = _fields(tree, given)
    face = _landmarks(_entry(tree, "mean_face"))
    variables = to_variables(given, Generator(**model))
    return Checkpoint(model, variables, _number(tree, "video_rate"), face)


def tensors(tree: Mapping[str, Foreign]) -> dict[str, np.ndarray]:
    """The three state dicts as one, `part/name` -> tensor, without counters of batches.

    Raises:
        ValueError: something in them is no tensor.
    """
    found = {}
    for part in PARTS:
        for name, value in tree[part].items():
            if not isinstance(value, np.ndarray):
                raise ValueError(f"its entry {name} of {part} is no tensor")
            if not str(name).endswith("num_batches_tracked"):
                found[f"{part}/{name}"] = value
    return found


def _landmarks(value: Foreign) -> np.ndarray:
    """float64 (68, 2) of an array, or of a list of pairs of numbers."""
    if isinstance(value, tuple | list) and len(value) == 68:
        pairs = [pair if isinstance(pair, tuple | list) else () for pair in value]
        if all(len(p) == 2 and all(isinstance(n, int | float) for n in p) for p in pairs):
            value = np.array(pairs, np.float64)
    # A list of lists that are one and the same could become an array of any size.
    if not isinstance(value, np.ndarray):
        raise ValueError("its mean_face is no array of shape (68, 2)")
    if value.shape != (68, 2) or value.dtype.kind not in "iuf":
        raise ValueError(f"its mean_face has shape {value.shape}, not (68, 2)")
    return value.astype(np.float64)


def to_variables(given: Mapping[str, np.ndarray], module: Generator) -> dict[str, Tree]:
    """Tensors as variables of a generator.

    Args:
        given: `part/name` -> tensor, see `tensors`; those of just some parts give their variables.
        module: the generator they belong to.

    Raises:
        ValueError: names or shapes differ from those of the generator.
    """
    parts = {name.partition("/")[0] for name in given}
    table = {
        name: entry for name, entry in _table(module).items() if name.partition("/")[0] in parts
    }
    faults = [
        *(f"{name} is missing" for name in table if name not in given),
        *(f"{name} is unexpected" for name in given if name not in table),
        *(
            f"{name} is {given[name].shape}, not {shape}"
            for name, (_, shape) in table.items()
            if name in given and given[name].shape != shape
        ),
    ]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(
            f"its tensors are not those of the network it describes: {'; '.join(faults[:3])}{more}"
        )
    return unflatten_dict(
        {
            path: np.ascontiguousarray(_swap_ends(given[name]), np.float32)
            for name, (path, _) in table.items()
        }
    )


def _fields(tree: Mapping[str, Tree], given: Mapping[str, np.ndarray]) -> dict[str, Tree]:
    """Fields of Generator, from the numbers and, where the file has none, from the tensors."""
    if not _entry(tree, "sequential_noise"):
        raise ValueError("its noise passes no recurrent unit, as that of no published network does")
    size = _entry(tree, "img_size")
    if (
        not isinstance(size, tuple | list)
        or len(size) != 2
        or not all(isinstance(side, int) and 0 < side <= _LARGEST for side in size)
    ):
        raise ValueError("its img_size is not height and width")
    numbers = {
        "audio_rate": "audio_rate",
        "audio_samples": "audio_feat_samples",
        "audio_size": "aud_enc_dim",
        "context_size": "rnn_gen_dim",
        "noise_size": "aux_latent",
        "identity_size": "id_enc_dim",
    }
    firsts = {"audio_features": "encoder/encoder.cl.0.weight", "width": "encoder_id/cl.0.0.weight"}
    for name in firsts.values():
        if name not in given or not given[name].ndim:
            raise ValueError(f"its tensor {name} is missing")
    return {
        **{field: int(_number(tree, key)) for field, key in numbers.items()},
        "image_size": tuple(int(side) for side in size),
        "audio_features": given[firsts["audio_features"]].shape[0],
        "width": given[firsts["width"]].shape[0] / 64,
    }


def _entry(tree: Mapping[str, Foreign], key: str) -> Foreign:
    if key not in tree:
        raise ValueError(f"its entry {key} is missing")
    return tree[key]


def _number(tree: Mapping[str, Foreign], key: str) -> float:
    value = _entry(tree, key)
    if not isinstance(value, int | float | np.number) or not 0 < value <= _LARGEST:
        raise ValueError(f"its entry {key} is no number between 0 and {_LARGEST}")
    return value.item() if isinstance(value, np.number) else value


def _table(module: Generator) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Official `part/name` -> our path and the official shape."""
    inputs = (
        (*module.image_size, 3),
        (1, module.audio_samples),
        (1, module.noise_size),
    )
    shapes = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in inputs]
    variables = jax.eval_shape(module.init, jax.random.key(0), *shapes)
    return {
        _official(path[1:]): (path, _swapped(leaf.shape))
        for path, leaf in flatten_dict(variables).items()
    }


def _official(path: tuple[str, ...]) -> str:
    """Of a path such as (decoder, join_4, norm, scale): generator/dcl.1.activation1.0.weight."""
    part, layer, leaf = path[0], path[1], path[-1]
    if part in ("context", "noise"):
        found = re.fullmatch(r"(\w+)_(\d+)", layer)
        assert found is not None  # GRU calls its parameters so
        gate, index = found.groups()
        prefix = "encoder/rnn" if part == "context" else "generator/rnn_noise"
        return f"{prefix}.{_GATES[gate]}_l{index}"
    kind, _, index = layer.partition("_")
    norm = len(path) == 4
    if part == "audio_encoder":
        name = f"encoder/encoder.{f'activations.{index}.0' if norm else f'cl.{index}'}"
    elif part == "identity_encoder":
        name = f"encoder_id/cl.{index or HALVINGS}.{int(norm)}"
    elif kind == "start":
        name = f"generator/dcl.0.{int(norm)}"
    elif kind == "output":
        name = f"generator/dcl.{HALVINGS}"
    else:
        step = {"join": 1, "up": 2}[kind]
        inner = f"activation{step}.0" if norm else f"dcl{step}"
        name = f"generator/dcl.{HALVINGS - int(index)}.{inner}"
    return f"{name}.{_LEAVES[leaf]}"


def _order(rank: int) -> tuple[int, ...]:
    """Axes of PyTorch's kernels, among ours: both ends first, the last one foremost, then space."""
    return (rank - 1, rank - 2, *range(rank - 2))


def _swapped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The official shape of one of ours."""
    return tuple(shape[i] for i in _order(len(shape))) if len(shape) > 1 else shape


def _swap_ends(value: np.ndarray) -> np.ndarray:
    """Our axes of an official tensor."""
    return value.transpose(np.argsort(_order(value.ndim))) if value.ndim > 1 else value
