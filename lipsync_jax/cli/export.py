"""`lipsync export`: writes a trained network as programs that run without this package."""

import argparse
from pathlib import Path

from lipsync_jax.cli import _terminal
from lipsync_jax.progress import ProgressBar
from lipsync_jax.text import printable

_EXAMPLE = """\
example:
  lipsync export wav2lip_base exported --format onnx --check
  lipsync dub --checkpoint-path exported --face face.mp4 --audio speech.wav

README.md of the folder has ten lines of Python that run the network.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `lipsync export`."""
    parser.epilog = _EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "checkpoint",
        help="a training run's workdir, a folder that `lipsync convert` wrote, or the name of a "
        "built-in model, see `lipsync models`",
    )
    parser.add_argument("out", type=Path, help="folder to write; must be empty or missing")
    parser.add_argument(
        "--format", default="onnx", metavar="NAMES",
        help="onnx (default), stablehlo, or both: onnx,stablehlo",
    )  # fmt: skip
    parser.add_argument(
        "--batch", default=None, metavar="N",
        help="faces of a call; b (default): any number. For networks that animate: frames of a "
        "step (default: the fewest)",
    )  # fmt: skip
    parser.add_argument(
        "--platforms", default="cpu,cuda,tpu", metavar="NAMES",
        help="of the StableHLO program (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--float", dest="floats", action="store_true",
        help="take and give faces as floats in [0, 1], not as bytes",
    )  # fmt: skip
    parser.add_argument(
        "--inline-weights", action="store_true",
        help="keep the weights inside the StableHLO program, not beside it",
    )  # fmt: skip
    parser.add_argument(
        "--licence", default=None, metavar="TEXT",
        help="terms of use, for the card (default: those of the checkpoint)",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="compare each file with the network, and write nothing if one differs",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Exports one checkpoint; returns the exit status.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: see `folder.export`.
    """
    from lipsync_jax.interop.export import folder

    _terminal.quiet()
    batch = arguments.batch
    with ProgressBar("export"):
        result = folder.export(
            arguments.checkpoint,
            arguments.out,
            formats=_names(arguments.format),
            batch=int(batch) if batch is not None and batch.isdecimal() else batch,
            platforms=_names(arguments.platforms),
            floats=arguments.floats,
            inline_weights=arguments.inline_weights,
            licence=arguments.licence,
            check=arguments.check,
        )
    for file, entry in result.card["files"].items():
        print(f"{printable(result.folder / file)}: {entry['bytes'] / 1e6:.2f} MB")
    for comparison in result.comparisons:
        print(comparison)
    print(printable(result.card["credit"]))
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
