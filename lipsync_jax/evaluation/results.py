"""The loop over clips and methods, and the result that is written as JSON.

Audio offsets (`syncnet_offset`, `sync_offset`) are frames of 25 a second, positive where the audio
is later than the video.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync_jax import __version__, paths
from lipsync_jax.evaluation import baselines, landmarks
from lipsync_jax.evaluation.bootstrap import interval
from lipsync_jax.evaluation.evaluator import ClipFeatures, Evaluator
from lipsync_jax.evaluation.metrics.success_rate import success_rate
from lipsync_jax.evaluation.metrics.wer import wer
from lipsync_jax.evaluation.protocol import Protocol
from lipsync_jax.evaluation.samples import EvalSample
from lipsync_jax.text import printable
from lipsync_jax.types import Json

TRUTH = "ground truth"
BASELINES = (
    baselines.COPY_REFERENCE,
    baselines.MEAN_MOUTH,
    baselines.STATIC_IMAGE,
    baselines.MEAN_IMAGE,
    baselines.ORIGINAL_VIDEO,
)
_DIGITS = 6  # significant digits that are written, fewer than rounding errors reach


class Metric(NamedTuple):
    """How a metric is shown.

    Attributes:
        label: name with unit.
        direction: +1 higher is better, -1 lower is better, 0 neither.
        format_spec: format of the number.
        unit: ending of the metric's name in `summary`; empty for ratios and distances.
    """

    label: str
    direction: int
    format_spec: str = ".3f"
    unit: str = ""


METRICS: Mapping[str, Metric] = {
    "psnr": Metric("PSNR dB", 1, ".2f", "db"),
    "ssim": Metric("SSIM", 1),
    "mouth_l1": Metric("mouth L1", -1, ".4f"),
    "lmd": Metric("LMD px", -1, ".2f", "px"),
    # Noise has sharp edges.
    "cpbd": Metric("CPBD (noise counts as sharp)", 1),
    "psnr_windows": Metric("PSNR dB, windows of 16 frames", 1, ".2f", "db"),
    "ssim_windows": Metric("SSIM, windows of 16 frames", 1),
    "lmd_windows": Metric("LMD px, windows of 16 frames", -1, ".2f", "px"),
    "cpbd_windows": Metric("CPBD, windows of 16 frames (noise counts as sharp)", 1),
    "fdbm": Metric("FDBM (noise counts as sharp)", 1),
    "lse_d": Metric("LSE-D", -1),
    "lse_c": Metric("LSE-C", 1),
    "syncnet_offset": Metric("SyncNet AV offset, frames (+: audio later)", 0, "+.2f", "frames"),
    "syncnet_prominence": Metric("SyncNet prominence", 1),
    "syncnet_in_sync": Metric("SyncNet in-sync rate", 1, ".1%"),
    "sync_d": Metric("Sync-D (own model)", -1),
    "sync_c": Metric("Sync-C (own model)", 1),
    "sync_offset": Metric("AV offset, frames (+: audio later)", 0, "+.2f", "frames"),
    "sync_prominence": Metric("prominence", 1),
    "sync_in_sync": Metric("in-sync rate", 1, ".1%"),
    "acd_c": Metric("ACD-C", -1, ".4f"),
    "acd_e": Metric("ACD-E", -1),
    "wer": Metric("WER", -1, ".1%"),
    "blink_rate": Metric("blinks a second", 0, ".2f", "per_second"),
    "blink_duration": Metric("blink s", 0, ".2f", "seconds"),
    "lipleak": Metric("LipLeak", -1),
    "landmarks_detected": Metric("landmarks found", 0, ".1%"),
}
# Weights of a clip's metric in the mean over clips; all other metrics weigh clips equally.
_WEIGHTS = {"lmd": "lmd_frames", "wer": "words"}

# Method -> clip -> metric -> value.
MetricsByClip = dict[str, dict[str, dict[str, float]]]
Log = Callable[[str], None]
OnClip = Callable[[int, str], None]  # clips finished, name of the next one


class ReportSample(NamedTuple):
    """What the report shows of a clip.

    Attributes:
        clip: name of the clip.
        face_crops: method -> uint8 (n, size, size, 3) BGR, some of the crops.
        distances: method -> float64 (frames,), landmark distance of every frame.
    """

    clip: str
    face_crops: dict[str, np.ndarray]
    distances: dict[str, np.ndarray]


def evaluate(
    samples: Sequence[EvalSample],
    evaluator: Evaluator,
    *,
    word_errors: Mapping[str, Mapping[str, tuple[float, int]]] | None = None,
    report_clips: int = 4,
    on_clip: OnClip = lambda *_: None,
    log: Log = lambda _: None,
) -> tuple[dict[str, Json], list[ReportSample]]:
    """Scores every clip of every method; a clip that fails is listed and skipped.

    Args:
        samples: the clips.
        evaluator: computes the metrics.
        word_errors: method -> clip -> (word error rate, words), of an external lip reader.
        report_clips: number of clips in the report.
        on_clip: called before each clip, with the number of finished clips and the clip's name.
        log: called with a line for each clip or output that could not be scored.

    Returns:
        The result, JSON values that are equal for equal inputs; and the report's samples.
    """
    names = [*dict.fromkeys(name for sample in samples for name in sample.methods)]
    clips: MetricsByClip = {}
    outcomes: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    skipped: list[tuple[str, str]] = []
    report_samples: list[ReportSample] = []
    for number, sample in enumerate(samples):
        on_clip(number, sample.clip)
        try:
            scores = _ClipScores(sample, evaluator)
        except (ValueError, OSError) as error:
            skipped.append((sample.clip, str(error)))
            log(f"left out: {sample.clip}, {error}")
            continue
        scores.add_baselines()
        for name in sample.methods:
            try:
                scores.add_method(name)
                outcomes[name].append((sample.clip, ""))
            except (ValueError, OSError) as error:
                outcomes[name].append((sample.clip, str(error)))
                log(f"{name} failed: {sample.clip}, {error}")
        for name, metrics in scores.metrics.items():
            clips.setdefault(name, {})[sample.clip] = metrics
        if len(report_samples) < report_clips:
            report_samples.append(scores.report_sample)
    for name, rates in (word_errors or {}).items():
        for clip, (rate, num_words) in rates.items():
            if clip in clips.get(name, {}):
                clips[name][clip] |= {"wer": rate, "words": num_words}
    return _result(clips, outcomes, skipped, evaluator, len(samples)), report_samples


class _ClipScores:
    """The metrics of one clip.

    Attributes:
        metrics: method -> metric -> value, of the ground truth from the start.
        report_sample: what the report shows of the methods in `metrics`.
    """

    def __init__(self, sample: EvalSample, evaluator: Evaluator) -> None:
        """Loads the real clip and its baselines, and scores the real clip.

        Raises:
            ValueError, OSError: the clip can't be read, or is too short.
        """
        self._sample, self._evaluator = sample, evaluator
        self.metrics: dict[str, dict[str, float]] = {}
        self.report_sample = ReportSample(sample.clip, {}, {})
        self._reference = sample.reference()
        self._truth = evaluator.extract(self._reference)
        self._baselines = {
            name: evaluator.extract(clip)
            for name, clip in sample.baselines(self._reference).items()
        }
        # In a pair the original video shows other words than those of the driving audio.
        word_error = self._word_error(self._truth) if sample.has_ground_truth else {}
        self._add(TRUTH, self._truth, {**self._truth.metrics, **word_error})

    def add_baselines(self) -> None:
        """Scores the baselines."""
        for name, features in self._baselines.items():
            # A static mouth moves by the landmarks' noise: the lower bound of LipLeak.
            is_static = name in (baselines.COPY_REFERENCE, baselines.STATIC_IMAGE)
            lipleak = self._evaluator.lipleak(features, self._truth) if is_static else {}
            self._add_generated(name, features, lipleak)

    def add_method(self, name: str) -> None:
        """Scores the output of a method.

        Raises:
            ValueError, OSError: there is no output, or it can't be scored.
        """
        output = self._sample.methods[name](self._reference)
        features = self._evaluator.extract(output.first_frames(len(self._reference)))
        lipleak: dict[str, float] = {}
        has_face = features.landmarks is not None and features.region != "lips"
        if name in self._sample.silent_outputs and has_face:
            silent = self._evaluator.extract(self._sample.silent_outputs[name](self._reference))
            lipleak = self._evaluator.lipleak(silent, features)
        self._add_generated(name, features, lipleak)

    def _add_generated(
        self, name: str, features: ClipFeatures, lipleak: Mapping[str, float]
    ) -> None:
        metrics, distances = dict(features.metrics), None
        if self._sample.has_ground_truth:
            reference_metrics, distances = self._evaluator.reference_metrics(features, self._truth)
            metrics |= reference_metrics
        metrics |= {**self._word_error(features), **lipleak}
        if distances is not None:
            metrics["lmd_frames"] = int(np.isfinite(distances).sum())
            self.report_sample.distances[name] = distances
        self._add(name, features, metrics)

    def _add(self, name: str, features: ClipFeatures, metrics: Mapping[str, float]) -> None:
        self.metrics[name] = {"frames": len(features.faces), **metrics}
        chosen = np.linspace(0, len(features.faces) - 1, 10).round().astype(int)
        self.report_sample.face_crops[name] = features.faces[chosen]

    def _word_error(self, features: ClipFeatures) -> dict[str, float]:
        """Returns the word error rate of the lip reader's transcript, if both transcripts exist."""
        count = len(self._sample.transcript.split())
        if features.transcript is None or not count:
            return {}
        return {"wer": wer(self._sample.transcript, features.transcript), "words": count}


def _result(
    clips: MetricsByClip,
    outcomes: Mapping[str, list[tuple[str, str]]],
    skipped: list[tuple[str, str]],
    evaluator: Evaluator,
    total: int,
) -> dict[str, Json]:
    protocol = evaluator.protocol
    methods = {}
    for name in {**clips, **outcomes}:
        found = clips.get(name, {})
        entry: dict[str, dict] = {
            "clips": {clip: _numbers(values) for clip, values in found.items()},
            "metrics": _mean_metrics(list(found.values()), protocol),
        }
        if name in outcomes:
            usable = success_rate(outcomes[name])
            entry["success"] = {"rate": _number(usable.rate), "failed": _as_list(usable.failed)}
        methods[name] = entry
    sync_model, landmark_model, lip_reader = (
        evaluator.sync_model,
        evaluator.landmarks,
        evaluator.lip_reader,
    )
    return {
        "format": 2,
        "lipsync_jax": __version__,
        "protocol": dataclasses.asdict(protocol),
        "sync_model": sync_model and {"kind": sync_model.kind, "model": sync_model.model_hash},
        "lip_reader": lip_reader.model_hash if lip_reader else None,
        "landmarks": landmarks.NAME if landmark_model or evaluator.lip_landmarks else None,
        "embedder": landmarks.EMBEDDER if landmark_model else None,
        "clips": total,
        "skipped": _as_list(skipped),
        "order": _order(methods, outcomes),
        "methods": methods,
    }


def _order(methods: Mapping[str, Json], outcomes: Mapping[str, Json]) -> list[str]:
    """Returns the names in order: ground truth, baselines, methods as given."""
    first = [name for name in (TRUTH, *BASELINES) if name in methods]
    return [*first, *(name for name in outcomes if name in methods)]


def _mean_metrics(clips: list[dict[str, float]], protocol: Protocol) -> dict[str, dict]:
    means = {}
    for metric in METRICS:
        with_metric = [values for values in clips if metric in values]
        if not with_metric:
            continue
        weights = [values.get(_WEIGHTS.get(metric, ""), 1) for values in with_metric]
        found = interval(
            [values[metric] for values in with_metric],
            weights,
            resamples=protocol.bootstrap_resamples,
            confidence_level=protocol.confidence_level,
            seed=protocol.seed,
        )
        means[metric] = _numbers(found._asdict())
    return means


def _as_list(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"clip": clip, "reason": reason} for clip, reason in pairs]


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | int | None:
    if isinstance(value, int):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def write(path: str | os.PathLike, result: Mapping[str, Json]) -> None:
    """Writes a result as JSON: equal bytes for equal results."""
    text = json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # Names of files need not be UTF-8; the escape is one of JSON, too.
    paths.write_text(Path(path), text + "\n", errors="backslashreplace")


def summary(result: Mapping[str, Json], unreliable: Collection[str] = ()) -> dict[str, Json]:
    """Returns what `table` shows, and the clips that were left out, as JSON values.

    Args:
        result: of `evaluate`.
        unreliable: metrics that are named so, see `verdict.unreliable_metrics`.

    Returns:
        `clips` (number), `skipped` (clip and reason), `methods` (name -> `clips`, the number that
        was scored, `success`, and `metrics`: name with unit -> `mean`, `low`, `high`) and
        `unreliable_metrics` (names with units).
    """

    def name(metric: str) -> str:
        return "_".join(filter(None, (metric, METRICS[metric].unit)))

    methods = {}
    for method in result["order"]:
        found = result["methods"][method]
        means = {name(m): found["metrics"][m] for m in METRICS if m in found["metrics"]}
        success = {"success": found["success"]} if "success" in found else {}
        methods[method] = {"clips": len(found["clips"]), **success, "metrics": means}
    return {
        "clips": result["clips"],
        "skipped": result["skipped"],
        "methods": methods,
        "unreliable_metrics": [name(metric) for metric in METRICS if metric in unreliable],
    }


def table(result: Mapping[str, Json], unreliable: Collection[str] = ()) -> str:
    """Formats the means of all methods, a column each; metrics without values are left out.

    Args:
        result: of `evaluate`.
        unreliable: metrics that are marked so, see `verdict.unreliable_metrics`.
    """
    metrics = [
        m for m in METRICS if any(m in result["methods"][n]["metrics"] for n in result["order"])
    ]
    # One metric per line: twenty columns fit no terminal.
    rows = [["", *map(printable, result["order"])]]
    for metric in metrics:
        found = (result["methods"][name]["metrics"].get(metric) for name in result["order"])
        mark = " (unreliable)" if metric in unreliable else ""
        rows.append([METRICS[metric].label + mark, *(cell(metric, each) for each in found)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def cell(metric: str, found: Mapping[str, Json] | None) -> str:
    """Formats a mean with its interval, which a single clip does not have."""
    if not found or found["mean"] is None:
        return "-"
    spec = METRICS[metric].format_spec
    if found["clips"] == 1:
        return format(found["mean"], spec)
    mean, low, high = (format(found[name], spec) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
