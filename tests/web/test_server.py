"""The HTTP interface, without a page or a browser."""

import contextlib
import errno
import io
import json
import math
import os
import time
import zipfile

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from lipsync_jax.media import video_reader
from lipsync_jax.web import inputs, server, texts
from lipsync_jax.web.jobs import JobQueue
from lipsync_jax.web.submission import Submitter
from lipsync_jax.web_guard import Guard, host_names, is_local
from tests.helpers import scenes, talking

LIMIT = 1_000_000
OPTIONS = {"match_colours": False, "blend": "box", "detect_every": 1}


def client_of(app, credentials=None):
    guarded = Guard(app, host_names("127.0.0.1"), LIMIT, credentials)
    return TestClient(guarded, base_url="http://127.0.0.1:7860")


@pytest.fixture
def client(app):
    return client_of(app)


def upload(client, path, name=None):
    with path.open("rb") as file:
        answer = client.post("/api/files", files={"file": (name or path.name, file)})
    assert answer.status_code == 201, answer.text
    return answer.json()["file"]


def dub(client, face, speech, /, **values):
    files = {"face": upload(client, face), "audio": upload(client, speech)}
    body = {"kind": "dub", "consent": True, "options": OPTIONS, **files, **values}
    return client.post("/api/jobs", json=body)


def wait(client, job_id):
    deadline = time.monotonic() + 60
    while (job := client.get(f"/api/jobs/{job_id}").json())["state"] in ("waiting", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def test_a_script_dubs_a_video(client, face, speech, tmp_path):
    answer = dub(client, face, speech)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["job"]
    job = wait(client, job_id)
    assert job["state"] == "done", job
    report = job["report"]
    assert report["frames"] == report["edited_frames"] == 20 and report["tagged_as_synthetic"]
    assert report["face"] == "face.mp4" and report["sync"] is None
    assert job["consent"] and report["consent_confirmed"]
    assert "client" not in job
    video = client.get(f"/api/jobs/{job_id}/result", headers={"range": "bytes=0-99"})
    assert video.status_code == 206 and len(video.content) == 100
    (tmp_path / "out.mp4").write_bytes(client.get(f"/api/jobs/{job_id}/result").content)
    assert video_reader.probe(tmp_path / "out.mp4").codec == "h264"
    assert client.get(f"/api/jobs/{job_id}/report").json() == report
    assert client.get(f"/api/jobs/{job_id}/input/face").content == face.read_bytes()
    thumbnail = np.frombuffer(client.get(f"/api/jobs/{job_id}/thumbnail").content, np.uint8)
    assert cv2.imdecode(thumbnail, cv2.IMREAD_COLOR).shape == (80, 120, 3)
    archive = zipfile.ZipFile(io.BytesIO(client.get("/api/results.zip").content))
    assert archive.testzip() is None and len(archive.namelist()) == 1
    again = client.post(f"/api/jobs/{job_id}/again").json()["job"]
    assert wait(client, again)["state"] == "done"
    assert client.delete(f"/api/jobs/{job_id}").status_code == 204
    assert client.get(f"/api/jobs/{job_id}").status_code == 404


def test_a_script_dubs_two_people(client, actions, queue, face, speech, tmp_path):
    voices = {"0": upload(client, speech), "1": upload(client, scenes.write_tone(
        tmp_path / "other.wav", 1.2, hertz=330))}  # fmt: skip
    body = {"kind": "dub", "face": upload(client, face), "speakers": voices, "consent": True}
    answer = client.post("/api/jobs", json=body | {"options": OPTIONS})
    assert answer.status_code == 202, answer.text
    job = wait(client, answer.json()["job"])
    assert job["state"] == "done", job
    assert job["names"] == {"face": "face.mp4", "speaker_0": "voice.wav", "speaker_1": "other.wav"}
    assert job["report"]["frames"] == 30 and job["report"]["audio"] is None
    path = f"/api/jobs/{job['job_id']}"
    assert client.get(f"{path}/input/speaker_0").content == speech.read_bytes()
    (tmp_path / "out.mp4").write_bytes(client.get(f"{path}/result").content)
    frame = next(video_reader.read_frames(tmp_path / "out.mp4"))
    assert all(scenes.face_changed(frame, box) for box in (scenes.LEFT, scenes.RIGHT))
    # Run again after a restart and without the uploads.
    for file_id in (body["face"], *voices.values()):
        client.delete(f"/api/files/{file_id}")
    queue.close()
    with contextlib.closing(JobQueue(tmp_path / "work" / "jobs", actions.run)) as queue:
        restarted = client_of(server.create_app(Submitter(actions, queue), tmp_path / "work"))
        again = wait(restarted, restarted.post(f"{path}/again").json()["job"])
    assert again["state"] == "done" and again["names"] == job["names"]
    assert again["report"]["frames"] == 30


def test_each_recording_of_several_is_shortened(client, queue, face, speech, tmp_path):
    voices = {number: upload(client, speech) for number in ("0", "1")}
    body = {"kind": "dub", "face": upload(client, face), "speakers": voices, "consent": True}
    body["audio"] = upload(client, speech)  # of the output
    body["options"] = OPTIONS | {"first_seconds": 0.4}
    job = wait(client, client.post("/api/jobs", json=body).json()["job"])
    assert job["state"] == "done" and job["report"]["frames"] == 10, job
    assert job["report"]["audio"] == "voice.wav"
    left = {path.name for path in queue.folder(queue.get(job["job_id"])).glob("*.wav")}
    assert left == {"audio.wav", "speaker_0.wav", "speaker_1.wav"}


def test_wrong_speakers_are_told_in_words(client, face, speech, tmp_path):
    silent = scenes.write_scenes(tmp_path / "silent.mp4", [(None, None)])
    body = {"kind": "dub", "face": upload(client, face), "consent": True, "options": OPTIONS}
    heard = upload(client, speech)
    for speakers, values, message in (
        ({}, {}, "`audio` is missing"),
        ({"0": upload(client, silent)}, {}, "`speakers` 0 silent.mp4 has no sound"),
        ({"0": "0123456789abcdef"}, {}, "`speakers`: there is no uploaded file"),
        ({"0": heard}, {"options": {"box": [1, 50, 1, 50]}}, "`box` and `speakers` all select"),
        ({"0": heard}, {"options": {"face_id": 0}}, "`face_id` and `speakers` all select"),
        ({"0": heard}, {"kind": "sync"}, "`speakers` is for kind dub"),
        ({"-1": heard}, {}, "greater than or equal to 0"),
        ({"left": heard}, {}, "valid integer"),
    ):
        answer = client.post("/api/jobs", json=body | {"speakers": speakers} | values)
        assert answer.status_code == 422 and message in answer.text, answer.text
    answer = client.post("/api/jobs", json=body | {"speakers": {"0": heard, "7": heard}})
    job = wait(client, answer.json()["job"])
    assert job["state"] == "failed"
    assert "`face` face.mp4 shows faces 0 to 1, there is no face 7" in job["error"]


def test_pages_get_what_has_changed_without_reports(client, actions, queue, face, speech, tmp_path):
    def changes(since):
        return client.get("/api/changes", params={"since": since}).json()

    nothing = changes("")
    assert nothing["jobs"] == nothing["order"] == []
    first = dub(client, face, speech).json()["job"]
    report = wait(client, first)["report"]
    found = changes(nothing["revision"])
    (job,) = found["jobs"]
    assert found["order"] == [first] and job["state"] == "done" and job["has_result"]
    assert report["result"] and not {"report", "details", "options"} & job.keys()
    assert changes(found["revision"]) == {
        "revision": found["revision"], "jobs": [], "order": None,
    }  # fmt: skip
    (tmp_path / "nobody").mkdir()
    nobody = scenes.write_scenes(tmp_path / "nobody" / "a.mp4", [(None, None)], frames=5)
    second = dub(client, nobody, speech).json()["job"]
    wait(client, second)
    (failed,) = changes(found["revision"])["jobs"]
    assert failed["job_id"] == second and failed["error"] and failed["has_details"]
    assert changes(found["revision"])["order"] == [second, first]
    now = changes("")
    client.delete(f"/api/jobs/{first}")
    assert changes(now["revision"])["order"] == [second]
    assert changes(now["revision"])["jobs"] == []
    # After a restart revisions begin anew: an old one gives the whole list.
    queue.close()
    with contextlib.closing(JobQueue(tmp_path / "work" / "jobs", actions.run)) as queue:
        restarted = client_of(server.create_app(Submitter(actions, queue), tmp_path / "work"))
        answer = restarted.get("/api/changes", params={"since": now["revision"]}).json()
    assert answer["order"] == [second] and len(answer["jobs"]) == 1


def test_faces_and_a_preview(client, face, speech):
    faces = client.post("/api/faces", json={"video": upload(client, face)}).json()
    assert [each["face_id"] for each in faces] == [0, 1]
    assert faces[0]["intervals"] == [[0.0, 0.8]]
    body = {"face": upload(client, face), "audio": upload(client, speech), "moment": 0.4}
    answer = client.post("/api/preview", json=body | {"options": OPTIONS | {"face_id": 1}})
    assert answer.headers["x-edited"] == "true"
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    before, after = image[:, :120], image[:, 120:]
    changed = np.flatnonzero((before != after).any(axis=(0, 2)))
    assert changed.min() > 60  # the right face only


def test_faces_and_previews_are_refused_as_jobs_are(client, face, speech, tmp_path):
    for video, options, message in (
        (face, {"detector": "yunet:/etc/passwd"}, "unknown options detector"),
        (face, OPTIONS | {"face_id": 9}, "`face` face.mp4"),
        (speech, {}, "`face` voice.wav has no picture"),
    ):
        body = {"face": upload(client, video), "audio": upload(client, speech)}
        answer = client.post("/api/preview", json=body | {"options": options})
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"].startswith(message)
    answer = client.post("/api/faces", json={"video": upload(client, speech)})
    assert answer.status_code == 422 and str(tmp_path) not in answer.text


def test_jobs_bear_the_label_of_the_server_unless_they_name_one(
    actions, queue, face, speech, tmp_path
):
    app = server.create_app(Submitter(actions, queue, "AI"), tmp_path / "work")
    client = client_of(app)
    for options, label in (({}, "AI"), ({"label": "mine"}, "mine"), ({"label": None}, None)):
        job_id = dub(client, face, speech, options=OPTIONS | options).json()["job"]
        assert queue.get(job_id).options.get("label") == label
        queue.cancel(job_id)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"consent": False}, "consent is missing"),
        ({"consent": None}, "consent"),
        ({"options": {"detector": "yunet:/etc/passwd"}}, "unknown options detector"),
        ({"options": {"face_ref": "/etc/passwd"}}, "unknown options face_ref"),
        ({"options": {"crf": 99}}, "`crf`=99"),
        ({"options": {"crf": "good"}}, "wrong kind"),
        ({"options": {"quality": "superb"}}, "`quality`='superb' is unknown; choose from fast"),
        ({"options": {"model": "../../etc"}}, "choose from toy"),
        ({"options": {"model": ["toy"]}}, "choose from toy"),
        ({"options": {"first_seconds": -1}}, "first_seconds"),
        ({"face": "/etc/passwd"}, "`face`: there is no uploaded file"),
        ({"face": "../../../../etc"}, "no uploaded file"),
        ({"audio": None}, "`audio` is missing"),
        ({"kind": "animate", "options": {}}, "no model for animation is loaded"),
        ({"kind": "sync", "from_job": None, "options": {}}, "`video` is missing"),
        ({"from_job": "x"}, "from_job is for kind sync"),
        ({"kind": "steal"}, "kind"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_wrong_jobs_are_refused_in_words(client, face, speech, values, message):
    answer = dub(client, face, speech, **values)
    assert answer.status_code == 422 and message in answer.json()["error"], answer.text
    assert "Traceback" not in answer.text and client.get("/api/jobs").json() == []


@pytest.mark.parametrize("options", [{"first_seconds": math.inf}, {"label": "\ud800"}])
def test_options_that_no_answer_can_hold_are_refused(client, face, speech, options):
    body = {"kind": "dub", "face": upload(client, face), "audio": upload(client, speech)}
    text = json.dumps(body | {"consent": True, "options": options})
    headers = {"content-type": "application/json"}
    answer = client.post("/api/jobs", content=text, headers=headers)
    assert answer.status_code == 422 and "give finite numbers" in answer.json()["error"]
    assert client.get("/api/jobs").json() == []


def test_unusable_files_are_refused_at_once(client, tmp_path, speech, monkeypatch):
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    for path, message in ((text, "it holds text"), (speech, "")):
        with path.open("rb") as file:
            answer = client.post("/api/files", files={"file": ("../../x.mp4", file)})
        assert answer.status_code == (422 if message else 201)
        assert message in answer.text and str(tmp_path) not in answer.text
    answer = dub(client, speech, speech)
    assert answer.status_code == 422 and "`face` voice.wav has no picture" in answer.text
    monkeypatch.setattr(inputs, "MAX_SECONDS", 0.5)
    with speech.open("rb") as file:
        answer = client.post("/api/files", files={"file": file})
    assert answer.status_code == 422 and "hours; give at most" in answer.text


def test_a_full_disk_is_told_and_keeps_no_part(client, speech, tmp_path, monkeypatch):
    def copy(content, file, length):
        file.write(content.read(9))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lipsync_jax.web.uploads.shutil.copyfileobj", copy)
    with speech.open("rb") as file:
        answer = client.post("/api/files", files={"file": file})
    assert answer.status_code == 507 and "disk is full" in answer.json()["error"]
    assert not [*(tmp_path / "work" / "uploads" / "api").iterdir()]


def test_parts_of_cancelled_uploads_and_old_files_are_removed(app, client, speech, tmp_path):
    page = tmp_path / "work" / "uploads" / "page"
    page.mkdir(parents=True)
    part, new = page / "tmp0x5ig415", page / "tmp423i7pro"
    old = page.with_name("api") / upload(client, speech)
    for path in (part, new):
        path.write_bytes(b"half a video")
    for path in (part, old):
        os.utime(path, (0, 0))
    with TestClient(app):  # starts it
        deadline = time.monotonic() + 10
        while part.exists() or old.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert new.exists()


def test_missing_things_have_errors(client, face, speech):
    assert client.get("/api/jobs/20200101-000000-abcdef").status_code == 404
    assert client.get("/api/jobs/..%2F..%2Fetc").status_code == 404
    assert client.get("/api/results.zip").status_code == 409
    assert client.delete("/api/files/0123456789abcdef").status_code == 422
    assert client.get("/lipsync/..%2Fserver.py").status_code == 404
    job_id = dub(client, face, speech).json()["job"]
    assert client.get(f"/api/jobs/{job_id}/input/..%2Fjob.json").status_code == 404
    job = wait(client, job_id)
    assert job["state"] == "done"


def test_requests_for_nothing_are_told_as_all_errors(client):
    for method, path in (("GET", "/api/nothing"), ("POST", "/api/health"), ("PUT", "/api/jobs")):
        answer = client.request(method, path)
        assert answer.status_code == 404
        assert answer.json() == {"error": f"there is no {method} {path}; /api lists all"}
    json = {"content-type": "application/json"}
    answer = client.post("/api/jobs", content="{bad", headers=json)
    assert answer.status_code == 422 and "the body is no JSON" in answer.json()["error"]
    answer = client.post("/api/jobs", content="[]", headers=json)
    assert answer.json()["error"].startswith("the body: Input should be a valid dictionary")


def test_programs_may_ask_for_the_head_of_a_result(client, face, speech):
    job_id = dub(client, face, speech).json()["job"]
    assert client.head(f"/api/jobs/{job_id}/result").status_code in (200, 409)
    wait(client, job_id)
    answer = client.head(f"/api/jobs/{job_id}/result")
    assert answer.status_code == 200 and int(answer.headers["content-length"]) > 1000
    assert client.head("/api/health").status_code == 503


def test_the_page_of_responsible_use_is_there(client):
    answer = client.get("/responsible-use")
    assert answer.status_code == 200 and "<h1>Responsible use</h1>" in answer.text
    assert "<table>" in answer.text and "http" not in answer.text.partition("<main>")[0]


def test_a_failed_job_names_the_users_file(client, speech, tmp_path):
    nobody = scenes.write_scenes(tmp_path / "nobody.mp4", [(None, None)], frames=10)
    job = wait(client, dub(client, nobody, speech).json()["job"])
    assert job["state"] == "failed"
    assert job["error"].startswith("`face` nobody.mp4: no face was found")
    assert job["error"].endswith("(`rotate` turns it), or give the face's box with `box`")
    (shown,) = client.get("/api/changes").json()["jobs"]
    assert shown["error"].endswith(f'give the face\'s box with "{texts.BOX}"')
    assert shown["error"].startswith(f'"{texts.FACE}" nobody.mp4: no face was found')
    assert str(tmp_path) not in job["error"] and "Traceback" in job["details"]
    assert client.get(f"/api/jobs/{job['job_id']}/result").status_code == 409


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:7860"}, 200),
        ({"host": "[::1]:7860"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:7860"}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8888"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[127.0.0.1:7860"}, 403),
    ],
)
def test_foreign_names_and_pages_are_refused(client, headers, status):
    answer = client.get("/api/jobs", headers=headers)
    assert answer.status_code == status
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_large_bodies_are_refused_before_they_are_read(client):
    answer = client.post("/api/files", files={"file": ("a.mp4", b"0" * (LIMIT + 1))})
    assert answer.status_code == 413 and "1 MB" in answer.json()["error"]
    answer = client.post("/api/files", content=iter([b"0"] * 3))
    assert answer.status_code == 411
    for headers in ({"content-length": "1", "transfer-encoding": "chunked"},
                    {"content-length": "many"}):  # fmt: skip
        assert client.post("/api/files", content=b"0", headers=headers).status_code == 411


def test_a_password_is_asked_for(app):
    client = client_of(app, ("me", "secret"))
    assert client.get("/api/jobs").status_code == 401
    assert client.get("/api/jobs", auth=("me", "wrong")).status_code == 401
    assert client.get("/api/jobs", headers={"authorization": b"Basic \xe4"}).status_code == 401
    assert client.get("/api/jobs", auth=("me", "secret")).status_code == 200


def test_health_and_openapi(client, actions):
    assert client.get("/api/health").status_code == 503
    actions.load()
    answer = client.get("/api/health")
    assert answer.status_code == 200 and answer.json()["models"]["dub"] == ["toy"]
    paths = client.get("/api/openapi.json").json()["paths"]
    assert {"/api/jobs", "/api/files", "/api/preview", "/api/jobs/{job_id}/result"} <= set(paths)
    assert client.get("/docs").status_code == 404  # would load scripts from another host


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.7", False), ("example.org", False)],
)  # fmt: skip
def test_which_addresses_are_local(host, local):
    assert is_local(host) == local


def test_sync_is_measured_and_mended(tmp_path, sync_actions, client):
    mask = talking.random_speech_mask(100)
    samples = np.roll(talking.speech_audio(mask), 4 * talking.RATE // 25)  # 160 ms late
    video = talking.write_talking_video(tmp_path / "late.mp4", mask, samples)
    answer = client.post("/api/jobs", json={"kind": "sync", "video": upload(client, video)})
    measured = wait(client, answer.json()["job"])
    (track,) = measured["report"]["tracks"]
    assert track["is_confident"] and track["offset_ms"] == pytest.approx(160, abs=10)
    assert measured["consent"] == "" and measured["report"]["result"] is None
    answer = client.post(f"/api/jobs/{measured['job_id']}/synced")
    mended = wait(client, answer.json()["job"])
    assert mended["report"]["audio_shift_ms"] == pytest.approx(-160, abs=10), mended
    assert mended["names"] == {"video": "late.mp4"}
    assert client.get(f"/api/jobs/{mended['job_id']}/result").status_code == 200


def test_a_result_is_measured_and_the_first_seconds_are_dubbed(
    sync_actions, client, face, tmp_path
):
    speech = scenes.write_tone(tmp_path / "voice.wav", 2)
    options = OPTIONS | {"first_seconds": 1}
    face = face.rename(tmp_path / "my face.mp4")
    job = wait(client, dub(client, face, speech, options=options).json()["job"])
    assert job["state"] == "done" and job["report"]["frames"] == 25, job
    left = {path.name for path in (tmp_path / "work" / "jobs" / job["job_id"]).iterdir()}
    assert left == {"face.mp4", "audio.wav", "result.mp4", "thumb.jpg", "job.json"}
    assert len(job["report"]["sync_text"]) == 2 and job["report"]["sync"]["after"]
    silent = f"not measured, {job['names']['face']} has no audio"
    assert silent in job["report"]["sync_text"][0]
    answer = client.post("/api/jobs", json={"kind": "sync", "from_job": job["job_id"]})
    measured = wait(client, answer.json()["job"])
    assert measured["title"] == "result of my face.mp4 + voice.wav"
    assert measured["state"] == "done" and measured["report"]["tracks"]
