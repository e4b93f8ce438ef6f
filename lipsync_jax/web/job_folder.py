"""The folder of a job, so that jobs outlive the process.

It holds `job.json`, the job's inputs and what the job makes.
"""

import contextlib
import dataclasses
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.web.job import STATES, Job
from lipsync_jax.web.job_progress import Progress

THUMBNAIL = "thumb.jpg"  # name of a job's image, which may be missing
_JOB_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_FILE = "job.json"


def make(folder: Path, job: Job, files: Mapping[str, Path]) -> None:
    """Makes the folder of a job, with its record, and its inputs linked or copied.

    Args:
        folder: does not exist.
        job: names the files in the folder.
        files: role -> path of an input.

    Raises:
        OSError: a file can't be read, or the folder can't be written to; nothing of it is left.
    """
    folder.mkdir()
    try:
        for role, path in files.items():
            link(path, folder / job.files[role])
        if files:
            _write(folder, job)
        else:  # a refused row, which stops no other
            write(folder, job)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write(folder: Path, job: Job) -> None:
    """Writes a job's file, if the disk has room: if not, the job itself reports that."""
    with contextlib.suppress(OSError):
        _write(folder, job)


def _write(folder: Path, job: Job) -> None:
    paths.write_text(folder / _FILE, json.dumps(dataclasses.asdict(job), indent=1))


def read(folder: Path) -> Job | None:
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


def remove_outputs(folder: Path, job: Job) -> None:
    """Removes all files of a job but its inputs, its image and its record."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in {_FILE, THUMBNAIL, *job.files.values()}:
            path.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Links a file, or copies it to another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
