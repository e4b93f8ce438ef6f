"""Counts the changes of jobs: pages ask twice a second what has changed."""

import secrets
from collections.abc import Iterable
from typing import NamedTuple

from lipsync_jax.web.job import Job


class Changes(NamedTuple):
    """What has changed in the list of jobs since a revision.

    Attributes:
        revision: of the list now.
        jobs: that are new or have changed.
        order: the ids of all jobs; None where they are as before.
    """

    revision: str
    jobs: list[Job]
    order: list[str] | None


class ChangeCounter:
    """Counts the changes of jobs; its owner has the lock."""

    def __init__(self) -> None:
        self._session = secrets.token_hex(4)  # revisions of another process mean nothing here
        self._count = self._order = 0  # now, and when the order of the jobs last changed
        self._jobs: dict[str, int] = {}  # a job's id -> the count when the job last changed

    @property
    def revision(self) -> str:
        """Names the state of all jobs."""
        return f"{self._session}.{self._count}"

    def add(self, job_id: str, moved: bool = True) -> None:
        """Counts a change of a job.

        Args:
            job_id: of the job.
            moved: whether its place among the jobs may have changed.
        """
        self._count += 1
        self._jobs[job_id] = self._count
        if moved:
            self._order = self._count

    def remove(self, job_id: str) -> None:
        """Counts the end of a job."""
        self.add(job_id)
        del self._jobs[job_id]

    def since(self, revision: str, job_ids: Iterable[str]) -> tuple[list[str], bool]:
        """Returns which of the jobs changed after a revision, and whether their order may have.

        Args:
            revision: any text that is no revision gives all.
            job_ids: of all jobs.
        """
        session, _, number = revision.partition(".")
        last = int(number) if session == self._session and number.isdecimal() else -1
        changed = [job_id for job_id in job_ids if self._jobs.get(job_id, 0) > last]
        return changed, self._order > last
