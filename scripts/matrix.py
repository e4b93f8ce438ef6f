"""Tests the project on every available Python: installation, doctor, imports, smoke tests.

    python scripts/matrix.py                    every interpreter with the newest packages,
                                                and the oldest with the lowest versions allowed
    python scripts/matrix.py --ci               the newest interpreter, and the lowest versions
    python scripts/matrix.py --python 3.12      one interpreter

Needs only the standard library; uses uv where available (required for the lowest versions).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))
IMPORT_ALL = """
import importlib, pkgutil, lipsync_jax
import lipsync_jax.configs, lipsync_jax.data_prep
count, failed = 0, []
for package in (lipsync_jax, lipsync_jax.configs, lipsync_jax.data_prep):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        count += 1
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed.append(f"{module.name}: {error}")
print(f"{count} modules" if not failed else "; ".join(failed))
raise SystemExit(bool(failed))
"""


def interpreters() -> dict[tuple[int, int], str]:
    """Finds (major, minor) -> a Python of that version: on the PATH, of pyenv, or of uv."""
    candidates = [sys.executable]
    for version in SUPPORTED:
        name = "python{}.{}".format(*version)
        candidates += filter(None, [shutil.which(name)])
    roots = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    roots.append(Path.home() / ".local" / "share" / "uv" / "python")
    candidates += [str(path) for root in roots for path in sorted(root.glob("*/bin/python3"))]
    found = {}
    for candidate in candidates:
        version_query = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
        )
        if version_query.returncode == 0:
            version = tuple(map(int, version_query.stdout.split()))
            if version in SUPPORTED:
                found.setdefault(version, candidate)
    return dict(sorted(found.items()))


def install(python: str, environment: Path, lowest: bool, uv: str | None) -> list[list[str]]:
    """Returns the commands that create an environment with the project."""
    environment_python = str(environment / "bin" / "python")
    project = f"{ROOT}[dev]"
    if uv:
        options = ["--resolution", "lowest-direct"] if lowest else []
        return [
            [uv, "venv", "--quiet", "--python", python, str(environment)],
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                environment_python,
                *options,
                "--editable",
                project,
            ],
        ]
    return [
        [python, "-m", "venv", str(environment)],
        [environment_python, "-m", "pip", "install", "--quiet", "--editable", project],
    ]


def run_one(python: str, lowest: bool, uv: str | None, folder: Path, smoke: bool) -> bool:
    """Tests one interpreter; prints a line per stage."""
    environment, empty = folder / "environment", folder / "empty"
    empty.mkdir(parents=True)
    environment_python = str(environment / "bin" / "python")
    stages = [("install", command, ROOT) for command in install(python, environment, lowest, uv)]
    stages += [
        ("doctor", [environment_python, "-m", "lipsync_jax.cli", "doctor"], empty),
        ("imports", [environment_python, "-W", "error::SyntaxWarning", "-c", IMPORT_ALL], empty),
    ]
    if smoke:
        stages.append(
            (
                "smoke",
                [environment_python, "-m", "pytest", "-m", "smoke", "tests/test_smoke.py"],
                ROOT,
            )
        )
    for name, command, working_folder in stages:
        started = time.monotonic()
        result = subprocess.run(command, cwd=working_folder, capture_output=True, text=True)
        seconds = time.monotonic() - started
        last = (result.stdout.strip().splitlines() or [""])[-1]
        print(
            f"  {name:<8}{'ok' if result.returncode == 0 else 'FAILED':<7}{seconds:6.0f} s  {last}"
        )
        if result.returncode:
            text = result.stdout + result.stderr
            print("\n".join(f"    {line}" for line in text.strip().splitlines()[-25:]))
            return False
    listed = (
        [uv, "pip", "list", "--python", environment_python]
        if uv
        else [environment_python, "-m", "pip", "list"]
    )
    versions = subprocess.run(listed, capture_output=True, text=True).stdout
    reported = (
        "jax",
        "flax",
        "orbax-checkpoint",
        "numpy",
        "av",
        "librosa",
        "opencv-python-headless",
    )
    found = dict(re.findall(r"^(\S+)\s+(\S+)", versions, re.MULTILINE))
    print("  " + ", ".join(f"{name} {found.get(name, '-')}" for name in reported))
    return True


def main() -> int:
    """Runs the matrix; returns 0 if every tested interpreter passes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ci", action="store_true", help="newest interpreter and lowest versions")
    parser.add_argument("--python", action="append", metavar="3.N", help="only these")
    parser.add_argument("--no-smoke", action="store_true", help="leave the smoke tests out")
    arguments = parser.parse_args()
    uv = shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".venv" / "bin"))
    found = interpreters()
    jobs = [(version, False) for version in found] + [(SUPPORTED[0], True)]
    if arguments.ci:
        jobs = [(max(found, default=SUPPORTED[-1]), False), (SUPPORTED[0], True)]
    if arguments.python:
        jobs = [job for job in jobs if "{}.{}".format(*job[0]) in arguments.python]
    missing = [version for version in SUPPORTED if version not in found]
    skipped = [f"Python {a}.{b}: no interpreter found" for a, b in missing]
    works = True
    for version, lowest in jobs:
        title = "Python {}.{}, {} packages".format(*version, "lowest" if lowest else "newest")
        if version not in found:
            skipped.append(f"{title}: no interpreter found")
        elif lowest and not uv:
            skipped.append(f"{title}: uv is not installed (pip install uv)")
        else:
            print(f"{title} ({found[version]})", flush=True)
            with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
                smoke = not arguments.no_smoke
                works &= run_one(found[version], lowest, uv, Path(folder), smoke)
    for line in dict.fromkeys(skipped):
        print(f"skipped  {line}")
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main())
