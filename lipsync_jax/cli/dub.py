"""`lipsync dub`: lip-syncs a video or an image of a face to driving audio."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax import weights
from lipsync_jax.cli import _batch, _options
from lipsync_jax.types import Argument

if TYPE_CHECKING:
    from lipsync_jax.evaluation.sync.dub_sync import DubSync
    from lipsync_jax.synthesis.progress import GenerationResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync dub`."""
    _options.add_dubbing(parser)


def run(arguments: argparse.Namespace) -> int:
    """Dubs one video, or the rows of a manifest; returns the exit status.

    The report of one video ends with its sync before and after, by the built-in sync model.

    Raises:
        FileNotFoundError, ValueError, MemoryError: see `dubbing.generate`.
    """
    from lipsync_jax.synthesis import dubbing

    def load(checkpoint: Path | None) -> _batch.Make:
        return dubbing.LipSyncPipeline.load(checkpoint).generate

    def sync(
        face: Path, outfile: Path, options: dict[str, Argument], result: "GenerationResult"
    ) -> "DubSync | None":
        wanted = arguments.report_sync and not result.preview_only
        if not wanted or weights.default(weights.SYNC) is None:
            return None
        return _measure_sync(face, outfile, options, result)

    return _batch.run_command(arguments, dubbing.generate, load, add_arguments, sync)


def _measure_sync(
    face: Path, outfile: Path, options: dict[str, Argument], result: "GenerationResult"
) -> "DubSync":
    from lipsync_jax.evaluation.sync import dub_sync
    from lipsync_jax.evaluation.sync_models import SyncModel

    names = ("rotate", "crop", "resize_factor", "detector", "cache")
    reading = {name: options[name] for name in names if name in options}
    sync_model = SyncModel.load(weights.resolve(None, weights.SYNC, "--sync-model"))
    return dub_sync.measure(
        face, outfile, sync_model, result.video_faces, result.frame_numbers, **reading
    )
