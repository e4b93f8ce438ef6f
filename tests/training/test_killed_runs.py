"""A run under repeated kill -9 ends bit for bit like an uninterrupted one."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lipsync_jax.training import damage
from tests.helpers.runs import assert_same_run

ROOT = Path(__file__).parents[2]


def start(workdir, data, steps=12):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    options = {
        "data.batch_size": 4,
        "data.validation_batch_size": 4,
        "data.validation_frames": 40,
        "data.validation_clips": 4,
        "data.num_threads": 1,
        "windows_per_clip": 1,
        "model.width_mult": 0.03,
        "train.steps": steps,
        "train.log_every": 2,
        "train.validate_every": 3,
        "train.checkpoint_every": 1,
    }
    command = [sys.executable, "main.py", "--config=sync_expert:tiny", f"--workdir={workdir}"]
    command += [f"--config.data.dir={data}", *(f"--config.{k}={v}" for k, v in options.items())]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_somewhere(workdir, data, rng):
    """Kills a run at a random time after it has saved a new checkpoint."""
    before = newest(workdir)
    with start(workdir, data) as process:
        while process.poll() is None and newest(workdir) <= before:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
    return newest(workdir)


def newest(workdir):
    steps = damage.steps_of(workdir / "checkpoints")
    return int(steps[-1].name) if steps else 0


def kill_often(data, root, kills, seed=0):
    rng = random.Random(seed)
    for name in ("alone", "killed"):
        shutil.rmtree(root / name, ignore_errors=True)
    reached = [kill_somewhere(root / "killed", data, rng) for _ in range(kills)]
    for name in ("alone", "killed"):
        process = start(root / name, data)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    assert_same_run(root / "alone", root / "killed")
    left = [p for p in (root / "killed").rglob("*") if "tmp" in p.name or "partial" in p.name]
    assert not left
    for folder in ("checkpoints", "best"):
        for step in damage.steps_of(root / "killed" / folder):
            assert damage.find_damage(step) is None
    return reached


@pytest.mark.slow
def test_a_killed_run_ends_as_one_left_alone(toy_data, tmp_path):
    reached = kill_often(toy_data, tmp_path, kills=3)
    assert 0 < reached[0] < reached[-1]
