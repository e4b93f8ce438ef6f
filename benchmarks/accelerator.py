"""Measures everything that an accelerator changes, in one command and a given time.

    python benchmarks/accelerator.py --minutes 8 [--json FILE] [--small] [--only TEXT ...]

Prints a Markdown table: golden outputs on the device, inference and train step of every method,
Wav2Lip beside its PyTorch twin (where PyTorch is installed; eager and torch.compile), and the data
loader beside the train step. Reads no data and needs no network. Every row is a process of its own
(`accelerator_parts.py`); a row that fails, or that the time does not suffice for, has its reason.

On a GPU, all rows compile side by side first and are measured one after the other then, so that
nothing else runs beside a measurement. Elsewhere each row is compiled and measured in turn.
"""

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file

from benchmarks.row_processes import Part, Row, measure_all  # noqa: E402

# Each with the examples of a batch of inference.
ANIMATIONS = {"vougioukas": 32, "jain": 32, "glance": 32, "vgan": 32, "speech2vid": 32}
WITH_ACCELERATOR_SIZE = ("sync_expert", "wav2lip", "wav2lip_gan", "vougioukas", "jain", "glance")
OTHERS = (
    "lipgan",
    "speech2vid",
    "vgan",
    "stable_syncnet",
    "lip_reader",
    "flownet",
    "glance_autoencoder",
    "speech2vid_lips",
)
PRECISIONS = ("bfloat16", "float32")  # the latter in TF32 on GPUs
TWINS = ("torch.compile", "torch eager")


def plan(small: bool) -> list[Part]:
    """Returns all rows, the most important first."""
    if small:
        return [
            Part("golden", "quality_discriminator", precision="highest"),
            Part("train", "sync_expert:tiny", batch=2),
            *(Part("inference", "wav2lip", system, batch=1) for system in ("jax", "torch eager")),
            Part("loader", "sync_expert", batch=16),
        ]
    goldens = [
        Part("golden", network, precision=precision)
        for network in ("wav2lip", "sync_expert", "quality_discriminator", "tgan")
        for precision in ("highest", "float32", "bfloat16")
    ]
    beside_twins = [
        Part(kind, config, system, precision, batch)
        for (kind, config, batch), precision, system in itertools.product(
            [
                ("inference", "wav2lip", 128),
                ("train", "wav2lip:accelerator", 0),
                ("inference", "wav2lip", 8),
                ("train", "wav2lip", 0),
            ],
            PRECISIONS,
            ("jax", *TWINS),
        )
    ]
    loaders = [Part("loader", name, batch=64) for name in ("sync_expert", "wav2lip")]
    accelerator = [
        Part("train", f"{name}:accelerator", precision="bfloat16")
        for name in WITH_ACCELERATOR_SIZE
        if name != "wav2lip"
    ]
    inference = [
        Part("inference", name, precision="bfloat16", batch=batch)
        for name, batch in {"wav2lip": 1, **ANIMATIONS, "lipgan": 128, "sync_expert": 128}.items()
    ]
    published = [
        Part("train", name, precision=precision)
        for precision in PRECISIONS
        for name in (*WITH_ACCELERATOR_SIZE, *OTHERS)
        if name != "wav2lip"
    ]
    exact = [dataclasses.replace(part, precision="float32") for part in inference]
    return [*beside_twins, *goldens, *loaders, *accelerator, *inference, *published, *exact]


def with_ratios(rows: Iterable[Row]) -> list[Row]:
    """Adds the time of PyTorch over that of JAX, and how much of a step the loader fills."""
    rows = list(rows)
    times = {(*_key(row), row["system"]): row["ms"] for row in rows if "ms" in row}
    rates = {
        row["config"]: row["examples_per_second"]
        for row in rows
        if row["kind"] == "loader" and "failed" not in row
    }
    for row in rows:
        if row["system"] != "jax" or "ms" not in row:
            continue
        for twin in TWINS:
            if (other := times.get((*_key(row), twin))) is not None:
                row[f"{twin}_ratio"] = other / row["ms"]
        if row["kind"] == "train" and (rate := rates.get(row["config"].partition(":")[0])):
            row["loader_ratio"] = rate / row["examples_per_second"]
    return rows


def _key(row: Row) -> tuple:
    return row["kind"], row["config"], row["precision"], row.get("batch")


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Yields the lines of a Markdown table."""
    yield (
        "| what | config | system | precision | batch | ms | examples/s | TFLOP/s | of peak | GB | "
        "compile s | torch.compile, eager / JAX | loader / step |"
    )
    yield "|--" * 13 + "|"
    for row in rows:
        head = [row["kind"], row["config"], row["system"], row["precision"], row["batch"] or ""]
        if "failed" in row:
            cells = [f"failed: {row['failed']}".replace("|", "/"), *[""] * 7]
        elif row["kind"] == "golden":
            verdict = "within" if row["error"] <= row["tolerance"] else "**beyond**"
            error = f"error {row['error']:.2g}, {verdict} {row['tolerance']:.2g}"
            cells = [error, "", "", "", "", _number(row, "compile_seconds"), "", ""]
        else:
            twins = [f"{row[f'{x}_ratio']:.2f}" for x in TWINS if f"{x}_ratio" in row]
            cells = [
                *(_number(row, name) for name in ("ms", "examples_per_second", "tflops")),
                f"{row['of_peak']:.0%}" if "of_peak" in row else "",
                *(_number(row, name) for name in ("gigabytes", "compile_seconds")),
                ", ".join(twins),
                _number(row, "loader_ratio"),
            ]
        yield f"| {' | '.join(map(str, [*head, *cells]))} |"


def _number(row: Row, name: str) -> str:
    return f"{row[name]:.3g}" if isinstance(row.get(name), int | float) else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON file; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything together")
    parser.add_argument("--json", type=Path, default=Path("accelerator.json"), metavar="FILE")
    parser.add_argument("--small", action="store_true", help="a few narrow networks, for a CPU")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="rows that have one of the texts")
    parser.add_argument("--list", action="store_true", help="print the rows, and measure nothing")
    parser.add_argument(
        "--jobs",
        type=int,
        help="rows that compile side by side (default: 1, on GPUs half the cores)",
    )
    options = parser.parse_args(arguments)
    parts = [
        part
        for part in plan(options.small)
        if not options.only or any(text in str(part) for text in options.only)
    ]
    if options.list:
        print("\n".join(map(str, parts)))
        return 0
    if not parts:
        parser.error("no row has one of the texts of --only; --list prints all rows")
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.accelerator_parts"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"JAX can't start: {found.stderr.strip().splitlines()[-1]}")
    machine = json.loads(found.stdout.splitlines()[-1])
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    cores = len(os.sched_getaffinity(0))
    jobs = options.jobs or (max(2, cores // 2) if machine["platform"] == "gpu" else 1)
    left, rows = 60 * options.minutes - (time.monotonic() - began), {}
    for part, row in measure_all(parts, command, left, jobs):
        rows[part] = row
        print(
            f"{time.monotonic() - began:5.0f} s  {part}: {row.get('failed', 'measured')}",
            flush=True,
        )
        # Written after each row, for a machine that is taken away.
        found = with_ratios([rows[part] for part in parts if part in rows])
        report = {"machine": machine, "minutes": options.minutes, "rows": found}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\n".join(["", *table(found)]))
    return 1 if any("failed" in row for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
