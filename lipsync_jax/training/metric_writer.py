"""Writes scalars to stdout, JSON lines and TensorBoard; the training plot; sample images."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import ml_collections
import numpy as np
from absl import logging

from lipsync_jax import paths
from lipsync_jax.methods import fields
from lipsync_jax.progress import ProgressBar, format_duration
from lipsync_jax.training.local_mirror import LocalMirror
from lipsync_jax.training.metric_buffer import format_scalars

GROUP_STYLES = {"train": ("C0", ""), "validation": ("C1", "o")}  # color and marker of the curves


class MetricWriter:
    """Writes one run's metrics to its workdir; does nothing on hosts but the first.

    Args:
        workdir: the run's folder; `scalars.jsonl`, `tensorboard/` and `samples/` are written there.
        active: False on every host but one.

    Attributes:
        folder: where the files are that `read_scalars` reads, while the run lasts.
    """

    def __init__(self, workdir: Path, active: bool = True) -> None:
        self.workdir, self.active = workdir, active
        self.folder = workdir
        if active:
            from tensorboardX import SummaryWriter  # slow to import, needed by one host only

            # Objects of a bucket can't be appended to: files grow on the disk and are copied.
            self._mirror = LocalMirror(workdir) if paths.is_bucket(workdir) else None
            self.folder = local = self._mirror.folder if self._mirror else workdir
            if self._mirror:
                self._mirror.pull("scalars.jsonl")
            truncate_torn_line(local / "scalars.jsonl")
            self._scalars_file = (local / "scalars.jsonl").open("a", encoding="utf-8")
            self._tensorboard = SummaryWriter(str(local / "tensorboard"))

    def scalars(self, step: int, values: Mapping[str, float], group: str) -> None:
        """Writes the scalars of a step.

        Args:
            step: the number of the step.
            values: name -> value; `step` and `group` are no names.
            group: `train`, `validation` or `time`.

        Raises:
            ValueError: a name would replace the number of the step, or the group.
        """
        if taken := {"step", "group"} & set(values):
            raise ValueError(f"no scalar can be called {taken.pop()!r}")
        if not self.active:
            return
        values = {name: float(value) for name, value in values.items()}
        self._scalars_file.write(json.dumps({"step": step, "group": group, **values}) + "\n")
        self._scalars_file.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(f"{group}/{name}", value, step)
        self._push()

    def images(self, step: int, columns: Sequence[np.ndarray], titles: Sequence[str] = ()) -> None:
        """Writes an image with one row an example, and `columns` side by side.

        Args:
            step: names the file.
            columns: each (n, height, width, 3) BGR in [0, 1], equal heights.
            titles: of the columns, ASCII; the last one spans the columns that have none.
        """
        if not (self.active and columns):
            return
        rows = np.concatenate([np.asarray(c, np.float32) for c in columns], axis=2)
        image = np.concatenate(list(rows), axis=0)
        if titles:
            header = title_row(titles, [column.shape[2] for column in columns])
            image = np.concatenate([header, image], axis=0)
        path = self.workdir / "samples" / f"step_{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        self._tensorboard.add_image("samples", pixels[..., ::-1], step, dataformats="HWC")

    @property
    def logdir(self) -> Path:
        """Returns the folder that TensorBoard reads, while the run lasts."""
        return self.folder / "tensorboard"

    def config(self, step: int, config: ml_collections.ConfigDict) -> None:
        """Writes the config as text for TensorBoard, at the step that the run begins with."""
        if self.active:
            lines = config.to_json_best_effort(indent=2).splitlines()
            text = "\n".join(f"    {line}" for line in lines)  # a block of code in Markdown
            self._tensorboard.add_text("config", text, step)

    def hparams(
        self, step: int, config: ml_collections.ConfigDict, scalars: Mapping[str, float]
    ) -> None:
        """Writes the config's values beside the last validation, for TensorBoard's HPARAMS."""
        if not self.active:
            return
        values = fields.flatten(json.loads(config.to_json_best_effort()))
        plain = {
            name.removeprefix("config."): value
            if isinstance(value, bool | int | float | str)
            else json.dumps(value)
            for name, value in values.items()
        }
        metrics = {f"hparams/{name}": float(value) for name, value in scalars.items()}
        self._tensorboard.add_hparams(plain, metrics, name="hparams", global_step=step)

    def close(self) -> None:
        """Flushes everything."""
        if self.active:
            self._scalars_file.close()
            self._tensorboard.close()
            if self._mirror:
                self._mirror.close()

    def _push(self) -> None:
        if self._mirror and self._mirror.is_due():
            self._tensorboard.flush()
            self._mirror.push()


def title_row(titles: Sequence[str], widths: Sequence[int]) -> np.ndarray:
    """Draws titles above columns of images.

    Args:
        titles: ASCII, at most one a column; the last one spans the remaining columns.
        widths: pixels of each column.

    Returns:
        float32 (16, sum(widths), 3), in [0, 1].
    """
    font, left = cv2.FONT_HERSHEY_SIMPLEX, np.concatenate([[0], np.cumsum(widths)])
    row = np.full((16, left[-1], 3), 255, np.uint8)
    for i, title in enumerate(titles):
        room = (left[-1] if i == len(titles) - 1 else left[i + 1]) - left[i] - 4
        (width, _), _ = cv2.getTextSize(title, font, 0.4, 1)
        scale = min(0.4, 0.4 * room / width)  # smaller where the column is narrow
        where = int(left[i]) + 2, 11
        cv2.putText(row, title, where, font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return row.astype(np.float32) / 255


class ProgressLogger:
    """Logs lines with step, metrics, steps a second and the time left; a bar on a terminal.

    Args:
        first_step: the step that the run begins with, or was resumed from.
        last_step: of the run.
        has_bar: False on every host but one.
    """

    def __init__(self, first_step: int, last_step: int, has_bar: bool = True) -> None:
        self._last_step = last_step
        self._step, self._time = first_step, time.monotonic()
        self._note, self._bar = "", None
        if has_bar:
            self._bar = ProgressBar(
                "train", last_step, rate_unit="steps/s", done=first_step, lines=False
            )

    def show(self, step: int, note: str = "") -> None:
        """Moves the bar.

        Args:
            step: the last one that has begun; JAX returns before a step has ended.
            note: what is done now, in place of the newest metrics.
        """
        if self._bar:
            self._bar(step, note or self._note)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar:
            self._bar.close()

    def log(self, step: int, values: Mapping[str, float]) -> str:
        """Logs and returns the line for the steps since the last call."""
        current_time = time.monotonic()
        rate = (step - self._step) / max(current_time - self._time, 1e-9)
        self._step, self._time = step, current_time
        seconds_left = (self._last_step - step) / rate if rate > 0 else math.inf
        eta = format_duration(seconds_left)
        text = (
            f"step {step}/{self._last_step}  {format_scalars(values)}  {rate:.2f} steps/s  "
            f"ETA {eta}"
        )
        logging.info(text)
        # The loss comes first, since a narrow terminal cuts the end.
        names = sorted(values, key=lambda name: name != "loss")
        self._note = format_scalars({name: values[name] for name in names})
        self.show(step)
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
    path, by_step = paths.parse(workdir) / "scalars.jsonl", {}
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
    from matplotlib.lines import Line2D

    try:
        groups = {group: read_scalars(workdir, group) for group in ("train", "validation")}
    except ValueError as error:
        logging.warning("%s is not plotted: %s", outfile, error)
        return None
    names = sorted({n for lines in groups.values() for v in lines for n in v if n != "step"})
    if not names:
        return None
    titles = {"loss": f"loss ({_objective(workdir)})"}
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 2.6 * rows), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.flat, names, strict=False):
        for group, lines in groups.items():
            points = [(v["step"], v[name]) for v in lines if name in v]
            if points:
                color, marker = GROUP_STYLES[group]
                axis.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=3)
        axis.set_title(titles.get(name, name), fontsize=9, loc="left")
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    # One legend above all panels, where no curve is.
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=3)
        for color, marker in GROUP_STYLES.values()
    ]
    figure.legend(handles, [*GROUP_STYLES], loc="upper right", fontsize=8, frameon=False, ncols=2)
    with outfile.open("wb") as file:
        figure.savefig(file, dpi=110, format=outfile.suffix[1:])
    plt.close(figure)
    return outfile


def _objective(workdir: Path) -> str:
    """Returns what the scalar `loss` of training is, for its panel."""
    try:
        saved = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        return str(saved["objective"])  # of the methods that have several
    except (OSError, ValueError, KeyError, TypeError):
        return "training objective"
