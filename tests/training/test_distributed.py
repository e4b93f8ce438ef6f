"""Two processes on loopback: each reads its share, both save one checkpoint together."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import portpicker
import pytest

from lipsync_jax.training import checkpoints

ROOT = Path(__file__).parents[2]
OPTIONS = [
    "--config=configs/sync_expert.py:small_data",
    "--config.data.batch_size=8",
    "--config.data.validation_batch_size=8",
    "--config.data.validation_frames=40",
    "--config.windows_per_clip=2",
    "--config.model.width_mult=0.03",
    "--config.model.dropout=0.0",
    "--config.augment_magnitude=0.0",
    "--config.train.steps=2",
    "--config.train.log_every=1",
    "--config.train.validate_every=2",
]


def start(workdir, toy_data, devices, *options):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    folders = [f"--workdir={workdir}", f"--config.data.dir={toy_data}"]
    return subprocess.Popen(
        [sys.executable, "main.py", *OPTIONS, *folders, *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_train_together(toy_data, tmp_path):
    address = f"127.0.0.1:{portpicker.pick_unused_port()}"
    together = [
        start(
            tmp_path / "pair",
            toy_data,
            2,
            "--distributed",
            f"--coordinator={address}",
            "--processes=2",
            f"--process={number}",
        )
        for number in range(2)
    ]
    with ThreadPoolExecutor() as pool:  # a pipe that nobody empties would stop its process
        outputs = list(pool.map(lambda process: process.communicate(timeout=900), together))
    assert [p.returncode for p in together] == [0, 0], outputs
    said = [[line for line in out.splitlines() if "[Gloo]" not in line] for out, _ in outputs]
    assert not said[1], "only the first process prints"
    pair = json.loads(said[0][-1])
    variables, card = checkpoints.load_network(tmp_path / "pair", "expert")
    assert card["step"] == 2 and variables["params"]

    # One device restores what two processes saved, and goes on.
    alone = start(tmp_path / "pair", toy_data, 1, "--config.train.steps=3")
    output = alone.communicate(timeout=900)
    assert alone.returncode == 0, output
    assert "resumed from step 2" in output[1]
    assert json.loads(output[0]).keys() == pair.keys()
