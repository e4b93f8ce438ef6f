"""The launch scripts: syntax, and the commands that they would run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "scripts").glob("launch_*.sh"))
BUCKET = {"WORKDIR": "gs://bucket/run", "DATA": "gs://bucket/data"}
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


def run(name, *options, **environment):
    script = next(path for path in SCRIPTS if path.stem == f"launch_{name}")
    names = ("WORKDIR", "DATA", "PROJECT", "ZONE", "CLUSTER", "IMAGE", "SLURM_JOB_NUM_NODES")
    clean = {key: value for key, value in os.environ.items() if key not in names}
    return subprocess.run(
        [BASH, script, *options],
        env={**clean, "DRY_RUN": "1", **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_syntax(script):
    subprocess.run([BASH, "-n", script], check=True)
    assert os.access(script, os.X_OK)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, script], check=True)


def test_cloud_tpu_makes_a_slice_trains_on_all_workers_and_frees_it():
    done = run("cloud_tpu", "--config=sync_expert:pod", PROJECT="p", ZONE="z", SPOT="1", **BUCKET)
    assert done.returncode == 0, done.stderr
    create, install, train, delete = done.stdout.splitlines()
    assert "queued-resources create lipsync" in create and "--spot" in create
    assert "--worker=all" in install and "pip" in install
    assert "--worker=all" in train and "--distributed" in train
    assert "--workdir=gs://bucket/run" in train and "--config=sync_expert:pod" in train
    assert "queued-resources delete" in delete
    assert all("--project=p --zone=z" in line for line in (create, install, train, delete))


def test_gke_makes_one_workload_for_tpus_or_gpus():
    options = {"CLUSTER": "c", "IMAGE": "i", "RESTARTS": "4", **BUCKET}
    done = run("gke", "--config=sync_expert:pod", **options)
    assert "xpk workload create" in done.stdout and "--max-restarts=4" in done.stdout
    assert "--tpu-type=v5litepod-32" in done.stdout and "--distributed" in done.stdout
    done = run("gke", "--config=x", DEVICE_TYPE="h100-80gb-8", SLICES="2", **options)
    assert "--device-type=h100-80gb-8 --num-nodes=2" in done.stdout


def test_slurm_is_distributed_on_several_nodes_only():
    one, four = (run("slurm", "--config=x", SLURM_JOB_NUM_NODES=str(n)).stdout for n in (1, 4))
    assert "srun" in one and "--config=x" in one and "--distributed" not in one
    assert "--distributed" in four


def test_one_machine_restarts_by_itself():
    assert run("8_gpus", "--config=x").stdout.split() == [
        "lipsync", "train", "--max_restarts=5", "--config=x"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cloud_tpu", "name the Google Cloud project"),
        ("gke", "name the cluster"),
        ("slurm", "usage: sbatch"),
        ("8_gpus", "usage: "),
    ],
)
def test_what_is_missing_is_named(name, told):
    done = run(name)
    assert done.returncode != 0 and told in done.stderr
