"""Weights and data in a folder, and the command that makes most of them."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lipsync_jax.diagnostics.findings import NOTE, OK, Finding
from lipsync_jax.synthesis import animation_model
from lipsync_jax.text import printable
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Json

_DEPTH = 6
_NEVER = {"tests", "node_modules", "site-packages", "outcomes", "tensorboard", "__pycache__"}
_OFFICIAL = {".pth", ".pt", ".model", ".safetensors"}
_SMALLEST = 1_000_000  # bytes; every published network has more
_GOOD_EXPERT = 0.85  # balanced accuracy that configs/wav2lip.py asks for


@dataclasses.dataclass(frozen=True)
class Weights:
    """A checkpoint.

    Attributes:
        folder: what `--checkpoint_path` takes.
        players: networks in it.
        card: see `checkpoints.read_card`.
    """

    folder: Path
    players: Sequence[str]
    card: dict[str, Json]

    @property
    def accuracy(self) -> float:
        """Balanced accuracy on validation clips; NaN where it has none."""
        return float(self.card.get("validation", {}).get("balanced_accuracy", "nan"))

    @property
    def text(self) -> str:
        """A few words."""
        method = self.card.get("config", {}).get("method", "")
        if "source" in self.card:
            origin = f"from {printable(self.card['source']['file'], 80)}"
        else:
            origin = f"step {self.card.get('step')}"
        figure = f", balanced accuracy {self.accuracy:.2f}" if self.accuracy >= 0 else ""
        return printable(f"{self.folder} ({method} {'+'.join(self.players)}, {origin}{figure})")


@dataclasses.dataclass(frozen=True)
class Belongings:
    """What a folder holds.

    Attributes:
        weights: checkpoints that can be run.
        official: files of PyTorch weights, not converted.
        data: prepared data sets.
        broken: checkpoints that can't be read, with the reason.
    """

    weights: Sequence[Weights]
    official: Sequence[Path]
    data: Sequence[Path]
    broken: Sequence[str]


def look(root: Path) -> Belongings:
    """Looks into a folder, six levels deep."""
    weights, official, data, broken = {}, [], [], []
    for folder, names, files in _walk(root):
        if "card" in names:
            names.clear()  # a checkpoint; nothing else is inside
            owner = folder.parent.parent if folder.parent.name == "best" else folder
            try:
                card = checkpoints.read_card(owner)
                holds = checkpoints.find(owner)
                players = sorted(p.name for p in holds.iterdir() if p.is_dir() and p.name != "card")
                weights[owner] = Weights(owner, players, card)
            except (OSError, ValueError) as error:
                broken.append(printable(f"{owner}: {error}"))
        if "dataset_info.json" in files:
            data.append(folder)
        official += [
            folder / name
            for name in files
            if Path(name).suffix in _OFFICIAL and (folder / name).stat().st_size >= _SMALLEST
        ]
    converted = {w.card["source"]["file"] for w in weights.values() if "source" in w.card}
    official = [path for path in official if path.name not in converted]
    return Belongings(list(weights.values()), official, data, broken)


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        kept = [n for n in sorted(names) if n not in _NEVER and not n.startswith(".")]
        names[:] = kept if len(here.relative_to(root).parts) < _DEPTH else []
        yield here, names, files


def report(found: Belongings) -> list[Finding]:
    """Weights and data as findings."""
    weights = [w.text for w in found.weights]
    weights += [printable(f"{path} (not converted)") for path in found.official]
    findings = [
        Finding("weights", OK, "; ".join(weights) or "none found", "What can be run."),
        Finding("data", OK, "; ".join(map(printable, found.data)) or "none found", "For training."),
    ]
    findings += [
        Finding("weights", NOTE, said, "It can't be run.", "Delete it or make it again.")
        for said in found.broken
    ]
    return findings


def next_command(found: Belongings) -> str:
    """What to type next."""

    def having(player: str) -> list[Weights]:
        return [w for w in found.weights if player in w.players]

    generators, experts = having("generator"), having("expert")
    for command, face, wanted in (("generate", "VIDEO", False), ("animate", "PICTURE", True)):
        for weights in generators:
            if (_method(weights) in animation_model.METHODS) == wanted:
                return (
                    f"lipsync {command} --checkpoint_path {weights.folder} --face {face} "
                    "--audio VOICE --outfile out.mp4"
                )
    if found.official:
        source = found.official[0]
        return f"lipsync convert {source} checkpoints/{source.stem}"
    if not found.data:
        return "lipsync demo   (or `lipsync prepare --input VIDEOS --out data` for your own videos)"
    data = f"--config.data.dir={found.data[0]}"
    if not experts:
        return (
            "python main.py --config=configs/sync_expert.py:small_data --workdir=runs/expert "
            f"{data}"
        )
    best = max(experts, key=lambda w: w.accuracy if w.accuracy >= 0 else 0.0)
    if best.accuracy < _GOOD_EXPERT:
        return (
            f"lipsync diagnose --config=configs/sync_expert.py:small_data --workdir={best.folder} "
            f"{data}"
        )
    return (
        "python main.py --config=configs/wav2lip.py:small_data --workdir=runs/wav2lip "
        f"--config.frozen.expert.checkpoint={best.folder} {data}"
    )


def _method(weights: Weights) -> str:
    return str(weights.card.get("config", {}).get("method", ""))
