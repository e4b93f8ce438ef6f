"""`lipsync personalize`: adapts the built-in dubbing model to one person."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax.cli import _parser
from lipsync_jax.text import printable

if TYPE_CHECKING:
    from lipsync_jax.personalization import Personalization


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync personalize`."""
    parser.add_argument("--video", type=Path, required=True,
                        help="a video of one person who speaks; some minutes")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder of the new model, for --checkpoint-path; the same command "
                        "resumes an interrupted run there")  # fmt: skip
    parser.add_argument("--checkpoint-path", type=_parser.checkpoint, metavar="DIR",
                        help="the dubbing model to begin with (default: built-in)")  # fmt: skip
    parser.add_argument("--sync-model", type=_parser.checkpoint, metavar="DIR",
                        help="the frozen sync expert (default: built-in)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=1000, help="of training (default: 1000)")
    parser.add_argument("--detector", default="auto", help="see `lipsync prepare` (default: auto)")
    parser.add_argument("--detect-every", type=int, default=2, metavar="FRAMES",
                        help="frames from one face detection to the next (default: 2)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Personalizes, and prints the report; returns 1 if the held-out error did not fall."""
    from lipsync_jax import personalization
    from lipsync_jax.cli._terminal import quiet

    quiet()
    logging.getLogger("absl").setLevel(logging.INFO)  # the progress of training
    result = personalization.personalize(
        arguments.video,
        arguments.out,
        base=arguments.checkpoint_path,
        sync_model=arguments.sync_model,
        steps=arguments.steps,
        detector=arguments.detector,
        detect_every=arguments.detect_every,
    )
    print(describe(result))
    return 0 if result.improvement > 0 else 1


def describe(result: "Personalization") -> str:
    """Formats a `personalization.Personalization` in a few lines."""
    seconds, errors = result.seconds, result.held_out_mouth_l1
    lines = [
        f"{printable(result.out)}: trained on {seconds['train']:.0f} s of the face, selected on "
        f"{seconds['validation']:.0f} s, measured on {seconds['test']:.0f} s",
        f"sync: {result.sync}",
        f"mouth L1 on the held-out seconds (lower is better): {errors['personalized']:.4f}, "
        f"{printable(result.base)} {errors['base']:.4f}, the first frame repeated "
        f"{errors['copy_baseline']:.4f}",
    ]
    if result.improvement > 0:
        lines.append(
            f"{result.improvement:.0%} lower than with {printable(result.base)}; dub with: "
            f"lipsync dub --checkpoint-path {printable(result.out)} --face FACE --audio AUDIO"
        )
    else:
        lines.append(
            "not lower than before: use the model it began with, or give a longer video of one "
            "person in steady light"
        )
    return "\n".join(lines)
