"""Batches: tables, rows that fail, the HTTP interface, the form."""

import csv
import io
import shutil
import time
import types
import unicodedata
import zipfile

import pytest
from fastapi.testclient import TestClient

from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.web import batches, job_folder, jobs, texts
from lipsync_jax.web.batch_form import BatchForm
from lipsync_jax.web.batches import Row
from lipsync_jax.web.job import QueueFullError, SubmittedJob, new
from lipsync_jax.web.submission import Submitter
from tests.helpers import scenes

REQUEST = types.SimpleNamespace(client=types.SimpleNamespace(host="127.0.0.1"))
DEFAULTS = DubbingOptions()
MORE = [DEFAULTS.loop, DEFAULTS.on_missing_face, DEFAULTS.silence_mode, 40, ""]
MORE += [False, "", "", "", "", DEFAULTS.audio_offset]
OPTIONS = {"match_colours": False, "blend": "box", "detect_every": 1}


@pytest.fixture
def client(app):
    return TestClient(app, base_url="http://127.0.0.1:7860")


@pytest.fixture
def table(tmp_path):
    def write(*lines):
        path = tmp_path / "list.csv"
        path.write_text("\n".join(lines), encoding="utf-8-sig")
        return path

    return write


def upload(client, path):
    with path.open("rb") as file:
        return client.post("/api/files", files={"file": (path.name, file)}).json()["file"]


def wait(client, batch):
    deadline = time.monotonic() + 60
    while (found := client.get(f"/api/batches/{batch}").json())["counts"]["waiting"] or (
        found["counts"]["running"]
    ):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_pairs(tmp_path):
    a, b, one, two = (tmp_path / name for name in ("a", "b", "1", "2"))
    for faces, recordings, expected in (
        ([a], [one, two], [(a, one), (a, two)]),
        ([a, b], [one], [(a, one), (b, one)]),
        ([b, a], [one, two], [(a, one), (b, two)]),
    ):
        rows = batches.pair_files(faces, recordings)
        assert [(row.files["face"], row.files["audio"]) for row in rows] == expected
    with pytest.raises(ValueError, match="3 faces and 2 recordings"):
        batches.pair_files([a] * 3, [one, two])
    with pytest.raises(ValueError, match="at least one face"):
        batches.pair_files([], [one])


def test_a_table_pairs_uploads_by_name_and_sets_options(tmp_path, table):
    faces = [tmp_path / "Änna (1).mp4", tmp_path / "a-1.mp4", tmp_path / "a1.mp4"]
    voices = [tmp_path / "v.wav"]
    path = table(
        "face,audio,outfile,quality,face_id,box",
        unicodedata.normalize("NFD", r"C:\clips\Änna (1).mp4") + ",voices/v.wav,out/x.mp4,,,",
        "a1.mp4,,,best,1,10 90 20 80",
        "other.mp4,v.wav,,,,",
        "a-1.mp4,v.wav,,,many,",
        "a-1.mp4,v.wav,,,,,too many",
    )
    first, second, missing, wrong, long = batches.read_table(path, faces, voices)
    assert first.files == {"face": faces[0], "audio": voices[0]} and first.outfile == "x.mp4"
    assert first.options == {} and first.error == ""
    assert second.files == {"face": faces[2], "audio": voices[0]}  # a single recording
    assert second.options == {"quality": "best", "face_id": 1, "box": (10, 90, 20, 80)}
    assert "no uploaded file is named other.mp4; add it" in missing.error
    assert "face-id" in wrong.error and "'many'" in wrong.error
    assert "more cells than there are columns" in long.error
    (row,) = batches.read_table(table("face;quality", '"a1.mp4";best'), faces, voices)
    assert row.files["face"] == faces[2] and row.options == {"quality": "best"}
    with pytest.raises(ValueError, match=r"^list.csv: the first line has no option for 'speed'"):
        batches.read_table(table("face,audio,speed", "a,b,c"), faces, voices)
    with pytest.raises(ValueError, match=r"^list.csv has no rows"):
        batches.read_table(table("face,audio"), faces, voices)


def test_names_that_uploads_lost_characters_of_are_found_if_one_fits(tmp_path):
    files = [tmp_path / "what now.mp4", tmp_path / "b" / "x.mp4", tmp_path / "x.mp4"]
    assert batches._find("What: now?.mp4", files) == files[0]
    short = tmp_path / ("ü" * 97 + ".mp4")  # as an upload shortens it
    assert batches._find("ü" * 120 + ".mp4", [*files, short]) == short
    with pytest.raises(ValueError, match=r"2 uploaded files are named x.mp4; rename one"):
        batches._find("x.mp4", files)


def test_one_bad_row_never_ends_a_batch(client, face, speech, tmp_path):
    nobody = scenes.write_scenes(tmp_path / "nobody.mp4", [(None, None)], frames=10)
    ids = {path.name: upload(client, path) for path in (face, speech, nobody)}
    rows = [
        {"face": ids["face.mp4"], "audio": ids["voice.wav"], "outfile": "Änna.mov"},
        {"face": ids["nobody.mp4"], "audio": ids["voice.wav"]},  # fails when it runs
        {"face": "0123456789abcdef", "audio": ids["voice.wav"]},  # refused
        {"face": ids["face.mp4"], "audio": ids["voice.wav"], "options": {"crf": 99}},
        {"face": ids["face.mp4"], "audio": ids["voice.wav"], "options": {"crf": 30}},
    ]
    body = {"rows": rows, "options": OPTIONS, "consent": True}
    answer = client.post("/api/batches", json=body)
    assert answer.status_code == 202, answer.text
    batch = answer.json()["batch"]
    found = wait(client, batch)
    assert [row["state"] for row in found["rows"]] == ["done", "failed", "failed", "failed", "done"]
    assert found["counts"]["done"] == 2 and found["counts"]["failed"] == 3
    errors = [row["error"] for row in found["rows"]]
    assert errors[1].startswith("`face` nobody.mp4: no face was found")
    told = {job["row"]: job["error"] for job in client.get("/api/changes").json()["jobs"]}
    assert f'give the face\'s box with "{texts.BOX}"' in told[2]
    assert told[2].startswith('"Faces" nobody.mp4')
    assert "there is no uploaded file" in errors[2] and "`crf`=99" in errors[3]
    assert found["rows"][4]["options"] == OPTIONS | {"crf": 30}
    assert [row["row"] for row in found["rows"]] == [1, 2, 3, 4, 5]

    content = client.get(f"/api/batches/{batch}/results.zip").content
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    assert archive.namelist() == ["rows.csv", "Änna.mp4", "005_face_voice.mp4"]
    lines = [*csv.DictReader(archive.read("rows.csv").decode("utf-8-sig").splitlines())]
    assert [line["state"] for line in lines] == [row["state"] for row in found["rows"]]
    assert lines[1]["error"] == errors[1] and lines[0]["outfile"] == "Änna.mov"
    one = client.get(f"/api/jobs/{found['rows'][0]['job_id']}/result?download=true")
    assert "nna.mp4" in one.headers["content-disposition"]

    again = client.post(f"/api/batches/{batch}/again")  # what had inputs, in its place
    assert again.status_code == 202 and len(again.json()["jobs"]) == 1
    found = wait(client, batch)
    assert [row["row"] for row in found["rows"]] == [1, 2, 3, 4, 5]
    assert found["rows"][1]["job_id"] == again.json()["jobs"][0]
    refused = client.post(f"/api/jobs/{found['rows'][2]['job_id']}/again")
    assert refused.status_code == 422 and "row 3 was refused" in refused.json()["error"]
    assert client.delete(f"/api/batches/{batch}").status_code == 204
    assert client.get(f"/api/batches/{batch}").status_code == 404
    assert client.get("/api/jobs").json() == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"consent": False}, "consent is missing"),
        ({"rows": []}, "a batch of 0 rows can't be made; give 1 to 200"),
        ({"rows": [{"face": "x", "audio": "y"}] * 2}, "there is no uploaded file 'x'"),
        ({"rows": [{"face": "x"}]}, "rows.0.audio"),
        ({"rows": [{"face": "x", "audio": "y", "speed": 1}]}, "rows.0.speed"),
    ],
)
def test_a_batch_without_a_usable_row_is_refused(client, values, message):
    body = {"rows": [{"face": "a", "audio": "b"}], "consent": True}
    answer = client.post("/api/batches", json=body | values)
    assert answer.status_code == 422 and message in answer.json()["error"], answer.text
    assert client.get("/api/jobs").json() == []


def test_a_batch_is_cancelled_as_one(client, actions, queue, face, speech):
    rows = [Row({"face": face, "audio": speech}, OPTIONS)] * 5
    added = Submitter(actions, queue).submit_batch(rows, True, "me")
    batch = added[0].batch
    assert client.post(f"/api/batches/{batch}/cancel").status_code == 200
    found = wait(client, batch)
    assert found["counts"]["cancelled"] >= 3 and found["counts"]["failed"] == 0
    for path in ("cancel", "again"):
        assert client.post(f"/api/batches/nothing/{path}").status_code == 404
    assert client.get("/api/batches/nothing/results.zip").status_code == 404


def test_a_batch_counts_as_one_job(actions, queue, face, speech, monkeypatch):
    monkeypatch.setattr(queue, "_next", lambda: None)  # so that all wait
    monkeypatch.setattr(jobs, "MAX_WAITING", 2)
    monkeypatch.setattr(jobs, "MAX_JOBS", 2)
    files = {"face": face, "audio": speech}
    for _ in range(2):
        Submitter(actions, queue).submit_batch([Row(files)] * 3, True, "me")
    with pytest.raises(QueueFullError):
        queue.add(new(SubmittedJob("dub", files), client="me"), files)
    with pytest.raises(QueueFullError):
        Submitter(actions, queue).submit_batch([Row(files)], True, "me")
    assert len(queue.all()) == 6
    for job in queue.all():
        queue.cancel(job.job_id)
    queue.add(new(SubmittedJob("dub", files), client="me"), files)
    assert len(queue.all()) == 7  # two batches of ended jobs are two entries


def test_a_row_is_not_run_twice(actions, queue, face, speech, monkeypatch):
    monkeypatch.setattr(queue, "_next", lambda: None)
    rows = [Row({"face": face, "audio": speech})]
    (job,) = Submitter(actions, queue).submit_batch(rows, True, "me")
    with pytest.raises(ValueError, match="row 1 is waiting; cancel it first"):
        queue.run_again(job.job_id)


def test_an_upload_that_is_gone_fails_its_row_only(actions, queue, face, speech, monkeypatch):
    gone = face.with_name("gone.mp4")
    shutil.copyfile(face, gone)
    rows = [Row({"face": gone, "audio": speech}), Row({"face": face, "audio": speech}, OPTIONS)]
    make = job_folder.make

    def lose(folder, job, files):
        gone.unlink(missing_ok=True)
        make(folder, job, files)

    monkeypatch.setattr(job_folder, "make", lose)
    first, second = Submitter(actions, queue).submit_batch(rows, True, "me")
    assert first.state == "failed" and "gone.mp4" in first.error and second.error == ""
    assert [job.row for job in queue.rows(first.batch)] == [1, 2]


def test_the_form_adds_a_batch_and_tells_what_is_refused(actions, queue, face, speech, table):
    form = BatchForm(Submitter(actions, queue), face.parent)
    files = [str(face)], [str(speech)]
    assert form._describe(*files, None) == "1 row."
    assert form._describe([str(face)], None, None) == ""
    path = str(table("face,quality", "face.mp4,best", "no.mp4,", ","))
    shown = form._describe(*files, path)
    assert (
        shown.startswith("3 rows, 1 with an error.") and "Row 2: no uploaded file is named" in shown
    )
    told = form._add(REQUEST, *files, path, True, None, "fast", *MORE)
    assert told == "Added 3 rows; 1 refused, see the table of the batch."
    rows = queue.rows(queue.all()[0].batch)
    assert [row.options.get("quality") for row in rows] == ["best", None, "fast"]
    assert rows[1].state == "failed" and rows[1].title == "no.mp4"
    assert "has no option for" in form._describe(*files, str(table("speed", "1")))
    with pytest.raises(ValueError, match="consent is missing"):
        form._add(REQUEST, *files, None, False, None, "fast", *MORE)
    with pytest.raises(ValueError, match="was not uploaded"):
        form._add(REQUEST, ["/etc/passwd"], [str(speech)], None, True, None, "fast", *MORE)


def test_many_wrong_rows_are_told_shortly():
    assert texts.batch_rows(["wrong"] * 7).count("\n\n") == 6
    assert texts.batch_rows(["wrong"] * 7).endswith("and 2 more rows")
