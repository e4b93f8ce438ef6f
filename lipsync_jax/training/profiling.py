"""Traces some steps of a run with `jax.profiler`, for TensorBoard, XProf or Perfetto."""

import contextlib
import re
from pathlib import Path

import jax
from absl import logging

from lipsync_jax.types import Tree


def parse(text: str) -> range:
    """Parses `--profile_steps`.

    Args:
        text: `FIRST:END`; the steps FIRST to END - 1 are traced. Empty: none.

    Raises:
        ValueError: the text is not like that; says what is expected.
    """
    if not text:
        return range(0)
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None or not 0 < int(match[1]) < int(match[2]):
        raise ValueError(
            f"--profile_steps={text}: expected FIRST:END with 0 < FIRST < END, e.g. 100:105 for "
            "the steps 100 to 104"
        )
    return range(int(match[1]), int(match[2]))


class Profiler:
    """Starts and ends a trace at the steps that it is given.

    Args:
        steps: to trace, see `parse`.
        folder: `plugins/profile/` is written there; TensorBoard looks for it beside its events.
    """

    def __init__(self, steps: range, folder: Path) -> None:
        self._steps, self._folder, self._active = steps, folder, False

    def step(self, number: int) -> contextlib.AbstractContextManager:
        """Returns the context of a step, which starts the trace before the first one."""
        if number in self._steps and not self._active:
            logging.info("profiling the steps %d to %d", number, self._steps[-1])
            jax.profiler.start_trace(str(self._folder))
            self._active = True
        if not self._active:
            return contextlib.nullcontext()
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def after(self, number: int, results: Tree) -> None:
        """Ends the trace after its last step, when the device has computed the results."""
        if self._active and number >= self._steps[-1]:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Writes a trace that is not ended."""
        if self._active:
            self._active = False
            jax.profiler.stop_trace()
            logging.info("the trace is in %s", self._folder / "plugins" / "profile")
