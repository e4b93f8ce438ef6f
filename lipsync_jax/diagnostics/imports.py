"""Checks of installed packages and their imports; imports the standard library only."""

import importlib
import logging
import platform
import re
import sys
import traceback
import warnings
from importlib import metadata
from pathlib import Path

from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, Finding
from lipsync_jax.types import Argument

PACKAGE = "lipsync_jax"

_LISTED_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "av")
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*])?(?:.*?>=([\d.]+))?")
_EXTRA = re.compile(r"extra == ['\"]([\w.-]+)['\"]")
# Modules whose names are not their packages'.
_MODULES = {
    "absl-py": "absl.flags",
    "opencv-python-headless": "cv2",
    "orbax-checkpoint": "orbax.checkpoint",
    "pillow": "PIL",
    "tensorboardX": "tensorboardX",
}


def packages() -> list[Finding]:
    """Checks that every required package is installed and new enough, and lists the extras."""
    try:
        needed = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return [
            Finding(
                "packages",
                NOTE,
                f"{PACKAGE} runs from a folder that was not installed",
                "Its requirements can't be compared with the installed packages.",
                "Type `pip install -e .` in that folder.",
            )
        ]
    core: list[tuple[str, str | None]] = []
    extras: dict[str, list[str]] = {}
    for line in needed:
        name, minimum = _parse_requirement(line)
        if extra := _EXTRA.search(line):
            extras.setdefault(extra[1], []).append(name)
        elif _applies(line):
            core.append((name, minimum))
    problems = [
        (_requirement_text(name, minimum), problem)
        for name, minimum in core
        if (problem := _version_problem(name, minimum))
    ]
    shown = ", ".join(f"{name} {_version(name)}" for name in _LISTED_PACKAGES if _version(name))
    measurement = f"{PACKAGE} {_version(PACKAGE)} on Python {platform.python_version()}: {shown}"
    if problems:
        finding = Finding(
            "packages",
            FAULT,
            "; ".join(problem for _, problem in problems),
            "Code that needs them will fail.",
            _upgrade(*(name for name, _ in problems)),
            "packages missing or too old",
        )
    else:
        finding = Finding(
            "packages", OK, f"{measurement}; all {len(core)} required are installed", "They fit."
        )
    return [finding, _extras(extras)]


def _extras(extras: dict[str, list[str]]) -> Finding:
    """Lists the optional extras."""
    states = []
    for extra, names in sorted(extras.items()):
        missing = [name for name in names if not _version(name)]
        # The plugins of JAX have other names on every machine; `devices` checks those.
        if extra not in ("cuda", "cuda12", "cuda13", "tpu", "dev"):
            states.append(f"{extra} " + ("is not installed" if missing else "is installed"))
    return Finding(
        "extras",
        OK,
        "; ".join(states) + f" (`pip install '{PACKAGE}[NAME]'` installs one)",
        "Optional.",
    )


def _version_problem(name: str, minimum: str | None) -> str:
    version = _version(name)
    if not version:
        return f"{name} is missing"
    if minimum and _numbers(version) < _numbers(minimum):
        return f"{name} is {version}, {minimum} is needed"
    return ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:4])


def _requirement_text(name: str, minimum: str | None) -> str:
    return f"{name}>={minimum}" if minimum else name


def _upgrade(*requirements: str) -> str:
    quoted = " ".join(f"'{requirement}'" for requirement in requirements)
    return f"Type `{sys.executable} -m pip install --upgrade {quoted}`."


def _requirements() -> list[str]:
    """Returns the requirements for this machine from the metadata of this package."""
    try:
        needed = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    return [line for line in needed if not _EXTRA.search(line) and _applies(line)]


def _applies(requirement: str) -> bool:
    """Returns whether a requirement's marker applies to this machine."""
    _, _, marker = requirement.partition(";")
    if not marker:
        return True
    try:
        from packaging.markers import Marker

        return Marker(marker).evaluate({"extra": ""})
    except Exception:  # not installed, or an unknown marker
        return True


def _parse_requirement(requirement: str) -> tuple[str, str | None]:
    """Returns the package and the minimum version of a requirement."""
    match = _REQUIREMENT.match(requirement)
    assert match is not None  # every requirement begins with a name
    return match[1], match[2]


def modules() -> list[Finding]:
    """Imports each required package."""
    requirements = {}
    for line in _requirements():
        name, minimum = _parse_requirement(line)
        requirements[name] = _requirement_text(name, minimum)
    findings = []
    for name, requirement in requirements.items():
        if _version(name):
            module = _MODULES.get(name, name.replace("-", "_").lower())
            try:
                importlib.import_module(module)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a library may even call sys.exit
                findings.append(_import_failure("imports", error, requirement))
                sys.modules.pop(module, None)
    return findings or [Finding("imports", OK, f"{len(requirements)} packages import", "They fit.")]


def run_check(check: str, module: str, function: str, *inputs: Argument) -> Argument:
    """Calls a check; any error that it or its imports raise becomes a finding."""
    try:
        return getattr(importlib.import_module(module), function)(*inputs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _import_failure(check, error)


def _import_failure(check: str, error: BaseException, requirement: str = "") -> Finding:
    """Reports the package that raised an error, with its version and requirement."""
    name = re.split(r"[>=<]", requirement)[0] or _culprit(error)
    requirement = requirement or next(
        (
            _requirement_text(*_parse_requirement(line))
            for line in _requirements()
            if _parse_requirement(line)[0].lower() == name.lower()
        ),
        name,
    )
    lines = str(error).strip().splitlines() or [""]
    version = _version(name)
    installed = f"{name} {version}" if version else name
    return Finding(
        check,
        FAULT,
        f"{installed} fails: {type(error).__name__}: {lines[0]}"
        + (f" ({requirement} is required)" if requirement != name else ""),
        "Code that needs it will fail.",
        _upgrade(requirement) if name != PACKAGE else "Report this with the lines above.",
        f"{name} does not work",
    )


def _culprit(error: BaseException) -> str:
    """Returns the distribution whose code raised an error; else this package."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _distribution(error.name.partition(".")[0])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        if "site-packages" in parts:
            module = parts[parts.index("site-packages") + 1].partition(".")[0]
            return _distribution(module)
    return PACKAGE


def _distribution(module: str) -> str:
    try:
        return metadata.packages_distributions().get(module, [module])[0]
    except Exception:  # another package's broken metadata
        return module


def silence_libraries() -> None:
    """Silences libraries' logs and warnings; relevant problems become findings."""
    for name in ("absl", "jax", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def system() -> Finding:
    """Describes the machine, for bug reports."""
    return Finding("system", OK, f"{platform.platform()}, {sys.executable}", "For bug reports.")
