"""Extracts clips by a pipeline of Apache Beam, on one machine or a cluster.

The pipeline fills the cache that local processes fill, and the shards are written from the cache by
one program: they are equal, byte for byte, to those of a local run. Workers read the videos and
write the cache by their paths, so all of them need one file system: NFS, or a mounted bucket.
"""

import importlib.util
import logging
import os
import pickle
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from lipsync_jax.data_prep import clip_cache, corpora, worker_pool
from lipsync_jax.data_prep.settings import ExtractionSettings
from lipsync_jax.progress import LOG_INTERVAL, ProgressBar

# The core of the DirectRunner, which itself first downloads and tries another program, Prism, that
# takes no number of processes.
_LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LISTS = "videos"  # folder in the cache
_VIDEOS_PER_LIST = 1000

log = logging.getLogger(__name__)


def require_beam() -> None:
    """Raises ValueError if Apache Beam is not installed."""
    if importlib.util.find_spec("apache_beam") is None:
        raise ValueError(
            "--runner beam needs Apache Beam: run pip install 'lipsync_jax[beam]', or take "
            "--runner local"
        )


def fill_cache(
    videos: Sequence[corpora.Video],
    corpus: str,
    settings: ExtractionSettings,
    cache_dir: Path,
    workers: int = 0,
    options: Sequence[str] = (),
) -> set[str]:
    """Extracts the clips of all videos into the cache; valid results in it are kept.

    A video whose worker died is left out: the processes that read the cache try it again.

    Args:
        videos: with unique ids.
        corpus: the corpus of the videos.
        settings: of the extraction.
        cache_dir: see `clip_cache.cache_path`; the same path on all workers.
        workers: processes on this machine; other runners have options of their own.
        options: of the pipeline, e.g. `--runner=FlinkRunner`; processes on this machine if they
            name none.

    Returns:
        The ids of the videos whose results the pipeline wrote.

    Raises:
        RuntimeError: the pipeline failed.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    cache_dir = cache_dir.absolute()
    before = _write_times(cache_dir)
    for stale in cache_dir.glob("*.in_progress"):
        stale.unlink()
    options = list(options)
    if not any(option.startswith("--runner") for option in options):
        options.append(f"--runner={_LOCAL_RUNNER}")
    if workers > 1 and {f"--runner={_LOCAL_RUNNER}", "--runner=DirectRunner"} & {*options}:
        options += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    pipeline = beam.Pipeline(options=PipelineOptions(options))
    _ = (
        pipeline
        | "Lists" >> beam.Create(_write_lists(videos, cache_dir / _LISTS))
        | "Videos" >> beam.FlatMap(_read_list)
        | "Spread" >> beam.Reshuffle()
        | "Extract" >> beam.Map(_extract, corpus, settings, cache_dir, _process())
    )
    finished = threading.Event()
    threading.Thread(target=_log_progress, args=(cache_dir, len(videos), finished)).start()
    try:
        pipeline.run().wait_until_finish()
    finally:
        finished.set()
        shutil.rmtree(cache_dir / _LISTS)
    after = _write_times(cache_dir)
    written = {file for file, time in after.items() if before.get(file) != time}
    return {v.video_id for v in videos if clip_cache.cache_path(cache_dir, v) in written}


def _write_lists(videos: Sequence[corpora.Video], folder: Path) -> list[Path]:
    """Writes the videos into files: the program of a pipeline may have 10 MB (Dataflow)."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    files = []
    for first in range(0, len(videos), _VIDEOS_PER_LIST):
        files.append(folder / f"{first}.pickle")
        files[-1].write_bytes(pickle.dumps(videos[first : first + _VIDEOS_PER_LIST]))
    return files


def _read_list(file: Path) -> Sequence[corpora.Video]:
    return pickle.loads(file.read_bytes())


def _write_times(cache_dir: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in cache_dir.glob("*.npz")}


def _process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def _extract(
    video: corpora.Video,
    corpus: str,
    settings: ExtractionSettings,
    cache_dir: Path,
    launcher: tuple[str, int],
) -> None:
    if _process() != launcher:  # in the launching process, its user decides
        worker_pool.use_one_thread()
    # Beam repeats what failed; a video that killed its worker would kill the next one too.
    if not worker_pool.in_progress_marker(cache_dir, video).exists():
        worker_pool.extract_one(video, corpus, settings, cache_dir)


def _log_progress(cache_dir: Path, total: int, finished: threading.Event) -> None:
    with ProgressBar("videos", total, log) as bar:
        while not finished.wait(LOG_INTERVAL):
            bar(sum(1 for _ in cache_dir.glob("*.npz")), "in the cache")
