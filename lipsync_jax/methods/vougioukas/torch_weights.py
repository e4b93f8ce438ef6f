"""Conversion of checkpoints of the official code (grid.dat, timit.dat, crema.dat) to variables.

Each file is a dict of three state dicts, `encoder` (audio), `encoder_id` (reference image) and
`generator` (noise and frames), and of numbers that describe these networks. The discriminators
were never published.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lipsync_jax.methods.vougioukas.model import Generator
from lipsync_jax.nn.unet import NUM_DOWNSAMPLES
from lipsync_jax.types import Json, Tree, Untrusted

_MAX_NUMBER = 192_000  # upper bound of the numbers in a file: rates, sizes
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
    """The contents of one file.

    Attributes:
        model: fields of `methods.vougioukas.model.Generator`.
        variables: {"params": ..., "batch_stats": ...} of float32 NumPy arrays.
        frame_rate: frames a second.
        canonical_face: float (68, 2), x and y of the landmarks in a frame; pixel centres are
            whole numbers.
    """

    model: dict[str, Json]
    variables: dict[str, Tree]
    frame_rate: float
    canonical_face: np.ndarray


def is_checkpoint(tree: Tree) -> bool:
    """Returns whether the result of `torch_files.read` is such a checkpoint."""
    return isinstance(tree, Mapping) and all(isinstance(tree.get(part), dict) for part in PARTS)


def read(tree: Mapping[str, Untrusted]) -> Checkpoint:
    """Converts the result of `torch_files.read`.

    Args:
        tree: `is_checkpoint` holds. Counters of batches are optional.

    Raises:
        ValueError: entries are missing, or names or shapes of tensors are not those of the network
            that the numbers describe.
    """
    given = tensors(tree)
    model = _generator_kwargs(tree, given)
    face = _landmarks(_entry(tree, "mean_face"))
    variables = to_variables(given, Generator(**model))
    return Checkpoint(model, variables, _number(tree, "video_rate"), face)


def tensors(tree: Mapping[str, Untrusted]) -> dict[str, np.ndarray]:
    """Joins the three state dicts: `part/name` -> tensor, without counters of batches.

    Raises:
        ValueError: an entry is no tensor.
    """
    found = {}
    for part in PARTS:
        for name, value in tree[part].items():
            if not isinstance(value, np.ndarray):
                raise ValueError(f"its entry {name} of {part} is no tensor")
            if not str(name).endswith("num_batches_tracked"):
                found[f"{part}/{name}"] = value
    return found


def _landmarks(value: Untrusted) -> np.ndarray:
    """Returns float64 (68, 2) of an array, or of a list of pairs of numbers."""
    if isinstance(value, tuple | list) and len(value) == 68:
        pairs = [pair if isinstance(pair, tuple | list) else () for pair in value]
        if all(len(p) == 2 and all(isinstance(n, int | float) for n in p) for p in pairs):
            value = np.array(pairs, np.float64)
    # NumPy would make an array of any size of a list that refers to one list many times.
    if not isinstance(value, np.ndarray):
        raise ValueError("its mean_face is no array of shape (68, 2)")
    if value.shape != (68, 2) or value.dtype.kind not in "iuf":
        raise ValueError(f"its mean_face has shape {value.shape}, not (68, 2)")
    return value.astype(np.float64)


def to_variables(given: Mapping[str, np.ndarray], module: Generator) -> dict[str, Tree]:
    """Converts tensors to variables of a generator.

    Args:
        given: `part/name` -> tensor, see `tensors`; tensors of some parts give the variables of
            these parts.
        module: the generator.

    Raises:
        ValueError: names or shapes differ from those of the generator.
    """
    parts = {name.partition("/")[0] for name in given}
    table = {
        name: entry for name, entry in _table(module).items() if name.partition("/")[0] in parts
    }
    mismatches = [
        *(f"{name} is missing" for name in table if name not in given),
        *(f"{name} is unexpected" for name in given if name not in table),
        *(
            f"{name} is {given[name].shape}, not {shape}"
            for name, (_, shape) in table.items()
            if name in given and given[name].shape != shape
        ),
    ]
    if mismatches:
        more = f"; and {len(mismatches) - 3} more" if len(mismatches) > 3 else ""
        raise ValueError(
            "its tensors are not those of the network it describes: "
            f"{'; '.join(mismatches[:3])}{more}"
        )
    return unflatten_dict(
        {
            path: np.ascontiguousarray(_from_torch(given[name]), np.float32)
            for name, (path, _) in table.items()
        }
    )


def _generator_kwargs(tree: Mapping[str, Tree], given: Mapping[str, np.ndarray]) -> dict[str, Tree]:
    """Returns fields of Generator, from the numbers and, where a number lacks, from the tensors."""
    if not _entry(tree, "sequential_noise"):
        raise ValueError("its noise passes no recurrent unit, as that of no published network does")
    size = _entry(tree, "img_size")
    if (
        not isinstance(size, tuple | list)
        or len(size) != 2
        or not all(isinstance(side, int) and 0 < side <= _MAX_NUMBER for side in size)
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
    first_kernels = {
        "audio_encoder_channels": "encoder/encoder.cl.0.weight",
        "width_mult": "encoder_id/cl.0.0.weight",
    }
    for name in first_kernels.values():
        if name not in given or not given[name].ndim:
            raise ValueError(f"its tensor {name} is missing")
    return {
        **{field: int(_number(tree, key)) for field, key in numbers.items()},
        "image_size": tuple(int(side) for side in size),
        "audio_encoder_channels": given[first_kernels["audio_encoder_channels"]].shape[0],
        "width_mult": given[first_kernels["width_mult"]].shape[0] / 64,
    }


def _entry(tree: Mapping[str, Untrusted], key: str) -> Untrusted:
    if key not in tree:
        raise ValueError(f"its entry {key} is missing")
    return tree[key]


def _number(tree: Mapping[str, Untrusted], key: str) -> float:
    value = _entry(tree, key)
    if not isinstance(value, int | float | np.number) or not 0 < value <= _MAX_NUMBER:
        raise ValueError(f"its entry {key} is no number between 0 and {_MAX_NUMBER}")
    return value.item() if isinstance(value, np.number) else value


def _table(module: Generator) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Maps each official `part/name` to the path here and the official shape."""
    inputs = (
        (*module.image_size, 3),
        (1, module.audio_samples),
        (1, module.noise_size),
    )
    shapes = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in inputs]
    variables = jax.eval_shape(module.init, jax.random.key(0), *shapes)
    return {
        _torch_name(path[1:]): (path, _torch_shape(leaf.shape))
        for path, leaf in flatten_dict(variables).items()
    }


def _torch_name(path: tuple[str, ...]) -> str:
    """Maps (decoder, fuse_4, norm, scale) to generator/dcl.1.activation1.0.weight, for example."""
    part, layer, leaf = path[0], path[1], path[-1]
    if part in ("context", "noise"):
        found = re.fullmatch(r"(\w+)_(\d+)", layer)
        assert found is not None  # the names of GRU's parameters
        gate, index = found.groups()
        prefix = "encoder/rnn" if part == "context" else "generator/rnn_noise"
        return f"{prefix}.{_GATES[gate]}_l{index}"
    kind, _, index = layer.partition("_")
    norm = len(path) == 4
    if part == "audio_encoder":
        name = f"encoder/encoder.{f'activations.{index}.0' if norm else f'cl.{index}'}"
    elif part == "identity_encoder":
        name = f"encoder_id/cl.{index or NUM_DOWNSAMPLES}.{int(norm)}"
    elif kind == "start":
        name = f"generator/dcl.0.{int(norm)}"
    elif kind == "output":
        name = f"generator/dcl.{NUM_DOWNSAMPLES}"
    else:
        step = {"fuse": 1, "up": 2}[kind]
        inner = f"activation{step}.0" if norm else f"dcl{step}"
        name = f"generator/dcl.{NUM_DOWNSAMPLES - int(index)}.{inner}"
    return f"{name}.{_LEAVES[leaf]}"


def _torch_axes(rank: int) -> tuple[int, ...]:
    """Returns the axes of PyTorch's kernels, as axes here: outputs, inputs, then space."""
    return (rank - 1, rank - 2, *range(rank - 2))


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the official shape of a shape here."""
    return tuple(shape[i] for i in _torch_axes(len(shape))) if len(shape) > 1 else shape


def _from_torch(value: np.ndarray) -> np.ndarray:
    """Transposes an official tensor to the axes here."""
    return value.transpose(np.argsort(_torch_axes(value.ndim))) if value.ndim > 1 else value
