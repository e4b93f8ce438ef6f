"""Whether the packages are there, new enough and importable; needs nothing but Python itself."""

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

_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "av")
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
    """Whether every package is there, and new enough; which extras are."""
    try:
        needed = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return [
            Finding(
                "packages",
                NOTE,
                f"{PACKAGE} runs from a folder that was not installed",
                "What it needs can't be compared with what is there.",
                "Type `pip install -e .` in that folder.",
            )
        ]
    core: list[tuple[str, str | None]] = []
    extras: dict[str, list[str]] = {}
    for line in needed:
        name, least = _parsed(line)
        if extra := _EXTRA.search(line):
            extras.setdefault(extra[1], []).append(name)
        elif _applies(line):
            core.append((name, least))
    wrong = [(_wish(name, least), said) for name, least in core if (said := _wanting(name, least))]
    shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN if _version(name))
    measured = f"{PACKAGE} {_version(PACKAGE)} on Python {platform.python_version()}: {shown}"
    if wrong:
        found = Finding(
            "packages",
            FAULT,
            "; ".join(said for _, said in wrong),
            "What needs them will fail.",
            _upgrade(*(name for name, _ in wrong)),
            "packages missing or too old",
        )
    else:
        found = Finding(
            "packages", OK, f"{measured}; all {len(core)} needed are there", "They fit."
        )
    return [found, _extras(extras)]


def _extras(extras: dict[str, list[str]]) -> Finding:
    """What is optional."""
    said = []
    for extra, names in sorted(extras.items()):
        missing = [name for name in names if not _version(name)]
        # A plugin of JAX's has other names on every machine; `devices` tells about those.
        if extra not in ("cuda", "cuda12", "cuda13", "tpu", "dev"):
            said.append(f"{extra} " + ("is not installed" if missing else "is there"))
    return Finding(
        "extras",
        OK,
        "; ".join(said) + f" (`pip install '{PACKAGE}[NAME]'` adds one)",
        "Optional.",
    )


def _wanting(name: str, least: str | None) -> str:
    version = _version(name)
    if not version:
        return f"{name} is missing"
    if least and _numbers(version) < _numbers(least):
        return f"{name} is {version}, {least} is needed"
    return ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:4])


def _wish(name: str, least: str | None) -> str:
    return f"{name}>={least}" if least else name


def _upgrade(*wishes: str) -> str:
    wanted = " ".join(f"'{wish}'" for wish in wishes)
    return f"Type `{sys.executable} -m pip install --upgrade {wanted}`."


def _requirements() -> list[str]:
    """The packages that this one needs on this machine, as its metadata lists them."""
    try:
        needed = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    return [line for line in needed if not _EXTRA.search(line) and _applies(line)]


def _applies(requirement: str) -> bool:
    """Whether a requirement's marker is meant for this machine."""
    _, _, marker = requirement.partition(";")
    if not marker:
        return True
    try:
        from packaging.markers import Marker

        return Marker(marker).evaluate({"extra": ""})
    except Exception:  # no such package, or a marker it does not know
        return True


def _parsed(requirement: str) -> tuple[str, str | None]:
    """A package, and the least version that is wanted of it."""
    found = _REQUIREMENT.match(requirement)
    assert found is not None  # every requirement begins with a name
    return found[1], found[2]


def modules() -> list[Finding]:
    """Tries to import each package that is needed."""
    wishes = {}
    for line in _requirements():
        name, least = _parsed(line)
        wishes[name] = _wish(name, least)
    faults = []
    for name, wish in wishes.items():
        if _version(name):
            module = _MODULES.get(name, name.replace("-", "_").lower())
            try:
                importlib.import_module(module)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a library may even try to leave
                faults.append(_broken("imports", error, wish))
                sys.modules.pop(module, None)
    return faults or [Finding("imports", OK, f"{len(wishes)} packages import", "They fit.")]


def attempt(check: str, module: str, function: str, *inputs: Argument) -> Argument:
    """Calls a check; whatever it raises, and whatever fails in its imports, becomes a finding."""
    try:
        return getattr(importlib.import_module(module), function)(*inputs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _broken(check, error)


def _broken(check: str, error: BaseException, wish: str = "") -> Finding:
    """Names the package in which an error arose: its version, what is wanted, what to type."""
    name = re.split(r"[>=<]", wish)[0] or _culprit(error)
    wish = wish or next(
        (
            _wish(*_parsed(line))
            for line in _requirements()
            if _parsed(line)[0].lower() == name.lower()
        ),
        name,
    )
    lines = str(error).strip().splitlines() or [""]
    version = _version(name)
    found = f"{name} {version}" if version else name
    return Finding(
        check,
        FAULT,
        f"{found} fails: {type(error).__name__}: {lines[0]}"
        + (f" ({wish} is wanted)" if wish != name else ""),
        "What needs it will fail.",
        _upgrade(wish) if name != PACKAGE else "Report this with the lines above.",
        f"{name} does not work",
    )


def _culprit(error: BaseException) -> str:
    """The package in whose code an error arose, as pip calls it; else this one."""
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


def quiet() -> None:
    """Keeps libraries' own notices off the terminal; what matters becomes a finding."""
    for name in ("absl", "jax", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def system() -> Finding:
    """The machine, for reports of bugs."""
    return Finding("system", OK, f"{platform.platform()}, {sys.executable}", "For bug reports.")
