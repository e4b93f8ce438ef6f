"""Writes scalars to stdout, JSON lines and TensorBoard; the training plot; sample images."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from absl import logging

from lipsync_jax.progress import format_duration


class MetricWriter:
    """Writes one run's metrics to its workdir; does nothing on hosts but the first.

    Args:
        workdir: the run's folder; `scalars.jsonl`, `tensorboard/` and `samples/` are written there.
        active: False on every host but one.
    """

    def __init__(self, workdir: Path, active: bool = True) -> None:
        self.workdir, self.active = workdir, active
        if active:
            from tensorboardX import SummaryWriter  # slow to import, needed by one host only

            truncate_torn_line(workdir / "scalars.jsonl")
            self._scalars_file = (workdir / "scalars.jsonl").open("a", encoding="utf-8")
            self._tensorboard = SummaryWriter(str(workdir / "tensorboard"))

    def scalars(self, step: int, values: Mapping[str, float], group: str) -> None:
        """Writes the scalars of a step; `group` is `train` or `validation`."""
        if not self.active:
            return
        values = {name: float(value) for name, value in values.items()}
        self._scalars_file.write(json.dumps({"step": step, "group": group, **values}) + "\n")
        self._scalars_file.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(f"{group}/{name}", value, step)

    def images(self, step: int, columns: Sequence[np.ndarray]) -> None:
        """Writes an image with one row an example, and `columns` side by side.

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
            self._scalars_file.close()
            self._tensorboard.close()


class ProgressLogger:
    """Logs lines with step, metrics, steps a second and the time left."""

    def __init__(self, first_step: int, last_step: int) -> None:
        self._last_step = last_step
        self._step, self._time = first_step, time.monotonic()

    def log(self, step: int, values: Mapping[str, float]) -> str:
        """Logs and returns the line for the steps since the last call."""
        current_time = time.monotonic()
        rate = (step - self._step) / max(current_time - self._time, 1e-9)
        self._step, self._time = step, current_time
        seconds_left = (self._last_step - step) / rate if rate > 0 else math.inf
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        eta = format_duration(seconds_left)
        text = f"step {step}/{self._last_step}  {metrics}  {rate:.2f} steps/s  ETA {eta}"
        logging.info(text)
        return text


def truncate_torn_line(path: Path) -> None:
    """Removes an incomplete last line, which a killed run or a full disk leaves."""
    if path.is_file():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def read_scalars(workdir: Path, group: str) -> list[dict[str, float]]:
    """Reads the scalars of one group by rising step; of a repeated step the last line counts.

    Args:
        workdir: a run's folder.
        group: `train` or `validation`.

    Raises:
        ValueError: a line holds no scalars; only the last one may be incomplete.
    """
    path, by_step = Path(workdir) / "scalars.jsonl", {}
    *complete_lines, last = path.read_bytes().split(b"\n")
    if last and not last.startswith(b"{"):  # else a run was killed while it wrote the line
        complete_lines.append(last)
    for number, line in enumerate(complete_lines, 1):
        try:
            values = json.loads(line)
            if values.pop("group") == group:
                by_step[values["step"]] = values
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error!r}; remove the line") from error
    return [by_step[step] for step in sorted(by_step)]


def plot_scalars(workdir: Path, outfile: Path) -> Path | None:
    """Plots every scalar over the steps, training and validation in one panel each.

    Args:
        workdir: a run's folder.
        outfile: an image file; its suffix says the format.

    Returns:
        outfile; None where there are no scalars yet, or none that can be read.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    try:
        groups = {group: read_scalars(workdir, group) for group in ("train", "validation")}
    except ValueError as error:
        logging.warning("%s is not plotted: %s", outfile, error)
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
