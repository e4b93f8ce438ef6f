"""Serves a face that needs no network: python -m tests.helpers.live_server AUDIO."""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import uvicorn

from lipsync_jax import web_guard
from lipsync_jax.cli import live as command
from lipsync_jax.live.faces import Plan, PreparedFace
from lipsync_jax.live.session import Live
from tests.helpers.live_faces import CodedFace


@contextlib.contextmanager
def serve(audio_path):
    """Yields the address of a server in a process of its own."""
    line = [sys.executable, "-m", "tests.helpers.live_server", str(audio_path)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=root)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/live"
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def main():
    face = PreparedFace("coded", CodedFace(size=(480, 480)), Plan(0.01, 25.0), "0123456789ab")
    with web_guard.listen("127.0.0.1", 0) as listener, tempfile.TemporaryDirectory() as folder:
        live = Live({"coded": face}, audio_path=sys.argv[1], record_folder=folder)
        app = command.make_app(live, "127.0.0.1")
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
