"""Plots of the report: strips of faces, landmark distance over time, audio offsets.

Audio offsets are positive where the audio is later than the video.
"""

import io
from collections.abc import Mapping, Sequence

import cv2
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lipsync_jax.evaluation.sync_models import FRAME_RATE

_COLOURS = ("#4c4c4c", "#b0b0b0", "#8a9bb0", "#0b6fd0", "#d1492e", "#1d8a5b", "#8e44ad", "#c08a00")


def face_strip(faces: np.ndarray) -> bytes:
    """Encodes faces side by side as JPEG; uint8 (n, size, size, 3) BGR."""
    row = np.concatenate([*faces], axis=1)
    return cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def landmark_distance(series: Mapping[str, np.ndarray], colours: Mapping[str, str]) -> bytes:
    """Plots the landmark distance of each frame, one line per method, as PNG."""
    figure, ((axes,),) = _grid(1, 1, 9, 2.4, left=0.6, bottom=0.45, top=0.35)
    for name, values in series.items():
        seconds = np.arange(len(values)) / FRAME_RATE
        axes.plot(seconds, values, color=colours[name], linewidth=1.4, label=name)
    axes.set_xlabel("seconds")
    axes.set_ylabel("LMD, pixels")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    return _png(figure)


def offset_histograms(
    offsets: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    max_offset: int,
    colours: Mapping[str, str],
) -> bytes:
    """Plots histograms of the audio offsets of each method, as PNG.

    Args:
        offsets: method -> offsets of confident clips and of the others, frames.
        max_offset: limit of the axis, frames.
        colours: of the methods; clips that are not confident are pale.
    """
    figure, grid = _grid(len(offsets), 1, 9, 0.85, left=0.6, bottom=0.45, top=0.3)
    edges = np.arange(-max_offset - 0.5, max_offset + 1)
    for axes, (name, values) in zip(grid[:, 0], offsets.items(), strict=True):
        axes.axvspan(-1.5, 1.5, color="#000000", alpha=0.06, linewidth=0)
        shades = [colours[name], to_rgba(colours[name], 0.25)]
        axes.hist([np.rint(each) for each in values], edges, stacked=True, color=shades, rwidth=0.9)
        axes.tick_params(labelbottom=axes is grid[-1, 0])
        axes.set_xlim(edges[0], edges[-1])
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.set_ylabel("clips", fontsize=8)
        axes.set_title(name, loc="left", fontsize=9)
    grid[-1, 0].set_xlabel("audio offset, frames (positive: the audio is later than the video)")
    return _png(figure)


def shift_correlations(shifts: Sequence[int], correlations: np.ndarray, best: np.ndarray) -> bytes:
    """Plots correlations over shifts, by clip and their mean, and a histogram of best shifts.

    Args:
        shifts: frames by which motion follows the audio.
        correlations: (clips, len(shifts)).
        best: (clips,), best shift of each clip, frames.
    """
    figure, ((curves, counts),) = _grid(1, 2, 4.2, 2.6, left=0.6, top=0.3, bottom=0.45)
    pale = min(0.4, 20 / len(correlations))
    curves.plot(shifts, correlations.T, color=_COLOURS[2], alpha=pale, linewidth=0.7)
    curves.plot(shifts, correlations.mean(axis=0), color=_COLOURS[3], linewidth=2.2)
    curves.set_title("correlation of audio and motion", loc="left", fontsize=9)
    counts.hist(best, np.arange(shifts[0] - 0.5, shifts[-1] + 1), color=_COLOURS[3], rwidth=0.85)
    counts.set_title("clips by best shift", loc="left", fontsize=9)
    counts.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in (curves, counts):
        axes.set_xlabel("frames by which motion follows audio", fontsize=8)
        axes.axvline(0, color="#000000", alpha=0.15, linewidth=1)
    return _png(figure)


def confidence_intervals(
    metrics: Mapping[str, Mapping[str, Mapping]], colours: Mapping[str, str], columns: int = 3
) -> bytes:
    """Plots means of all methods with their confidence intervals, for each metric, as PNG.

    Args:
        metrics: label -> method -> {"mean", "low", "high"}.
        colours: of the methods.
        columns: metrics in a row.
    """
    rows = -(-len(metrics) // columns)
    figure, grid = _grid(rows, columns, 3, 0.35 + 0.18 * len(colours), left=1.3, top=0.3)
    for axes in grid.flat[len(metrics) :]:
        axes.remove()
    places = {name: row for row, name in enumerate(colours)}
    for axes, (label, found) in zip(grid.flat, metrics.items(), strict=False):
        for name, each in found.items():
            row, colour = places[name], colours[name]
            axes.plot([each["low"], each["high"]], [row, row], color=colour, linewidth=3, alpha=0.5)
            axes.plot(each["mean"], row, "o", color=colour, markersize=5)
        first = axes in grid[:, 0]
        axes.set_yticks(range(len(places)), list(places) if first else [""] * len(places))
        axes.set_ylim(len(places) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", color="#000000", alpha=0.08)
        axes.set_title(label, loc="left", fontsize=9)
    return _png(figure)


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Assigns a colour to each method, for all plots."""
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}


def _grid(
    rows: int, columns: int, width: float, height: float, *, left: float, top: float,
    bottom: float = 0.1,
) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """Creates axes of a size in inches; margins are explicit, since layout engines take seconds."""
    between, below = 0.25, 0.5 if columns > 1 else 0.4
    size = (
        left + columns * width + (columns - 1) * between + 0.15,
        top + rows * height + (rows - 1) * below + max(bottom, 0.25),
    )
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=left / size[0],
        right=1 - 0.15 / size[0],
        top=1 - top / size[1],
        bottom=max(bottom, 0.25) / size[1],
        wspace=between / width,
        hspace=below / height,
    )
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, grid


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    with matplotlib.style.context("default"):
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
