"""An inventory of weights and data in a folder, and the next command to run."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lipsync_jax import methods
from lipsync_jax.diagnostics.findings import NOTE, OK, Finding
from lipsync_jax.methods.inference import AnimationInference
from lipsync_jax.text import printable
from lipsync_jax.training import checkpoints, model_cards
from lipsync_jax.types import Json

_MAX_DEPTH = 6
_SKIPPED_DIRS = {"tests", "node_modules", "site-packages", "cache", "tensorboard", "__pycache__"}
_PYTORCH_SUFFIXES = {".pth", ".pt", ".model", ".safetensors"}
_MIN_WEIGHTS_BYTES = 1_000_000  # every published network has more
_GOOD_EXPERT = 0.85  # balanced accuracy recommended in configs/wav2lip.py


@dataclasses.dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint for inference.

    Attributes:
        folder: the value for `--checkpoint-path`.
        networks: names of its networks.
        model_card: see `checkpoints.read_model_card`.
    """

    folder: Path
    networks: Sequence[str]
    model_card: dict[str, Json]

    @property
    def accuracy(self) -> float:
        """Returns the balanced accuracy on validation clips; NaN if it was not computed."""
        return float(self.model_card.get("validation", {}).get("balanced_accuracy", "nan"))

    @property
    def text(self) -> str:
        """Returns a description in one line."""
        method = self.model_card.get("config", {}).get("method", "")
        if "source" in self.model_card:
            origin = f"from {printable(self.model_card['source']['file'], 80)}"
        else:
            origin = f"step {self.model_card.get('step')}"
        accuracy_text = f", balanced accuracy {self.accuracy:.2f}" if self.accuracy >= 0 else ""
        return printable(
            f"{self.folder} ({method} {'+'.join(self.networks)}, {origin}{accuracy_text})"
        )


@dataclasses.dataclass(frozen=True)
class Inventory:
    """Checkpoints and data sets of a folder.

    Attributes:
        checkpoints: checkpoints for inference.
        official: files of PyTorch weights that are not converted.
        data: prepared data sets.
        broken: messages about checkpoints that can't be read.
    """

    checkpoints: Sequence[CheckpointInfo]
    official: Sequence[Path]
    data: Sequence[Path]
    broken: Sequence[str]


def scan(root: Path) -> Inventory:
    """Lists the checkpoints and data sets of a folder, six levels deep."""
    checkpoint_infos, official, data, broken = {}, [], [], []
    for folder, names, files in _walk(root):
        if model_cards.is_checkpoint(folder):
            names.clear()  # a checkpoint holds no other checkpoints
            directory = folder.parent.parent if folder.parent.name == "best" else folder
            try:
                model_card = checkpoints.read_model_card(directory)
                checkpoint = checkpoints.resolve_checkpoint(directory)
                networks = model_cards.network_names(checkpoint)
                checkpoint_infos[directory] = CheckpointInfo(directory, networks, model_card)
            except (OSError, ValueError) as error:
                broken.append(printable(f"{directory}: {error}"))
        if "dataset_info.json" in files:
            data.append(folder)
        official += [
            folder / name
            for name in files
            if Path(name).suffix in _PYTORCH_SUFFIXES
            and (folder / name).is_file()  # and no link to a missing one
            and (folder / name).stat().st_size >= _MIN_WEIGHTS_BYTES
        ]
    converted = {
        info.model_card["source"]["file"]
        for info in checkpoint_infos.values()
        if "source" in info.model_card
    }
    official = [path for path in official if path.name not in converted]
    return Inventory(list(checkpoint_infos.values()), official, data, broken)


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for folder, names, files in os.walk(root):
        path = Path(folder)
        kept = [n for n in sorted(names) if n not in _SKIPPED_DIRS and not n.startswith(".")]
        names[:] = kept if len(path.relative_to(root).parts) < _MAX_DEPTH else []
        yield path, names, files


def inventory_findings(inventory: Inventory) -> list[Finding]:
    """Returns weights and data as findings."""
    descriptions = [checkpoint.text for checkpoint in inventory.checkpoints]
    descriptions += [printable(f"{path} (not converted)") for path in inventory.official]
    findings = [
        Finding("weights", OK, "; ".join(descriptions) or "none found", "For inference."),
        Finding(
            "data", OK, "; ".join(map(printable, inventory.data)) or "none found", "For training."
        ),
    ]
    findings += [
        Finding(
            "weights",
            NOTE,
            problem,
            "This checkpoint can't be used.",
            "Delete it, or train or convert it again.",
        )
        for problem in inventory.broken
    ]
    return findings


def next_command(inventory: Inventory) -> str:
    """Returns the next command to run."""

    def with_network(network: str) -> list[CheckpointInfo]:
        return [each for each in inventory.checkpoints if network in each.networks]

    generators, experts = with_network("generator"), with_network("expert")
    for command, face_argument, animates in (
        ("dub", "VIDEO", False),
        ("animate", "IMAGE", True),
    ):
        for checkpoint in generators:
            if methods.has_inference(_method(checkpoint), AnimationInference) == animates:
                return (
                    f"lipsync {command} --checkpoint-path {checkpoint.folder} "
                    f"--face {face_argument} --audio SPEECH --outfile out.mp4"
                )
    if inventory.official:
        source = inventory.official[0]
        return f"lipsync convert {source} checkpoints/{source.stem}"
    if not inventory.data:
        return "lipsync demo   (or `lipsync prepare --input VIDEOS --out data` for your own videos)"
    data = f"--config.data.dir={inventory.data[0]}"
    if not experts:
        return (
            "python main.py --config=configs/sync_expert.py:small_data --workdir=runs/expert "
            f"{data}"
        )
    best_expert = max(experts, key=lambda each: each.accuracy if each.accuracy >= 0 else 0.0)
    if best_expert.accuracy < _GOOD_EXPERT:
        return (
            "lipsync diagnose --config=configs/sync_expert.py:small_data "
            f"--workdir={best_expert.folder} {data}"
        )
    return (
        "python main.py --config=configs/wav2lip.py:small_data --workdir=runs/wav2lip "
        f"--config.frozen.expert.checkpoint={best_expert.folder} {data}"
    )


def _method(checkpoint: CheckpointInfo) -> str:
    return str(checkpoint.model_card.get("config", {}).get("method", ""))
