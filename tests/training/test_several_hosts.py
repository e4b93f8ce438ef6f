"""Four processes that train together in a bucket, of which one is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import portpicker
import pytest

from lipsync_jax import paths
from lipsync_jax.training import damage
from lipsync_jax.training.distributed import LOST_PROCESS
from tests.training.test_distributed import OPTIONS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
EVERY = ["--config.train.checkpoint_every=2", "--config.train.validate_every=100000"]
ENDLESS = "--config.train.steps=100000"


def start(count, workdir, data, logs, *options):
    """Starts the processes of one run, with a file each for what they print."""
    address = f"127.0.0.1:{portpicker.pick_unused_port()}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles sooner
    }
    together = ["--distributed", f"--coordinator={address}", f"--processes={count}"]
    folders = [f"--workdir={workdir}", f"--config.data.dir={data}"]
    command = [sys.executable, "main.py", *OPTIONS, *EVERY, *folders, *options]
    processes = []
    for number in range(count):
        distributed = [*together, f"--process={number}"] if count > 1 else []
        with (logs / f"{count}_{number}.log").open("w") as log:
            processes.append(
                subprocess.Popen(
                    [*command, *distributed],
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return processes


def wait_for_checkpoint(workdir, processes):
    while all(process.poll() is None for process in processes):
        if any((step / "digests.json").exists() for step in steps(workdir)):
            return
        time.sleep(0.2)
    raise AssertionError("a process ended before the first checkpoint")


def steps(workdir):
    return damage.steps_of(paths.parse(workdir) / "checkpoints")


def ends(processes, logs):
    """Waits for all processes; returns their statuses and what they printed last."""
    count = len(processes)
    try:
        statuses = [process.wait(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    texts = [(logs / f"{count}_{number}.log").read_text() for number in range(count)]
    return statuses, texts


def test_the_others_end_when_one_of_four_is_killed(gs, toy_data, tmp_path):
    paths.upload(toy_data, paths.parse(f"{gs}/data"))
    workdir = f"{gs}/runs/together"
    four = start(4, workdir, f"{gs}/data", tmp_path, ENDLESS)
    try:
        wait_for_checkpoint(workdir, four)
        four[3].kill()
        killed = time.monotonic()
        statuses, texts = ends(four, tmp_path)
        seconds = time.monotonic() - killed
    finally:
        for process in four:
            process.kill()
    assert statuses[3] == -signal.SIGKILL
    assert set(statuses[:3]) <= {LOST_PROCESS, -signal.SIGABRT}, texts
    assert any("another process of this run has died" in text for text in texts[:3]), texts
    assert seconds < 120
