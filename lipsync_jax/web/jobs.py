"""A queue of jobs in folders, run one after the other by one thread.

This module knows neither networks nor HTTP.
"""

import contextlib
import dataclasses
import logging
import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from lipsync_jax.types import Json
from lipsync_jax.web import job as job_records
from lipsync_jax.web import job_folder
from lipsync_jax.web.job import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    WAITING,
    Cancelled,
    Job,
    QueueFullError,
    in_words,
)
from lipsync_jax.web.job_changes import ChangeCounter, Changes
from lipsync_jax.web.job_progress import Progress, Tracker

MAX_JOBS = 200  # the oldest finished ones are removed
MAX_WAITING = 20  # of one client
_WRITE_INTERVAL = 1.0  # seconds between two writings of a running job's file
_INTERRUPTION = "the program ended while this job ran"

OnProgress = Callable[[str, int, int], None]  # stage, units done, of how many
# A job, its folder, a function to call with the progress -> the report.
Run = Callable[[Job, Path, OnProgress], Mapping[str, Json]]


class JobQueue:
    """Jobs, and the thread that runs them."""

    def __init__(self, folder: Path, run: Run, keep_seconds: float = 7 * 86_400) -> None:
        """Loads the jobs of a folder, and starts the thread.

        Args:
            folder: of the jobs; made if missing. For one process at a time.
            run: makes a job's files; errors end the job, not the queue. `Cancelled` is raised
                from its `OnProgress`.
            keep_seconds: finished jobs are removed after this time.
        """
        self._folder, self._run, self._keep_seconds = folder, run, keep_seconds
        folder.mkdir(parents=True, exist_ok=True)
        found = map(job_folder.read, sorted(folder.iterdir()))
        self._jobs = {job.job_id: job for job in found if job}
        self._changed = threading.Condition(threading.RLock())
        self._cancel, self._closed = threading.Event(), False
        self._tracker, self._counter = Tracker(), ChangeCounter()
        for job in self._jobs.values():
            if job.state == RUNNING:
                self._finish(job, INTERRUPTED, _INTERRUPTION)
        self._remove_old()
        self._thread = threading.Thread(target=self._work, name="lipsync jobs", daemon=True)
        self._thread.start()

    def add(self, job: Job, files: Mapping[str, Path]) -> Job:
        """Adds a job; its inputs are linked or copied into its folder.

        Args:
            job: see `job.new`.
            files: role -> path of an input.

        Raises:
            QueueFullError: the client has MAX_WAITING waiting jobs, a batch being one.
            OSError: a file can't be read, or the folder can't be written to.
        """
        with self._changed:
            self._require_room(job.client, job.batch)
            job_folder.make(self.folder(job), job, files)
            self._jobs[job.job_id] = job
            self._counter.add(job.job_id)
            self._remove_old()  # after the inputs, which may be those of an old job
            self._changed.notify_all()
        return dataclasses.replace(job)

    def _require_room(self, client: str, batch: str) -> None:
        """Raises QueueFullError if a client has too many waiting jobs for a new one."""
        jobs = self._jobs.values()
        if batch and any(job.batch == batch for job in jobs):
            return  # its first row had room
        waiting = [job for job in jobs if job.state == WAITING and job.client == client]
        if len({job.batch or job.job_id for job in waiting}) >= MAX_WAITING:
            raise QueueFullError(
                f"{MAX_WAITING} jobs are waiting already; wait until some have ended, or "
                "cancel some"
            )

    def folder(self, job: Job) -> Path:
        """Returns the folder of a job."""
        return self._folder / job.job_id

    def get(self, job_id: str) -> Job:
        """Returns a copy of a job.

        Raises:
            KeyError: there is no such job.
        """
        with self._changed:
            return dataclasses.replace(self._jobs[job_id])

    def all(self) -> list[Job]:
        """Returns copies of all jobs: running, waiting in the order of their turn, newest ended."""
        with self._changed:
            return [dataclasses.replace(job) for job in self._ordered()]

    def changes(self, revision: str) -> Changes:
        """Returns what has changed in the list of all jobs.

        Args:
            revision: of an earlier answer; any other text gives the whole list.
        """
        with self._changed:
            changed, moved = self._counter.since(revision, self._jobs)
            jobs = [dataclasses.replace(self._jobs[job_id]) for job_id in changed]
            order = [job.job_id for job in self._ordered()] if moved else None
            return Changes(self._counter.revision, jobs, order)

    def _ordered(self) -> list[Job]:
        order = {RUNNING: 0, WAITING: 1}
        return sorted(
            self._jobs.values(),
            key=lambda job: (
                order.get(job.state, 2),
                _turn(job) if job.state == WAITING else (0, -job.created),
            ),
        )

    def rows(self, batch: str) -> list[Job]:
        """Returns copies of the jobs of a batch, in the order of its rows.

        Raises:
            KeyError: there is no such batch.
        """
        found = [job for job in self.all() if job.batch == batch]
        if not batch or not found:
            raise KeyError(batch)
        return sorted(found, key=lambda job: job.row)

    def cancel(self, job_id: str) -> None:
        """Cancels a waiting job at once, a running one at its next progress.

        Raises:
            KeyError: there is no such job.
        """
        with self._changed:
            job = self._jobs[job_id]
            if job.state == WAITING:
                self._finish(job, CANCELLED)
            elif job.state == RUNNING:
                job.progress = dataclasses.replace(job.progress, stage="cancelling")
                self._counter.add(job_id, moved=False)
                self._cancel.set()

    def move_to_front(self, job_id: str) -> None:
        """Makes a waiting job the next one; others stay as they are.

        Raises:
            KeyError: there is no such job.
        """
        with self._changed:
            job = self._jobs[job_id]
            if job.state == WAITING:
                job.rank = min(j.rank for j in self._jobs.values()) - 1
                self._counter.add(job_id)
                job_folder.write(self.folder(job), job)

    def run_again(self, job_id: str) -> Job:
        """Adds a job with the inputs and options of an earlier one; a row of a batch is replaced.

        Raises:
            KeyError: there is no such job.
            ValueError: the row is not finished, or was refused before it had inputs.
        """
        with self._changed:
            job = self.get(job_id)
            if job.batch and job.state in (WAITING, RUNNING):
                raise ValueError(f"row {job.row} is {job.state}; cancel it first")
            if not job.files:
                raise ValueError(f"row {job.row} was refused: {job.error}; start it as another job")
            folder = self.folder(job)
            files = {role: folder / name for role, name in job.files.items()}
            again = self.add(job_records.again(job), files)
            if job.batch and job_id in self._jobs:  # adding may have removed old jobs
                self.delete(job_id)
        return again

    def delete(self, job_id: str) -> None:
        """Deletes a job that does not run, with its files.

        Raises:
            KeyError: there is no such job.
            ValueError: the job runs.
        """
        with self._changed:
            job = self._jobs[job_id]
            if job.state == RUNNING:
                raise ValueError("this job is running; cancel it first")
            del self._jobs[job_id]
            self._counter.remove(job_id)
            shutil.rmtree(self.folder(job), ignore_errors=True)

    def close(self) -> None:
        """Cancels the running job, which a later queue reports as interrupted, and ends."""
        with self._changed:
            self._closed = True
            self._cancel.set()
            self._changed.notify_all()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._changed:
                while (job := self._next()) is None and not self._closed:
                    self._changed.wait()
                if self._closed or job is None:
                    return
                self._cancel.clear()
                self._tracker = Tracker()
                job.state, job.started = RUNNING, time.time()
                self._counter.add(job.job_id)
                job_folder.write(self.folder(job), job)
            self._run_one(job)

    def _next(self) -> Job | None:
        waiting = (job for job in self._jobs.values() if job.state == WAITING)
        return min(waiting, key=_turn, default=None)

    def _run_one(self, job: Job) -> None:
        written = 0.0

        def on_progress(stage: str, done: int = 0, total: int = 0) -> None:
            nonlocal written
            with self._changed:
                if self._cancel.is_set():
                    raise Cancelled
                job.progress = self._tracker(stage, done, total)
                self._counter.add(job.job_id, moved=False)
            if time.monotonic() - written > _WRITE_INTERVAL:
                written = time.monotonic()
                job_folder.write(self.folder(job), job)

        try:
            report = self._run(dataclasses.replace(job), self.folder(job), on_progress)
            on_progress("finished")  # cancelled at the last moment
        except Cancelled:
            if self._closed:
                self._finish(job, INTERRUPTED, _INTERRUPTION)
            else:
                self._finish(job, CANCELLED)
        except Exception as error:  # one job must not end the queue
            logging.debug("job %s failed", job.job_id, exc_info=error)
            folder = f"{self.folder(job)}{os.sep}"
            words = in_words(error).replace(folder, "")
            self._finish(job, FAILED, words, traceback.format_exc())
        else:
            job.report = dict(report)
            self._finish(job, DONE)

    def _finish(self, job: Job, state: str, error: str = "", details: str = "") -> None:
        with self._changed:
            job.state, job.ended = state, time.time()
            job.error, job.details, job.progress = error, details, Progress()
            self._counter.add(job.job_id)
            if state != DONE:
                with contextlib.suppress(OSError):  # somebody removed the folder
                    job_folder.remove_outputs(self.folder(job), job)
            job_folder.write(self.folder(job), job)

    def _remove_old(self) -> None:
        finished = [job for job in self._jobs.values() if job.state not in (WAITING, RUNNING)]
        finished.sort(key=lambda job: job.created, reverse=True)
        now, places = time.time(), dict[str, int]()  # a batch has one place
        for job in finished:
            place = places.setdefault(job.batch or job.job_id, len(places))
            if place >= MAX_JOBS or now - (job.ended or job.created) > self._keep_seconds:
                self.delete(job.job_id)


def _turn(job: Job) -> tuple[int, float]:
    return job.rank, job.created
