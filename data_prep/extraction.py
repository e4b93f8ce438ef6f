"""A raw corpus -> clips in a cache, and the split of each video; what `prepare` begins with."""

import collections
import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lipsync_jax import folder_lock
from lipsync_jax.data.clip import Clip
from lipsync_jax.data_prep import (
    beam_runner,
    clip_cache,
    corpora,
    decision,
    output_folder,
    sync_correction,
)
from lipsync_jax.data_prep.settings import ExtractionSettings, RunnerSettings, SplitSettings
from lipsync_jax.data_prep.splits import (
    SPLIT_BY,
    add_validation,
    assign_held_out,
    assign_splits,
    find_duplicates,
)
from lipsync_jax.data_prep.stages import StageCounts, StageSums
from lipsync_jax.data_prep.worker_pool import ExtractionSummary, extract_all
from lipsync_jax.progress import ProgressBar

_ENOUGH = 20  # clips, of which most are dropped, that a warning during the extraction needs

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Extraction:
    """The clips of a corpus, extracted, in their cache.

    Attributes:
        out: folder to write to.
        corpus: its name or the path of its module.
        config: the name of the builder config: the crop, and the split if it is a published one.
        cache_dir: folder of the cached clips.
        settings: how they were extracted.
        videos: those of the split.
        summaries: what each gave, without its stages.
        stages: what the stages did with all of them.
        split_by: what `auto` became.
        splits: video -> split, of the videos with clips.
        copies: see `splits.find_duplicates`; not looked for under a published split.
        not_in_split: videos that are not part of the published split.
        started: `time.monotonic()` at the start.
    """

    out: Path
    corpus: str
    config: str
    cache_dir: Path
    settings: ExtractionSettings
    videos: Sequence[corpora.Video]
    summaries: Sequence[ExtractionSummary]
    stages: Mapping[str, StageCounts]
    split_by: str
    splits: Mapping[str, str]
    copies: Mapping[str, str]
    not_in_split: int
    started: float

    @property
    def dataset_dir(self) -> Path:
        """The folder of the report and of the data set's versions."""
        return self.out / corpora.dataset_name(self.corpus) / self.config

    def clips(self, split: str) -> Iterator[Clip]:
        """Yields a split's clips in the order of their videos' ids.

        Raises:
            ValueError: the cached candidates of a video are no longer those of this extraction.
        """
        keys = {summary.video_id: summary.key for summary in self.summaries}
        for source in sorted(self.videos, key=lambda source: source.video_id):
            if self.splits.get(source.video_id) != split:
                continue
            file = clip_cache.cache_path(self.cache_dir, source)
            cached = clip_cache.load(file, keys[source.video_id])
            if cached is None:
                raise ValueError(
                    f"{file}, the clips of {source.video_id}, is damaged, or another run with "
                    "other options has replaced it; run the same command again, one at a time"
                )
            found, features = cached
            yield from decision.decide(source, found, self.settings, features).clips


@contextlib.contextmanager
def extract(
    sources: Sequence[Path],
    out: Path,
    corpus: str = "folder",
    settings: ExtractionSettings | None = None,
    *,
    runner: RunnerSettings | None = None,
    split: SplitSettings | None = None,
) -> Iterator[Extraction]:
    """Extracts a corpus' clips into their cache and splits them.

    Args and errors as of `prepare`. Until the context ends, no other run changes the clips.
    """
    started = time.monotonic()
    settings, runner = settings or ExtractionSettings(), runner or RunnerSettings()
    split = split or SplitSettings()
    output_folder.require_utf8(out)
    if runner.runner == "beam":
        beam_runner.require_beam()
    split_by = _choose_split(corpus, split)
    found = [corpora.with_utf8_names(video) for video in corpora.get(corpus).find(sources)]
    sync_correction.model_folder(settings)  # a wrong name shows before any work
    assignment = _published_assignment(corpus, split_by, found)
    videos = found
    if assignment is not None:
        videos = [video for video in found if video.video_id in assignment]
    suffix = f"-{split_by}" if assignment is not None and split_by != corpora.OFFICIAL else ""
    # The cache is shared by a crop's splits.
    cache_dir = Path(out) / corpora.dataset_name(corpus) / settings.crop / "cache"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _lock(cache_dir):
        summaries, stages = _extract_videos(videos, corpus, settings, cache_dir, runner)
        speakers = {s.video_id: s.speaker for s in summaries if s.clips}
        copies: Mapping[str, str] = {}
        if assignment is not None:  # copies don't change it, and a large corpus takes hours to read
            used = {video: name for video, name in assignment.items() if video in speakers}
            splits = add_validation(used, speakers, split.validation)
        else:
            copies = find_duplicates({v.video_id: v.path for v in videos if v.video_id in speakers})
            split_by, splits = _assign(corpus, split_by, split, speakers, copies)
        yield Extraction(
            out=Path(out),
            corpus=corpus,
            config=settings.crop + suffix,
            cache_dir=cache_dir,
            settings=settings,
            videos=videos,
            summaries=summaries,
            stages=stages,
            split_by=split_by,
            splits=splits,
            copies=copies,
            not_in_split=len(found) - len(videos),
            started=started,
        )


def _choose_split(corpus: str, split: SplitSettings) -> str:
    """Returns the rule of the split: the user's or the official one, else `auto` as it is.

    Raises:
        ValueError: there is no such rule.
    """
    published, split_by = corpora.named_splits(corpus), split.split_by
    if split_by not in (*SPLIT_BY, *published):
        raise ValueError(f"--split-by {split_by!r}: choose {', '.join((*SPLIT_BY, *published))}")
    if split.validation_speakers or split.test_speakers:
        return "speaker"
    return corpora.OFFICIAL if split_by == "auto" and corpora.OFFICIAL in published else split_by


def _published_assignment(
    corpus: str, split_by: str, videos: Sequence[corpora.Video]
) -> Mapping[str, str] | None:
    """Returns video -> split of a published split; None for other rules.

    Raises:
        ValueError: none of the videos is in the split.
    """
    published = corpora.named_splits(corpus)
    if split_by not in published:
        return None
    assignment = published[split_by].assign(videos)
    count = sum(video.video_id in assignment for video in videos)
    log.info("%d of %d videos are in the split %s", count, len(videos), split_by)
    if not count:
        raise ValueError(
            f"none of the {len(videos)} videos is in the split {split_by}: "
            f"{published[split_by].description} Choose another --split-by"
        )
    return assignment


def _extract_videos(
    videos: list[corpora.Video],
    corpus: str,
    settings: ExtractionSettings,
    cache_dir: Path,
    runner: RunnerSettings,
) -> tuple[list[ExtractionSummary], StageSums]:
    """Fills the cache; returns what each video gave, by its id, and the sums of the stages."""
    processes = f"{runner.workers} processes" if runner.workers > 1 else "one process"
    log.info("%d videos, %s", len(videos), processes)
    written = set()
    if runner.runner == "beam":
        written = beam_runner.fill_cache(
            videos, corpus, settings, cache_dir, runner.workers, runner.beam_options
        )
    extraction = extract_all(videos, corpus, settings, cache_dir, runner.workers)
    summaries, stages = [], StageSums()
    for summary in _log_progress(extraction, len(videos)):
        stages.add(summary.stages)  # those of a million videos would fill the memory
        is_cached = summary.cached and summary.video_id not in written
        summaries.append(dataclasses.replace(summary, stages={}, cached=is_cached))
    return sorted(summaries, key=lambda summary: summary.video_id), stages


def _assign(
    corpus: str,
    split_by: str,
    split: SplitSettings,
    speakers: Mapping[str, str],
    copies: Mapping[str, str],
) -> tuple[str, dict[str, str]]:
    """Assigns videos to splits that are not published; returns the rule that was taken, too."""
    if split.validation_speakers or split.test_speakers:
        held_out = split.validation_speakers, split.test_speakers
        return split_by, assign_held_out(speakers, *held_out, copies)
    tested = getattr(corpora.get(corpus), "TEST_SPEAKERS", ())
    return assign_splits(speakers, split_by, tested, split.validation, split.test, copies)


def _lock(cache_dir: Path) -> contextlib.AbstractContextManager[None]:
    """Returns the lock of a cache; entering it raises ValueError if another run holds it."""

    def in_use(holder: folder_lock.Holder) -> str:
        stop = f" or stop it ({holder.kill}: its clips are kept)" if holder.kill else ""
        return (
            f"{cache_dir.parent} is in use: {holder.text} prepares clips there. Wait until it "
            f"ends{stop}, or name another --out"
        )

    return folder_lock.hold(cache_dir, in_use, "do not start a second `lipsync prepare` on it")


def _log_progress(
    summaries: Iterable[ExtractionSummary], total: int
) -> Iterator[ExtractionSummary]:
    clips, is_told, measured, rejected = 0, False, 0, collections.Counter[str]()
    with ProgressBar("videos", total, log) as bar:
        for number, summary in enumerate(summaries, 1):
            clips += len(summary.clips)
            measured += summary.stages.get("sync offset", StageCounts()).entered
            rejected.update(item.reason for item in summary.rejected)
            bar(number, f"{clips} clips, {rejected.total()} rejected")
            if _ENOUGH <= measured and number < total and not is_told:
                if advice := sync_correction.drop_advice(rejected, measured):
                    log.warning("So far %s", advice)
                    is_told = True
            yield summary
