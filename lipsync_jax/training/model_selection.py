"""Model selection: which validation of a run is the best, and whether the run should end early."""

import math
from collections.abc import Mapping
from typing import Literal

from absl import logging

from lipsync_jax.types import Json


class ModelSelection:
    """Compares the validations of a run by one metric.

    Args:
        metric: name of the metric, and whether "max" or "min" is best, see `Method.best_metric`.
        patience: validations without a gain after which the run ends; 0: never.
    """

    def __init__(self, metric: tuple[str, Literal["max", "min"]], patience: int) -> None:
        self._name, mode = metric
        self._sign, self._patience = {"max": 1, "min": -1}[mode], patience
        self._best, self._without_gain = -math.inf, 0

    def add(self, scalars: Mapping[str, float], counts: bool) -> bool:
        """Takes a validation; returns whether it is the best so far.

        Args:
            scalars: of the validation.
            counts: whether a validation without a gain counts towards the patience.
        """
        value = scalars[self._name] * self._sign
        improved = value > self._best
        if counts:
            self._without_gain = 0 if improved else self._without_gain + 1
        if improved:
            self._best = value
        return improved

    def ends_run(self) -> bool:
        """Returns whether as many validations as the patience had no gain."""
        return 0 < self._patience <= self._without_gain

    def log_end(self, step: int) -> None:
        """Logs why the run ends at a step."""
        logging.info(
            "%s has not improved in %d validations; the run ends at step %d",
            self._name,
            self._without_gain,
            step,
        )

    def get_state(self) -> dict[str, Json]:
        """Returns JSON values, for a checkpoint."""
        return {"best": self._best, "validations_without_gain": self._without_gain}

    def set_state(self, state: Mapping[str, Json]) -> None:
        """Continues from `get_state`; other entries are ignored."""
        self._best, self._without_gain = state["best"], state["validations_without_gain"]
