"""Closed standard streams, and characters that their encoding lacks."""

import io
import subprocess
import sys

import pytest

from lipsync_jax.cli import _streams, main


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_command_works_with_a_closed_output(tmp_path):
    program = f"{sys.executable} -m lipsync_jax.cli models {tmp_path}"
    done = subprocess.run(["sh", "-c", f"{program} >&-"], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_stream_discards(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    _streams.prepare()
    sys.stdout.write("日本")
    sys.stdout.close()


def test_characters_that_an_encoding_lacks_are_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    with pytest.raises(SystemExit, match="0"):
        main.main(["verify", "--help"])
    print("日本.mp4", flush=True)
    assert written.getvalue().endswith(b"\\u65e5\\u672c.mp4\n")
