"""Runs the dubbing network of a folder that `lipsync export` wrote, by ONNX Runtime or OpenVINO.

Nothing is compiled by JAX: the first frame is generated within seconds of the start.
"""

import dataclasses
import importlib
import importlib.util
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from lipsync_jax import paths
from lipsync_jax.data import audio_features
from lipsync_jax.data.audio_features import AudioFeatureSpec
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from lipsync_jax.text import printable
from lipsync_jax.training.checkpoint_folder import local_folder
from lipsync_jax.training.model_cards import EXPORTED
from lipsync_jax.types import Json

FILE = "model.onnx"
FORMAT = 1  # of the card
RUNTIME_VARIABLE = "LIPSYNC_RUNTIME"  # onnxruntime or openvino; unset: the first one installed
_MAX_BYTES = 1 << 20  # of the card
_MAX_SIZE, _MAX_WINDOW = 4096, 10_000  # pixels; columns
_FRACTION = re.compile(r"-?[0-9]{1,9}(/[0-9]{1,9})?")  # no exponents, which take time and memory

Session = Callable[..., Sequence[np.ndarray]]  # inputs in the order of the file -> outputs


def load(folder: str | os.PathLike) -> tuple[DubbingModel, str]:
    """Loads an exported dubbing network.

    Args:
        folder: of `lipsync export --format onnx`.

    Returns:
        The model, and its credit, see `model_info.credit`.

    Raises:
        FileNotFoundError: the folder has no ONNX file.
        ValueError: the folder is no dubbing network, its card or file is damaged, or no runtime is
            installed.
    """
    folder = local_folder(folder)
    card = read_card(folder)
    kind, file = card.get("kind"), folder / FILE
    if kind != "dubbing":
        raise ValueError(
            f"{folder} is an exported network for {printable(kind, 40)}, which does not dub faces; "
            "give an exported dubbing network or a checkpoint"
        )
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} has no {FILE}: export the checkpoint again with `lipsync export "
            "--format onnx`, or give the checkpoint itself"
        )
    _check_digest(file, card)
    size, features, fixed_batch, floats = _read_inputs(folder, card)
    generate = _Generator(open_session(file), fixed_batch, floats)
    model_hash, credit = (printable(card.get(key, ""), 1000) for key in ("model_hash", "credit"))
    return DubbingModel(generate, size, model_hash, features), credit


def read_card(folder: Path) -> dict[str, Json]:
    """Reads the card of an exported folder.

    Raises:
        ValueError: the card is damaged, or of another format.
    """
    file = folder / EXPORTED
    try:
        if paths.size(file) > _MAX_BYTES:
            raise ValueError("it is too large")
        card = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file} is no card of an exported network ({printable(error, 200)}); export the "
            "checkpoint again with `lipsync export`"
        ) from error
    return card


@dataclasses.dataclass
class _Generator:
    """Generates faces on a thread of its own, so that reading and blending go on meanwhile.

    Attributes:
        session: runs the network.
        batch: faces of a call; 0 for any number.
        floats: whether the network takes faces in [0, 1].
    """

    session: Session
    batch: int
    floats: bool

    def __post_init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "lipsync_exported")

    def __call__(self, audio: np.ndarray, faces: np.ndarray) -> Any:
        """See `DubbingModel.generate`."""
        return _Generated(self._thread.submit(self._run, audio, faces))

    def _run(self, audio: np.ndarray, faces: np.ndarray) -> np.ndarray:
        count = self.batch or len(faces)
        parts = [
            self._run_batch(audio[i : i + count], faces[i : i + count], count)
            for i in range(0, len(faces), count)
        ]
        return np.concatenate(parts)

    def _run_batch(self, audio: np.ndarray, faces: np.ndarray, count: int) -> np.ndarray:
        missing = (0, count - len(faces))
        audio = np.pad(audio, [missing, (0, 0), (0, 0)])
        inputs = np.pad(faces, [missing, (0, 0), (0, 0), (0, 0)])
        if not self.floats:
            return self.session(audio, inputs)[0][: len(faces)]
        generated = self.session(audio, inputs.astype(np.float32) / 255)[0][: len(faces)]
        return np.rint(generated * 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class _Generated:
    """Faces that are being generated; `np.asarray` waits for them, as for an array of JAX."""

    future: "Future[np.ndarray]"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.future.result(), dtype)


def runtime() -> str:
    """Returns the package that runs ONNX files: onnxruntime or openvino.

    Raises:
        ValueError: neither is installed, or the environment names another one.
    """
    known = ("onnxruntime", "openvino")
    asked = os.environ.get(RUNTIME_VARIABLE)
    if asked and asked not in known:
        raise ValueError(f"{RUNTIME_VARIABLE}={asked}: choose {' or '.join(known)}, or unset it")
    for name in (asked,) if asked else known:
        if importlib.util.find_spec(name):
            return name
    raise ValueError(
        f"an exported network needs {asked or ' or '.join(known)}: pip install "
        f"{asked or 'onnxruntime'}, or give the checkpoint in its place"
    )


def open_session(file: Path) -> Session:
    """Loads an ONNX file into the installed runtime, see `runtime`.

    Raises:
        ValueError: there is no runtime, or it can't load the file.
    """
    name = runtime()
    try:
        return {"onnxruntime": _open_onnxruntime, "openvino": _open_openvino}[name](file)
    except Exception as error:  # of many kinds, none of them public
        raise ValueError(
            f"{file} can't be loaded by {name} ({printable(error, 300)}); export the checkpoint "
            "again with `lipsync export`"
        ) from error


def _open_onnxruntime(file: Path) -> Session:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    providers = onnxruntime.get_available_providers()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    names = [argument.name for argument in session.get_inputs()]
    logging.debug("%s runs on %s", file, session.get_providers())
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def _open_openvino(file: Path) -> Session:
    openvino: Any = importlib.import_module("openvino")
    # Float32 also where the device would choose bfloat16.
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(str(file), "AUTO", options)
    return lambda *inputs: list(compiled(list(inputs)).values())


def _check_digest(file: Path, card: Mapping[str, Json]) -> None:
    entry = card.get("files", {}).get(file.name, {}) if isinstance(card.get("files"), dict) else {}
    if not isinstance(entry, dict) or entry.get("sha256") != paths.sha256(file):
        raise ValueError(
            f"{file} is not the file that {EXPORTED} describes; copy the whole folder again"
        )


def _read_inputs(folder: Path, card: Mapping[str, Json]) -> tuple[int, AudioFeatureSpec, int, bool]:
    """Returns the side of a face, the audio features, faces of a call (0: any), and `floats`."""
    try:
        audio, image = card["audio"], card["image"]
        inputs = {entry["name"]: entry for entry in card["functions"]["model"]["inputs"]}
        size, batch = image["size"][0], inputs["faces"]["shape"][0]
        known = {"mel": audio_features.MEL, "mfcc": audio_features.MFCC}[audio["features"]]
        window, seconds = audio["window"], audio["lookback_seconds"]
        if not _FRACTION.fullmatch(seconds):
            raise ValueError("lookback_seconds is no fraction")
        lookback = Fraction(seconds)
        batch = 0 if isinstance(batch, str) else batch
        plausible = (
            isinstance(size, int) and 0 < size <= _MAX_SIZE
            and isinstance(window, int) and 0 < window <= _MAX_WINDOW
            and isinstance(batch, int) and 0 <= batch <= _MAX_SIZE
            and abs(lookback) <= 1
        )  # fmt: skip
        if not plausible:
            raise ValueError("sizes are out of range")
        floats = inputs["faces"]["dtype"] == "float32"
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"{folder / EXPORTED} does not describe a dubbing network ({printable(error, 100)}); "
            "export the checkpoint again with `lipsync export`"
        ) from error
    return size, dataclasses.replace(known, window=window, lookback=lookback), batch, floats
