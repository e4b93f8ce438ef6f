"""The rows of the benchmark of accelerators, with processes that stand for slow measurements."""

import json
import subprocess
import sys

import pytest

from benchmarks import accelerator, accelerator_parts, row_processes
from benchmarks.row_processes import Part
from lipsync_jax import methods
from lipsync_jax.cli import _config_files

# Measures what its row's name tells.
PROCESS = """
import json, os, sys, time
name = json.loads(sys.argv[1])["config"]
if name == "fails":
    sys.exit("ValueError: no such network")
if name == "dies":
    os.kill(os.getpid(), 9)
if name == "compiles for long":
    time.sleep(60)
print(json.dumps("ready"), flush=True)
sys.stdin.readline()
if name == "measures for long":
    time.sleep(60)
print(json.dumps({"ms": 2.0, "batch": 4, "examples_per_second": 2000.0}), flush=True)
"""
COMMAND = [sys.executable, "-S", "-c", PROCESS]


def run(names, seconds, jobs):
    parts = [Part("train", name) for name in names]
    rows = dict(row_processes.measure_all(parts, COMMAND, seconds, jobs))
    assert set(rows) == set(parts)
    return [rows[part] for part in parts]


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_row_that_fails_has_its_reason_and_ends_no_other(jobs):
    failed, died, good = run(["fails", "dies", "good"], 60, jobs)
    assert failed["failed"] == "ValueError: no such network"
    assert died["failed"] == "ended by signal 9"
    assert good["ms"] == 2 and good["batch"] == 4 and good["config"] == "good"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_row_without_time_has_its_reason(jobs, monkeypatch):
    monkeypatch.setattr(row_processes, "MIN_MEASURE_SECONDS", 0.2)
    (row,) = run(["compiles for long"], 1, jobs)
    assert "not compiled after" in row["failed"]
    (row,) = run(["measures for long"], 1.5, jobs)
    assert "after" in row["failed"]


def test_rows_that_are_not_reached_are_told():
    first, second = run(["compiles for long", "good"], 0.5, 1)
    assert "not compiled after" in first["failed"]
    assert second["failed"] == "not reached in the given time"


def row(kind="train", system="jax", **fields):
    part = Part(kind, "wav2lip:tiny", system)
    return {**vars(part), "batch": 4, "ms": 2.0, "examples_per_second": 2000.0, **fields}


def test_ratios_and_table():
    rows = accelerator.with_ratios(
        [
            row(tflops=0.123456, of_peak=0.4),
            row(system="torch eager", ms=6.0),
            {**row("loader", examples_per_second=3000.0), "config": "wav2lip"},
            {**vars(Part("golden", "wav2lip")), "error": 0.1, "tolerance": 0.01},
            {**vars(Part("train", "jain")), "failed": "out of memory | of the device"},
        ]
    )
    assert rows[0]["torch eager_ratio"] == 3
    assert rows[0]["loader_ratio"] == 1.5
    head, _, *lines = accelerator.table(rows)
    assert all(line.count("|") == head.count("|") for line in lines)
    assert "| 2 | 2e+03 | 0.123 | 40% |" in lines[0]
    assert "**beyond**" in lines[3]
    assert "failed: out of memory / of the device" in lines[4]


@pytest.mark.parametrize(
    ("device_kind", "chip"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v5p", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("TPU v6e", "v6e"),
        ("cpu", None),
    ],
)
def test_a_device_has_the_peaks_of_its_chip(device_kind, chip):
    assert accelerator_parts.chip_of(device_kind) == chip


def test_plan_has_every_method_and_configs_that_exist():
    parts = accelerator.plan(small=False)
    assert len(set(parts)) == len(parts)
    trained = {_config_files.read(part.config).method for part in parts if part.kind == "train"}
    trainable = {name for name, modules in methods.MODULES.items() if modules.training}
    assert trainable <= trained


def test_texts_that_no_row_has_are_refused(capsys):
    with pytest.raises(SystemExit):
        accelerator.main(["--small", "--only", "wav3lip"])
    assert "no row has one of the texts of --only" in capsys.readouterr().err


def test_a_row_that_waits_ends_with_the_benchmark():
    lines = (
        "from benchmarks import accelerator_parts as parts",
        "parts.PREPARE = {'train': lambda part: lambda: {'ms': 2.0}}",
        "parts.main()",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), json.dumps(vars(Part("train", "wav2lip")))],
        cwd=row_processes.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ['"ready"']


@pytest.mark.slow
def test_runs_in_small(tmp_path, capsys):
    report_file = tmp_path / "report.json"
    options = [
        "--small",
        "--minutes",
        "15",
        "--json",
        str(report_file),
        "--only",
        "golden",
        "expert",
    ]
    assert accelerator.main(options) == 0
    rows = json.loads(report_file.read_text())["rows"]
    assert [row["kind"] for row in rows] == ["golden", "train", "loader"]
    golden, train, loader = rows
    assert golden["error"] <= golden["tolerance"]
    assert train["ms"] > 0 and train["tflops"] > 0 and train["gigabytes"] > 0
    assert loader["examples_per_second"] > 0 and train["loader_ratio"] > 0
    assert "| train | sync_expert:tiny | jax | float32 | 2 |" in capsys.readouterr().out
