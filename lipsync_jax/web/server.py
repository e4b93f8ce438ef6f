"""The HTTP interface: files, jobs, results; the page is mounted beside it."""

import contextlib
import datetime
import errno
import io
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import BaseModel, Field

import lipsync_jax
from lipsync_jax.types import Json
from lipsync_jax.web import archive, inputs
from lipsync_jax.web.actions import Actions
from lipsync_jax.web.job import DONE, Job, QueueFullError
from lipsync_jax.web.job_folder import THUMBNAIL
from lipsync_jax.web.job_options import JOB_OPTIONS, KINDS, NEED_CONSENT, SYNC
from lipsync_jax.web.jobs import JobQueue
from lipsync_jax.web.live_faces import LiveFaces
from lipsync_jax.web.uploads import Uploads, safe_name

if TYPE_CHECKING:
    import gradio as gr

STATIC = Path(__file__).with_name("static")


class NewJob(BaseModel, extra="forbid"):
    """A job to add. `face`, `audio` and `video` are ids of uploaded files."""

    kind: Literal["dub", "animate", "sync"]
    face: str | None = Field(None, description="dub, animate: a video or an image of a face")
    audio: str | None = Field(None, description="dub, animate: a recording of speech")
    video: str | None = Field(None, description="sync: a video with sound")
    from_job: str | None = Field(None, description="sync: measure the result of this job instead")
    consent: bool = Field(
        False, description="everyone shown and heard has agreed to this video; dub, animate"
    )
    options: dict[str, Json] = Field(
        default_factory=dict,
        description="; ".join(f"{kind}: {', '.join(names)}" for kind, names in JOB_OPTIONS.items()),
    )


class FaceList(BaseModel, extra="forbid"):
    """A video whose persons are listed."""

    video: str


class PreviewRequest(BaseModel, extra="forbid"):
    """A frame to dub."""

    face: str
    audio: str
    moment: float = Field(0.0, ge=0, description="seconds of the result")
    options: dict[str, Json] = Field(default_factory=dict)


def create_app(
    actions: Actions, queue: JobQueue, work: Path, live: LiveFaces | None = None, label: str = ""
) -> FastAPI:
    """Makes the application, without the page and its guard.

    Args:
        actions: the models.
        queue: of jobs.
        work: folder of uploads.
        live: the live faces, mounted at /live.
        label: written on every frame of jobs that name no `label`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        queue.close()
        if live is not None:
            await live.close()

    app = FastAPI(
        title="lipsync_jax",
        version=lipsync_jax.__version__,
        description="Dub, animate and measure sync on this machine.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # they load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    uploads = Uploads(work / "uploads" / "api")
    _add_errors(app)
    _add_files(app, actions, uploads)
    _add_jobs(app, actions, queue, uploads, label)
    _add_results(app, queue)

    @app.get("/api", include_in_schema=False)
    @app.get("/api/docs", include_in_schema=False)
    def documentation() -> FileResponse:
        return FileResponse(STATIC / "api.html")

    if live is not None:
        app.mount("/live", live.app)
    app.mount("/lipsync", StaticFiles(directory=STATIC), name="lipsync")  # gradio has /static
    return app


def submit(
    actions: Actions,
    queue: JobQueue,
    kind: str,
    files: Mapping[str, Path],
    names: Mapping[str, str],
    options: Mapping[str, Json],
    consent: bool,
    client: str,
) -> Job:
    """Checks a job and adds it to the queue; of the page and of the HTTP interface.

    Raises:
        ValueError: see `Actions.check` and `JobQueue.add`.
    """
    job = actions.check(kind, files, names, options, consent)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return queue.add(
        kind, job.files, job.options, names=job.names,
        consent=now if kind in NEED_CONSENT else "", client=client,
    )  # fmt: skip


def client_of(request: "Request | gr.Request") -> str:
    """Returns the address of a client; of the page and of the HTTP interface."""
    return request.client.host if request.client else ""


def as_json(queue: JobQueue, job: Job) -> dict[str, Json]:
    """Returns what clients see of a job."""
    values = vars(job) | {"progress": vars(job.progress)}  # reports are large: no deep copies
    values["has_thumbnail"] = (queue.folder(job) / THUMBNAIL).is_file()
    del values["client"], values["rank"]
    package = os.fspath(Path(lipsync_jax.__file__).parents[1])
    values["details"] = job.details.replace(package, "...").replace(os.path.expanduser("~"), "~")
    return values


def _add_errors(app: FastAPI) -> None:
    def answer(status: int, message: object) -> JSONResponse:
        return JSONResponse({"error": str(message)}, status)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, error.detail)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()]
        return answer(422, "; ".join(found))

    @app.exception_handler(QueueFullError)
    async def full(_: Request, error: QueueFullError) -> JSONResponse:
        return answer(429, error)

    @app.exception_handler(ValueError)
    async def value(_: Request, error: ValueError) -> JSONResponse:
        return answer(422, error)

    @app.exception_handler(OSError)
    async def system(_: Request, error: OSError) -> JSONResponse:
        status = 507 if error.errno == errno.ENOSPC else 500
        return answer(status, f"the server can't use a file ({error.strerror or error})")


def _add_files(app: FastAPI, actions: Actions, uploads: Uploads) -> None:
    @app.get("/api/status", tags=["server"])
    def status() -> dict[str, Json]:
        """Returns versions, models, and whether the default model is ready."""
        import jax

        return {
            "status": actions.status,
            "version": lipsync_jax.__version__,
            "device": jax.default_backend(),
            "models": {
                "dub": actions.dubbing.names,
                "animate": actions.animation.names,
                "sync": actions.sync.names,
            },
        }

    @app.get("/api/health", tags=["server"])
    def health() -> JSONResponse:
        """Returns the status with HTTP status 503 until the model is loaded, for containers."""
        return JSONResponse(status(), 200 if actions.status == "ready" else 503)

    @app.post("/api/files", tags=["files"], status_code=201)
    def add_file(file: UploadFile) -> dict[str, Json]:
        """Uploads an audio, video or image file; kept for a day."""
        name = safe_name(file.filename or "")
        file_id, path = uploads.add(name, file.file)
        try:
            found = inputs.inspect(path, name)
        except ValueError:
            uploads.remove(file_id)
            raise
        return {"file": file_id, "name": name, **found._asdict()}

    @app.delete("/api/files/{file_id}", tags=["files"], status_code=204)
    def delete_file(file_id: str) -> None:
        """Deletes an uploaded file; jobs have copies."""
        uploads.path(file_id)
        uploads.remove(file_id)

    @app.post("/api/faces", tags=["files"])
    def faces(request: FaceList) -> list[dict[str, Json]]:
        """Lists the persons of a video: the number for `face_id`, and (start, end) seconds."""
        people = actions.people(uploads.path(request.video))
        return [{"face_id": p.number, "intervals": p.intervals} for p in people]

    @app.post("/api/preview", tags=["files"], response_class=Response)
    def preview(request: PreviewRequest) -> Response:
        """Dubs one frame: a PNG image, with the frame before dubbing on the left."""
        frame = actions.preview(
            uploads.path(request.face),
            uploads.path(request.audio),
            request.moment,
            request.options,
        )
        content = io.BytesIO()
        Image.fromarray(np.concatenate([frame.before, frame.after], axis=1)).save(content, "PNG")
        headers = {"x-moment": f"{frame.moment:.3f}", "x-edited": str(frame.edited).lower()}
        return Response(content.getvalue(), media_type="image/png", headers=headers)


def _add_jobs(
    app: FastAPI, actions: Actions, queue: JobQueue, uploads: Uploads, label: str
) -> None:
    @app.get("/api/jobs", tags=["jobs"], response_model=list[dict[str, Json]])
    def list_jobs() -> JSONResponse:
        """Lists all jobs: running, waiting in the order of their turn, ended ones newest first."""
        # JSON values already; pages ask twice a second while a job runs.
        return JSONResponse([as_json(queue, job) for job in queue.all()])

    @app.post("/api/jobs", tags=["jobs"], status_code=202)
    def add_job(new: NewJob, request: Request) -> dict[str, str]:
        """Adds a job to the queue."""
        ids = {role: getattr(new, role) for role in KINDS[new.kind]}
        files = {role: uploads.path(file_id) for role, file_id in ids.items() if file_id}
        names: dict[str, str] = {}
        if new.from_job is not None:
            if new.kind != SYNC:
                raise ValueError("from_job is for kind sync")
            source = _find(queue, new.from_job)
            files = {"video": _result(queue, source)}
            names = {"video": f"result of {source.title}"}
        options = new.options
        if label and "label" in JOB_OPTIONS[new.kind]:
            options = {"label": label} | options
        job = submit(
            actions, queue, new.kind, files, names, options, new.consent, client_of(request)
        )
        return {"job": job.job_id}

    @app.post("/api/jobs/{job_id}/synced", tags=["jobs"], status_code=202)
    def write_synced(job_id: str, request: Request) -> dict[str, str]:
        """Adds a job that writes the video of a sync job with its audio shifted into sync."""
        source = _find(queue, job_id)
        if source.kind != SYNC:
            raise ValueError(f"job {job_id} is no sync job; give one of kind sync")
        files = {"video": queue.folder(source) / source.files["video"]}
        options = {"write_synced": True}
        job = submit(actions, queue, SYNC, files, source.names, options, False, client_of(request))
        return {"job": job.job_id}

    @app.get("/api/jobs/{job_id}", tags=["jobs"])
    def get_job(job_id: str) -> dict[str, Json]:
        """Returns a job's state, progress, error and report."""
        return as_json(queue, _find(queue, job_id))

    @app.delete("/api/jobs/{job_id}", tags=["jobs"], status_code=204)
    def delete_job(job_id: str) -> None:
        """Deletes a job with its files; 409 while it runs."""
        _find(queue, job_id)
        try:
            queue.delete(job_id)
        except ValueError as error:
            raise HTTPException(409, str(error)) from error

    @app.post("/api/jobs/{job_id}/cancel", tags=["jobs"])
    def cancel_job(job_id: str) -> dict[str, Json]:
        """Cancels a job that waits or runs; no file of it is left but its inputs."""
        _find(queue, job_id)
        queue.cancel(job_id)
        return get_job(job_id)

    @app.post("/api/jobs/{job_id}/first", tags=["jobs"])
    def move_to_front(job_id: str) -> dict[str, Json]:
        """Makes a waiting job the next one."""
        _find(queue, job_id)
        queue.move_to_front(job_id)
        return get_job(job_id)

    @app.post("/api/jobs/{job_id}/again", tags=["jobs"], status_code=202)
    def run_again(job_id: str) -> dict[str, str]:
        """Adds a job with the same inputs and options."""
        _find(queue, job_id)
        return {"job": queue.run_again(job_id).job_id}


def _add_results(app: FastAPI, queue: JobQueue) -> None:
    @app.get("/api/jobs/{job_id}/result", tags=["results"], response_class=FileResponse)
    def result(job_id: str, download: bool = False) -> FileResponse:
        """Returns the video; answers range requests. 409 until the job is done."""
        job = _find(queue, job_id)
        path = _result(queue, job)
        name = f"{Path(safe_name(job.names.get('face') or job.names['video'])).stem}_{job.kind}"
        return FileResponse(
            path,
            filename=name + path.suffix,
            content_disposition_type="attachment" if download else "inline",
        )

    @app.get("/api/jobs/{job_id}/report", tags=["results"])
    def report(job_id: str) -> JSONResponse:
        """Returns the report as a file; 409 until the job is done."""
        job = _find(queue, job_id)
        if job.state != DONE:
            raise HTTPException(409, f"the job is {job.state}; it has no report")
        disposition = f'attachment; filename="report_{job.job_id}.json"'
        return JSONResponse(job.report, headers={"content-disposition": disposition})

    @app.get("/api/jobs/{job_id}/input/{role}", tags=["results"], response_class=FileResponse)
    def source(job_id: str, role: str) -> FileResponse:
        """Returns an input of a job: `face`, `audio` or `video`."""
        job = _find(queue, job_id)
        if role not in job.files:
            raise HTTPException(404, f"the job has no {role[:20]}")
        return FileResponse(queue.folder(job) / job.files[role])

    @app.get("/api/jobs/{job_id}/thumbnail", tags=["results"], response_class=FileResponse)
    def thumbnail(job_id: str) -> FileResponse:
        """Returns a small JPEG image of the face's file."""
        path = queue.folder(_find(queue, job_id)) / THUMBNAIL
        if not path.is_file():
            raise HTTPException(404, "the job has no image yet")
        return FileResponse(path)

    @app.get("/api/results.zip", tags=["results"], response_class=StreamingResponse)
    def results(job: Annotated[list[str] | None, Query()] = None) -> StreamingResponse:
        """Returns the results of these jobs, or of all that are done, in one file."""
        chosen = [_find(queue, job_id) for job_id in job] if job else queue.all()
        done = (each for each in chosen if each.report.get("result"))
        files = [
            (f"{each.job_id}_{Path(safe_name(each.title)).stem}", _result(queue, each))
            for each in done
        ]
        if not files:
            raise HTTPException(409, "no job has a result yet")
        named: Iterator[tuple[str, Path]] = ((name + path.suffix, path) for name, path in files)
        disposition = 'attachment; filename="lipsync_results.zip"'
        return StreamingResponse(
            archive.stream_zip(named),
            media_type="application/zip",
            headers={"content-disposition": disposition},
        )


def _find(queue: JobQueue, job_id: str) -> Job:
    try:
        return queue.get(job_id)
    except KeyError:
        raise HTTPException(404, f"there is no job {job_id[:40]!r}") from None


def _result(queue: JobQueue, job: Job) -> Path:
    name = job.report.get("result")
    if job.state != DONE or not name:
        raise HTTPException(409, f"the job is {job.state}; it has no result")
    return queue.folder(job) / name
