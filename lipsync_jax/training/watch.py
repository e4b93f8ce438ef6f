"""A run's figures, looked at one step behind the device, and its end when they are not finite."""

import math
from collections.abc import Mapping
from pathlib import Path

import jax
import ml_collections
import numpy as np


class Watch:
    """Collects scalars one step behind the device, so that looking never stalls it.

    Args:
        config: the experiment.
        workdir: the run's folder.
        learning: players that learn.
        saved: the step of the newest checkpoint, None without one.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: Path,
        learning: tuple[str, ...],
        saved: int | None,
    ):
        self._config, self._workdir, self._learning = config, workdir, learning
        self._saved, self._waiting, self._seen = saved, None, []

    def see(self, step: int, figures: dict[str, jax.Array], clip_ids: np.ndarray) -> None:
        """Takes a step's scalars, and waits for those of the step before."""
        self.check()
        self._waiting = (step, figures, clip_ids)

    def means(self) -> dict[str, float]:
        """Means since the last call."""
        self.check()
        seen, self._seen = self._seen, []
        return {n: float(np.mean([f[n] for f in seen])) for n in (seen[0] if seen else ())}

    def saved(self, step: int) -> None:
        """A checkpoint of a step was begun."""
        self._saved = step

    def check(self) -> None:
        """Waits for the steps so far; nothing that is not finite gets saved after it.

        Raises:
            FloatingPointError: a scalar is not finite; names the step and its clips.
        """
        if self._waiting is None:
            return
        step, figures, clip_ids = self._waiting
        self._waiting = None
        figures = {name: float(value) for name, value in jax.device_get(figures).items()}
        if not all(math.isfinite(value) for value in figures.values()):
            clips = ", ".join(map(str, np.unique(clip_ids)))
            raise self.diverged(
                f"step {step} is not finite ({told(figures)})", f"Its clips were {clips}. "
            )
        self._seen.append(figures)

    def diverged(self, what: str, clips: str = "") -> FloatingPointError:
        """The error that ends a run, with what to do."""
        rate = self._config.optimiser.learning_rate
        lower = f"a lower --config.optimiser.learning_rate (it is {rate:g})"
        if self._saved is None:
            return FloatingPointError(
                f"{what}: the training diverged before its first checkpoint. {clips}Give the same "
                f"command {lower}, or look at these clips."
            )
        begin = " ".join(f"--config.start_from.{name}={self._workdir}" for name in self._learning)
        return FloatingPointError(
            f"{what}: the training diverged. {clips}The checkpoint of step {self._saved} in "
            f"{self._workdir} is good: the same command with {lower} goes on from there. If that "
            f"diverges too, begin with the best weights in another --workdir: {begin}"
        )


def told(scalars: Mapping[str, float]) -> str:
    """Scalars as a line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
