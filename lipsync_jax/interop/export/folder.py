"""Exports a checkpoint to a folder: programs, their card, an example, a README."""

import dataclasses
import importlib.util
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lipsync_jax import methods, weights
from lipsync_jax.interop.export import card, examples, functions, onnx_file, stablehlo
from lipsync_jax.interop.export.examples import Comparison
from lipsync_jax.interop.export.functions import BATCH, Function
from lipsync_jax.methods.inference import AnimationInference, DubbingInference
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis import animation_model, exported_model, model_info
from lipsync_jax.synthesis.dubbing_model import GeneratorProgram
from lipsync_jax.training import model_cards
from lipsync_jax.training.inference import (
    load_inference,
    load_network,
    load_networks,
    read_model_card,
)
from lipsync_jax.types import Json, Tree, Variables

log = logging.getLogger(__name__)

FORMATS = ("onnx", "stablehlo")
_NEEDED = {"onnx": ("jax2onnx", "onnx", "onnxruntime"), "stablehlo": ("flatbuffers",)}
_MAX_BATCH = 4096


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was exported.

    Attributes:
        folder: that was written.
        card: its card.json.
        comparisons: of each file with the original; empty unless `check` was asked for.
    """

    folder: Path
    card: Mapping[str, Json]
    comparisons: tuple[Comparison, ...]


@dataclasses.dataclass(frozen=True)
class _Network:
    kind: str
    inference: DubbingInference | AnimationInference
    functions: list[Function]
    model_hash: str


def export(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    *,
    formats: Sequence[str] = ("onnx",),
    batch: int | str | None = None,
    platforms: Sequence[str] = stablehlo.PLATFORMS,
    floats: bool = False,
    inline_weights: bool = False,
    licence: str | None = None,
    check: bool = False,
) -> ExportResult:
    """Writes a trained network as programs that run without this package.

    Args:
        checkpoint: a run's workdir, a converted checkpoint, or the name of a built-in model.
        out: folder to write; must be empty or missing.
        formats: of FORMATS.
        batch: faces of a call of a dubbing network, by default any number (BATCH); frames of a step
            of an animation network, by default the fewest that it takes.
        platforms: of StableHLO, see `stablehlo.PLATFORMS`.
        floats: whether a dubbing network takes and gives faces in [0, 1], not uint8.
        inline_weights: whether StableHLO has the weights inside.
        licence: terms of use for the card; None takes those of the checkpoint.
        check: whether each file is compared with the original.

    Raises:
        FileNotFoundError: there is no checkpoint.
        FileExistsError: `out` has files.
        ValueError: an option or the checkpoint can't be used, a package is missing, or a file does
            not compute what the network does.
    """
    out = Path(out)
    _check_options(out, formats, batch, platforms, inline_weights, check)
    if str(checkpoint) in weights.names():
        checkpoint = weights.path(str(checkpoint))
    model_card = read_model_card(checkpoint)
    network = _load(checkpoint, model_card["config"]["method"], batch, floats)
    entries: dict[str, Json] = {
        "model_hash": network.model_hash,
        "credit": model_info.credit(checkpoint),
        "licence": licence if licence is not None else str(model_card.get("licence") or ""),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        folder = Path(scratch)
        entries |= _write_programs(network, folder, formats, platforms, inline_weights)
        log.info("computing examples by the original network")
        found = examples.compute(network.functions, 2 if check else 1)
        comparisons: list[Comparison] = []
        if check:
            comparisons = _compare(network.functions, folder, formats, inline_weights, found)
        np.savez_compressed(folder / "example.npz", **examples.named(network.functions, found))
        written = card.make(
            network.kind, network.inference, network.functions, model_card, **entries
        )
        text = card.readme(network.functions, formats, inline_weights, written)
        (folder / "README.md").write_text(text, encoding="utf-8")
        written["files"] = card.digests(folder)
        text = json.dumps(written, indent=1)
        (folder / model_cards.EXPORTED).write_text(text + "\n", encoding="utf-8")
        out.mkdir(exist_ok=True)  # the current folder, or a mount, can't be replaced
        for file in sorted(folder.iterdir()):
            shutil.move(file, out)
    return ExportResult(out, written, tuple(comparisons))


def _check_options(
    out: Path,
    formats: Sequence[str],
    batch: int | str | None,
    platforms: Sequence[str],
    inline_weights: bool,
    check: bool,
) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} exists already: name a new folder, or remove it first")
    for option, given, known in (
        ("--format", formats, FORMATS), ("--platforms", platforms, stablehlo.PLATFORMS)
    ):  # fmt: skip
        if not given or not set(given) <= set(known):
            raise ValueError(f"{option} {','.join(given)}: choose from {', '.join(known)}")
    if "stablehlo" not in formats and (
        inline_weights or set(platforms) != set(stablehlo.PLATFORMS)
    ):
        option = "--inline-weights" if inline_weights else "--platforms"
        raise ValueError(f"{option} is for StableHLO: add stablehlo to --format, or leave it out")
    if check and "stablehlo" in formats and "cpu" not in platforms:
        raise ValueError("--check runs the program here: add cpu to --platforms")
    valid = batch in (None, BATCH) or (isinstance(batch, int) and 1 <= batch <= _MAX_BATCH)
    if not valid:
        raise ValueError(f"--batch {batch}: give {BATCH} for any number, or 1 to {_MAX_BATCH}")
    needed = [name for each in formats for name in _NEEDED[each]]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--format {','.join(formats)} needs {', '.join(missing)}: "
            "pip install 'lipsync_jax[export]'"
        )


def _load(
    checkpoint: str | os.PathLike, method: str, batch: int | str | None, floats: bool
) -> _Network:
    if methods.has_inference(method, AnimationInference):
        return _load_animation(checkpoint, batch, floats)
    inference = load_inference(
        checkpoint,
        DubbingInference,
        "which neither dubs nor animates faces; give a generator's folder, e.g. a run of "
        "configs/wav2lip.py",
    )
    program = GeneratorProgram(inference)
    variables, _ = load_network(checkpoint, inference.network, program.prepare)
    batch = BATCH if batch is None else batch
    found = functions.of_dubbing(inference, variables, program.layers, batch, floats)
    return _Network("dubbing", inference, found, metadata.model_hash(variables))


def _load_animation(
    checkpoint: str | os.PathLike, batch: int | str | None, floats: bool
) -> _Network:
    inference = animation_model.load_declaration(checkpoint)
    frames = inference.frame_multiple if batch is None else batch
    if not isinstance(frames, int) or frames % inference.frame_multiple:
        multiple = inference.frame_multiple
        raise ValueError(
            f"--batch {batch}: a step of this network takes a fixed number of frames, a multiple "
            f"of {multiple}; give --batch {multiple}"
        )
    if floats:
        raise ValueError("--float is for dubbing networks; leave it out")
    encoded: Tree = None

    def check(variables: Mapping[str, Variables]) -> None:
        nonlocal encoded
        encoded = animation_model.check_shapes(inference, variables)

    variables: Mapping[str, Variables] = load_networks(checkpoint, inference.networks, check)
    found = functions.of_animation(inference, variables, encoded, frames)
    model_hash = animation_model.model_hash(inference, variables)
    return _Network("animation", inference, found, model_hash)


def _write_programs(
    network: _Network,
    folder: Path,
    formats: Sequence[str],
    platforms: Sequence[str],
    inline_weights: bool,
) -> dict[str, Json]:
    entries: dict[str, Json] = {}
    for function in network.functions:
        if "stablehlo" in formats:
            log.info("exporting %s to StableHLO", function.name)
            found = stablehlo.write(function, folder, platforms, inline_weights)
            entries.setdefault("stablehlo", {})[function.name] = found
        if "onnx" in formats:
            log.info("converting %s to ONNX; the published sizes take minutes", function.name)
            of_file = {
                "notice": card.NOTICE, "model_hash": network.model_hash, "generator": "lipsync_jax"
            }  # fmt: skip
            onnx_file.write(function, folder, of_file)
            entries["onnx"] = {"opset": onnx_file.OPSET}
    return entries


def _compare(
    all_functions: Sequence[Function],
    folder: Path,
    formats: Sequence[str],
    inline_weights: bool,
    found: Mapping[str, list[examples.Example]],
) -> list[Comparison]:
    comparisons: list[Comparison] = []
    for function in all_functions:
        runs: dict[str, examples.Run] = {}
        if "stablehlo" in formats:
            runs[f"{function.name}{stablehlo.SUFFIX}"] = stablehlo.load(
                folder, function.name, inline_weights
            )
        if "onnx" in formats:
            file = folder / f"{function.name}{onnx_file.SUFFIX}"
            runs[file.name] = exported_model.open_session(file)
        for file_name, run in runs.items():
            compared = examples.compare(file_name, run, function, found[function.name])
            log.info("%s", compared)
            comparisons.append(compared)
    wrong = [compared for compared in comparisons if not compared.agrees]
    if wrong:
        raise ValueError(
            f"{wrong[0]}: more than rounding. Nothing was written; please report this with the "
            "versions of jax, jax2onnx and onnxruntime"
        )
    return comparisons
