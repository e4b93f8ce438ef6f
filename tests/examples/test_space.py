"""The folder of a hosted page: its settings, and the page that it starts."""

import os
import re
import runpy
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lipsync_jax import web_guard
from lipsync_jax.cli import main

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "space"
SPACE_HOST = "someone-lips.hf.space"


def test_the_settings_name_what_is_there():
    _, settings, _ = FOLDER.joinpath("README.md").read_text().split("---\n", 2)
    found = dict(line.split(": ", 1) for line in settings.splitlines())
    assert (FOLDER / found["app_file"]).is_file() and found["license"] == "apache-2.0"
    assert len(found["short_description"]) <= 60  # the hub's limit
    setup = (ROOT / "setup.py").read_text()
    least = re.search(r"gradio>=([\d.]+)", setup)[1]
    assert [*map(int, found["sdk_version"].split("."))] >= [*map(int, least.split("."))]
    least = re.search(r'python_requires=">=([\d.]+)"', setup)[1]
    assert [*map(int, found["python_version"].strip('"').split("."))] >= [
        *map(int, least.split("."))
    ]
    (requirement,) = FOLDER.joinpath("requirements.txt").read_text().splitlines()
    assert requirement == "lipsync_jax[web]" and re.search(r'^ +"web": ', setup, re.MULTILINE)


def test_the_page_is_labelled_and_answers_under_the_spaces_name(monkeypatch):
    lines = []
    monkeypatch.setattr(main, "main", lambda line: lines.append(line) or 0)
    monkeypatch.setenv("SPACE_HOST", SPACE_HOST)
    for name in (web_guard.HOSTS_VARIABLE, web_guard.FRAMES_VARIABLE):
        monkeypatch.setenv(name, "x")  # restored after the test
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(FOLDER / "app.py"), run_name="__main__")
    arguments = main.build_parser(["web"]).parse_args(lines[0])
    assert arguments.without_password and arguments.max_upload == 50_000_000
    assert not web_guard.is_local(arguments.host)  # so frames have a label
    assert SPACE_HOST in web_guard.host_names(arguments.host)
    assert web_guard.framing_origins() == ("https://huggingface.co",)


@pytest.mark.slow
def test_the_page_opens(tmp_path):
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "SPACE_HOST": SPACE_HOST,
        "PORT": str(port),
        "TMPDIR": str(tmp_path),
    }
    with subprocess.Popen(
        [sys.executable, FOLDER / "app.py"], env=environment, cwd=tmp_path
    ) as server:
        try:
            page, headers = _open(port, SPACE_HOST)
            assert "gradio" in page
            policies = headers["content-security-policy"]
            assert policies.endswith("frame-ancestors 'self' https://huggingface.co")
            with pytest.raises(urllib.error.HTTPError, match="403"):
                _open(port, "other.example")
        finally:
            server.terminate()


def _open(port, host, seconds=120):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": host})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for attempt in range(seconds):
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.read().decode(), answer.headers
        except urllib.error.HTTPError:
            raise
        except OSError:  # not listening yet
            assert attempt < seconds - 1
            time.sleep(1)
