"""The HTTP interface's part for jobs and their results."""

from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from lipsync_jax.types import Json
from lipsync_jax.web import job_views
from lipsync_jax.web.job import DONE
from lipsync_jax.web.job_folder import THUMBNAIL
from lipsync_jax.web.job_options import DUB, JOB_OPTIONS, KINDS, SYNC, speaker_role
from lipsync_jax.web.jobs import JobQueue
from lipsync_jax.web.submission import Submitter, client_of
from lipsync_jax.web.uploads import Uploads


class NewJob(BaseModel, extra="forbid"):
    """A job to add. `face`, `audio`, `video` and those of `speakers` are ids of uploaded files."""

    kind: Literal["dub", "animate", "sync"]
    face: str | None = Field(None, description="dub, animate: a video or an image of a face")
    audio: str | None = Field(None, description="dub, animate: a recording of speech")
    speakers: dict[Annotated[int, Field(ge=0)], str] = Field(
        default_factory=dict,
        description="dub: the recording of each face, by its number as of /api/faces; without "
        "audio the video has the mix of all",
    )
    video: str | None = Field(None, description="sync: a video with sound")
    from_job: str | None = Field(None, description="sync: measure the result of this job instead")
    consent: bool = Field(
        False, description="everyone shown and heard has agreed to this video; dub, animate"
    )
    options: dict[str, Json] = Field(
        default_factory=dict,
        description="; ".join(f"{kind}: {', '.join(names)}" for kind, names in JOB_OPTIONS.items()),
    )


def add_routes(app: FastAPI, submitter: Submitter, uploads: Uploads) -> None:
    """Adds the routes of jobs and their results.

    Args:
        app: takes them.
        submitter: adds jobs.
        uploads: the files that jobs may name.
    """
    _add_jobs(app, submitter, uploads)
    _add_results(app, submitter.queue)


def _add_jobs(app: FastAPI, submitter: Submitter, uploads: Uploads) -> None:
    queue, label = submitter.queue, submitter.label

    @app.get("/api/jobs", tags=["jobs"], response_model=list[dict[str, Json]])
    def list_jobs() -> JSONResponse:
        """Lists all jobs: running, waiting in the order of their turn, ended ones newest first."""
        # JSON values already.
        return JSONResponse([job_views.as_json(queue, job) for job in queue.all()])

    @app.get("/api/changes", tags=["jobs"], response_model=dict[str, Json])
    def list_changes(since: str = "") -> JSONResponse:
        """Lists the jobs that changed since the answer whose `revision` is given; without reports.

        `order` has the ids of all jobs, or null if they are as before.
        """
        found = queue.changes(since)
        jobs = [job_views.summary(queue, job) for job in found.jobs]
        return JSONResponse({"revision": found.revision, "jobs": jobs, "order": found.order})

    @app.post("/api/jobs", tags=["jobs"], status_code=202)
    def add_job(new: NewJob, request: Request) -> dict[str, str]:
        """Adds a job to the queue."""
        ids = {role: getattr(new, role) for role in KINDS[new.kind]}
        files = {role: uploads.path(file_id, role) for role, file_id in ids.items() if file_id}
        if new.speakers and new.kind != DUB:
            raise ValueError("`speakers` is for kind dub")
        for number, file_id in new.speakers.items():
            files[speaker_role(number)] = uploads.path(file_id, "speakers")
        names: dict[str, str] = {}
        if new.from_job is not None:
            if new.kind != SYNC:
                raise ValueError("from_job is for kind sync")
            source = job_views.find(queue, new.from_job)
            files = {"video": job_views.result_path(queue, source)}
            names = {"video": f"result of {source.title}"}
        options = new.options
        if label and "label" in JOB_OPTIONS[new.kind]:
            options = {"label": label} | options
        job = submitter.submit(new.kind, files, options, new.consent, client_of(request), names)
        return {"job": job.job_id}

    @app.post("/api/jobs/{job_id}/synced", tags=["jobs"], status_code=202)
    def write_synced(job_id: str, request: Request) -> dict[str, str]:
        """Adds a job that writes the video of a sync job with its audio shifted into sync."""
        source = job_views.find(queue, job_id)
        if source.kind != SYNC:
            raise ValueError(f"job {job_id} is no sync job; give one of kind sync")
        files = {"video": queue.folder(source) / source.files["video"]}
        options = {"write_synced": True}
        job = submitter.submit(SYNC, files, options, False, client_of(request), source.names)
        return {"job": job.job_id}

    @app.get("/api/jobs/{job_id}", tags=["jobs"])
    def get_job(job_id: str) -> dict[str, Json]:
        """Returns a job's state, progress, error and report."""
        return job_views.as_json(queue, job_views.find(queue, job_id))

    @app.delete("/api/jobs/{job_id}", tags=["jobs"], status_code=204)
    def delete_job(job_id: str) -> None:
        """Deletes a job with its files; 409 while it runs."""
        job_views.find(queue, job_id)
        job_views.delete(queue, job_id)

    @app.post("/api/jobs/{job_id}/cancel", tags=["jobs"])
    def cancel_job(job_id: str) -> dict[str, Json]:
        """Cancels a job that waits or runs; no file of it is left but its inputs."""
        job_views.find(queue, job_id)
        queue.cancel(job_id)
        return get_job(job_id)

    @app.post("/api/jobs/{job_id}/first", tags=["jobs"])
    def move_to_front(job_id: str) -> dict[str, Json]:
        """Makes a waiting job the next one."""
        job_views.find(queue, job_id)
        queue.move_to_front(job_id)
        return get_job(job_id)

    @app.post("/api/jobs/{job_id}/again", tags=["jobs"], status_code=202)
    def run_again(job_id: str) -> dict[str, str]:
        """Adds a job with the same inputs and options."""
        job_views.find(queue, job_id)
        return {"job": queue.run_again(job_id).job_id}


def _add_results(app: FastAPI, queue: JobQueue) -> None:
    @app.head("/api/jobs/{job_id}/result", include_in_schema=False)
    @app.get("/api/jobs/{job_id}/result", tags=["results"], response_class=FileResponse)
    def result(job_id: str, download: bool = False) -> FileResponse:
        """Returns the video; answers range requests. 409 until the job is done."""
        job = job_views.find(queue, job_id)
        path = job_views.result_path(queue, job)
        return FileResponse(
            path,
            filename=job_views.file_name(job, path.suffix),
            content_disposition_type="attachment" if download else "inline",
        )

    @app.get("/api/jobs/{job_id}/report", tags=["results"])
    def report(job_id: str) -> JSONResponse:
        """Returns the report as a file; 409 until the job is done."""
        job = job_views.find(queue, job_id)
        if job.state != DONE:
            raise HTTPException(409, f"the job is {job.state}; it has no report")
        disposition = f'attachment; filename="report_{job.job_id}.json"'
        return JSONResponse(job.report, headers={"content-disposition": disposition})

    @app.get("/api/jobs/{job_id}/input/{role}", tags=["results"], response_class=FileResponse)
    def source(job_id: str, role: str) -> FileResponse:
        """Returns an input of a job: `face`, `audio`, `video`, or `speaker_0` of face 0."""
        job = job_views.find(queue, job_id)
        if role not in job.files:
            raise HTTPException(404, f"the job has no {role[:20]}")
        return FileResponse(queue.folder(job) / job.files[role])

    @app.get("/api/jobs/{job_id}/thumbnail", tags=["results"], response_class=FileResponse)
    def thumbnail(job_id: str) -> FileResponse:
        """Returns a small JPEG image of the face's file."""
        path = queue.folder(job_views.find(queue, job_id)) / THUMBNAIL
        if not path.is_file():
            raise HTTPException(404, "the job has no image yet")
        return FileResponse(path)

    @app.get("/api/results.zip", tags=["results"], response_class=StreamingResponse)
    def results(job: Annotated[list[str] | None, Query()] = None) -> StreamingResponse:
        """Returns the results of these jobs, or of all that are done, in one file."""
        chosen = [job_views.find(queue, job_id) for job_id in job] if job else queue.all()
        done = [each for each in chosen if each.report.get("result")]
        return job_views.zip_file(queue, done, lambda each: f"{each.job_id}_{each.title}")
