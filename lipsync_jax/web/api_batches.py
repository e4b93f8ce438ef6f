"""The HTTP interface's part for batches: many dubs in one go, a job for each row."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from lipsync_jax.types import Json
from lipsync_jax.web import job_views
from lipsync_jax.web.batches import Row
from lipsync_jax.web.job import CANCELLED, DONE, FAILED, INTERRUPTED, RUNNING, STATES, Job
from lipsync_jax.web.job_options import DUB, KINDS
from lipsync_jax.web.jobs import JobQueue
from lipsync_jax.web.submission import Submitter, client_of
from lipsync_jax.web.uploads import Uploads, safe_name


class NewRow(BaseModel, extra="forbid"):
    """A video to make. `face` and `audio` are ids of uploaded files."""

    face: str
    audio: str
    outfile: str = Field("", description="name of the result in the ZIP file")
    options: dict[str, Json] = Field(default_factory=dict, description="as of a job of kind dub")


class NewBatch(BaseModel, extra="forbid"):
    """Rows to dub."""

    rows: list[NewRow]
    consent: bool = Field(False, description="everyone shown and heard has agreed to these videos")
    options: dict[str, Json] = Field(
        default_factory=dict, description="of all rows, where a row has no other"
    )


def add_routes(app: FastAPI, submitter: Submitter, uploads: Uploads) -> None:
    """Adds the routes of batches.

    Args:
        app: takes them.
        submitter: adds batches.
        uploads: the files that rows may name.
    """
    queue, label = submitter.queue, submitter.label

    @app.post("/api/batches", tags=["batches"], status_code=202)
    def add_batch(new: NewBatch, request: Request) -> dict[str, Json]:
        """Adds a job for each row; a wrong row becomes a failed job, and stops no other."""
        options = ({"label": label} if label else {}) | new.options
        rows = [_row(uploads, each, options) for each in new.rows]
        jobs = submitter.submit_batch(rows, new.consent, client_of(request))
        return {"batch": jobs[0].batch, "jobs": [job.job_id for job in jobs]}

    @app.get("/api/batches/{batch}", tags=["batches"])
    def get_batch(batch: str) -> dict[str, Json]:
        """Returns the rows of a batch, each a job, and the number of them in each state."""
        rows = _rows(queue, batch)
        counts = {state: sum(job.state == state for job in rows) for state in STATES}
        return {
            "batch": batch,
            "counts": counts,
            "rows": [job_views.as_json(queue, job) for job in rows],
        }

    @app.post("/api/batches/{batch}/cancel", tags=["batches"])
    def cancel_batch(batch: str) -> dict[str, Json]:
        """Cancels the rows that wait or run; results that are done stay."""
        rows = sorted(_rows(queue, batch), key=lambda job: job.state == RUNNING)
        for job in rows:  # the running one last, so that none follows it
            queue.cancel(job.job_id)
        return get_batch(batch)

    @app.post("/api/batches/{batch}/again", tags=["batches"], status_code=202)
    def run_again(batch: str) -> dict[str, Json]:
        """Adds the rows again that failed, were cancelled or interrupted, in their places."""
        ended = (FAILED, CANCELLED, INTERRUPTED)
        rows = [job for job in _rows(queue, batch) if job.state in ended and job.files]
        if not rows:
            raise HTTPException(409, "no row of this batch can run again")
        return {"batch": batch, "jobs": [queue.run_again(job.job_id).job_id for job in rows]}

    @app.delete("/api/batches/{batch}", tags=["batches"], status_code=204)
    def delete_batch(batch: str) -> None:
        """Deletes the rows with their files; 409 while one runs."""
        rows = _rows(queue, batch)
        if any(job.state == RUNNING for job in rows):
            raise HTTPException(409, "a row of this batch is running; cancel the batch first")
        for job in rows:
            job_views.delete(queue, job.job_id)

    @app.get("/api/batches/{batch}/results.zip", tags=["batches"])
    def results(batch: str) -> StreamingResponse:
        """Returns the results that are done, and `rows.csv` with the state of each row."""
        rows = _rows(queue, batch)
        done = [job for job in rows if job.state == DONE]
        return job_views.zip_file(queue, done, _name, {"rows.csv": _table(rows)})


def _row(uploads: Uploads, new: NewRow, options: dict[str, Json]) -> Row:
    try:
        files = {role: uploads.path(getattr(new, role), role) for role in KINDS[DUB]}
    except ValueError as error:
        return Row({}, outfile=new.outfile, error=str(error))
    return Row(files, options | new.options, outfile=new.outfile)


def _rows(queue: JobQueue, batch: str) -> list[Job]:
    try:
        return queue.rows(batch)
    except KeyError:
        raise HTTPException(404, f"there is no batch {batch[:40]!r}") from None


def _name(job: Job) -> str:
    stems = (Path(safe_name(name)).stem for name in job.names.values())
    return job.outfile or "_".join([f"{job.row:03}", *stems]) + ".mp4"


def _table(rows: Sequence[Job]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["row", "face", "audio", "outfile", "state", "error"])
    for job in rows:
        names = job.names.get("face", ""), job.names.get("audio", "")
        table.writerow([job.row, *names, job.outfile, job.state, job.error])
    return text.getvalue().encode("utf-8-sig")  # so that spreadsheets read it as UTF-8
