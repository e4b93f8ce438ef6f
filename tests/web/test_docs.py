"""The lines of docs/how-to/http.md, by curl against a server."""

import json
import re
import shutil
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import pytest
import uvicorn

from lipsync_jax.web_guard import Guard, host_names

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "http.md"


@pytest.fixture
def port(app):
    config = uvicorn.Config(
        Guard(app, host_names("127.0.0.1"), 10**7), port=0, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(timeout=10)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_lines_for_scripts(port, face, speech, tmp_path):
    text = PAGE.read_text().replace("7860", str(port)).replace('"quality": "best"', '"crf": 20')
    blocks = re.findall(r"```\n(curl .*?)```", text, re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    ids = {}

    def curl(line):
        for name, value in ids.items():
            line = line.replace(name, value)
        ran = subprocess.run(
            line.replace("curl", "curl -sS --fail-with-body", 1), shell=True, cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, (line, ran.stdout, ran.stderr)
        return ran.stdout

    ids["FACE_ID"] = json.loads(curl(lines[0]))["file"]
    ids["AUDIO_ID"] = json.loads(curl(lines[1]))["file"]
    ids["JOB_ID"] = json.loads(curl(lines[2]))["job"]
    ids["AUDIO_2_ID"] = json.loads(curl(lines[1]))["file"]
    two_people = json.loads(curl(lines[3]))["job"]
    while (job := json.loads(curl(lines[4])))["state"] in ("waiting", "running"):
        time.sleep(0.1)
    assert job["state"] == "done", job
    for line in lines[5:9]:
        curl(line)
    ids["BATCH_ID"] = json.loads(curl(lines[9]))["batch"]
    while json.loads(curl(lines[10]))["counts"]["done"] < 1:
        time.sleep(0.1)
    curl(lines[11])
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        assert archive.namelist() == ["rows.csv", "anna.mp4"]
    assert (tmp_path / "dubbed.mp4").stat().st_size > 1000
    assert json.loads((tmp_path / "report.json").read_text())["frames"] == 20
    assert len(lines) == 12
    ids["JOB_ID"] = two_people  # which ran before the batch
    assert json.loads(curl(lines[4]))["state"] == "done"
