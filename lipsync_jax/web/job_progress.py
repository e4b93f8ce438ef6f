"""The progress of a running job, with an estimate of the time left."""

import dataclasses

from lipsync_jax.progress import RateEstimator

_RATE_WINDOW = 5.0  # seconds over which the time left is estimated


@dataclasses.dataclass
class Progress:
    """The progress of a running job.

    Attributes:
        stage: what is done, in words.
        done: units finished, frames as a rule; 0 of 0 where nothing can be counted.
        total: number of them.
        per_second: units a second over the last seconds; 0 if unknown.
        seconds_left: of this stage; None if unknown.
    """

    stage: str = ""
    done: int = 0
    total: int = 0
    per_second: float = 0.0
    seconds_left: float | None = None


class Tracker:
    """Estimates rate and time left of a stage from its last seconds."""

    def __init__(self) -> None:
        self._stage, self._estimator = "", RateEstimator(_RATE_WINDOW)

    def __call__(self, stage: str, done: int, total: int) -> Progress:
        """Takes the units finished; returns the progress with its estimates.

        Args:
            stage: see `Progress`.
            done: see `Progress`.
            total: see `Progress`.
        """
        if stage != self._stage:
            self._stage, self._estimator = stage, RateEstimator(_RATE_WINDOW)
        self._estimator.update(done)
        rate = self._estimator.rate
        left = self._estimator.seconds_left(done, total) if rate > 0 and total else None
        return Progress(stage, done, total, rate, left)
