"""The record of one job, and the errors that end one."""

import dataclasses
import datetime
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.types import Json
from lipsync_jax.web.job_progress import Progress

WAITING, RUNNING, DONE = "waiting", "running", "done"
FAILED, CANCELLED, INTERRUPTED = "failed", "cancelled", "interrupted"
STATES = (WAITING, RUNNING, DONE, FAILED, CANCELLED, INTERRUPTED)
DISK_FULL = (
    "the server's disk is full; delete old jobs, or start `lipsync web` with --work on another disk"
)
EXPECTED_ERRORS = (ValueError, OSError, MemoryError)  # of inputs and of the machine


@dataclasses.dataclass
class Job:
    """One job.

    Attributes:
        job_id: its name, also of its folder.
        kind: what to do, see `job_options.KINDS`.
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
        batch: name of the batch that it is a row of; empty for a job of its own.
        row: number in the batch, from 1.
        outfile: the user's name of the result; empty for one made of the face's.
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
    batch: str = ""
    row: int = 0
    outfile: str = ""


@dataclasses.dataclass(frozen=True)
class SubmittedJob:
    """What a job is made of, see `Actions.check`.

    Attributes:
        kind: see `Job`.
        files: role -> path of an input.
        names: role -> the user's name of the file, where it is not the path's.
        options: see `Job`.
    """

    kind: str
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Json] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class BatchRow:
    """The row of a batch that a job is.

    Attributes:
        batch: see `Job`.
        row: see `Job`.
        outfile: see `Job`.
    """

    batch: str = ""
    row: int = 0
    outfile: str = ""


def new(
    submitted: SubmittedJob,
    *,
    consent: str = "",
    client: str = "",
    row: BatchRow = BatchRow(),
    error: str = "",
) -> Job:
    """Returns a job that waits; its folder is not made yet.

    Args:
        submitted: its inputs and options.
        consent: see `Job`.
        client: see `Job`.
        row: of a batch, if the job is one.
        error: why the job can't run; it then is one that failed.
    """
    names = {role: path.name for role, path in submitted.files.items()} | dict(submitted.names)
    now = time.time()
    return Job(
        job_id=_new_id(),
        kind=submitted.kind,
        title=row.outfile or " + ".join(names.values()) or f"row {row.row}",
        files={role: f"{role}{path.suffix.lower()}" for role, path in submitted.files.items()},
        names=names,
        options=dict(submitted.options),
        consent=consent,
        client=client,
        state=FAILED if error else WAITING,
        created=now,
        ended=now if error else 0.0,
        error=error,
        **vars(row),
    )


def again(job: Job) -> Job:
    """Returns a job that waits, with the inputs and options of an earlier one."""
    return dataclasses.replace(
        job, job_id=_new_id(), state=WAITING, created=time.time(), started=0.0, ended=0.0, rank=0,
        progress=Progress(), error="", details="", report={},
    )  # fmt: skip


def _new_id() -> str:
    return f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class Cancelled(Exception):
    """Raised inside a job that the user cancelled."""


class QueueFullError(ValueError):
    """A client has too many waiting jobs."""


def in_words(error: Exception) -> str:
    """Returns the message of an error; of a fault of the program also the error's type."""
    if isinstance(error, OSError) and error.errno in paths.FULL_DISK:
        return DISK_FULL
    expected = isinstance(error, EXPECTED_ERRORS)
    return str(error) if expected else f"{type(error).__name__}: {error}"
