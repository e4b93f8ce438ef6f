"""A run's figures, looked at one step behind the device, and its end when they are not finite."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import logging


class Watch:
    """Collects scalars one step behind the device, so that looking never stalls it.

    Args:
        config: the experiment.
        workdir: the run's folder.
        learning: players that learn.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, workdir: Path, learning: tuple[str, ...]
    ) -> None:
        self._config, self._workdir, self._learning = config, workdir, learning
        self._waiting: tuple[int, dict[str, jax.Array], np.ndarray] | None = None
        self._seen: list[dict[str, float]] = []

    def see(self, step: int, figures: dict[str, jax.Array], clip_ids: np.ndarray) -> None:
        """Takes a step's scalars, and waits for those of the step before."""
        self.check()
        self._waiting = (step, figures, clip_ids)

    def means(self) -> dict[str, float]:
        """Means since the last call."""
        self.check()
        seen, self._seen = self._seen, []
        return {n: float(np.mean([f[n] for f in seen])) for n in (seen[0] if seen else ())}

    def check(self) -> None:
        """Waits for the steps so far; nothing that is not finite gets saved after it.

        Raises:
            FloatingPointError: a scalar is not finite; names the step and its clips.
        """
        if self._waiting is None:
            return
        step, figures, clip_ids = self._waiting
        self._waiting = None
        values = {name: float(value) for name, value in jax.device_get(figures).items()}
        if not all(math.isfinite(value) for value in values.values()):
            clips = ", ".join(map(str, np.unique(clip_ids)))
            raise FloatingPointError(
                f"step {step} is not finite ({told(values)}); its clips were {clips}"
            )
        self._seen.append(values)

    def diverged(self, what: FloatingPointError, good: int | None) -> FloatingPointError:
        """The error that ends a run, with what to do.

        Args:
            what: was not finite.
            good: step of the newest checkpoint that gives finite figures; None without one.
        """
        rate = self._config.optimiser.learning_rate
        lower = f"a lower --config.optimiser.learning_rate (it is {rate:g})"
        begin = " ".join(f"--config.start_from.{name}={self._workdir}" for name in self._learning)
        best = (self._workdir / "best").is_dir() and any((self._workdir / "best").iterdir())
        anew = f"begin with the best weights in another --workdir: {begin}"
        if good is not None:
            advice = (
                f"The checkpoint of step {good} in {self._workdir} is good: the same command with "
                f"{lower} goes on from there"
            )
            advice += f". If that diverges too, {anew}" if best else ""
        else:
            advice = f"No checkpoint is good. Take {lower} and " + (
                anew if best else "give the same command once more, in another --workdir"
            )
        return FloatingPointError(f"{what}. The training diverged. {advice}")


class Compiling:
    """Says that nothing is to be seen for a while, and how long that took.

    Args:
        config: the experiment.
        begun: False where no step is left to do.
    """

    def __init__(self, config: ml_collections.ConfigDict, begun: bool) -> None:
        self._since = time.monotonic() if begun else None
        if begun:
            logging.info(
                "compiling the training step, which takes a while; figures come every %d steps",
                config.train.log_every,
            )

    def done(self) -> None:
        """The first step has been given to the device."""
        if self._since is not None:
            logging.info("compiled in %.1f s", time.monotonic() - self._since)
            self._since = None


def told(scalars: Mapping[str, float]) -> str:
    """Scalars as a line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
