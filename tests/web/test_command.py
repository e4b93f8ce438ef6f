"""The command line of `lipsync web`."""

import argparse
import os
import socket

import pytest

from lipsync_jax.cli import main
from lipsync_jax.web import command
from tests.helpers.imports import assert_help_imports_none


def run(*line, capsys):
    status = main.main(["web", *line])
    return status, capsys.readouterr()


def test_other_machines_need_a_password(tmp_path, capsys):
    status, output = run("--host", "0.0.0.0", "--work", str(tmp_path / "w"), capsys=capsys)
    assert status == 1 and "--without-password" in output.err
    assert not (tmp_path / "w").exists()


def test_a_port_in_use_is_told_before_the_model_is_loaded(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, output = run("--port", port, "--work", str(tmp_path), capsys=capsys)
    assert status == 1 and f"--port {port} can't be used" in output.err


@pytest.mark.parametrize("option", ["--checkpoint-path", "--animator", "--sync-model"])
def test_a_folder_without_a_checkpoint_is_told_before_the_page_opens(tmp_path, capsys, option):
    missing = tmp_path / "missing"
    status, output = run(option, str(missing), "--work", str(tmp_path / "w"), capsys=capsys)
    assert status == 1 and f"{missing} does not exist" in output.err
    assert not (tmp_path / "w").exists()


def test_a_work_folder_has_one_server(tmp_path, capsys):
    from lipsync_jax.training import run_lock

    with run_lock.acquire(tmp_path):
        status, output = run("--port", "0", "--work", str(tmp_path), capsys=capsys)
    assert status == 1 and "used by another `lipsync web`" in output.err


def test_the_extra_is_named_where_it_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "_is_incomplete", lambda: True)
    status, output = run("--work", str(tmp_path), capsys=capsys)
    assert status == 1 and "pip install 'lipsync_jax[web]'" in output.err


@pytest.mark.parametrize(
    ("text", "message"),
    [("me", "a colon"), ("me:", "a colon"), ("me:missing", "can't be read")],
)
def test_a_password_is_read_from_a_file(text, message, tmp_path):
    (tmp_path / "secret").write_text("word\n")
    assert command.read_credentials(f"me:{tmp_path / 'secret'}") == ("me", "word")
    with pytest.raises(ValueError, match=message):
        command.read_credentials(text)


def test_sizes_and_periods():
    assert command._size("1.5GB") == 1_500_000_000 and command._size("10m") == 10_000_000
    assert command._period("7d") == 604_800 and command._period("90") == 90
    for parse, text in ((command._size, "much"), (command._size, "2TB"), (command._period, "-1h")):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a"):
            parse(text)


@pytest.mark.parametrize("line", [["--help"], ["web", "--help"]])
def test_help_imports_neither_gradio_nor_jax(line):
    """They take seconds."""
    assert_help_imports_none(line, {"gradio", "fastapi", "uvicorn", "jax"})


def test_gradio_keeps_its_files_in_the_work_folder_and_calls_nobody(tmp_path, monkeypatch):
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    command.set_environment(tmp_path)
    assert os.environ["GRADIO_TEMP_DIR"].startswith(str(tmp_path))
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False" and os.environ["HF_HUB_OFFLINE"] == "1"
