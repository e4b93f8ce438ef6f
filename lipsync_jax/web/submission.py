"""Checks jobs and adds them to the queue, for the page and for the HTTP interface."""

import dataclasses
import datetime
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fastapi import Request

from lipsync_jax.types import Json
from lipsync_jax.web.actions import Actions
from lipsync_jax.web.batches import MAX_ROWS, Row
from lipsync_jax.web.job import BatchRow, Job, SubmittedJob, in_words, new
from lipsync_jax.web.job_options import DUB, NEED_CONSENT, require_consent
from lipsync_jax.web.jobs import JobQueue

if TYPE_CHECKING:
    import gradio as gr


@dataclasses.dataclass(frozen=True)
class Submitter:
    """Checks jobs and adds them to the queue.

    Attributes:
        actions: the models.
        queue: of jobs.
        label: the text that callers write on every frame of jobs that name no `label`.
    """

    actions: Actions
    queue: JobQueue
    label: str = ""

    def submit(
        self,
        kind: str,
        files: Mapping[str, Path],
        options: Mapping[str, Json],
        consent: bool,
        client: str,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> Job:
        """Adds a job.

        Args:
            kind: one of KINDS.
            files: role -> path.
            options: see JOB_OPTIONS.
            consent: whether the user confirmed the consent of the persons.
            client: an address.
            names: role -> the user's name of the file, where it is not the path's.

        Raises:
            ValueError: see `Actions.check` and `JobQueue.add`.
        """
        submitted = self.actions.check(kind, files, names, options, consent)
        confirmed = _now() if kind in NEED_CONSENT else ""
        return self.queue.add(new(submitted, consent=confirmed, client=client), files)

    def submit_batch(self, rows: Sequence[Row], consent: bool, client: str) -> list[Job]:
        """Adds a job for each row of a batch; a wrong row becomes a failed job.

        Args:
            rows: the videos to make.
            consent: whether the user confirmed the consent of the persons of all rows.
            client: an address.

        Raises:
            ValueError: consent is missing, there are too many rows, or no row can become a job.
        """
        require_consent(consent)
        if not rows or len(rows) > MAX_ROWS:
            raise ValueError(f"a batch of {len(rows)} rows can't be made; give 1 to {MAX_ROWS}")
        checked = [_check_row(self.actions, row) for row in rows]
        errors = [each for each in checked if isinstance(each, str)]
        if len(errors) == len(rows):
            raise ValueError("; ".join(dict.fromkeys(errors)))
        batch = secrets.token_hex(8)
        return [
            _add_row(self.queue, row, found, client, BatchRow(batch, number, row.outfile))
            for number, (row, found) in enumerate(zip(rows, checked, strict=True), 1)
        ]


def _add_row(
    queue: JobQueue, row: Row, found: SubmittedJob | str, client: str, batch_row: BatchRow
) -> Job:
    """Adds the job of a row, or one that failed by an error in words."""
    if not isinstance(found, str):
        try:
            job = new(found, consent=_now(), client=client, row=batch_row)
            return queue.add(job, found.files)
        except OSError as error:  # an upload was removed
            found = in_words(error)
    refused = SubmittedJob(DUB, names=row.names)
    return queue.add(new(refused, client=client, row=batch_row, error=found), {})


def _check_row(actions: Actions, row: Row) -> SubmittedJob | str:
    """Checks a row; returns its job, or the error in words."""
    try:
        if row.error:
            raise ValueError(row.error)
        return actions.check(DUB, row.files, row.names, row.options, True)
    except (ValueError, OSError) as error:
        return str(error)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def client_of(request: "Request | gr.Request") -> str:
    """Returns the address of a client."""
    return request.client.host if request.client else ""
