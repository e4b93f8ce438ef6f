"""`lipsync dub`: lip-syncs a video or an image of a face to driving audio."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax import weights
from lipsync_jax.cli import _batch, _options
from lipsync_jax.types import Argument

if TYPE_CHECKING:
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

    def generate(
        checkpoint: Path | None, face: Path, audio: Path | None, outfile: Path, **options: Argument
    ) -> "GenerationResult":
        result = dubbing.generate(checkpoint, face, audio, outfile, **options)
        if (
            not arguments.report_sync
            or result.preview_only
            or weights.default(weights.SYNC) is None
        ):
            return result
        return dataclasses.replace(
            result, notes=(*result.notes, *_measure_sync(face, outfile, options, result))
        )

    return _batch.run_command(arguments, generate, load, add_arguments)


def _measure_sync(
    face: Path, outfile: Path, options: dict[str, Argument], result: "GenerationResult"
) -> tuple[str, ...]:
    from lipsync_jax.evaluation.sync import dub_sync
    from lipsync_jax.evaluation.sync_models import SyncModel

    names = ("rotate", "crop", "resize_factor", "detector", "cache")
    reading = {name: options[name] for name in names if name in options}
    sync_model = SyncModel.load(weights.resolve(None, weights.SYNC, "--sync-model"))
    return dub_sync.describe(
        face, outfile, sync_model, result.video_faces, result.frame_numbers, **reading
    )
