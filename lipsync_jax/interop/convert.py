"""`lipsync convert`: converts an official checkpoint to an Orbax one for inference and training."""

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipsync_jax import paths
from lipsync_jax.interop import official_configs, torch_files
from lipsync_jax.methods.vougioukas import torch_weights as vougioukas
from lipsync_jax.methods.wav2lip import torch_weights as wav2lip
from lipsync_jax.text import printable
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Json, Untrusted

_WAV2LIP_LICENCE = (
    "The published weights of Wav2Lip (Prajwal et al. 2020) come with no open-source licence: "
    "their authors allow personal, research and non-commercial use only, and they were trained on "
    "LRS2, which the BBC licenses for research. Weights that were trained elsewhere are under "
    "their trainer's terms."
)
_SYNCNET_LICENCE = (
    "SyncNet's code (Chung and Zisserman 2016) is under the MIT licence; its authors published "
    "the weights beside it without terms of their own. Weights that were trained elsewhere are "
    "under their trainer's terms."
)
_VOUGIOUKAS_LICENCE = (
    "The code and weights of Vougioukas et al. (2018, 2020) were published without a licence, "
    "trained on GRID, TCD-TIMIT or CREMA-D; ask their authors about any other use than research. "
    "Weights that were trained elsewhere are under their trainer's terms."
)


@dataclass(frozen=True)
class OfficialNetwork:
    """How one official network is stored.

    Attributes:
        checkpoint_key: name of the network in the checkpoint.
        config: config that describes the network.
        licence: terms of the published weights.
        key_prefix: prefix of tensor names that only this network has.
    """

    checkpoint_key: str
    config: dict[str, Json]
    licence: str
    key_prefix: str


OFFICIAL_NETWORKS = {
    "wav2lip": OfficialNetwork(
        "generator",
        official_configs.wav2lip(),
        _WAV2LIP_LICENCE,
        "face_decoder_blocks.",
    ),
    "sync_expert": OfficialNetwork(
        "expert", official_configs.sync_expert(), _WAV2LIP_LICENCE, "face_encoder."
    ),
    "quality_discriminator": OfficialNetwork(
        "discriminator",
        official_configs.wav2lip_gan(),
        _WAV2LIP_LICENCE,
        "binary_pred.",
    ),
    "syncnet_v2": OfficialNetwork(
        "syncnet", official_configs.syncnet_v2(), _SYNCNET_LICENCE, "netcnnlip."
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `lipsync convert`."""
    parser.add_argument(
        "source",
        type=Path,
        help="wav2lip.pth, wav2lip_gan.pth, lipsync_expert.pth, visual_quality_disc.pth, "
        "syncnet_v2.model, grid.dat, timit.dat, crema.dat or a file of equal layout, in a format "
        "of PyTorch, TorchScript or safetensors",
    )
    parser.add_argument("out", type=Path, help="folder to write; must not exist")


def run(arguments: argparse.Namespace) -> int:
    """Converts one file and prints the network and its licence."""
    metadata = checkpoints.read_model_card(convert(arguments.source, arguments.out))
    print(
        f"{arguments.source} is a {metadata['network']}, sha256 {metadata['source']['sha256']}\n"
        f"wrote {arguments.out}\n{metadata['licence']}"
    )
    return 0


def convert(source: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Converts an official checkpoint without executing code in the file.

    Args:
        source: a state dict of one of the published networks, as torch.save or TorchScript or
            safetensors wrote it, possibly in a dict under `state_dict`; or the dict of three state
            dicts of Vougioukas et al.
        out: folder to write.

    Returns:
        The folder: an inference checkpoint of one network. Its model card has `config`, `network`,
        `source` (file, bytes, sha256) and `licence`; for Vougioukas et al. also `frame_rate` and
        `canonical_face`, the 68 landmarks to which reference images are aligned.

    Raises:
        FileNotFoundError: the file does not exist.
        FileExistsError: `out` exists.
        ValueError: the file is unreadable, of another network, or has values that are not finite.
    """
    source, out = Path(source), Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists already: name a new folder, or remove it first")
    tree = torch_files.read(source)
    try:
        parse = _vougioukas_generator if vougioukas.is_checkpoint(tree) else _single_network
        checkpoint_key, variables, metadata = parse(tree)
    # A file may have any object in place of a network's numbers and tensors.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint {source} can't be converted: {printable(error)}") from error
    metadata["source"] = {
        "file": source.name, "bytes": source.stat().st_size, "sha256": paths.sha256(source)
    }  # fmt: skip
    checkpoints.export_networks(out, {checkpoint_key: {"batch_stats": {}, **variables}}, metadata)
    return out


def _single_network(tree: Untrusted) -> tuple[str, dict[str, Untrusted], dict[str, Untrusted]]:
    """Returns checkpoint key, variables and model card of one of OFFICIAL_NETWORKS."""
    tensors = torch_files.state_dict(tree)
    network = wav2lip.identify(tensors) or _guess_network(tensors)
    variables = wav2lip.to_variables(tensors, network)
    _check_finite(tensors)
    kind = OFFICIAL_NETWORKS[network]
    metadata = {"config": kind.config, "network": network, "licence": kind.licence}
    return kind.checkpoint_key, variables, metadata


def _vougioukas_generator(
    tree: dict[str, Untrusted],
) -> tuple[str, dict[str, Untrusted], dict[str, Untrusted]]:
    """Returns key, variables and model card of a generator of Vougioukas et al. (2020)."""
    generator = vougioukas.read(tree)
    _check_finite({**vougioukas.tensors(tree), "mean_face": generator.canonical_face})
    metadata = {
        "config": {"method": "vougioukas", "model": generator.model},
        "network": "vougioukas",
        "licence": _VOUGIOUKAS_LICENCE,
        "frame_rate": generator.frame_rate,
        "canonical_face": generator.canonical_face.tolist(),
    }
    return "generator", generator.variables, metadata


def _guess_network(names: Iterable[str]) -> str:
    """Guesses the network of a file, so that `to_variables` can report the differences."""
    tensor_names = [name.removeprefix("module.") for name in names]
    for network, kind in OFFICIAL_NETWORKS.items():
        if any(name.startswith(kind.key_prefix) for name in tensor_names):
            return network
    raise ValueError(
        f"its {len(tensor_names)} tensors ({', '.join(tensor_names[:3])}, ...) are of none of "
        f"the networks {', '.join(OFFICIAL_NETWORKS)}"
    )


def _check_finite(tensors: dict[str, np.ndarray]) -> None:
    nonfinite = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if nonfinite:
        raise ValueError(
            f"{len(nonfinite)} tensors have values that are not finite "
            f"({', '.join(nonfinite[:3])}): the file is damaged, or its training diverged"
        )
