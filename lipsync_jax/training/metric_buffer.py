"""Collects a run's metrics one step behind the device, and ends the run if one is not finite."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import logging


class MetricBuffer:
    """Collects scalars one step behind the device, so that reading them never stalls it.

    Args:
        config: the experiment.
        workdir: the run's folder.
        trainable: names of the networks that are trained.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, workdir: Path, trainable: tuple[str, ...]
    ) -> None:
        self._config, self._workdir, self._trainable = config, workdir, trainable
        self._pending: tuple[int, dict[str, jax.Array], np.ndarray] | None = None
        self._buffer: list[dict[str, float]] = []

    def add(self, step: int, metrics: dict[str, jax.Array], clip_ids: np.ndarray) -> None:
        """Adds a step's scalars, and waits for those of the step before."""
        self.check_finite()
        self._pending = (step, metrics, clip_ids)

    def flush(self) -> dict[str, float]:
        """Returns the means since the last call."""
        self.check_finite()
        buffered, self._buffer = self._buffer, []
        names = buffered[0] if buffered else ()
        return {name: float(np.mean([scalars[name] for scalars in buffered])) for name in names}

    def check_finite(self) -> None:
        """Waits for the steps so far, and refuses scalars that are not finite.

        Raises:
            FloatingPointError: a scalar is infinite or NaN; names the step and its clips.
        """
        if self._pending is None:
            return
        step, metrics, clip_ids = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not all(math.isfinite(value) for value in values.values()):
            clips = ", ".join(map(str, np.unique(clip_ids)))
            raise FloatingPointError(
                f"step {step} is not finite ({format_scalars(values)}); its clips were {clips}"
            )
        self._buffer.append(values)

    def divergence_error(
        self, cause: FloatingPointError, last_good_step: int | None
    ) -> FloatingPointError:
        """Returns the error that ends a run, with what to do.

        Args:
            cause: names the scalar or weight that is not finite.
            last_good_step: step of the newest checkpoint that gives finite metrics, or None.
        """
        rate = self._config.optimizer.learning_rate
        lower_rate = f"a lower --config.optimizer.learning_rate (it is {rate:g})"
        init_options = " ".join(
            f"--config.init_from.{name}={self._workdir}" for name in self._trainable
        )
        best = (self._workdir / "best").is_dir() and any((self._workdir / "best").iterdir())
        restart_advice = f"start from the best weights in another --workdir: {init_options}"
        if last_good_step is not None:
            advice = (
                f"The checkpoint of step {last_good_step} in {self._workdir} is good: the same "
                f"command with {lower_rate} resumes there"
            )
            advice += f". If that diverges too, {restart_advice}" if best else ""
        else:
            advice = f"No checkpoint is good. Take {lower_rate} and " + (
                restart_advice if best else "give the same command again, with another --workdir"
            )
        return FloatingPointError(f"{cause}. The training diverged. {advice}")


class CompilationTimer:
    """Logs that the training step is being compiled, and how long that took.

    Args:
        config: the experiment.
        starts: False where no step is left to do.
    """

    def __init__(self, config: ml_collections.ConfigDict, starts: bool) -> None:
        self._since = time.monotonic() if starts else None
        if starts:
            logging.info(
                "compiling the training step, which takes a while%s; metrics follow every %d steps",
                _cache_message(),
                config.train.log_every,
            )

    def done(self) -> None:
        """Logs the time once the first step was dispatched."""
        if self._since is not None:
            logging.info("compiled in %.1f s", time.monotonic() - self._since)
            self._since = None


def _cache_message() -> str:
    """Says where compiled programs are kept; empty if they are not."""
    # jax.config makes its attributes at run time.
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not folder or not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return ""
    return f" unless its program is in the cache, {folder} (JAX_COMPILATION_CACHE_DIR sets another)"


def format_scalars(scalars: Mapping[str, float]) -> str:
    """Formats scalars as one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
