"""The queue alone: states, cancelling, restarts, limits."""

import contextlib
import errno
import json
import shutil
import threading
import time

import pytest

from lipsync_jax import progress
from lipsync_jax.web import job_progress, jobs, uploads
from lipsync_jax.web.job import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    QueueFullError,
    SubmittedJob,
    in_words,
    new,
)
from lipsync_jax.web.jobs import JobQueue


class Work:
    """Runs jobs step by step, as the test allows."""

    def __init__(self):
        self.started, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.ran = []

    def __call__(self, job, folder, on_progress):
        self.ran.append(job.title)
        (folder / "half.mp4.part").write_bytes(b"half")
        self.started.release()
        assert self.go.acquire(timeout=10)
        for done in range(3):
            on_progress("generate", done, 3)
        if job.options.get("fail"):
            raise ValueError(f"{folder / job.files['face']}: no face was found")
        if job.options.get("crash"):
            raise KeyError("fault")
        (folder / "result.mp4").write_bytes(b"video")
        (folder / "half.mp4.part").unlink()
        return {"frames": 3}


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def make_queue(tmp_path, work):
    queues = []

    def make(**options):
        queues.append(JobQueue(tmp_path / "jobs", work, **options))
        return queues[-1]

    yield make
    for _ in range(50):
        work.go.release()
    for queue in queues:
        queue.close()


def add(queue, tmp_path, title="", **options):
    face = tmp_path / "My Face.MP4"
    face.write_bytes(b"face")
    files = {"face": face}
    names = {"face": title} if title else {}
    submitted = SubmittedJob("dub", files, names, options)
    return queue.add(new(submitted, client="me"), files).job_id


def wait(queue, job_id, *states):
    deadline = time.monotonic() + 10
    while queue.get(job_id).state not in states:
        assert time.monotonic() < deadline, queue.get(job_id)
        time.sleep(0.005)
    return queue.get(job_id)


def test_a_job_runs_and_reports(tmp_path, make_queue, work):
    queue = make_queue()
    job_id = add(queue, tmp_path)
    assert work.started.acquire(timeout=10)
    assert queue.get(job_id).state == RUNNING
    work.go.release()
    job = wait(queue, job_id, DONE)
    assert job.report == {"frames": 3} and job.ended >= job.started >= job.created > 0
    assert job.title == "My Face.MP4" and job.files == {"face": "face.mp4"}
    stored = json.loads((queue.folder(job) / "job.json").read_text())
    assert stored["state"] == "done" and stored["report"] == {"frames": 3}
    (tmp_path / "My Face.MP4").unlink()  # a cleared upload
    assert (queue.folder(job) / "face.mp4").read_bytes() == b"face"


def test_cancelling_leaves_the_inputs_only(tmp_path, make_queue, work):
    queue = make_queue()
    job_id = add(queue, tmp_path)
    assert work.started.acquire(timeout=10)
    queue.cancel(job_id)
    assert queue.get(job_id).progress.stage == "cancelling"
    work.go.release()
    job = wait(queue, job_id, CANCELLED)
    assert sorted(p.name for p in queue.folder(job).iterdir()) == ["face.mp4", "job.json"]
    again = queue.run_again(job_id).job_id
    work.go.release()
    assert wait(queue, again, DONE).names == job.names


def test_waiting_jobs_can_be_cancelled_moved_and_deleted(tmp_path, make_queue, work):
    queue = make_queue()
    first = add(queue, tmp_path, "first")
    assert work.started.acquire(timeout=10)
    others = [add(queue, tmp_path, title) for title in ("a", "b", "c", "d")]
    queue.cancel(others[0])
    queue.move_to_front(others[2])
    queue.delete(others[3])
    assert [job.title for job in queue.all()] == ["first", "c", "b", "a"]
    with pytest.raises(ValueError, match="cancel it first"):
        queue.delete(first)
    for _ in range(3):
        work.go.release()
    wait(queue, others[1], DONE)
    assert work.ran == ["first", "c", "b"]
    assert queue.get(others[0]).state == CANCELLED
    with pytest.raises(KeyError):
        queue.get(others[3])


def test_changes_name_the_jobs_that_changed_alone(tmp_path, make_queue, work):
    queue = make_queue()
    start = queue.changes("")
    assert (start.jobs, start.order) == ([], [])
    first, *others = (add(queue, tmp_path, title) for title in ("first", "a", "b"))
    assert work.started.acquire(timeout=10)
    found = queue.changes(start.revision)
    assert {job.job_id for job in found.jobs} == {*found.order} == {first, *others}
    assert queue.changes(found.revision) == (found.revision, [], None)
    assert len(queue.changes("another." + found.revision.partition(".")[2]).jobs) == 3

    queue.cancel(first)  # at its next progress
    cancelling = queue.changes(found.revision)
    assert [job.progress.stage for job in cancelling.jobs] == ["cancelling"]
    assert cancelling.order is None
    queue.move_to_front(others[1])
    moved = queue.changes(cancelling.revision)
    assert [job.job_id for job in moved.jobs] == [others[1]]
    assert moved.order == [first, *reversed(others)]
    queue.delete(others[0])
    assert queue.changes(moved.revision)[1:] == ([], [first, others[1]])


def test_progress_changes_a_job_and_not_the_order(tmp_path):
    found = []

    def run(job, folder, on_progress):
        before = queue.changes("")
        on_progress("generate", 1, 3)
        found.append(queue.changes(before.revision))
        return {}

    with contextlib.closing(JobQueue(tmp_path / "jobs", run)) as queue:
        job_id = add(queue, tmp_path)
        wait(queue, job_id, DONE)
    ((_, (job,), order),) = found
    assert job.progress.done == 1 and order is None


def test_errors_are_told_in_words_and_end_no_other_job(tmp_path, make_queue, work):
    queue = make_queue()
    failing, crashing = add(queue, tmp_path, fail=True), add(queue, tmp_path, crash=True)
    last = add(queue, tmp_path)
    for _ in range(3):
        work.go.release()
    assert wait(queue, failing, FAILED).error == "face.mp4: no face was found"
    job = wait(queue, crashing, FAILED)
    assert job.error == "KeyError: 'fault'" and "Traceback" in job.details
    wait(queue, last, DONE)


def test_a_removed_folder_ends_no_other_job(tmp_path, make_queue, work):
    queue = make_queue()
    first = add(queue, tmp_path)
    assert work.started.acquire(timeout=10)
    last = add(queue, tmp_path)
    shutil.rmtree(queue.folder(queue.get(first)))
    for _ in range(2):
        work.go.release()
    wait(queue, first, FAILED)
    wait(queue, last, DONE)


def test_a_job_that_no_restart_would_find_is_refused(tmp_path, make_queue, work, monkeypatch):
    queue = make_queue()

    def write_text(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lipsync_jax.web.job_folder.paths.write_text", write_text)
    with pytest.raises(OSError, match="No space left"):
        add(queue, tmp_path)
    assert not queue.all() and not [*(tmp_path / "jobs").iterdir()]


def test_a_full_disk_is_told_by_what_to_do():
    error = OSError(errno.ENOSPC, "No space left on device", "/secret/jobs/1/job.json")
    assert in_words(error).startswith("the server's disk is full; delete old jobs")


def test_a_job_that_the_end_of_the_program_stops_says_so(tmp_path, make_queue, work):
    queue = make_queue()
    job_id = add(queue, tmp_path)
    assert work.started.acquire(timeout=10)
    closing = threading.Thread(target=queue.close)
    closing.start()
    while not queue._cancel.is_set():
        time.sleep(0.005)
    work.go.release()
    closing.join()
    job = queue.get(job_id)
    assert job.state == INTERRUPTED and "ended while" in job.error


def test_only_waiting_jobs_are_moved(tmp_path, make_queue, work):
    queue = make_queue()
    job_id = add(queue, tmp_path)
    assert work.started.acquire(timeout=10)
    queue.move_to_front(job_id)
    assert queue.get(job_id).rank == 0


def test_jobs_outlive_the_process(tmp_path, make_queue, work):
    queue = make_queue()
    running = add(queue, tmp_path, "running")
    assert work.started.acquire(timeout=10)
    waiting = add(queue, tmp_path, "waiting")
    path = queue.folder(queue.get(running)) / "job.json"
    assert json.loads(path.read_text())["state"] == RUNNING
    text = path.read_text()
    work.go.release()
    queue.close()
    path.write_text(text)  # as a process that was killed leaves it
    (tmp_path / "jobs" / "20200101-000000-abcdef").mkdir()
    (tmp_path / "jobs" / "notes").mkdir()

    queue = make_queue()
    assert queue.get(running).state == INTERRUPTED
    assert "ended while" in queue.get(running).error
    work.go.release()
    wait(queue, waiting, DONE)
    assert len(queue.all()) == 2


def test_a_client_has_a_limit_of_waiting_jobs(tmp_path, make_queue, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_WAITING", 2)
    queue = make_queue()
    for _ in range(2):
        add(queue, tmp_path)
    time.sleep(0.05)  # the first one runs
    add(queue, tmp_path)
    with pytest.raises(QueueFullError, match="2 jobs are waiting"):
        add(queue, tmp_path)
    other = tmp_path / "other.mp4"
    other.write_bytes(b"")
    submitted = SubmittedJob("dub", {"face": other})
    queue.add(new(submitted, client="another"), submitted.files)


def test_old_jobs_are_removed(tmp_path, make_queue, work, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_JOBS", 1)
    queue = make_queue()
    ids = []
    for _ in range(3):
        ids.append(add(queue, tmp_path))
        work.go.release()
        wait(queue, ids[-1], DONE)
    assert {job.job_id for job in queue.all()} == {*ids[1:]}
    queue.close()
    queue = make_queue(keep_seconds=0)
    assert queue.all() == []
    add(queue, tmp_path)
    assert {job.job_id for job in queue.all()}.isdisjoint(ids)


def test_a_job_that_is_old_enough_to_be_removed_runs_again(tmp_path, make_queue, work):
    queue = make_queue(keep_seconds=0.1)
    first = add(queue, tmp_path)
    work.go.release()
    wait(queue, first, DONE)
    time.sleep(0.15)
    again = queue.run_again(first).job_id
    work.go.release()
    assert wait(queue, again, DONE).files == {"face": "face.mp4"}
    assert first not in {job.job_id for job in queue.all()}


def test_progress_has_a_rate_and_the_time_left(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    tracker = job_progress.Tracker()
    assert tracker("generate", 0, 100).seconds_left is None
    for done in range(10, 60, 10):
        found = tracker("generate", done, 100)
    assert found.per_second == 10 and found.seconds_left == 5
    assert tracker("faces", 0, 9).per_second == 0


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("a b.MP4", "a b.MP4"),
        ("..\\x.mov", "x.mov"),
        ("evil\n\x1b.mp4", "evil__.mp4"),
        ("name.verylongsuffix", "name"),
        ("", "file"),
        ("..", "file"),
    ],
)
def test_names_of_users_are_no_paths(given, safe):
    assert uploads.safe_name(given) == safe


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"progress": null}', "{"])
def test_a_file_that_is_no_job_stops_no_queue(tmp_path, make_queue, text):
    folder = tmp_path / "jobs" / "20260101-120000-abcdef"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(text)
    assert make_queue().all() == []
