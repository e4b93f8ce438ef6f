"""The record of one job, and the errors that end one."""

import dataclasses

from lipsync_jax.types import Json
from lipsync_jax.web.job_progress import Progress

WAITING, RUNNING, DONE = "waiting", "running", "done"
FAILED, CANCELLED, INTERRUPTED = "failed", "cancelled", "interrupted"
STATES = (WAITING, RUNNING, DONE, FAILED, CANCELLED, INTERRUPTED)
EXPECTED_ERRORS = (ValueError, OSError, MemoryError)  # of inputs and of the machine


@dataclasses.dataclass
class Job:
    """One job.

    Attributes:
        job_id: its name, also of its folder.
        kind: what to do, see `job_kinds.KINDS`.
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


class Cancelled(Exception):
    """Raised inside a job that the user cancelled."""


class QueueFullError(ValueError):
    """A client has too many waiting jobs."""


def in_words(error: Exception) -> str:
    """Returns the message of an error; of a fault of the program also the error's type."""
    expected = isinstance(error, EXPECTED_ERRORS)
    return str(error) if expected else f"{type(error).__name__}: {error}"
