"""One device setup for all tests, made before JAX starts, and a small data set they share."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import logging
from fractions import Fraction

import absl.logging  # makes its logger  # noqa: F401
import cv2
import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

from tests.helpers import buckets, shapes

# Checks the shapes that annotations name in each call; before the first import of these modules.
install_import_hook(
    [
        "lipsync_jax.evaluation.metrics",
        "lipsync_jax.losses",
        "lipsync_jax.methods",
        "lipsync_jax.nn",
        "lipsync_jax.ops",
    ],
    f"{shapes.__name__}.check_shapes",
)

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory):
    """Compiles equal programs of different tests once per session."""
    folder = tmp_path_factory.getbasetemp().parent / "lipsync_jax_xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True)
def _no_built_in_models(tmp_path_factory, monkeypatch):
    """Results of tests do not depend on the models that are shipped."""
    from lipsync_jax import weights

    monkeypatch.setattr(weights, "FOLDER", tmp_path_factory.getbasetemp() / "no_models")


@pytest.fixture(autouse=True)
def _no_kept_programs(monkeypatch):
    """Networks that tests replace are traced, and nothing is left in the user's cache folder."""
    from lipsync_jax.training import inference_function

    monkeypatch.setattr(inference_function, "keeps_programs", lambda: False)


_LEVELS = {name: logging.getLogger(name).level for name in ("absl", "jax", "matplotlib")}


@pytest.fixture(autouse=True)
def _log_levels():
    """Resets the levels of libraries' loggers, which commands raise, also in shared fixtures."""
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _one_device():
    """Trains on the first device; tests of several devices make a mesh of their own."""
    from lipsync_jax.training import sharding

    make_mesh = sharding.make_mesh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sharding, "make_mesh", lambda devices=None: make_mesh(devices or jax.devices()[:1])
        )
        yield


@pytest.fixture(scope="module")
def gs():
    """URL of a bucket on this machine, by the protocol of Google Cloud Storage."""
    yield from buckets.serve("gs")


@pytest.fixture(scope="module")
def s3():
    """URL of a bucket on this machine, by the protocol of S3."""
    yield from buckets.serve("s3")


@pytest.fixture(scope="module")
def quick_programs():
    """Compiles without optimisation, which does not pay off in a few steps."""
    from lipsync_jax.nn.cpu import jit

    options = {**jit.cpu_compiler_options(), "xla_backend_optimization_level": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "cpu_compiler_options", lambda: dict(options))
        yield


def toy_clip(clip_id: str, seed: int, frames: int = 40):
    """A face-coloured square whose dark mouth opens with the loudness of a buzz."""
    from lipsync_jax.data.clip import Clip, encode_frame

    rng = np.random.default_rng(seed)
    rate = 16000
    loudness = np.interp(
        np.arange(frames), np.arange(0, frames + 4, 4), rng.random(frames // 4 + 1)
    )
    encoded_frames = []
    for open_ in loudness:
        image = np.full((96, 96, 3), rng.integers(150, 160, 3), np.uint8)
        cv2.ellipse(image, (48, 72), (18, 1 + int(16 * open_)), 0, 0, 360, (30, 20, 60), -1)
        encoded_frames.append(encode_frame(image))
    time = np.arange(frames * rate // 25) / rate
    envelope = np.interp(time * 25, np.arange(frames), loudness)
    buzz = envelope * np.sign(np.sin(2 * np.pi * 140 * time)) + 0.01 * rng.normal(size=len(time))
    return Clip(
        clip_id=clip_id,
        speaker=clip_id.partition("/")[0],
        frames=tuple(encoded_frames),
        frame_rate=Fraction(25),
        audio=(6000 * buzz).astype(np.int16),
        audio_rate=rate,
        landmarks=np.full((frames, 5, 2), np.nan, np.float32),
    )


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """Folder of a written data set: 12 training, 5 validation and 4 test clips of 40 frames."""
    from lipsync_jax.data_prep import builder

    sizes = {"train": (12, 0), "validation": (5, 100), "test": (4, 200)}
    clips = {
        split: map(toy_clip, [f"{split}/{i}" for i in range(n)], range(seed, seed + n))
        for split, (n, seed) in sizes.items()
    }
    root = tmp_path_factory.mktemp("toy_data")
    builder.write_clips(clips, root, "toy", shards=2)
    return root
