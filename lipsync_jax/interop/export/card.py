"""What is written beside exported programs: the card, and a README that runs them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from lipsync_jax import __version__, paths
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.faces import boxes
from lipsync_jax.interop.export.functions import Function
from lipsync_jax.media import audio
from lipsync_jax.methods.inference import AnimationInference, DubbingInference
from lipsync_jax.synthesis.exported_model import FORMAT
from lipsync_jax.types import Json, ModelCard

NOTICE = "synthetic media generator"
_BOX_RULE = (
    "the detector's box, smoothed over time, extended below the chin by "
    f"{boxes.CHIN_MARGIN} of its height, so that the mouth lies in the lower half "
    "(faces.face_box); stretched to the size"
)
_ALIGNED_RULE = "a similarity transform of the face's landmarks (faces.alignment), then cut"
_MEL_SETTINGS = (
    "pre-emphasis 0.97, centred Hann windows of 800 samples every 200, magnitudes, 80 Slaney "
    "filters of 55 to 7600 Hz, dB = 20 log10(max(1e-5, mel)), clip(8 (dB + 80) / 100 - 4, -4, 4)"
)


def make(
    kind: str,
    inference: DubbingInference | AnimationInference,
    functions: Sequence[Function],
    model_card: ModelCard,
    **entries: Json,
) -> dict[str, Json]:
    """Returns the card's JSON values, without the digests of files.

    Args:
        kind: `dubbing` or `animation`.
        inference: of the network.
        functions: that were exported.
        model_card: of the checkpoint.
        **entries: further ones: `model_hash`, `credit`, `licence`, and those of formats.
    """
    return {
        "format": FORMAT,
        "lipsync_jax": __version__,
        "jax": jax.__version__,
        "notice": NOTICE,
        "kind": kind,
        "method": model_card["config"]["method"],
        **entries,
        "functions": {
            function.name: {
                "inputs": [spec.as_json() for spec in function.inputs],
                "outputs": [spec.as_json() for spec in function.outputs],
            }
            for function in functions
        },
        "image": _image(inference),
        "audio": _audio(inference),
    }


def _image(inference: DubbingInference | AnimationInference) -> dict[str, Json]:
    size = inference.image_size
    rows, columns = (size, size) if isinstance(size, int) else size
    crop = CROP_SPECS.get(inference.crop)
    return {
        "size": [rows, columns],
        "colour_order": "BGR" if isinstance(inference, DubbingInference) else "RGB",
        "crop": inference.crop,
        "crop_rule": _BOX_RULE if crop and crop.method == "box" else _ALIGNED_RULE,
    }


def _audio(inference: DubbingInference | AnimationInference) -> dict[str, Json]:
    if isinstance(inference, AnimationInference):
        frontend = inference.audio_frontend
        return {
            "features": type(frontend).__name__,
            "sample_rate": frontend.rate,
            "shape": list(frontend.shape),
            "look_ahead_seconds": str(frontend.look_ahead),
            "frame_rate": str(inference.frame_rate),
            "frame_multiple": inference.frame_multiple,
        }
    spec = inference.audio_features
    return {
        "features": spec.name,
        "settings": _MEL_SETTINGS if spec.name == "mel" else f"{spec.bins} MFCCs of 16 kHz audio",
        "sample_rate": audio.SAMPLE_RATE,
        "columns_a_second": spec.rate,
        "bins": spec.bins,
        "window": spec.window,
        "lookback_seconds": str(spec.lookback),  # the window starts this long before its frame
        "silence": spec.silence,
        "frame_rate": "any",
    }


def digests(folder: Path) -> dict[str, Json]:
    """Returns file name -> sha256 and bytes, of all files of a folder."""
    return {
        file.name: {"sha256": paths.sha256(file), "bytes": file.stat().st_size}
        for file in sorted(folder.iterdir())
    }


def readme(
    functions: Sequence[Function], formats: Sequence[str], inline: bool, card: Mapping[str, Json]
) -> str:
    """Returns the text of README.md: what the folder is, and code that runs each function."""
    lines = [
        f"# {card['method']}, exported by lipsync_jax {__version__}",
        "",
        f"A {card['notice']}: say of its output that it is synthetic. Model {card['model_hash']}.",
        f"{card['credit']}",
        "Inputs and outputs are described in card.json; example.npz has some of each.",
    ]
    if "onnx" in formats:
        lines += ["", "`pip install numpy onnxruntime`, then:", "", "```python", *_onnx(functions)]
        lines.append("```")
    if "stablehlo" in formats:
        lines += ["", "`pip install jax flatbuffers`, then:", "", "```python"]
        lines += [*_stablehlo(functions, inline), "```"]
    return "\n".join([*lines, ""])


def _onnx(functions: Sequence[Function]) -> list[str]:
    return [
        "import numpy as np, onnxruntime",
        'example = np.load("example.npz")',
        f"for name in {[function.name for function in functions]}:",
        '    session = onnxruntime.InferenceSession(f"{name}.onnx")',
        "    inputs = {x.name: example[x.name] for x in session.get_inputs()}",
        "    outputs = session.run(None, inputs)",
        "    for x, output in zip(session.get_outputs(), outputs):",
        "        print(x.name, output.shape, np.abs(output - 1.0 * example[x.name]).max())",
    ]


def _stablehlo(functions: Sequence[Function], inline: bool) -> list[str]:
    lines = [
        "import json, pathlib, jax, numpy as np",
        "from jax import export",
        'example, card = np.load("example.npz"), json.loads(pathlib.Path("card.json").read_text())',
        f"for name in {[function.name for function in functions]}:",
        '    data = bytearray(pathlib.Path(f"{name}.stablehlo").read_bytes())',
        "    program = export.deserialize(data)",
        '    entry = card["functions"][name]',
    ]
    weights = "{}" if inline else 'dict(np.load(f"{name}.weights.npz"))'
    return [
        *lines,
        f'    inputs = [{weights}, *(example[x["name"]] for x in entry["inputs"])]',
        '    for x, output in zip(entry["outputs"], jax.jit(program.call)(*inputs)):',
        '        print(x["name"], np.abs(output - 1.0 * example[x["name"]]).max())',
    ]
