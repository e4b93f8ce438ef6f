"""`lipsync animate`: animates an image of a face by driving audio."""

import argparse
from pathlib import Path

from lipsync_jax.cli import _batch, _options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync animate`."""
    _options.add_animation(parser)


def run(arguments: argparse.Namespace) -> int:
    """Animates one image, or the rows of a manifest; returns the exit status.

    Raises:
        FileNotFoundError, ValueError: see `animation.animate`.
    """
    from lipsync_jax.synthesis import animation

    def load(checkpoint: Path | None) -> _batch.Make:
        return animation.Animator.load(checkpoint).animate

    return _batch.run_command(arguments, animation.animate, load, add_arguments)
