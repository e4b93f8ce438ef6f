"""Extracts clips from many videos in parallel; an interrupt or a broken file affects no other."""

import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2

from lipsync_jax import processes
from lipsync_jax.data_prep import clip_cache, corpora
from lipsync_jax.data_prep.candidates import unreadable
from lipsync_jax.data_prep.decision import ExtractionResult, decide
from lipsync_jax.data_prep.extract_clips import read_candidates
from lipsync_jax.data_prep.settings import ExtractionSettings
from lipsync_jax.data_prep.stages import Rejected, StageCounts

_AHEAD = 4  # videos a process that the pool has been given and not finished


@dataclasses.dataclass(frozen=True)
class ExtractionSummary:
    """The result of one video without its frames and audio.

    Attributes:
        video_id: id of the video.
        speaker: identity of the speaker.
        clips: number of frames of each clip, by clip id.
        rejected: segments, or the video, without a clip.
        num_frames: frames at 25 a second.
        num_frames_with_face: estimate of the frames in which a face was detected.
        notes: defects of a file that was used.
        stages: what each stage did, see `stages.STAGES`.
        key: of `clip_cache.cache_key`.
        cached: whether an earlier run read the video.
    """

    video_id: str
    speaker: str
    clips: Mapping[str, int]
    rejected: tuple[Rejected, ...]
    num_frames: int = 0
    num_frames_with_face: int = 0
    notes: tuple[str, ...] = ()
    stages: Mapping[str, StageCounts] = dataclasses.field(default_factory=dict)
    key: str = ""
    cached: bool = False

    @classmethod
    def of(
        cls, video: corpora.Video, result: ExtractionResult, key: str = "", cached: bool = False
    ) -> "ExtractionSummary":
        """Returns the summary of a video's result."""
        return cls(
            video_id=video.video_id,
            speaker=video.speaker,
            clips={clip.clip_id: len(clip.frames) for clip in result.clips},
            rejected=result.rejected,
            num_frames=result.num_frames,
            num_frames_with_face=result.num_frames_with_face,
            notes=result.notes,
            stages=result.stages,
            key=key,
            cached=cached,
        )


def extract_all(
    videos: list[corpora.Video],
    corpus: str,
    settings: ExtractionSettings,
    cache_dir: Path,
    workers: int,
) -> Iterator[ExtractionSummary]:
    """Yields every video's summary as it is ready; the clips themselves are cached on disk.

    A video that kills its process (a decoder's crash, too little memory) ends the pool and the
    extractions in progress; these are repeated, each in a process of its own.

    Args:
        videos: with unique ids.
        corpus: the corpus of the videos.
        settings: of the extraction.
        cache_dir: folder of the cached results, see `clip_cache.cache_path`; valid ones are reused.
        workers: processes; 0 works in this one.

    Raises:
        OSError: processes cannot be started.
    """
    for stale in [*cache_dir.glob("*.part"), *cache_dir.glob("*.in_progress")]:
        stale.unlink()
    task = (corpus, settings, cache_dir)
    if workers < 1:
        yield from (extract_one(source, *task) for source in videos)
        return
    pending = {source.video_id: source for source in videos}

    def in_pool(sources: Iterable[corpora.Video], processes: int) -> Iterator[ExtractionSummary]:
        for summary in _run_in_pool(list(sources), task, processes):
            del pending[summary.video_id]
            yield summary

    while pending:
        before = len(pending)
        yield from in_pool(pending.values(), min(workers, len(pending)))
        given = list(itertools.islice(pending.values(), _AHEAD * workers))  # and perhaps begun
        for suspect in [v for v in given if in_progress_marker(cache_dir, v).exists()]:
            yield from in_pool([suspect], 1)
            if suspect.video_id in pending:
                in_progress_marker(cache_dir, suspect).unlink(missing_ok=True)
                del pending[suspect.video_id]
                detail = "its process died: out of memory, or a crash of the decoder"
                result = decide(suspect, unreadable(suspect, detail), settings)
                yield ExtractionSummary.of(suspect, result)
        if len(pending) == before:
            raise OSError("the worker processes die at once; try --workers 0")


def _run_in_pool(
    videos: list[corpora.Video], task: tuple, processes: int
) -> Iterator[ExtractionSummary]:
    """Yields summaries of the videos, which begin in order; ends early if a process dies."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context, _start_worker) as pool:
        waiting = iter(videos)

        def begin(count: int) -> set[concurrent.futures.Future[ExtractionSummary]]:
            sources = itertools.islice(waiting, count)
            return {pool.submit(extract_one, source, *task) for source in sources}

        try:
            running = begin(_AHEAD * processes)
            while running:
                done, running = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                running |= begin(len(done))
                for future in sorted(done, key=lambda f: f.exception() is not None):
                    yield future.result()
        except BrokenProcessPool:
            pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    processes.start_worker()
    use_one_thread()


def use_one_thread() -> None:
    """Leaves the cores to the other processes, and accelerators alone; to be called first.

    The sums of a network depend on the number of its threads, in their last digit.
    """
    cv2.setNumThreads(1)
    os.environ.update(JAX_PLATFORMS="cpu", PJRT_NPROC="1", NPROC="1")


def in_progress_marker(cache_dir: Path, video: corpora.Video) -> Path:
    """Returns the file that marks an extraction in progress; it remains if the process dies."""
    return clip_cache.cache_path(cache_dir, video).with_suffix(".in_progress")


def extract_one(
    video: corpora.Video, corpus: str, settings: ExtractionSettings, cache_dir: Path
) -> ExtractionSummary:
    """Reads a video or its cached candidates, and decides; returns the summary of its clips."""
    key = clip_cache.cache_key(video, corpus, settings)
    file = clip_cache.cache_path(cache_dir, video)
    cached = clip_cache.load(file, key)
    if cached is None:
        marker = in_progress_marker(cache_dir, video)
        marker.touch()
        found = read_candidates(video, corpus, settings)
        result = decide(video, found, settings)
        if found.is_unreadable:
            file.unlink(missing_ok=True)  # the next run tries again
        else:
            clip_cache.save(found, file, key, result)
        marker.unlink(missing_ok=True)
    else:
        found, features = cached
        result = decide(video, found, settings, features)
        if not result.features.keys() <= features.keys():  # for clips of other thresholds
            clip_cache.save(found, file, key, result)
    return ExtractionSummary.of(video, result, key, cached is not None)
