"""What has changed in the list of jobs: pages ask twice a second, and reports are large."""

import secrets
import threading

from lipsync_jax.types import Json
from lipsync_jax.web import job_views
from lipsync_jax.web.jobs import JobQueue


class JobChanges:
    """Remembers the list of jobs as clients last saw it."""

    def __init__(self, queue: JobQueue) -> None:
        """Remembers nothing yet.

        Args:
            queue: of jobs.
        """
        self._queue, self._lock = queue, threading.Lock()
        self._session = secrets.token_hex(4)  # revisions of another process mean nothing here
        self._revision = 0
        # Job's id -> the revision it changed at, and its values then; the same of the order.
        self._jobs: dict[str, tuple[int, dict[str, Json]]] = {}
        self._order: tuple[int, list[str]] = 0, []

    def since(self, revision: str) -> dict[str, Json]:
        """Returns what has changed.

        Args:
            revision: of an earlier answer; any other text gives the whole list.

        Returns:
            `revision`; `jobs`, summaries of those that are new or have changed; `order`, the ids of
            all jobs, null if they are as before.
        """
        with self._lock:
            self._update()
            session, _, number = revision.partition(".")
            is_known = session == self._session and number.isdecimal()
            last = int(number) if is_known else -1
            changed, order = self._order
            return {
                "revision": f"{self._session}.{self._revision}",
                "jobs": [values for at, values in self._jobs.values() if at > last],
                "order": order if changed > last else None,
            }

    def _update(self) -> None:
        summaries = {job.job_id: job_views.summary(self._queue, job) for job in self._queue.all()}
        following = self._revision + 1
        jobs = {}
        for job_id, values in summaries.items():
            known = self._jobs.get(job_id)
            jobs[job_id] = known if known and known[1] == values else (following, values)
        if [*jobs] != self._order[1]:
            self._order = following, [*jobs]
        self._jobs = jobs
        self._revision = max([self._order[0], *(at for at, _ in jobs.values())])
