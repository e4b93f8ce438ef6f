"""`lipsync generate`: a video or picture of a face and speech in, a video out."""

import argparse
from pathlib import Path

from lipsync_jax.cli import _batch, _options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync generate`."""
    _options.add_arguments(parser)


def run(chosen: argparse.Namespace) -> int:
    """Generates one video and reports on it, or many; returns the exit status.

    Raises:
        FileNotFoundError, ValueError, MemoryError: see `dubbing.generate`.
    """
    from lipsync_jax.synthesis import dubbing

    def load(checkpoint: Path) -> _batch.Make:
        return dubbing.Synthesizer.load(checkpoint).generate

    return _batch.perform(chosen, dubbing.generate, load, add_arguments)
