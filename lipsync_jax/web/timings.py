"""How long the last dubs took, for estimates."""

import contextlib
import json
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.synthesis.options import DEFAULT_QUALITY
from lipsync_jax.synthesis.progress import GenerationResult
from lipsync_jax.types import Json

_FILE = "timings.json"


class Timings:
    """The seconds of the last dub of each model and quality, in a file."""

    def __init__(self, work: Path) -> None:
        """Takes the folder of the file, which may be missing."""
        self._work = work

    def estimate(self, frames: int, quality: Json, model: Path) -> float | None:
        """Estimates how long a dub takes, by the last one of this model and quality.

        Args:
            frames: of the result.
            quality: see `DubbingOptions.from_quality`; None is the default.
            model: folder of the model.

        Returns:
            Seconds; None before the first dub of this kind.
        """
        timing = self._read().get(_key(quality, model))
        return None if timing is None else frames * timing["per_frame"] + timing["per_job"]

    def store(
        self, quality: Json, model: Path, result: GenerationResult, sync_seconds: float
    ) -> None:
        """Stores the seconds of a dub.

        Args:
            quality: see `estimate`.
            model: see `estimate`.
            result: of the dub.
            sync_seconds: of measuring sync, in the first seconds of a video only.
        """
        per_frame = result.wall_seconds / max(1, result.frames)
        timing = {"per_frame": per_frame, "per_job": sync_seconds}
        timings = self._read() | {_key(quality, model): timing}
        with contextlib.suppress(OSError):  # an estimate only
            paths.write_text(self._work / _FILE, json.dumps(timings))

    def _read(self) -> dict[str, dict[str, float]]:
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self._work / _FILE).read_text(encoding="utf-8"))
        return {}


def _key(quality: Json, model: Path) -> str:
    return f"{quality or DEFAULT_QUALITY} {model}"
