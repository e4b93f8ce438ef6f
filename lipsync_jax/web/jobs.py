"""A queue of jobs in folders, run one after the other by one thread.

A job is a folder that holds `job.json`, its inputs and what it makes, so that jobs outlive the
process. This module knows neither networks nor HTTP.
"""

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import re
import secrets
import shutil
import statistics
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from lipsync_jax.text import unique_file_names
from lipsync_jax.types import Json

WAITING, RUNNING, DONE = "waiting", "running", "done"
FAILED, CANCELLED, INTERRUPTED = "failed", "cancelled", "interrupted"
STATES = (WAITING, RUNNING, DONE, FAILED, CANCELLED, INTERRUPTED)
THUMBNAIL = "thumb.jpg"  # name of a job's image, which may be missing
MAX_JOBS = 200  # the oldest finished ones are removed
MAX_WAITING = 20  # of one client
EXPECTED_ERRORS = (ValueError, OSError, MemoryError)  # of inputs and of the machine
_WRITE_INTERVAL = 1.0  # seconds between two writings of a running job's file
_RATE_WINDOW = 5.0  # seconds over which the time left is estimated
_JOB_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_FILE = "job.json"
_INTERRUPTION = "the program ended while this job ran"


class Cancelled(Exception):
    """Raised inside a job that the user cancelled."""


class QueueFullError(ValueError):
    """A client has too many waiting jobs."""


@dataclasses.dataclass
class Progress:
    """The progress of a running job.

    Attributes:
        stage: what is done, in words.
        done: units finished, frames as a rule; 0 of 0 where nothing can be counted.
        total: number of them.
        per_second: units a second over the last seconds; 0 if unknown.
        seconds_left: of this stage; None if unknown.
    """

    stage: str = ""
    done: int = 0
    total: int = 0
    per_second: float = 0.0
    seconds_left: float | None = None


@dataclasses.dataclass
class Job:
    """One job.

    Attributes:
        job_id: its name, also of its folder.
        kind: what to do, see `actions.KINDS`.
        title: shown to the user.
        files: role, such as `face`, -> name of the file in the job's folder.
        names: role -> the user's own name of the file.
        options: of the library's function.
        consent: when the user confirmed the consent of the persons, ISO 8601; empty if not asked.
        client: who submitted the job, an address.
        state: one of STATES.
        created: seconds since the epoch.
        started: seconds since the epoch; 0 before.
        ended: seconds since the epoch; 0 before.
        rank: waiting jobs run in the order of (rank, created).
        progress: of a running job.
        error: why it failed, in words.
        details: traceback of the failure.
        report: of a job that is done.
    """

    job_id: str
    kind: str
    title: str
    files: dict[str, str]
    names: dict[str, str]
    options: dict[str, Json]
    consent: str = ""
    client: str = ""
    state: str = WAITING
    created: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    rank: int = 0
    progress: Progress = dataclasses.field(default_factory=Progress)
    error: str = ""
    details: str = ""
    report: dict[str, Json] = dataclasses.field(default_factory=dict)


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
        self._jobs = {job.job_id: job for job in map(_read, sorted(folder.iterdir())) if job}
        self._changed = threading.Condition(threading.RLock())
        self._cancel, self._closed = threading.Event(), False
        self._tracker = _Tracker()
        for job in self._jobs.values():
            if job.state == RUNNING:
                self._finish(job, INTERRUPTED, _INTERRUPTION)
        self._remove_old()
        self._thread = threading.Thread(target=self._work, name="lipsync jobs", daemon=True)
        self._thread.start()

    def add(
        self,
        kind: str,
        files: Mapping[str, Path],
        options: Mapping[str, Json],
        *,
        title: str = "",
        names: Mapping[str, str] | None = None,
        consent: str = "",
        client: str = "",
    ) -> Job:
        """Adds a job; its inputs are linked or copied into its folder.

        Args:
            kind: see `Job`.
            files: role -> path.
            options: see `Job`.
            title: see `Job`; by default the files' names.
            names: role -> the user's own name of the file; by default the path's.
            consent: see `Job`.
            client: see `Job`.

        Raises:
            QueueFullError: the client has MAX_WAITING waiting jobs.
            OSError: a file can't be read, or the folder can't be written to.
        """
        with self._changed:
            if sum(j.state == WAITING and j.client == client for j in self._jobs.values()) >= (
                MAX_WAITING
            ):
                raise QueueFullError(
                    f"{MAX_WAITING} jobs are waiting already; wait until some have ended, or "
                    "cancel some"
                )
            names = {role: path.name for role, path in files.items()} | dict(names or {})
            job = Job(
                job_id=f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
                kind=kind,
                title=title or " + ".join(names.values()),
                files={role: f"{role}{path.suffix.lower()}" for role, path in files.items()},
                names=names,
                options=dict(options),
                consent=consent,
                client=client,
                created=time.time(),
            )
            folder = self.folder(job)
            folder.mkdir()
            try:
                for role, path in files.items():
                    _link(path, folder / job.files[role])
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._jobs[job.job_id] = job
            self._write(job)
            self._remove_old()  # after the inputs, which may be those of an old job
            self._changed.notify_all()
        return job

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
            jobs = [dataclasses.replace(job) for job in self._jobs.values()]
        order = {RUNNING: 0, WAITING: 1}
        return sorted(
            jobs,
            key=lambda job: (
                order.get(job.state, 2),
                _turn(job) if job.state == WAITING else (0, -job.created),
            ),
        )

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
                self._write(job)

    def run_again(self, job_id: str) -> Job:
        """Adds a job with the inputs and options of an earlier one.

        Raises:
            KeyError: there is no such job.
        """
        job = self.get(job_id)
        folder = self.folder(job)
        files = {role: folder / name for role, name in job.files.items()}
        return self.add(
            job.kind, files, job.options, title=job.title, names=job.names, consent=job.consent,
            client=job.client,
        )  # fmt: skip

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
                self._tracker = _Tracker()
                job.state, job.started = RUNNING, time.time()
                self._write(job)
            self._run_one(job)

    def _next(self) -> Job | None:
        waiting = (job for job in self._jobs.values() if job.state == WAITING)
        return min(waiting, key=_turn, default=None)

    def _run_one(self, job: Job) -> None:
        written = 0.0

        def on_progress(stage: str, done: int = 0, total: int = 0) -> None:
            nonlocal written
            if self._cancel.is_set():
                raise Cancelled
            job.progress = self._tracker(stage, done, total)
            if time.monotonic() - written > _WRITE_INTERVAL:
                written = time.monotonic()
                self._write(job)

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
            if state != DONE:
                with contextlib.suppress(OSError):  # somebody removed the folder
                    self._remove_outputs(job)
            self._write(job)

    def _remove_outputs(self, job: Job) -> None:
        for path in self.folder(job).iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in {_FILE, THUMBNAIL, *job.files.values()}:
                path.unlink(missing_ok=True)

    def _write(self, job: Job) -> None:
        path = self.folder(job) / _FILE
        partial = path.with_name(f".{_FILE}")
        with contextlib.suppress(OSError):  # a full disk: the job itself reports it
            partial.write_text(json.dumps(dataclasses.asdict(job), indent=1), encoding="utf-8")
            os.replace(partial, path)

    def _remove_old(self) -> None:
        finished = [job for job in self._jobs.values() if job.state not in (WAITING, RUNNING)]
        finished.sort(key=lambda job: job.created, reverse=True)
        now = time.time()
        for number, job in enumerate(finished):
            if number >= MAX_JOBS or now - (job.ended or job.created) > self._keep_seconds:
                self.delete(job.job_id)


def in_words(error: Exception) -> str:
    """Returns the message of an error; of a fault of the program also the error's type."""
    expected = isinstance(error, EXPECTED_ERRORS)
    return str(error) if expected else f"{type(error).__name__}: {error}"


def safe_name(name: str, fallback: str = "file") -> str:
    """Makes a file name, with its suffix, of a name that a user gave."""
    stem, suffix = os.path.splitext(os.path.basename(name.replace("\\", "/")))
    suffix = suffix if re.fullmatch(r"\.\w{1,8}", suffix, re.ASCII) else ""
    (safe,) = unique_file_names([stem.strip(".") or fallback]).values()
    return safe + suffix


class _Tracker:
    """Estimates rate and time left of a stage from its last seconds."""

    def __init__(self) -> None:
        self._stage, self._points = "", deque[tuple[float, int]]()

    def __call__(self, stage: str, done: int, total: int) -> Progress:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._points = stage, deque()
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[0][0] > _RATE_WINDOW:
            self._points.popleft()
        rates = [
            (done - before) / (now - then) for then, before in self._points if now - then > 0.5
        ]
        rate = statistics.median(rates) if rates else 0.0
        left = (total - done) / rate if rate > 0 and total else None
        return Progress(stage, done, total, rate, left)


def _turn(job: Job) -> tuple[int, float]:
    return job.rank, job.created


def _read(folder: Path) -> Job | None:
    """Reads a job's file; None if the folder holds none that can be read."""
    if not _JOB_ID.fullmatch(folder.name):
        return None
    try:
        values = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no JSON object")
        values["progress"] = Progress(**values.get("progress", {}))
        job = Job(**values)
    except (OSError, ValueError, TypeError) as error:
        logging.warning("%s is no job: %s", folder / _FILE, error)
        return None
    return job if job.job_id == folder.name and job.state in STATES else None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
