"""Checks of the devices, codecs, face detectors and disks of this machine, by using them."""

import os
import shutil
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np

from lipsync_jax import paths
from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, Finding
from lipsync_jax.diagnostics.imports import PACKAGE

ENCODERS = ("libx264", "libx264rgb", "aac")  # for writing videos
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "flac", "pcm_s16le")

_LOW_SPACE, _NO_SPACE = 10.0, 1.0  # gigabytes free


def devices() -> Finding:
    """Checks the devices of JAX by a convolution that NumPy computes too."""
    import jax

    from lipsync_jax.nn.cpu.jit import jit

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
    measurement = f"{len(found)} of kind {found[0].device_kind} ({found[0].platform})"
    measurement += f", {memory / 1e9:.0f} GB each" * bool(memory)
    measurement += f"; {os.cpu_count()} CPU cores; a convolution is right to {error:.0e}"
    if not error < 1e-2:
        return Finding(
            "devices",
            FAULT,
            measurement,
            "The device or its compiler gives wrong results.",
            "Update jax and jaxlib, and unset XLA_FLAGS.",
            "wrong results",
        )
    if found[0].platform == "cpu" and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        return Finding(
            "devices",
            NOTE,
            measurement,
            "There is an NVIDIA GPU that JAX does not use.",
            f"Type `pip install '{PACKAGE}[cuda]'`"
            + (", and unset JAX_PLATFORMS." if os.environ.get("JAX_PLATFORMS") else "."),
        )
    return Finding("devices", OK, measurement, "JAX computes.")


def _convolve(jit: Callable) -> float:
    """Returns the largest error of a 3 x 3 convolution, over the largest value."""
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
    """Checks the codecs by writing a video with audio and reading it back."""
    import av

    missing_encoders = [name for name in ENCODERS if not _has(av, name, "w")]
    missing_decoders = [name for name in DECODERS if not _has(av, name, "r")]
    try:
        error = _round_trip() if not missing_encoders else ""
    except (ValueError, OSError) as failure:
        error = str(failure)
    measurement = f"FFmpeg inside PyAV {av.__version__}: "
    if missing_encoders or error:
        return Finding(
            "codecs",
            FAULT,
            measurement
            + (f"no encoder {', '.join(missing_encoders)}" if missing_encoders else error),
            "Videos can't be written.",
            "Type `pip install --force-reinstall av`, whose wheel contains FFmpeg.",
            "codecs missing",
        )
    if missing_decoders:
        return Finding(
            "codecs",
            NOTE,
            measurement + f"no decoder {', '.join(missing_decoders)}",
            "Files in those formats can't be read.",
            "Type `pip install --force-reinstall av`, whose wheel contains FFmpeg.",
        )
    return Finding(
        "codecs",
        OK,
        f"{measurement}a video was written and read back; reads {', '.join(DECODERS)}",
        "Videos can be read and written.",
    )


def _has(av: ModuleType, name: str, mode: str) -> bool:
    try:
        av.codec.Codec(name, mode)
    except ValueError:  # PyAV's error for an unknown codec is one
        return False
    return True


def _round_trip() -> str:
    """Writes and reads a small video; returns what differs, or ""."""
    from lipsync_jax.media import audio, video_reader
    from lipsync_jax.media.video_writer import VideoWriter

    with tempfile.TemporaryDirectory() as folder:
        wav, out = Path(folder) / "speech.wav", Path(folder) / "out.mp4"
        audio.save(wav, np.zeros(8000, np.int16), audio.SAMPLE_RATE)
        with VideoWriter(out, Fraction(25), (64, 48), audio=wav) as writer:
            for shade in range(0, 240, 20):
                writer.write(np.full((48, 64, 3), shade, np.uint8))
        shades = [int(frame.image.mean()) for frame in video_reader.read_frames(out)]
        mismatch = len(shades) != 12 or np.abs(np.array(shades) - range(0, 240, 20)).max() > 8
        samples, _ = audio.load(out)
    if mismatch:
        return f"12 frames were read as {len(shades)} with grey values {shades}"
    return "" if len(samples) >= 7000 else f"0.5 s of audio were read as {len(samples)} samples"


def detector() -> Finding:
    """Checks which face detectors work."""
    try:
        from lipsync_jax import faces

        problems = {name: faces.detector_problem(name) for name in faces.DETECTORS}
    except Exception as failure:  # a broken OpenCV fails with errors of any kind
        problems = {"OpenCV": f"{type(failure).__name__}: {failure}".splitlines()[0]}
    working = [name for name, problem in problems.items() if not problem]
    failing = [f"{name} does not run ({reason})" for name, reason in problems.items() if reason]
    if not working:
        return Finding(
            "faces",
            FAULT,
            "; ".join(failing),
            "Faces can't be detected, neither for training nor in videos.",
            "Type `pip install --force-reinstall opencv-python-headless`, and install lipsync_jax "
            "again.",
            "no face detector",
        )
    if problems[next(iter(problems))]:
        return Finding(
            "faces",
            NOTE,
            f"the face detector is {working[0]}; {'; '.join(failing)}",
            "Faces are detected, by the second choice.",
            "Type `pip install --force-reinstall opencv-python-headless`, and install lipsync_jax "
            "again.",
        )
    return Finding(
        "faces",
        OK,
        f"face detectors that work, without false detections on a blank image: {', '.join(working)}"
        + "".join(f"; {problem}" for problem in failing),
        "Faces are detected.",
    )


def disks(root: Path) -> Finding:
    """Checks the free space of the working folder, of temporary files and of caches."""
    free = {}
    for name, folder in (
        ("here", root),
        ("temporary", tempfile.gettempdir()),
        ("cache", paths.user_cache()),
    ):
        folder = Path(folder).absolute()
        while not folder.exists():
            folder = folder.parent
        free[name] = shutil.disk_usage(folder).free / 1e9
    measurement = ", ".join(f"{space:.0f} GB free {name}" for name, space in free.items())
    if not os.access(root, os.W_OK):
        measurement += f"; {root} can't be written to"
    elif min(free.values()) >= _LOW_SPACE:
        return Finding("disk", OK, measurement, "There is enough space.")
    is_full = min(free.values()) < _NO_SPACE
    return Finding(
        "disk",
        FAULT if is_full else NOTE,
        measurement,
        "Shards and checkpoints take gigabytes.",
        "Free space, or work in a folder on another disk.",
        "disk full" if is_full else "",
    )
