"""Cuts many videos in parallel, so that neither an interrupt nor a broken file costs the rest."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2

from lipsync_jax.data_prep import clip_cache, corpora
from lipsync_jax.data_prep.extract_clips import UNREADABLE, Dropped, Settings, cut


@dataclasses.dataclass(frozen=True)
class Summary:
    """What one video gave, without its pictures and sound.

    Attributes:
        video_id: the video's.
        speaker: who talks.
        clips: frames of each clip, by clip id.
        dropped: what was left out.
        frames: frames at 25 a second.
        found: of those, frames in which some face was detected.
        notes: what was wrong with the file though it was used.
        key: changes whenever the clips might.
    """

    video_id: str
    speaker: str
    clips: Mapping[str, int]
    dropped: tuple[Dropped, ...]
    frames: int = 0
    found: int = 0
    notes: tuple[str, ...] = ()
    key: str = ""


def cut_all(
    videos: list[corpora.Video], corpus: str, settings: Settings, kept: Path, workers: int
) -> Iterator[Summary]:
    """Yields every video's summary as it is ready; the clips themselves are kept on disk.

    A video that kills its process (a decoder's crash, too little memory) takes down the pool, and
    with it the videos then being cut; these are cut again, each in a process of its own.

    Args:
        videos: with unique ids.
        corpus: theirs.
        settings: how they are cut.
        kept: folder of the outcomes, see `outcomes.file_of`; those that are there and still true
            are not made again.
        workers: processes; 0 cuts in this one.

    Raises:
        OSError: processes cannot be started.
    """
    for stale in [*kept.glob("*.part"), *kept.glob("*.trying")]:
        stale.unlink()
    task = (corpus, settings, kept)
    if workers < 1:
        yield from (_cut_one(source, *task) for source in videos)
        return
    todo = {source.video_id: source for source in videos}

    def in_pool(sources: Iterable[corpora.Video], processes: int) -> Iterator[Summary]:
        for summary in _pooled(list(sources), task, processes):
            del todo[summary.video_id]
            yield summary

    while todo:
        before = len(todo)
        yield from in_pool(todo.values(), min(workers, len(todo)))
        for suspect in [source for source in todo.values() if _trying(kept, source).exists()]:
            yield from in_pool([suspect], 1)
            if suspect.video_id in todo:
                _trying(kept, suspect).unlink(missing_ok=True)
                del todo[suspect.video_id]
                detail = "its process died: out of memory, or a fault in the decoder"
                dropped = Dropped(suspect.video_id, UNREADABLE, detail)
                yield Summary(suspect.video_id, suspect.speaker, {}, (dropped,))
        if len(todo) == before:
            raise OSError("the processes that cut videos die at once; try --workers 0")


def _pooled(videos: list[corpora.Video], task: tuple, processes: int) -> Iterator[Summary]:
    """Summaries of the videos, ending early if a process dies."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context, _start_worker) as pool:
        futures = [pool.submit(_cut_one, source, *task) for source in videos]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends it without a traceback
    cv2.setNumThreads(1)  # the processes share the cores
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without it, workers whose parent was killed would wait for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _trying(kept: Path, source: corpora.Video) -> Path:
    """A mark that the video is being cut; it stays behind if the process dies."""
    return clip_cache.file_of(kept, source).with_suffix(".trying")


def _cut_one(source: corpora.Video, corpus: str, settings: Settings, kept: Path) -> Summary:
    """Cuts a video, or takes its kept outcome; returns what it gave."""
    key = clip_cache.key_of(source, corpus, settings)
    file = clip_cache.file_of(kept, source)
    outcome = clip_cache.load(file, key)
    if outcome is None:
        mark = _trying(kept, source)
        mark.touch()
        outcome = cut(source, corpus, settings)
        if any(item.reason == UNREADABLE for item in outcome.dropped):
            file.unlink(missing_ok=True)  # the next run tries again
        else:
            clip_cache.save(outcome, file, key)
        mark.unlink(missing_ok=True)
    return Summary(
        video_id=source.video_id,
        speaker=source.speaker,
        clips={clip.clip_id: len(clip.frames) for clip in outcome.clips},
        dropped=outcome.dropped,
        frames=outcome.frames,
        found=outcome.found,
        notes=outcome.notes,
        key=key,
    )
