"""Scalars to stdout, JSON lines and TensorBoard; the training plot; sample sheets."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from absl import logging

from lipsync_jax.progress import clock


class Writer:
    """Writes one run's figures under its workdir; does nothing on hosts but the first.

    Args:
        workdir: the run's folder; `scalars.jsonl`, `tensorboard/` and `samples/` appear in it.
        active: False on every host but one.
    """

    def __init__(self, workdir: Path, active: bool = True) -> None:
        self.workdir, self.active = workdir, active
        if active:
            from tensorboardX import SummaryWriter  # slow to import, needed by one host only

            end_last_line(workdir / "scalars.jsonl")
            self._lines = (workdir / "scalars.jsonl").open("a", encoding="utf-8")
            self._board = SummaryWriter(str(workdir / "tensorboard"))

    def scalars(self, step: int, values: Mapping[str, float], group: str) -> None:
        """Records some figures of a step; `group` is `train` or `validation`."""
        if not self.active:
            return
        values = {name: float(value) for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, "group": group, **values}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)

    def sheet(self, step: int, columns: Sequence[np.ndarray]) -> None:
        """Writes a picture: one row an example, `columns` side by side.

        Args:
            step: names the file.
            columns: each (n, height, width, 3) BGR in [0, 1], equal heights.
        """
        if not (self.active and columns):
            return
        rows = np.concatenate([np.asarray(c, np.float32) for c in columns], axis=2)
        image = np.concatenate(list(rows), axis=0)
        path = self.workdir / "samples" / f"step_{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))

    def close(self) -> None:
        """Flushes everything."""
        if self.active:
            self._lines.close()
            self._board.close()


class Progress:
    """A line every so often: step, figures, steps a second, time left."""

    def __init__(self, first_step: int, last_step: int) -> None:
        self._last_step = last_step
        self._step, self._time = first_step, time.monotonic()

    def line(self, step: int, values: Mapping[str, float]) -> str:
        """Prints and returns the line for the steps since the last call."""
        now = time.monotonic()
        rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        left = (self._last_step - step) / rate if rate > 0 else math.inf
        figures = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        text = f"step {step}/{self._last_step}  {figures}  {rate:.2f} steps/s  ETA {clock(left)}"
        logging.info(text)
        return text


def end_last_line(path: Path) -> None:
    """Removes what a killed run or a full disk left of a last line."""
    if path.is_file():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def read_scalars(workdir: Path, group: str) -> list[dict[str, float]]:
    """The lines of one group, in order; after a resume a step may come twice, the last counts.

    Raises:
        ValueError: a line holds no figures; the last one may be torn.
    """
    path, by_step = Path(workdir) / "scalars.jsonl", {}
    *whole, last = path.read_bytes().split(b"\n")
    if last and not last.startswith(b"{"):  # else torn, by a run that was killed while it wrote
        whole.append(last)
    for number, line in enumerate(whole, 1):
        try:
            values = json.loads(line)
            if values.pop("group") == group:
                by_step[values["step"]] = values
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error!r}; remove the line") from error
    return [by_step[step] for step in sorted(by_step)]


def plot(workdir: Path, outfile: Path) -> Path | None:
    """Draws every scalar over the steps, training and validation in one panel each.

    Args:
        workdir: a run's folder.
        outfile: a picture, by its ending.

    Returns:
        outfile; None where there is nothing to draw yet, or figures that can't be read.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    try:
        groups = {group: read_scalars(workdir, group) for group in ("train", "validation")}
    except ValueError as error:
        logging.warning("%s is not drawn: %s", outfile, error)
        return None
    names = sorted({n for lines in groups.values() for v in lines for n in v if n != "step"})
    if not names:
        return None
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 2.6 * rows), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.flat, names, strict=False):
        for group, lines in groups.items():
            points = [(v["step"], v[name]) for v in lines if name in v]
            if points:
                marker = "o-" if group == "validation" else "-"
                axis.plot(*zip(*points, strict=True), marker, label=group, markersize=3)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7, loc="upper right")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(outfile, dpi=110)
    plt.close(figure)
    return outfile
