"""Weight maps of Wav2Lip's three official networks and of SyncNet v2.

Tensors are NumPy arrays by official name.
"""

import functools
import re
from collections.abc import Iterable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lipsync_jax.methods.syncnet.model import SyncNetV2
from lipsync_jax.methods.wav2lip.model import QualityDiscriminator, SyncExpert, Wav2Lip
from lipsync_jax.types import Tree, Variables

_AUDIO, _FACE = (80, 16, 1), (96, 96)
NETWORKS: dict[str, tuple[nn.Module, tuple[tuple[int, ...], ...]]] = {
    "wav2lip": (Wav2Lip(), (_AUDIO, (*_FACE, 6))),
    "sync_expert": (SyncExpert(), (_AUDIO, (48, 96, 15))),
    "quality_discriminator": (QualityDiscriminator(), ((*_FACE, 3),)),
    "syncnet_v2": (SyncNetV2(), ((13, 20, 1), (5, 224, 224, 3))),
}

# Positions of the convolutions inside SyncNet's Sequentials; each norm follows its convolution.
_SYNCNET_CONVOLUTIONS = (0, 4, 8, 11, 14, 18)
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def to_variables(state_dict: Mapping[str, np.ndarray], network: str) -> dict[str, Tree]:
    """Converts an official state dict to variables.

    Args:
        state_dict: tensors by official name; the prefix `module.` of nn.DataParallel and batch
            counters are ignored.
        network: one of NETWORKS.

    Returns:
        {"params": ..., "batch_stats": ...} of float32 NumPy arrays; without batch_stats where the
        network has none.

    Raises:
        ValueError: names or shapes differ from the published network's.
    """
    given = {
        name.removeprefix("module."): np.asarray(value)
        for name, value in state_dict.items()
        if not name.endswith("num_batches_tracked")
    }
    table = _table(network)
    _check_state_dict(given, table, network)
    return unflatten_dict(
        {
            path: np.ascontiguousarray(_from_torch(path, given[name]), np.float32)
            for name, (path, _) in table.items()
        }
    )


def from_variables(
    variables: Variables, network: str, any_width: bool = False
) -> dict[str, np.ndarray]:
    """Converts variables to a state dict of equal precision, without batch counters.

    Args:
        variables: {"params": ..., "batch_stats": ...}.
        network: one of NETWORKS.
        any_width: whether channel counts other than the published ones are accepted.

    Raises:
        ValueError: the variables are not those of the published network.
    """
    flat, table = flatten_dict(variables), _table(network)
    if flat.keys() != {path for path, _ in table.values()}:
        raise ValueError(f"these variables are not those of the published {network} network")
    state_dict = {
        name: np.ascontiguousarray(_to_torch(path, np.asarray(flat[path])))
        for name, (path, _) in table.items()
    }
    if not any_width:
        _check_state_dict(state_dict, table, network)
    return state_dict


def identify(names: Iterable[str]) -> str | None:
    """Returns the network of NETWORKS whose state dict has these names, or None."""
    given = {
        name.removeprefix("module.") for name in names if not name.endswith("num_batches_tracked")
    }
    return next((network for network in NETWORKS if given == _table(network).keys()), None)


@functools.cache
def _table(network: str) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Returns official name -> Flax path and official shape."""
    if network not in NETWORKS:
        raise ValueError(f"network {network!r} is none of {', '.join(NETWORKS)}")
    module, inputs = NETWORKS[network]
    shapes = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in inputs]
    variables = jax.eval_shape(module.init, jax.random.key(0), *shapes)
    name = _syncnet_name if network == "syncnet_v2" else _wav2lip_name
    return {
        name(path[1:]): (path, _to_torch(path, np.broadcast_to(np.float32(0), leaf.shape)).shape)
        for path, leaf in flatten_dict(variables).items()
    }


def _wav2lip_name(path: tuple[str, ...]) -> str:
    """Returns the official name of a path.

    (face_decoder_1_0, conv, kernel) is face_decoder_blocks.1.0.conv_block.0.weight.
    """
    block, *layer, leaf = path
    if block == "prediction":
        return f"binary_pred.0.{_LEAVES[leaf]}"
    match = re.fullmatch(r"([a-z_]+?)_(\d+)(?:_(\d+))?", block)
    assert match is not None  # all other blocks have such names
    part, *numbers = match.groups()
    if part == "output":
        part = "output_block"
    elif numbers[1] is not None:
        part += "_blocks"
    inner = {"conv": ["conv_block", "0"], "norm": ["conv_block", "1"]}[layer[0]] if layer else []
    return ".".join([part, *filter(None, numbers), *inner, _LEAVES[leaf]])


def _syncnet_name(path: tuple[str, ...]) -> str:
    """Returns the official name of a path: (lips, conv_1, norm, scale) is netcnnlip.5.weight."""
    part, layer, *inner, leaf = path
    tower = "lip" if part.startswith("lips") else "aud"
    if part.endswith("head"):
        index = {"hidden": 0, "norm": 1, "embedding": 3}[layer]
        return f"netfc{tower}.{index}.{_LEAVES[leaf]}"
    index = _SYNCNET_CONVOLUTIONS[int(layer.removeprefix("conv_"))] + (inner[0] == "norm")
    return f"netcnn{tower}.{index}.{_LEAVES[leaf]}"


def _to_torch(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    """Transposes to PyTorch's axes, also (height, width, outputs, inputs) of transposed kernels."""
    if path[-1] != "kernel":
        return value
    if path[1] == "lips":
        height, width, channels, features = value.shape
        time = 5 if path[2] == "conv_0" else 1
        value = value.reshape(height, width, time, channels // time, features)
        return value.transpose(4, 3, 2, 0, 1)
    return value.T if value.ndim == 2 else value.transpose(3, 2, 0, 1)


def _from_torch(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    """The inverse of `_to_torch`."""
    if path[-1] != "kernel":
        return value
    if value.ndim == 5:
        features, _, _, height, width = value.shape
        return value.transpose(3, 4, 2, 1, 0).reshape(height, width, -1, features)
    return value.T if value.ndim == 2 else value.transpose(2, 3, 1, 0)


def _check_state_dict(
    given: Mapping[str, np.ndarray], table: Mapping[str, tuple], network: str
) -> None:
    """Raises ValueError if names or shapes differ from the published network's."""
    kinds = {
        "missing": [name for name in table if name not in given],
        "unexpected": [name for name in given if name not in table],
        "of another shape": [
            f"{name} {given[name].shape} instead of {shape}"
            for name, (_, shape) in table.items()
            if name in given and given[name].shape != shape
        ],
    }
    mismatches = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in kinds.items()
        if names
    ]
    if mismatches:
        raise ValueError(
            f"these tensors are not those of the published {network} network: "
            f"{'; '.join(mismatches)}"
        )
