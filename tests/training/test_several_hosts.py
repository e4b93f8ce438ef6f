"""Four processes that train together in a bucket, of which one is killed; two go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import portpicker
import pytest

from lipsync_jax import paths
from lipsync_jax.training import damage, metric_writer
from lipsync_jax.training.distributed import LOST_PROCESS
from tests.training.test_distributed import OPTIONS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
EVERY = ["--config.train.checkpoint_every=2", "--config.train.validate_every=100000"]
# Rounding depends on the number of devices, and larger steps magnify it.
RATE = ["--config.optimizer.learning_rate=1e-5", "--config.optimizer.warmup_steps=0"]
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
    command = [sys.executable, "main.py", *OPTIONS, *EVERY, *RATE, *folders, *options]
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
    """Waits for all processes; returns their statuses and what they printed."""
    count = len(processes)
    try:
        statuses = [process.wait(timeout=1800) for process in processes]
    finally:
        for process in processes:
            process.kill()
    texts = [(logs / f"{count}_{number}.log").read_text() for number in range(count)]
    return statuses, texts


def losses(workdir):
    """Returns the loss of each training step, and that of the last validation."""
    rows = metric_writer.read_scalars(workdir, "train")
    validation = metric_writer.read_scalars(workdir, "validation")[-1]
    return {row["step"]: row["loss"] for row in rows}, validation["cosine_cross_entropy"]


def test_one_of_four_is_killed_and_two_go_on_to_the_same_loss(gs, toy_data, tmp_path):
    paths.upload(toy_data, paths.parse(f"{gs}/data"))
    killed, whole = (f"{gs}/runs/{name}" for name in ("killed", "whole"))
    four = start(4, killed, f"{gs}/data", tmp_path, ENDLESS)
    try:
        wait_for_checkpoint(killed, four)
        four[3].kill()
        moment = time.monotonic()
        statuses, texts = ends(four, tmp_path)
        seconds = time.monotonic() - moment
    finally:
        for process in four:
            process.kill()
    assert statuses[3] == -signal.SIGKILL
    assert set(statuses[:3]) <= {LOST_PROCESS, -signal.SIGABRT}, texts
    time.sleep(5)  # another process says it where JAX has aborted this one
    for number in range(3):
        text = (tmp_path / f"4_{number}.log").read_text()
        assert "another process of this run has died" in text
        assert text.strip().endswith("the run resumes from its last checkpoint")
    assert seconds < 60

    resumed = int(steps(killed)[-1].name)
    last = resumed + 4
    options = [f"--config.train.steps={last}", f"--config.train.validate_every={last}"]
    statuses, texts = ends(start(2, killed, f"{gs}/data", tmp_path, *options), tmp_path)
    assert statuses == [0, 0], texts
    assert f"resumed from step {resumed} of" in texts[0]
    logs = tmp_path / "whole"
    logs.mkdir()
    statuses, texts = ends(start(4, whole, f"{gs}/data", logs, *options), logs)
    assert statuses == [0, 0, 0, 0], texts
    (found, found_validation), (expected, expected_validation) = losses(killed), losses(whole)
    print(f"{seconds:.1f} s until the others had ended; resumed from step {resumed}")
    print(found, found_validation, expected, expected_validation, sep="\n")
    assert list(found) == list(expected) == list(range(1, last + 1))
    assert found == pytest.approx(expected, rel=2e-3)
    assert found_validation == pytest.approx(expected_validation, rel=2e-3)
