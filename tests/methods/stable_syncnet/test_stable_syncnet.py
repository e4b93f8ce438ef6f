"""StableSyncNet alone, as Wav2Lip's expert, and in the programs that measure synchronization."""

import dataclasses
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import stable_syncnet as stable_config
from lipsync_jax.configs import wav2lip as wav2lip_config
from lipsync_jax.data.clip import decode_frames, encode_frame
from lipsync_jax.methods.stable_syncnet.model import StableSyncNet, stack_lower_half
from tests.conftest import toy_clip

pytestmark = pytest.mark.usefixtures("quick_programs")


def small_clip(clip_id, seed):
    """A clip of face64 crops."""
    clip = toy_clip(clip_id, seed)
    frames = (cv2.resize(image, (64, 64)) for image in decode_frames(clip, range(40)))
    return dataclasses.replace(clip, frames=tuple(map(encode_frame, frames)))


def narrow(**changes):
    config = stable_config.get_config("tiny")
    config.model.width_mult = 1 / 64
    config.windows_per_clip = 1
    config.data.batch_size = config.data.validation_batch_size = 2
    config.data.validation_frames = 40
    config.train.update({"steps": 2, "log_every": 1, "validate_every": 2, "checkpoint_every": 2})
    config.update(changes)
    return config


@pytest.mark.parametrize(
    ("size", "width", "parameters"),
    [pytest.param(256, 1.0, 401_306_080, marks=pytest.mark.slow), (64, 1 / 16, 0)],
)
def test_embeddings_have_one_position(size, width, parameters):
    module = StableSyncNet(image_size=size, width_mult=width)
    inputs = jnp.zeros((2, 80, 52, 1)), jnp.zeros((2, size // 2, size, 48))
    outputs, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), *inputs)
    assert [x.shape for x in outputs] == [(2, round(2048 * width))] * 2
    if parameters:
        assert sum(x.size for x in jax.tree.leaves(variables["params"])) == parameters


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="image_size=96: StableSyncNet takes a power of two"):
        module = StableSyncNet(image_size=96)
        inputs = jnp.zeros((1, 80, 52, 1)), jnp.zeros((1, 48, 96, 48))
        jax.eval_shape(module.init, jax.random.key(0), *inputs)


def test_the_lower_half_is_stacked_in_its_range():
    faces = np.random.default_rng(0).random((2, 16, 8, 8, 3), np.float32)
    stacked = np.asarray(stack_lower_half(jnp.asarray(faces)))
    assert stacked.shape == (2, 4, 8, 48)
    np.testing.assert_allclose(stacked[..., 45:], faces[:, 15, 4:] * 2 - 1, atol=1e-6)


def test_windows_have_sixteen_frames_and_their_audio():
    clip, method = small_clip("s/0", 0), methods.load(narrow(augment_magnitude=0.0))
    example = method.make_example(clip, np.random.default_rng(0))
    assert example["frames"].shape == (1, 16, 64, 64, 3)
    assert example["audio"].shape == (1, 52, 80)
    every, mel = decode_frames(clip, range(40)), method._feature_cache.mel(clip)
    start = next(s for s in range(25) if np.array_equal(every[s : s + 16], example["frames"][0]))
    inside = mel[start * 16 // 5 :][:52]
    np.testing.assert_array_equal(example["audio"][0, : len(inside)], inside)
    validation = method.make_validation_example(clip, np.random.default_rng(0))
    assert validation["audio"].shape == (25, 52, 80) and validation["mask"].all()
    short = dataclasses.replace(clip, frames=clip.frames[:31])
    with pytest.raises(ValueError, match="has 31 frames; the sync expert takes 32 or more"):
        method.make_example(short, np.random.default_rng(0))


def wav2lip(steps=1):
    config = wav2lip_config.get_config("tiny")
    config.model.width_mult = 1 / 64
    config.data.crop = "face64"
    config.data.batch_size = config.data.validation_batch_size = 2
    config.frozen.expert.min_accuracy = 0.0
    config.loss.sync_initial = 0.1
    config.train.update({"steps": steps, "validate_every": 1, "checkpoint_every": 1})
    return config


def test_wav2lips_windows_are_those_of_its_expert():
    method = methods.load(wav2lip(), {"expert": {"config": narrow().to_dict()}})
    example = method.make_example(small_clip("s/0", 0), np.random.default_rng(0))
    assert example["frames"].shape == (1, 16, 64, 64, 3)
    assert example["audio"].shape == (1, 16, 16, 80)
    assert example["sync_audio"].shape == (1, 52, 80)


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    """Folder of clips of face64 crops: 4 to train, 2 to validate, 2 to test."""
    from lipsync_jax.data_prep import builder

    sizes = {"train": (4, 0), "validation": (2, 100), "test": (2, 200)}
    clips = {
        split: map(small_clip, [f"{split}/{i}" for i in range(n)], range(seed, seed + n))
        for split, (n, seed) in sizes.items()
    }
    root = tmp_path_factory.mktemp("small_data")
    builder.write_clips(clips, root, "small", "face64", shards=1)
    return root


@pytest.fixture(scope="module")
def run(small_data, tmp_path_factory):
    """A narrow network, trained for two steps."""
    from lipsync_jax.training import loop

    workdir = tmp_path_factory.mktemp("stable")
    config = narrow()
    config.data.dir = str(small_data)
    assert 0 <= loop.train(config, workdir)["balanced_accuracy"] <= 1
    return workdir


@pytest.mark.slow
def test_wav2lip_trains_against_its_checkpoint(run, small_data, tmp_path):
    from lipsync_jax.training import loop

    config = wav2lip()
    config.data.dir = str(small_data)
    config.frozen.expert.checkpoint = str(run)
    scalars = loop.train(config, tmp_path / "wav2lip")
    assert scalars["sync_loss"] > 0 and scalars["sync_loss_real"] > 0

    from lipsync_jax.cli import main

    words = ["--checkpoint-path", tmp_path / "wav2lip", "--data", small_data, "--limit", 1]
    words += ["--sync-model", run, "--out", tmp_path / "scores"]
    assert main.main(["evaluate", *map(str, words)]) == 0
    result = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert result["sync_model"]["kind"] == "stable_syncnet"


@pytest.mark.slow
def test_its_checkpoint_measures_offsets(run, tmp_path, monkeypatch):
    from lipsync_jax.cli import main
    from lipsync_jax.faces import tracking
    from tests.helpers import colour_faces, talking

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tracking, "get_detector", lambda name: colour_faces.detect)
    video = talking.write_talking_video(tmp_path / "video.mkv", talking.random_speech_mask(60))
    offsets = tmp_path / "offsets.json"
    main.main(["sync", str(video), "--sync-model", str(run), "--json", str(offsets)])
    said = json.loads(offsets.read_text())
    assert said["sync_model"]["kind"] == "stable_syncnet"
    assert said["tracks"][0]["distance"] >= 0


@pytest.mark.slow
def test_its_training_is_diagnosed():
    from lipsync_jax.diagnostics.sync_expert import diagnose

    config = stable_config.get_config("tiny")
    config.model.width_mult = 1 / 32
    found = diagnose.examine(config, [small_clip(f"s/{i}", i) for i in range(4)])
    names = {finding.check: finding.state for finding in found.findings}
    assert names["examples"] == "ok"
    assert {"weights", "rate", "batch"} <= names.keys()
