"""Clips to figures: the loop over them, and the result that is written."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync_jax import __version__
from lipsync_jax.evaluation import baselines, landmarks
from lipsync_jax.evaluation.bootstrap import interval
from lipsync_jax.evaluation.evaluator import Scorer, Take
from lipsync_jax.evaluation.metrics.success_rate import success
from lipsync_jax.evaluation.metrics.wer import wer
from lipsync_jax.evaluation.protocol import Protocol
from lipsync_jax.evaluation.samples import Task
from lipsync_jax.progress import Countdown
from lipsync_jax.text import printable
from lipsync_jax.types import Json

TRUTH = "ground truth"
BASELINES = (
    baselines.COPIED,
    baselines.MEAN,
    baselines.STILL,
    baselines.MEAN_PICTURE,
    baselines.UNEDITED,
)
_DIGITS = 6  # significant ones that are written: differences of rounding don't show


class Metric(NamedTuple):
    """How a figure is shown.

    Attributes:
        label: of its column.
        better: +1 larger, -1 smaller, 0 neither.
        form: of its number.
    """

    label: str
    better: int
    form: str = ".3f"


METRICS: Mapping[str, Metric] = {
    "psnr": Metric("PSNR dB", 1, ".2f"),
    "ssim": Metric("SSIM", 1),
    "mouth_error": Metric("mouth error", -1, ".4f"),
    "lmd": Metric("LMD px", -1, ".2f"),
    "cpbd": Metric("CPBD", 1),
    "fdbm": Metric("FDBM", 1),
    "lse_d": Metric("LSE-D", -1),
    "lse_c": Metric("LSE-C", 1),
    "syncnet_lag": Metric("SyncNet lag, frames", 0, "+.2f"),
    "syncnet_clarity": Metric("SyncNet clarity", 1),
    "syncnet_in_sync": Metric("SyncNet clearly in sync", 1, ".1%"),
    "expert_distance": Metric("expert distance", -1),
    "expert_confidence": Metric("expert confidence", 1),
    "expert_lag": Metric("expert lag, frames", 0, "+.2f"),
    "expert_clarity": Metric("expert clarity", 1),
    "expert_in_sync": Metric("expert clearly in sync", 1, ".1%"),
    "acd_c": Metric("ACD-C", -1, ".4f"),
    "acd_e": Metric("ACD-E", -1),
    "wer": Metric("WER", -1, ".1%"),
    "blink_rate": Metric("blinks a second", 0, ".2f"),
    "blink_duration": Metric("blink s", 0, ".2f"),
    "lipleak": Metric("LipLeak", -1),
    "landmarks_detected": Metric("landmarks found", 0, ".1%"),
}
# What a clip's figure counts for; all clips count the same otherwise.
_WEIGHTS = {"lmd": "lmd_frames", "wer": "words"}

# Method -> clip -> its figures.
Figures = dict[str, dict[str, dict[str, float]]]
Log = Callable[[str], None]


class Shown(NamedTuple):
    """What a report shows of a clip.

    Attributes:
        clip: its name.
        faces: method -> uint8 (n, size, size, 3) BGR, some of its crops.
        distances: method -> landmark distance of every frame.
    """

    clip: str
    faces: dict[str, np.ndarray]
    distances: dict[str, np.ndarray]


def evaluate(
    tasks: Sequence[Task],
    scorer: Scorer,
    *,
    words: Mapping[str, Mapping[str, tuple[float, int]]] | None = None,
    show: int = 4,
    log: Log = lambda _: None,
) -> tuple[dict[str, Json], list[Shown]]:
    """Scores every clip of every method; a clip that fails is listed, and the next one taken.

    Args:
        tasks: the clips.
        scorer: what looks at them.
        words: method -> clip -> (word error rate, words), of a lip reader that isn't the scorer's.
        show: clips of which crops are kept.
        log: is told of each clip.

    Returns:
        The result, JSON values that are the same for the same input; and what to show.
    """
    names = [*dict.fromkeys(name for task in tasks for name in task.methods)]
    clips: Figures = {}
    outcomes: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    skipped: list[tuple[str, str]] = []
    shown: list[Shown] = []
    count = Countdown("clips", len(tasks), log)
    for number, task in enumerate(tasks, 1):
        log(f"{number}/{len(tasks)} {task.clip}  ETA {count.left(number - 1)}")
        page = Shown(task.clip, {}, {})
        try:
            real = task.real()
            truth = scorer.take(real)
            still = {name: scorer.take(made) for name, made in task.baselines(real).items()}
        except (ValueError, OSError) as error:
            skipped.append((task.clip, str(error)))
            log(f"  left out: {error}")
            continue
        # In a pair the face says other words than the voice that its lips are read against.
        own_words = _words(task, truth) if task.paired else {}
        _keep(clips, page, TRUTH, truth, {**truth.figures, **own_words}, None)
        for name, take in still.items():
            # A mouth that stands still moves by the landmarks' noise: LipLeak's floor.
            stands = name in (baselines.COPIED, baselines.STILL)
            floor = scorer.leak(take, truth) if stands else {}
            _score(clips, page, scorer, task, name, take, truth, floor)
        for name in task.methods:
            try:
                take = scorer.take(task.methods[name](real).first_frames(len(real)))
                extra = {}
                if name in task.silent and take.points is not None:
                    extra = scorer.leak(scorer.take(task.silent[name](real)), take)
                _score(clips, page, scorer, task, name, take, truth, extra)
                outcomes[name].append((task.clip, ""))
            except (ValueError, OSError) as error:
                outcomes[name].append((task.clip, str(error)))
                log(f"  {name} failed: {error}")
        if len(shown) < show:
            shown.append(page)
    for name, rates in (words or {}).items():
        for clip, (rate, spoken) in rates.items():
            if clip in clips.get(name, {}):
                clips[name][clip] |= {"wer": rate, "words": spoken}
    return _result(clips, outcomes, skipped, scorer, len(tasks)), shown


def _score(
    clips: Figures,
    page: Shown,
    scorer: Scorer,
    task: Task,
    name: str,
    take: Take,
    truth: Take,
    extra: Mapping[str, float] | None = None,
) -> None:
    figures, distances = dict(take.figures), None
    if task.paired:
        compared, distances = scorer.compare(take, truth)
        figures |= compared
    figures |= {**_words(task, take), **(extra or {})}
    _keep(clips, page, name, take, figures, distances)


def _words(task: Task, take: Take) -> dict[str, float]:
    """Word error rate of what a lip reader read."""
    count = len(task.said.split())
    if take.read is None or not count:
        return {}
    return {"wer": wer(task.said, take.read), "words": count}


def _keep(
    clips: Figures,
    page: Shown,
    name: str,
    take: Take,
    figures: Mapping[str, float],
    distances: np.ndarray | None,
) -> None:
    figures = {"frames": len(take.faces), **figures}
    if distances is not None:
        figures["lmd_frames"] = int(np.isfinite(distances).sum())
        page.distances[name] = distances
    clips.setdefault(name, {})[page.clip] = figures
    chosen = np.linspace(0, len(take.faces) - 1, 10).round().astype(int)
    page.faces[name] = take.faces[chosen]


def _result(
    clips: Figures,
    outcomes: Mapping[str, list[tuple[str, str]]],
    skipped: list[tuple[str, str]],
    scorer: Scorer,
    total: int,
) -> dict[str, Json]:
    protocol = scorer.protocol
    methods = {}
    for name in {**clips, **outcomes}:
        found = clips.get(name, {})
        entry: dict[str, dict] = {
            "clips": {clip: _numbers(figures) for clip, figures in found.items()},
            "metrics": _means(list(found.values()), protocol),
        }
        if name in outcomes:
            made = success(outcomes[name])
            entry["success"] = {"rate": _number(made.rate), "failed": _listed(made.failed)}
        methods[name] = entry
    judge, points, reader = scorer.judge, scorer.landmarks, scorer.reader
    return {
        "format": 1,
        "lipsync_jax": __version__,
        "protocol": dataclasses.asdict(protocol),
        "judge": {"kind": judge.kind, "model": judge.model} if judge else None,
        "lip_reader": reader.model if reader else None,
        "landmarks": landmarks.NAME if points else None,
        "embedder": landmarks.EMBEDDER if points else None,
        "clips": total,
        "skipped": _listed(skipped),
        "order": _order(methods, outcomes),
        "methods": methods,
    }


def _order(methods: Mapping[str, Json], outcomes: Mapping[str, Json]) -> list[str]:
    """The truth, the baselines, then the methods in the order they were given."""
    first = [name for name in (TRUTH, *BASELINES) if name in methods]
    return [*first, *(name for name in outcomes if name in methods)]


def _means(clips: list[dict[str, float]], protocol: Protocol) -> dict[str, dict]:
    means = {}
    for metric in METRICS:
        having = [figures for figures in clips if metric in figures]
        if not having:
            continue
        weights = [figures.get(_WEIGHTS.get(metric, ""), 1) for figures in having]
        found = interval(
            [figures[metric] for figures in having],
            weights,
            resamples=protocol.resamples,
            level=protocol.level,
            seed=protocol.seed,
        )
        means[metric] = _numbers(found._asdict())
    return means


def _listed(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"clip": clip, "reason": reason} for clip, reason in pairs]


def _numbers(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in figures.items()}


def _number(value: float) -> float | int | None:
    if isinstance(value, int):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def write(path: str | os.PathLike, result: Mapping[str, Json]) -> None:
    """Writes a result as JSON: the same bytes for the same result."""
    text = json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def table(result: Mapping[str, Json]) -> str:
    """The means of all methods, a column each; metrics that nobody has are left out."""
    metrics = [
        m for m in METRICS if any(m in result["methods"][n]["metrics"] for n in result["order"])
    ]
    # A metric a line: twenty columns would fit no terminal.
    rows = [["", *map(printable, result["order"])]]
    for metric in metrics:
        found = (result["methods"][name]["metrics"].get(metric) for name in result["order"])
        rows.append([METRICS[metric].label, *(cell(metric, each) for each in found)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def cell(metric: str, found: Mapping[str, Json] | None) -> str:
    """A mean with its interval, as text."""
    if not found or found["mean"] is None:
        return "-"
    form = METRICS[metric].form
    mean, low, high = (format(found[name], form) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
