"""Restarts of a training command: after which ends, and how often."""

import os
import signal
import sys
import threading
import time

import pytest

from lipsync_jax.cli import _restarts

COUNT = (
    "import os, sys, signal; open(sys.argv[1], 'a').write('x'); n = os.path.getsize(sys.argv[1]);"
)


def command(tmp_path, rest):
    return [sys.executable, "-S", "-c", f"{COUNT} {rest}", str(tmp_path / "runs")]


def runs(tmp_path):
    return (tmp_path / "runs").stat().st_size


@pytest.mark.parametrize(
    ("rest", "max_restarts", "status", "times"),
    [
        ("sys.exit(0)", 3, 0, 1),
        ("sys.exit(1)", 3, 1, 1),  # an error of the user
        ("sys.exit(130)", 3, 130, 1),  # stopped, and everything is saved
        ("n < 3 and os.kill(os.getpid(), 9)", 3, 0, 3),
        ("sys.exit(75 if n < 2 else 0)", 3, 0, 2),  # another process was lost
        ("os.kill(os.getpid(), 9)", 1, 137, 2),
    ],
)
def test_only_kills_and_lost_processes_are_followed_by_a_restart(
    tmp_path, rest, max_restarts, status, times
):
    assert _restarts.run(command(tmp_path, rest), max_restarts, pause=0.01) == status
    assert runs(tmp_path) == times


def test_sigterm_is_passed_on_and_final(tmp_path):
    rest = (
        "signal.signal(15, lambda *_: sys.exit(130)); open(sys.argv[1] + '.up', 'w'); "
        "signal.pause()"
    )
    ready = tmp_path / "runs.up"

    def terminate():
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    assert _restarts.run(command(tmp_path, rest), 3, pause=0.01) == 130
    thread.join()
    assert runs(tmp_path) == 1


@pytest.mark.parametrize("given", [["--max_restarts=3"], ["--max-restarts", "3"]])
def test_the_command_is_ones_own_without_restarts(given):
    flags = ["--config=wav2lip", *given, "--workdir", "runs/x"]
    expected = ["-m", "lipsync_jax.cli", "train", "--config=wav2lip", "--workdir", "runs/x"]
    assert _restarts.own_command(flags) == [sys.executable, *expected]
