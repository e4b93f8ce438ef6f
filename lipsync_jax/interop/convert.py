"""`lipsync convert`: an official checkpoint -> an Orbax one that inference and training load."""

import argparse
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipsync_jax.interop import published, torch_files
from lipsync_jax.methods.vougioukas import torch_weights as temporal_gan
from lipsync_jax.methods.wav2lip import torch_weights as wav2lip
from lipsync_jax.text import printable
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Foreign, Json

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
_TEMPORAL_GAN_LICENCE = (
    "The code and weights of Vougioukas et al. (2018, 2020) were published without a licence, "
    "trained on GRID, TCD-TIMIT or CREMA-D; ask their authors about any other use than research. "
    "Weights that were trained elsewhere are under their trainer's terms."
)


@dataclass(frozen=True)
class Kind:
    """What becomes of one of the official networks.

    Attributes:
        player: its name in the checkpoint.
        config: of the run that would have trained it.
        licence: the terms of the published weights.
        telltale: what only its tensors' names begin with.
    """

    player: str
    config: dict[str, Json]
    licence: str
    telltale: str


KINDS = {
    "wav2lip": Kind(
        "generator",
        published.wav2lip(),
        _WAV2LIP_LICENCE,
        "face_decoder_blocks.",
    ),
    "sync_expert": Kind("expert", published.sync_expert(), _WAV2LIP_LICENCE, "face_encoder."),
    "quality_discriminator": Kind(
        "discriminator",
        published.wav2lip_gan(),
        _WAV2LIP_LICENCE,
        "binary_pred.",
    ),
    "syncnet_v2": Kind("syncnet", published.syncnet_v2(), _SYNCNET_LICENCE, "netcnnlip."),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `lipsync convert`."""
    parser.add_argument(
        "source",
        type=Path,
        help="wav2lip.pth, wav2lip_gan.pth, lipsync_expert.pth, visual_quality_disc.pth, "
        "syncnet_v2.model, grid.dat, timit.dat, crema.dat or the like: of PyTorch, TorchScript "
        "or safetensors",
    )
    parser.add_argument("out", type=Path, help="folder to write; must not exist")


def run(arguments: argparse.Namespace) -> int:
    """Converts one file and says what it was."""
    card = checkpoints.read_card(convert(arguments.source, arguments.out))
    print(
        f"{arguments.source} is a {card['network']}, sha256 {card['source']['sha256']}\n"
        f"wrote {arguments.out}\n{card['licence']}"
    )
    return 0


def convert(source: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Converts an official checkpoint. Nothing in the file is run.

    Args:
        source: a state dict of one of the published networks, as torch.save or TorchScript or
            safetensors wrote it, in a dict under `state_dict` or not; or a temporal GAN's dict of
            three state dicts.
        out: folder to write.

    Returns:
        The folder: an inference checkpoint of one player. Its card has `config`, `network`,
        `source` (file, bytes, sha256) and `licence`; a temporal GAN's also has `frame_rate` and
        `canonical_face`, the 68 landmarks to which stills are aligned.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError: `out` exists.
        ValueError: the file is unreadable, of another network, or has values that aren't finite.
    """
    source, out = Path(source), Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists already: name a new folder, or remove it first")
    tree = torch_files.read(source)
    try:
        read = _temporal_gan if temporal_gan.recognises(tree) else _single_network
        player, variables, card = read(tree)
    # A file can have anything where the networks' numbers and tensors are looked for.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint {source} can't be converted: {printable(error)}") from error
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    card["source"] = {"file": source.name, "bytes": source.stat().st_size, "sha256": digest}
    checkpoints.save_inference(out, {player: {"batch_stats": {}, **variables}}, card)
    return out


def _single_network(tree: Foreign) -> tuple[str, dict[str, Foreign], dict[str, Foreign]]:
    """Player, variables and card of one of KINDS."""
    tensors = torch_files.state_dict(tree)
    network = wav2lip.identify(tensors) or _likely(tensors)
    variables = wav2lip.to_variables(tensors, network)
    _check_finite(tensors)
    kind = KINDS[network]
    card = {"config": kind.config, "network": network, "licence": kind.licence}
    return kind.player, variables, card


def _temporal_gan(tree: dict[str, Foreign]) -> tuple[str, dict[str, Foreign], dict[str, Foreign]]:
    """The same of a temporal GAN's generator; those that were published are of 2020."""
    found = temporal_gan.read(tree)
    _check_finite({**temporal_gan.tensors(tree), "mean_face": found.canonical_face})
    card = {
        "config": {"method": "temporal_gan", "model": found.model},
        "network": "temporal_gan",
        "licence": _TEMPORAL_GAN_LICENCE,
        "frame_rate": found.frame_rate,
        "canonical_face": found.canonical_face.tolist(),
    }
    return "generator", found.variables, card


def _likely(names: Iterable[str]) -> str:
    """The network that a file was meant to hold, for to_variables to say what differs."""
    given = [name.removeprefix("module.") for name in names]
    for network, kind in KINDS.items():
        if any(name.startswith(kind.telltale) for name in given):
            return network
    raise ValueError(
        f"its {len(given)} tensors ({', '.join(given[:3])}, ...) are of none of the networks "
        f"{', '.join(KINDS)}"
    )


def _check_finite(tensors: dict[str, np.ndarray]) -> None:
    wrong = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if wrong:
        raise ValueError(
            f"{len(wrong)} tensors have values that aren't finite ({', '.join(wrong[:3])}): "
            "the file is damaged, or the training that wrote it diverged"
        )
