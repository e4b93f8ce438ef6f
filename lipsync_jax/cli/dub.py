"""`lipsync dub`: lip-syncs a video or an image of a face to driving audio."""

import argparse
from pathlib import Path

from lipsync_jax.cli import _batch, _options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync dub`."""
    _options.add_dubbing(parser)


def run(arguments: argparse.Namespace) -> int:
    """Dubs one video, or the rows of a manifest; returns the exit status.

    Raises:
        FileNotFoundError, ValueError, MemoryError: see `dubbing.generate`.
    """
    from lipsync_jax.synthesis import dubbing

    def load(checkpoint: Path | None) -> _batch.Make:
        return dubbing.LipSyncPipeline.load(checkpoint).generate

    return _batch.run_command(arguments, dubbing.generate, load, add_arguments)
