"""What clients see of a job: JSON values, the path and the name of its result, a ZIP file."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from fastapi import HTTPException
from fastapi.responses import StreamingResponse

import lipsync_jax
from lipsync_jax.types import Json
from lipsync_jax.web import archive, texts
from lipsync_jax.web.job import DONE, Job
from lipsync_jax.web.job_folder import THUMBNAIL
from lipsync_jax.web.jobs import JobQueue
from lipsync_jax.web.uploads import safe_name


def as_json(queue: JobQueue, job: Job) -> dict[str, Json]:
    """Returns what clients see of a job."""
    values = vars(job) | {"progress": vars(job.progress)}  # reports are large: no deep copies
    values["has_thumbnail"] = (queue.folder(job) / THUMBNAIL).is_file()
    del values["client"], values["rank"]
    package = os.fspath(Path(lipsync_jax.__file__).parents[1])
    values["details"] = job.details.replace(package, "...").replace(os.path.expanduser("~"), "~")
    return values


def summary(queue: JobQueue, job: Job) -> dict[str, Json]:
    """Returns what the page's list of jobs shows of a job; `as_json` has the rest."""
    values = as_json(queue, job) | {"error": texts.spelled(job.error, bool(job.batch))}
    report, details = values.pop("report"), values.pop("details")
    del values["options"]
    return values | {"has_result": bool(report.get("result")), "has_details": bool(details)}


def find(queue: JobQueue, job_id: str) -> Job:
    """Returns a job; 404 if there is none."""
    try:
        return queue.get(job_id)
    except KeyError:
        raise HTTPException(404, f"there is no job {job_id[:40]!r}") from None


def result_path(queue: JobQueue, job: Job) -> Path:
    """Returns the video of a job; 409 if there is none."""
    name = job.report.get("result")
    if job.state != DONE or not name:
        raise HTTPException(409, f"the job is {job.state}; it has no result")
    return queue.folder(job) / name


def delete(queue: JobQueue, job_id: str) -> None:
    """Deletes a job that exists; 409 while it runs."""
    try:
        queue.delete(job_id)
    except ValueError as error:
        raise HTTPException(409, str(error)) from error


def file_name(job: Job, suffix: str) -> str:
    """Returns the name under which the result of a job is downloaded."""
    if job.outfile:
        return Path(safe_name(job.outfile)).stem + suffix
    return f"{Path(safe_name(job.names.get('face') or job.names['video'])).stem}_{job.kind}{suffix}"


def zip_file(
    queue: JobQueue,
    done: Sequence[Job],
    name_of: Callable[[Job], str],
    more: Mapping[str, bytes] | None = None,
) -> StreamingResponse:
    """Returns the results of jobs in one file; 409 if there are none.

    Args:
        queue: of jobs.
        done: jobs with a result.
        name_of: returns a job's name in the file, whose suffix is replaced by the result's.
        more: name -> content of other files.
    """
    if not done:
        raise HTTPException(409, "no job has a result yet")
    paths = [result_path(queue, job) for job in done]
    stems = [Path(safe_name(name_of(job))).stem for job in done]

    def files() -> Iterator[tuple[str, Path | bytes]]:
        yield from (more or {}).items()
        used: set[str] = set()
        for stem, path in zip(stems, paths, strict=True):
            name, number = stem, 2
            while name.casefold() in used:
                name, number = f"{stem}_{number}", number + 1
            used.add(name.casefold())
            yield name + path.suffix, path

    return StreamingResponse(
        archive.stream_zip(files()),
        media_type="application/zip",
        headers={"content-disposition": 'attachment; filename="lipsync_results.zip"'},
    )
