"""The report of a preparation: counts of each stage and split, as JSON and as text."""

import collections
import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipsync_jax import paths
from lipsync_jax.data_prep import builder, corpora, decision, stages, sync_correction
from lipsync_jax.data_prep.extraction import Extraction
from lipsync_jax.data_prep.settings import FRAME_RATE
from lipsync_jax.data_prep.splits import SPLITS
from lipsync_jax.data_prep.stages import StageCounts
from lipsync_jax.data_prep.worker_pool import ExtractionSummary
from lipsync_jax.text import printable

REPORT = "report.json"
NO_CLIP_REPORT = "report_no_clip.json"


def write_report(
    extraction: Extraction, data: str | None, shards: int | None, seconds: float = 0.0
) -> dict[str, Any]:
    """Writes the report beside a data set, see `report_file`; returns the report.

    Args:
        extraction: the clips and their splits.
        data: folder of the data set; None if no clip could be made.
        shards: files per split, as the user gave them.
        seconds: processor time of writing the shards.
    """
    settings = extraction.settings
    files = {video.video_id: video.path for video in extraction.videos}
    report = {
        "data": data,
        "older_data": None if data else _newest_dataset(extraction.dataset_dir),
        "corpus": corpora.dataset_name(extraction.corpus),
        "config": extraction.config,
        "settings": {
            **dataclasses.asdict(settings),
            "detector": str(settings.detector),
            "sync_model": str(settings.sync_model),
        },
        "split_by": extraction.split_by,
        "stages": _stages(extraction, data, seconds),
        **_report_counts(list(extraction.summaries), extraction.splits),
        "not_in_split": extraction.not_in_split,
        "copies": {
            name: first for name, first in extraction.copies.items() if files[name] != files[first]
        },
        "minutes": round((time.monotonic() - extraction.started) / 60, 2),
        "fingerprint": fingerprint(extraction, shards),
    }
    extraction.dataset_dir.mkdir(parents=True, exist_ok=True)
    file = report_file(extraction.dataset_dir, report)
    paths.write_text(file, json.dumps(report, indent=1) + "\n")
    if file.name == REPORT:
        (extraction.dataset_dir / NO_CLIP_REPORT).unlink(missing_ok=True)
    return report


def report_file(folder: Path, report: Mapping[str, Any]) -> Path:
    """Returns the file of a report.

    A run that makes no clip leaves the data set of an earlier run, and the report of that.

    Args:
        folder: has the versions of the data set.
        report: from `write_report`.
    """
    return folder / (NO_CLIP_REPORT if report["older_data"] else REPORT)


def _newest_dataset(folder: Path) -> str | None:
    """Returns the newest data set below a folder; None without one."""
    infos = folder.glob("*/dataset_info.json")
    newest = max(infos, key=lambda file: file.stat().st_mtime, default=None)
    return None if newest is None else str(newest.parent)


def fingerprint(extraction: Extraction, shards: int | None) -> str:
    """Text that changes when the data set does."""
    summaries = [(s.key, extraction.splits.get(s.video_id)) for s in extraction.summaries]
    thresholds = decision.thresholds(extraction.settings)
    contents = repr((summaries, thresholds, shards, str(builder.TalkingFace.VERSION)))
    return hashlib.blake2b(contents.encode(), digest_size=16).hexdigest()


def _report_counts(summaries: list[ExtractionSummary], splits: Mapping[str, str]) -> dict[str, Any]:
    """Returns the numbers of the report."""
    sizes = {}
    for name in [*SPLITS, *sorted(set(splits.values()) - {*SPLITS})]:
        members = [s for s in summaries if splits.get(s.video_id) == name]
        sizes[name] = {
            "clips": sum(len(s.clips) for s in members),
            "seconds": float(sum(sum(s.clips.values()) for s in members) / FRAME_RATE),
            "speakers": len({s.speaker for s in members}),
        }
    rejected = [item for summary in summaries for item in summary.rejected]
    frames = sum(summary.num_frames for summary in summaries)
    reasons = collections.Counter(item.reason for item in rejected)
    return {
        "videos": len(summaries),
        "videos_used": len(splits),
        "videos_from_cache": sum(summary.cached for summary in summaries),
        "seconds_of_video": float(frames / FRAME_RATE),
        "frames_with_face": sum(s.num_frames_with_face for s in summaries) / frames
        if frames
        else 0.0,
        "splits": sizes,
        "rejected_by_reason": dict(reasons.most_common()),
        "rejected": [dataclasses.asdict(item) for item in rejected],
        "notes": {s.video_id: list(s.notes) for s in summaries if s.notes and s.clips},
        "video_splits": dict(sorted(splits.items())),
    }


def _stages(extraction: Extraction, data: str | None, seconds: float) -> dict[str, Any]:
    """Returns the counts of each stage, as JSON values."""
    written = sum(
        len(s.clips) for s in extraction.summaries if data and s.video_id in extraction.splits
    )
    left = extraction.stages["audio features"].left
    shards = StageCounts(left, written, seconds=seconds)
    if left > written:
        shards.dropped["not in a split"] = left - written
    return stages.as_json({**extraction.stages, "shards": shards})


def _advice(report: Mapping[str, Any]) -> str:
    """Returns what to do where most clips lack a known offset, or some while a split is empty.

    Where another reason emptied a split, there is no advice: its detail names the option.
    """
    is_complete = all(size["clips"] for size in report["splits"].values())
    least = sync_correction.MANY_DROPPED if is_complete else 0.0
    reasons, clips = report["rejected_by_reason"], report["stages"]["sync offset"]["in"]
    first = max(reasons, key=reasons.__getitem__, default="")
    if not is_complete and first not in sync_correction.UNKNOWN_OFFSET:
        return ""
    return sync_correction.drop_advice(reasons, clips, least)


def no_clip_error(report: Mapping[str, Any]) -> str:
    """Returns why no clip could be made, and what to do."""
    reasons = ", ".join(f"{count} {name}" for name, count in report["rejected_by_reason"].items())
    message = f"no clip could be made; rejected: {reasons}"
    parts = [message, _advice(report)]
    if report["older_data"]:
        parts.append(
            f"The data set of an earlier run, {report['older_data']}, stays as it is, and so does "
            "its report; the options of this run do not apply to it"
        )
    return ". ".join(filter(None, parts))


def format_report(report: Mapping[str, Any]) -> str:
    """Formats the report as text."""
    lines = [
        f"{report['videos_used']} of {report['videos']} videos used, "
        f"{report['seconds_of_video'] / 60:.1f} minutes, "
        f"a face in {report['frames_with_face']:.1%} of the frames, "
        f"{report['videos_from_cache']} videos of an earlier run",
        *stages.format_stages(report["stages"]),
        f"{'split by ' + report['split_by']:<18}{'clips':>8}{'minutes':>10}{'speakers':>10}",
    ]
    for name, size in report["splits"].items():
        minutes = size["seconds"] / 60
        lines.append(f"  {name:<16}{size['clips']:>8}{minutes:>10.1f}{size['speakers']:>10}")
    for reason, count in report["rejected_by_reason"].items():
        example = next(item for item in report["rejected"] if item["reason"] == reason)
        detail = f" ({example['detail']})" if example["detail"] else ""
        lines.append(printable(f"rejected {count:>4}  {reason}, e.g. {example['clip_id']}{detail}"))
    if report["notes"]:
        video_id, notes = next(iter(report["notes"].items()))
        message = f"noted {len(report['notes']):>7}  but used, e.g. {video_id} ({notes[0]})"
        lines.append(printable(message))
    if report["copies"]:
        video_id, first = next(iter(report["copies"].items()))
        message = f"copies {len(report['copies']):>6}  of other videos, in the same split, e.g. "
        lines.append(printable(f"{message}{video_id} of {first}"))
    if report.get("not_in_split"):
        lines.append(f"unused{report['not_in_split']:>7}  videos are not part of this split")
    empty = [name for name, size in report["splits"].items() if not size["clips"]]
    if empty and report["data"]:
        lines.append(f"empty: {', '.join(empty)}; training needs all three, so add videos")
    if advice := _advice(report):
        lines.append(f"advice  {advice}")
    if not report["data"] and report["older_data"]:
        older = printable(report["older_data"])
        lines.append(f"older   {older}, of an earlier run, stays as it is")
    data = report["data"] or "none: no clip could be made of any video"
    lines.append(f"data    {printable(data)}")
    return "\n".join(lines)
