"""`lipsync models`: lists the models that are built in, converted and trained."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax import paths, weights
from lipsync_jax.text import printable

if TYPE_CHECKING:
    from lipsync_jax.synthesis.model_info import ModelInfo

_HEADER = ("name", "task", "origin", "parameters", "size", "step", "folder")
_SHOWN_METRICS = (  # on validation clips; all are in the JSON
    "mouth_l1",
    "mouth_l1_copy_baseline",
    "mouth_l1_mean_baseline",
    "balanced_accuracy",
    "offset_accuracy",
    "wer",
)
_UNITS = ("B", "kB", "MB", "GB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync models`."""
    parser.add_argument("folders", type=Path, nargs="*", default=[Path()], metavar="DIR",
                        help="folders to search for converted and trained models, six levels deep "
                        "(default: the current folder)")  # fmt: skip
    parser.add_argument("--json", action="store_true",
                        help="print JSON, with all metrics and hashes")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Prints the models; returns 1 if one of them can't be read.

    Raises:
        FileNotFoundError: a folder to search does not exist.
    """
    from lipsync_jax.cli._terminal import quiet
    from lipsync_jax.diagnostics import artifacts

    for folder in arguments.folders:
        paths.require_folder(folder, "a folder to search")
    quiet()
    found = [weights.path(name) for name in weights.names()]
    official: list[Path] = []
    broken: list[str] = []
    for folder in arguments.folders:
        inventory = artifacts.scan(folder)
        found += [checkpoint.folder for checkpoint in inventory.checkpoints]
        official += inventory.official
        broken += inventory.broken
    unique = {folder.resolve(): folder for folder in reversed(found)}
    models, unreadable = _read([*unique.values()])
    broken += unreadable
    if arguments.json:
        values = {
            "models": [model.as_json() for model in models],
            "not_converted": [str(path) for path in official],
            "broken": broken,
        }
        print(json.dumps(values, indent=2, sort_keys=True))
    else:
        print(describe(models))
        for path in official:
            print(
                f"not converted: {printable(path)}; run `lipsync convert {printable(path)} "
                f"checkpoints/{printable(path.stem)}`"
            )
        for problem in broken:
            print(f"can't be used: {problem}")
    return 1 if broken else 0


def _read(folders: Sequence[Path]) -> "tuple[list[ModelInfo], list[str]]":
    """Returns the models, built-in ones first, and messages about those that can't be read."""
    from lipsync_jax.synthesis import model_info

    models, broken = [], []
    for folder in folders:
        try:
            models.append(model_info.read(folder))
        except (OSError, ValueError) as error:
            broken.append(printable(f"{folder}: {error}"))
    order = (model_info.BUILT_IN, model_info.CONVERTED, model_info.TRAINED)
    models.sort(key=lambda model: (order.index(model.origin), model.task, str(model.folder)))
    return models, broken


def describe(models: "Sequence[ModelInfo]") -> str:
    """Formats models as a table, with licence, hashes and main metrics below each row."""
    built_in = any(model.origin == "built-in" for model in models)
    note = [] if built_in else ["this installation has no built-in models"]
    if not models:
        return "\n".join([*note, "no converted or trained model was found"])
    rows = [_HEADER, *map(_row, models)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = []
    for row, model in zip(rows, [None, *models], strict=True):
        lines.append("  ".join(map(str.ljust, row, widths)).rstrip())
        lines += [] if model is None else _details(model)
    return "\n".join([*note, *lines])


def _row(model: "ModelInfo") -> tuple[str, ...]:
    return (
        printable(model.name, 60),
        model.task,
        model.origin,
        f"{model.parameters / 1e6:.2f} M",
        _size(model.size),
        "-" if model.step is None else str(model.step),
        printable(model.folder),
    )


def _details(model: "ModelInfo") -> list[str]:
    metrics = [f"{k} {model.metrics[k]:.4g}" for k in _SHOWN_METRICS if k in model.metrics]
    lines = [f"metrics      {', '.join(metrics)}"] if metrics else []
    lines += [f"source       {printable(model.source)}"] if model.source else []
    lines += [f"licence      {printable(model.licence)}"] if model.licence else []
    lines += [f"attribution  {printable(model.attribution)}"] if model.attribution else []
    lines += [f"sha256       {printable(value)}  {printable(name)}"
              for name, value in model.sha256.items()]  # fmt: skip
    return [f"    {line}" for line in lines]


def _size(count: float) -> str:
    """Writes bytes with a decimal unit."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.3g} {unit}"
