"""`lipsync animate`: a still and a voice in, a video out."""

import argparse
from pathlib import Path

from lipsync_jax.cli import _batch, _options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync animate`."""
    _options.add_animation(parser)


def run(chosen: argparse.Namespace) -> int:
    """Animates one picture and reports on it, or many; returns the exit status.

    Raises:
        FileNotFoundError, ValueError: see `animation.animate`.
    """
    from lipsync_jax.synthesis import animation

    def load(checkpoint: Path) -> _batch.Make:
        return animation.Animator.load(checkpoint).animate

    return _batch.perform(chosen, animation.animate, load, add_arguments)
