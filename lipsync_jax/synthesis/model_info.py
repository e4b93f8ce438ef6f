"""Where a trained network comes from: name, task, size, licence, attribution, metrics."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from lipsync_jax import hub, methods, paths, weights
from lipsync_jax.methods.inference import AnimationInference, SyncInference
from lipsync_jax.text import printable
from lipsync_jax.training import arrays, model_cards
from lipsync_jax.training.checkpoint_folder import full_name, resolve_checkpoint
from lipsync_jax.training.inference import read_model_card
from lipsync_jax.types import Json, ModelCard

BUILT_IN, CONVERTED, TRAINED = "built-in", "converted", "trained"
_OTHER = "other"  # the task of networks that only training needs
_TASKS = {"reader": weights.LIP_READING}


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """A trained model.

    Attributes:
        name: of a built-in model, or of the checkpoint's folder.
        task: one of `weights.TASKS`, or "other".
        origin: BUILT_IN, CONVERTED (from an official file) or TRAINED (a run).
        folder: the value for `--checkpoint-path` or `--sync-model`.
        method: of the model's config.
        networks: names of its networks.
        parameters: number of parameters and batch statistics, of all networks.
        size: bytes of the networks' files.
        licence: terms of use; empty for a run's own weights.
        attribution: data that must be named with the weights; may be empty.
        sha256: file name -> hash: of the official file that was converted, or else of each
            network's file; for a network's folder, of the names and contents of its files.
        metrics: name -> value: on validation clips, if they were computed.
        step: training steps; None for converted weights.
        source: name of the official file that was converted; empty otherwise.
    """

    name: str
    task: str
    origin: str
    folder: Path
    method: str
    networks: Sequence[str]
    parameters: int
    size: int
    licence: str
    attribution: str
    sha256: Mapping[str, str]
    metrics: Mapping[str, float]
    step: int | None
    source: str

    def as_json(self) -> dict[str, Json]:
        """Returns the attributes as JSON values."""
        values = {**dataclasses.asdict(self), "folder": str(self.folder)}
        return {**values, "networks": [*self.networks]}


def read(directory: str | os.PathLike) -> ModelInfo:
    """Reads what a checkpoint's files and model card say of it.

    Args:
        directory: a run's workdir, a converted checkpoint or a built-in model.

    Raises:
        FileNotFoundError, ValueError: see `read_model_card` and `arrays.shapes`.
    """
    directory, card = Path(directory), read_model_card(directory)
    folder = resolve_checkpoint(directory)
    networks = model_cards.network_names(folder)
    items = {name: model_cards.network_path(folder, name) for name in networks}
    leaves = [leaf for item in items.values() for leaf in jax.tree.leaves(arrays.shapes(item))]
    origin, source = _origin(directory, card), card.get("source") or {}
    if origin == CONVERTED:
        sha256 = {source["file"]: str(source.get("sha256", ""))}
    else:
        sha256 = {item.name: _hash(item) for item in items.values()}
    metrics = {**(card.get("validation") or {}), **(card.get("metrics") or {})}
    return ModelInfo(
        name=short_name(directory),
        task=_task(networks, card),
        origin=origin,
        folder=directory,
        method=card["config"]["method"],
        networks=networks,
        parameters=sum(math.prod(leaf.shape) for leaf in leaves),
        size=sum(file.stat().st_size for item in items.values() for file in _files(item)),
        licence=str(card.get("licence") or ""),
        attribution=str(card.get("attribution") or ""),
        sha256=sha256,
        metrics={key: float(x) for key, x in metrics.items() if isinstance(x, int | float)},
        step=card.get("step"),
        source=str(source.get("file", "")),
    )


def credit(directory: str | os.PathLike) -> str:
    """Returns a line that names a checkpoint, its origin, its licence and whom to credit.

    Args:
        directory: see `read`; only the last folders of the path are named.

    Raises:
        FileNotFoundError, ValueError: see `read_model_card`.
    """
    directory, card = Path(directory), read_model_card(directory)
    origin = _origin(directory, card)
    if origin == CONVERTED:
        origin = f"converted from {card['source']['file']}"
    elif origin == TRAINED:
        origin = f"trained for {card.get('step')} steps"
    parts = [f"model {short_name(directory)} ({card['config']['method']}, {origin})"]
    parts += [
        f"{name}: {str(card[name]).rstrip('.')}"
        for name in ("licence", "attribution")
        if card.get(name)
    ]
    return printable("; ".join(parts))


def short_name(directory: Path) -> str:
    """Returns the name of a checkpoint's folder, or its whole address."""
    if hub.is_address(directory):
        return full_name(directory)
    return directory.absolute().name


def _origin(directory: Path, card: ModelCard) -> str:
    if directory.absolute().parent == weights.FOLDER:
        return BUILT_IN
    return CONVERTED if card.get("source") else TRAINED


def _task(networks: Sequence[str], card: ModelCard) -> str:
    """Names the task of a checkpoint by the network that a command would load."""
    if "generator" in networks:
        animates = methods.has_inference(card["config"]["method"], AnimationInference)
        return weights.ANIMATION if animates else weights.DUBBING
    if methods.has_inference(card["config"]["method"], SyncInference):
        return weights.SYNC
    return next((_TASKS[name] for name in networks if name in _TASKS), _OTHER)


def _files(item: Path) -> list[Path]:
    return sorted(p for p in item.rglob("*") if p.is_file()) if item.is_dir() else [item]


def _hash(item: Path) -> str:
    if item.is_file():
        return paths.sha256(item)
    digest = hashlib.sha256()
    for file in _files(item):
        digest.update(str(file.relative_to(item.parent)).encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
