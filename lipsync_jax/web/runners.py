"""Runs a job of each kind by the library."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync_jax import __version__
from lipsync_jax.cli import _json_output
from lipsync_jax.evaluation.sync import dub_sync, video_sync
from lipsync_jax.media import audio as audio_files
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis import driving_audio
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.synthesis.dubbing import LipSyncPipeline
from lipsync_jax.synthesis.progress import GenerationResult, Progress
from lipsync_jax.types import Json
from lipsync_jax.web import job_options
from lipsync_jax.web.job import Job
from lipsync_jax.web.job_options import ANIMATE, DUB
from lipsync_jax.web.jobs import OnProgress
from lipsync_jax.web.models import CreditedSyncModel, ModelShelf
from lipsync_jax.web.timings import Timings


class RunningJob(NamedTuple):
    """A job that runs.

    Attributes:
        job: its record.
        files: role -> path of an input.
        folder: for what it makes.
        on_progress: takes the progress, and raises `job.Cancelled`.
    """

    job: Job
    files: Mapping[str, Path]
    folder: Path
    on_progress: OnProgress


def dub(
    running: RunningJob,
    models: ModelShelf[LipSyncPipeline],
    sync_models: ModelShelf[CreditedSyncModel],
    timings: Timings,
) -> dict[str, Json]:
    """Dubs a video, and measures its sync before and after; returns the report.

    Args:
        running: a job of kind DUB.
        models: dubbing models.
        sync_models: without one, sync is not measured.
        timings: stores the seconds that this takes.
    """
    job, files, folder, on_progress = running
    on_progress("loading the model", 0, 0)
    pipeline = models.get(job.options.get("model"))
    shortened: dict[str, Path] = {}
    if job.options.get("first_seconds"):
        seconds = float(job.options["first_seconds"])
        shortened = {
            role: _first_seconds(path, folder / f"{role}_start.wav", seconds)
            for role, path in files.items()
            if role != "face"
        }
    driving = {**files, **shortened}
    audio, settings = driving.get("audio"), job_options.settings(DUB, job.options, driving)
    outfile = folder / "result.mp4"
    on_progress("detecting faces", 0, 0)
    result = pipeline.generate(
        files["face"], audio, outfile, on_progress=_stages(on_progress), **settings
    )
    sync, generated = None, time.monotonic()
    if sync_models.names:
        on_progress("measuring sync", 0, 0)
        reading = {k: settings[k] for k in ("rotate", "crop", "resize_factor") if k in settings}
        sync = dub_sync.measure(
            files["face"],
            outfile,
            sync_models.get().model,
            result.video_faces,
            result.frame_numbers,
            **reading,
        )
    quality, model = job.options.get("quality"), models.folder(job.options.get("model"))
    timings.store(quality, model, result, time.monotonic() - generated)
    report = _json_output.generation(result, files["face"], audio, sync)
    report["sync_text"] = dub_sync.describe(sync) if sync else ()
    named = {files["face"].name: job.names["face"]}  # in why a video was not measured
    report |= {key: _json_output.plain(report[key], named) for key in ("sync", "sync_text")}
    for path in shortened.values():
        path.unlink()
    return _finish(report, job, result)


def animate(running: RunningJob, models: ModelShelf[Animator]) -> dict[str, Json]:
    """Animates an image; returns the report.

    Args:
        running: a job of kind ANIMATE.
        models: animation models.
    """
    job, files, folder, on_progress = running
    on_progress("loading the model", 0, 0)
    animator = models.get(job.options.get("model"))
    on_progress("generating frames", 0, 0)
    result = animator.animate(
        files["face"],
        files["audio"],
        folder / "result.mp4",
        on_progress=_stages(on_progress),
        **job_options.settings(ANIMATE, job.options),
    )
    return _finish(_json_output.generation(result, files["face"], files["audio"]), job, result)


def measure(running: RunningJob, models: ModelShelf[CreditedSyncModel]) -> dict[str, Json]:
    """Measures the sync of a video, and writes it in sync if the job says so; returns the report.

    Args:
        running: a job of kind SYNC.
        models: sync models.
    """
    job, files, folder, on_progress = running
    video, outfile = files["video"], None
    on_progress("loading the model", 0, 0)
    model, credit = models.get()
    tracks = video_sync.measure(
        video,
        model,
        on_frame=lambda done, total, _: on_progress("detecting faces", done, total),
    )
    report: dict[str, Json] = {
        "tracks": [_json_output.track(track) for track in tracks],
        "lines": [dub_sync.format_offset(track) for track in tracks],
        "credit": credit,
        "result": None,
    }
    if job.options.get("write_synced"):
        suffix = video.suffix if video.suffix in (".mp4", ".m4v", ".mov", ".mkv") else ".mkv"
        outfile = folder / f"result{suffix}"
        delay, lost = video_sync.shift_audio(video, outfile, tracks)
        report |= {"result": outfile.name, "audio_shift_ms": 1000 * delay, "warnings": lost}
    return report


def _stages(on_progress: OnProgress) -> Callable[[Progress], None]:
    names = {"faces": "detecting faces", "generate": "generating frames"}

    def report(progress: Progress) -> None:
        on_progress(names[progress.stage], progress.done, progress.total)

    return report


def _finish(report: dict[str, Json], job: Job, result: GenerationResult) -> dict[str, Json]:
    """Completes the report of a generated video by what its file says, and the consent."""
    tag = metadata.read(result.outfile)
    return report | {
        "face": job.names["face"],
        "audio": job.names.get("audio"),
        "outfile": result.outfile.name,
        "result": result.outfile.name,
        "tagged_as_synthetic": tag is not None and tag.model_hash == result.model_hash,
        "consent_confirmed": bool(job.consent),
        "version": __version__,
    }


def _first_seconds(path: Path, outfile: Path, seconds: float) -> Path:
    """Writes the first seconds of a recording."""
    rate, chunks = driving_audio.read_mono_chunks(path)
    count, parts = round(seconds * rate), []
    for chunk in chunks:
        parts.append(np.asarray(chunk))
        if sum(map(len, parts)) >= count:
            break
    audio_files.save(outfile, np.concatenate(parts)[:count], rate)
    return outfile
