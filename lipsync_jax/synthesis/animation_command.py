"""`lipsync animate`: a still and a voice in, a video out."""

import argparse
from pathlib import Path

from lipsync_jax.synthesis import arguments, command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync animate`."""
    arguments.add_animation(parser)


def run(chosen: argparse.Namespace) -> int:
    """Animates one picture and reports on it, or many; returns the exit status.

    Raises:
        FileNotFoundError, ValueError: see `animation.animate`.
    """
    from lipsync_jax.synthesis import animation

    def load(checkpoint: Path) -> command.Make:
        return animation.Animator.load(checkpoint).animate

    return command.perform(chosen, animation.animate, load, add_arguments)
