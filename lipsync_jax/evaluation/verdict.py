"""What a result says, in words: is a method better than the baselines, can its metrics be trusted?

A method is compared with the best audio-independent baseline in each metric, clip by clip; a
difference counts where the bootstrap interval of its mean excludes 0.
"""

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lipsync_jax.evaluation.bootstrap import interval
from lipsync_jax.evaluation.results import BASELINES, METRICS, TRUTH
from lipsync_jax.types import Json

# Metrics of a sync model, by the prefix of its offset.
SYNC_METRICS = {
    "syncnet": ("lse_d", "lse_c", "syncnet_in_sync"),
    "sync": ("sync_d", "sync_c", "sync_in_sync"),
}
# Metrics in which a frozen mouth is a baseline; sharpness and identity are no such metrics.
_COMPARED = ("mouth_l1", "lmd", "psnr", "ssim", "wer", "lipleak")
_MIN_CLIPS = 3
_MIN_RIGHT = 0.5  # of the real videos' offsets; below, a sync model's metrics are not trusted
_SHARPNESS = ("cpbd", "fdbm")


class Comparison(NamedTuple):
    """A method beside the baselines.

    Attributes:
        better: labels of metrics in which the method is better than every baseline.
        worse: labels of metrics in which the method is worse than the best baseline.
        unclear: labels of the other metrics.
    """

    better: list[str]
    worse: list[str]
    unclear: list[str]


class _TruthSync(NamedTuple):
    """What the sync model finds on the real videos.

    Attributes:
        right: share of the videos whose offset is within a frame of 0.
        confident: share of the videos with a confident offset.
        offset: median of the confident offsets, else of all; frames.
    """

    right: float
    confident: float
    offset: float


def add_verdict(result: dict[str, Json]) -> None:
    """Adds `sync_problem` (text; None where the sync model is fit) and `verdict` (lines).

    Args:
        result: of `results.evaluate`.
    """
    result["sync_problem"] = sync_problem(result) or None
    result["verdict"] = lines(result)


def unreliable_metrics(result: Mapping[str, Json]) -> set[str]:
    """Returns the metrics that should be greyed: those of a sync model that is not fit."""
    if not result.get("sync_problem"):
        return set()
    prefixes = tuple(f"{prefix}_" for prefix in (*SYNC_METRICS, "lse"))
    return {name for name in METRICS if name.startswith(prefixes)}


def sync_problem(result: Mapping[str, Json]) -> str:
    """Returns why the sync model's metrics can't be trusted on these videos; "" if they can."""
    found = _truth_sync(result)
    if found is None or found.right >= _MIN_RIGHT:
        return ""
    start = (
        f"The sync model's audio offset is within a frame of 0 on {found.right:.0%} of the real "
        f"videos, fewer than {_MIN_RIGHT:.0%}"
    )
    if found.confident < 0.5:
        return (
            f"{start}, and not confident: the model is not fit for these faces. Its metrics are "
            "greyed; give a --sync-model that was trained on such faces"
        )
    direction = "late" if found.offset > 0 else "early"
    return (
        f"{start}: their audio is {abs(found.offset):.1f} frames {direction} (median). The metrics "
        "of sync are greyed; correct the videos with `lipsync sync --write-synced`, or give "
        "another --sync-model"
    )


def _truth_sync(result: Mapping[str, Json]) -> "_TruthSync | None":
    clips = list(result["methods"].get(TRUTH, {}).get("clips", {}).values())
    for prefix in SYNC_METRICS:
        rated = [clip for clip in clips if clip.get(f"{prefix}_offset") is not None]
        if not rated:
            continue
        least = result["protocol"]["min_prominence"]
        confident = [clip for clip in rated if clip[f"{prefix}_prominence"] >= least]
        offsets = [clip[f"{prefix}_offset"] for clip in confident or rated]
        right = [abs(round(clip[f"{prefix}_offset"])) <= 1 for clip in rated]
        return _TruthSync(
            statistics.fmean(right), len(confident) / len(rated), statistics.median(offsets)
        )
    return None


def lines(result: Mapping[str, Json]) -> list[str]:
    """Returns the verdict: on the sync model, on each method, on sharpness."""
    found = []
    truth_sync = _truth_sync(result)
    if problem := result.get("sync_problem"):
        found.append(f"{problem}.")
    elif truth_sync and truth_sync.confident < 0.5:
        found.append(
            f"The sync model's offsets of the real videos are right ({truth_sync.right:.0%} within "
            "a frame of 0) but not confident, so in-sync rates are low for all videos: compare "
            "the other metrics of sync."
        )
    methods = [name for name in result["order"] if name not in (TRUTH, *BASELINES)]
    for name in methods:
        found += _method_lines(result, name)
    return found


def compare(result: Mapping[str, Json], name: str) -> Comparison:
    """Compares a method with the baselines in all metrics that both have."""
    comparison = Comparison([], [], [])
    for metric in _compared_metrics(result):
        sign = _sign_of_difference(result, name, metric)
        if sign is not None:
            comparison[{1: 0, -1: 1, 0: 2}[sign]].append(METRICS[metric].label)
    return comparison


def _compared_metrics(result: Mapping[str, Json]) -> Iterable[str]:
    trusted = () if result.get("sync_problem") else SYNC_METRICS.values()
    return itertools.chain(_COMPARED, *trusted)


def _method_lines(result: Mapping[str, Json], name: str) -> list[str]:
    scored = len(result["methods"][name]["clips"])
    if scored < _MIN_CLIPS:
        return [_few_clips_line(result, name, scored)]
    better, worse, unclear = compare(result, name)
    if not (better or worse or unclear):
        return [f"{name}: no verdict, no metric compares it with an audio-independent baseline."]
    no_difference = f"; no clear difference in {_list(unclear)}." if unclear else "."
    if better and not worse:
        found = (
            f"{name} is better than the audio-independent baselines in "
            f"{_list(better)}{no_difference}"
        )
    elif better:
        found = (
            f"{name}: the metrics disagree. It is better than the audio-independent baselines in "
            f"{_list(better)}, and worse than the best of them in {_list(worse)}{no_difference}"
        )
    else:
        found = f"{name} is no better than the audio-independent baselines in any metric"
        found += f", and worse in {_list(worse)}." if worse else "."
        found += " A frozen mouth would do as well."
    return [found, *_sharpness_lines(result, name)]


def _few_clips_line(result: Mapping[str, Json], name: str, scored: int) -> str:
    """Compares the means of too few clips for intervals."""
    clips = "1 clip" if scored == 1 else f"{scored} clips"
    start = f"{name}: no verdict, {clips} scored; {_MIN_CLIPS} or more are needed."
    better: list[str] = []
    others: list[str] = []
    for metric in _compared_metrics(result):
        own = _mean(result, name, metric)
        baselines = [_mean(result, baseline, metric) for baseline in BASELINES]
        known = [mean for mean in baselines if mean is not None]
        if own is not None and known:
            direction = METRICS[metric].direction
            is_better = all(direction * own > direction * mean for mean in known)
            (better if is_better else others).append(METRICS[metric].label)
    if not (better or others):
        return start
    parts = [f"better than every audio-independent baseline in {_list(better)}"] if better else []
    parts += [f"not better in {_list(others)}"] if others else []
    return f"{start} On {'this clip' if scored == 1 else 'these clips'} it is {', '.join(parts)}."


def _mean(result: Mapping[str, Json], name: str, metric: str) -> float | None:
    found = result["methods"].get(name, {}).get("metrics", {}).get(metric)
    return found["mean"] if found else None


def _sharpness_lines(result: Mapping[str, Json], name: str) -> list[str]:
    """Says where a method is sharper than the real videos, which noise is."""
    labels = []
    for metric in _SHARPNESS:
        real, own = (
            result["methods"].get(of, {}).get("metrics", {}).get(metric) for of in (TRUTH, name)
        )
        if real and own and None not in (real["high"], own["low"]) and own["low"] > real["high"]:
            labels.append(METRICS[metric].label)
    if not labels:
        return []
    return [f"{name}: {_list(labels)} above the real videos: noise or grain, not sharpness."]


def _sign_of_difference(result: Mapping[str, Json], name: str, metric: str) -> int | None:
    """Returns 1 if better than every baseline, -1 if worse than the best, 0 if unclear, or None."""
    methods, direction = result["methods"], METRICS[metric].direction
    own = _values(methods[name]["clips"], metric)
    signs = []
    for baseline in BASELINES:
        other = _values(methods.get(baseline, {}).get("clips", {}), metric)
        clips = own.keys() & other.keys()
        if len(clips) < _MIN_CLIPS:
            continue
        protocol = result["protocol"]
        differences = [direction * (own[clip] - other[clip]) for clip in sorted(clips)]
        found = interval(
            differences,
            resamples=protocol["bootstrap_resamples"],
            confidence_level=protocol["confidence_level"],
            seed=protocol["seed"],
        )
        signs.append(1 if found.low > 0 else -1 if found.high < 0 else 0)
    return min(signs) if signs else None


def _values(clips: Mapping[str, Json], metric: str) -> dict[str, float]:
    return {
        clip: metrics[metric] for clip, metrics in clips.items() if metrics.get(metric) is not None
    }


def _list(labels: Sequence[str]) -> str:
    *first, last = labels
    return f"{', '.join(first)} and {last}" if first else last
