"""`--json`: one document on the standard output, whatever happens."""

import argparse
import json
import os
import re
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax import paths
from lipsync_jax.cli import _json_output, _staging, main, sync
from lipsync_jax.synthesis.progress import GenerationResult


@pytest.fixture
def sync_run(monkeypatch):
    """Lets `lipsync sync` do what a test says, with its arguments."""
    return lambda function: monkeypatch.setattr(sync, "run", function)


def _output(*line):
    parser = argparse.ArgumentParser()
    _json_output.add_argument(parser)
    return parser.parse_args(line).json


def test_values_become_plain_json(capsys):
    with _output("--json") as output:
        print("a note")
        output.update(
            path=Path("a") / "b\udcff.mp4", rate=Fraction(5, 2), none=float("nan"),
            small=np.float32(0.5), array=np.arange(2), pair=(1, "ü"), flag=True,
        )  # fmt: skip
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "path": "a/b\udcff.mp4", "rate": 2.5, "none": None,
        "small": 0.5, "array": [0, 1], "pair": [1, "ü"], "flag": True,
    }  # fmt: skip
    assert captured.out.isascii() and captured.err == "a note\n"


def test_nothing_but_the_document_reaches_the_standard_output(capfd):
    with _output("--json") as output:
        subprocess.run([sys.executable, "-c", "print('of a child')"], check=True)
        os.write(1, b"of a library\n")
        output.update(value=1)
    captured = capfd.readouterr()
    assert json.loads(captured.out) == {"value": 1}
    assert captured.err == "of a child\nof a library\n"
    print("after")
    assert capfd.readouterr().out == "after\n"


@pytest.mark.parametrize("command", ["dub", "sync"])
def test_the_docs_list_every_key(command):
    page = Path(__file__).parents[2].joinpath("docs/reference/json.md").read_text()
    section = page.partition(f"## `lipsync {command}`")[2].partition("\n## ")[0]
    result = GenerationResult(Path("o.mp4"), 2, 1, 1, (), 1.0, Fraction(25))
    model = types.SimpleNamespace(kind="syncnet", model_hash="0")
    values = {
        "dub": _json_output.generation(result, Path("f.mp4"), None),
        "sync": {**sync.as_json(Path("v.mp4"), model, []), "written": None, "warnings": []},
    }[command]
    assert values.keys() <= {*re.findall("`([a-z_]+)`", section)}


def test_a_file_leaves_the_text_where_it_is(tmp_path, capsys, sync_run):
    def run(arguments):
        print("text")
        arguments.json.update(value=1)
        return 0

    sync_run(run)
    file = tmp_path / "new" / "found.json"
    assert main.main(["sync", "v.mp4", f"--json={file}"]) == 0
    assert json.loads(file.read_text()) == {"value": 1}
    assert main.main(["sync", "v.mp4"]) == 0
    assert capsys.readouterr().out == "text\ntext\n"


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (ValueError("no such file; name another"), 1, "no such file; name another"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("x"), 1, "ZeroDivisionError: x\nThis is a fault of the program: "),
    ],
)
def test_errors_are_in_the_document_beside_what_was_found(
    error, status, sentence, capsys, sync_run
):
    def run(arguments):
        arguments.json.update(value=1)
        raise error

    sync_run(run)
    assert main.main(["sync", "v.mp4", "--json"]) == status
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["value"] == 1 and found["error"].startswith(sentence)
    assert captured.err.startswith(f"lipsync sync: {sentence}")


def test_a_stopped_command_has_a_document(capsys, sync_run):
    def run(_):
        raise SystemExit(143)  # as SIGTERM does

    sync_run(run)
    with pytest.raises(SystemExit, match="143"):
        main.main(["sync", "v.mp4", "--json=-"])
    assert json.loads(capsys.readouterr().out) == {"error": "stopped with exit status 143"}


@pytest.mark.parametrize("line", [["sync", "--json"], ["sync", "v.mp4", "--json=-", "--nil"]])
def test_a_wrong_command_line_has_a_document(line, capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(line)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"] in captured.err
    assert captured.err.startswith("usage: lipsync")


def test_a_wrong_command_line_overwrites_no_file(tmp_path):
    video = tmp_path / "v.mp4"
    video.write_text("video")
    with pytest.raises(SystemExit, match="2"):
        main.main(["sync", "--json", str(video)])
    assert video.read_text() == "video"


def test_a_file_that_cannot_be_written_is_told_before_work(tmp_path, capsys, sync_run):
    sync_run(lambda _: pytest.fail("worked"))
    assert main.main(["sync", "v.mp4", f"--json={tmp_path}"]) == 1
    assert f"--json={tmp_path} is a folder: name a file in it" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "status"), [(b"", 0), (b"{}\n", 0), (b"\0\0\0 ftyp", 1)])
def test_a_file_that_is_no_document_is_not_replaced(tmp_path, capsys, sync_run, content, status):
    sync_run(lambda _: 0)
    file = tmp_path / "v.mp4"
    file.write_bytes(content)
    assert main.main(["sync", "--json", str(file), "w.mp4"]) == status
    if status:
        assert f"--json={file} exists and is no JSON document" in capsys.readouterr().err
        assert file.read_bytes() == content


def test_paths_of_buckets_are_those_that_were_given(gs, tmp_path):
    for name in ("face.mp4", "a.wav"):
        paths.write_text(paths.parse(f"{gs}/in/{name}"), name)
    given = argparse.Namespace(
        command="dub",
        face=paths.parse(f"{gs}/in/face.mp4"),
        several=[paths.parse(f"{gs}/in/a.wav")],
        outfile=paths.parse(f"{gs}/made/dubbed.mp4"),
        json=_json_output.JsonOutput(paths.parse(f"{gs}/made/found.json")),
    )
    with given.json as output, _staging.staged(given) as local:
        output.update(
            face=local.face,
            several=local.several,
            preview=local.outfile.with_suffix(".preview.png"),
            error=f"{local.face} is empty",
        )
    assert json.loads(paths.parse(f"{gs}/made/found.json").read_text()) == {
        "face": f"{gs}/in/face.mp4",
        "several": [f"{gs}/in/a.wav"],
        "preview": f"{gs}/made/dubbed.preview.png",
        "error": f"{gs}/in/face.mp4 is empty",
    }
