"""LipGAN with narrow networks on synthetic faces, and dubbing with its checkpoints."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import lipgan as lipgan_config
from lipsync_jax.data import audio_features
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.evaluation.face_clip import from_clip
from lipsync_jax.evaluation.generators import DubbingGenerator
from lipsync_jax.media import audio, video_reader
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.synthesis import dubbing
from lipsync_jax.training import checkpoints
from tests.conftest import toy_clip
from tests.helpers import colour_faces, media_files
from tests.helpers.networks import random_state, random_variables_like

pytestmark = pytest.mark.usefixtures("quick_programs")


def make(variant="tiny", **changes):
    config = lipgan_config.get_config(variant)
    config.model.width_mult = 1 / 64
    for discriminator in config.discriminators.values():
        discriminator.model.width_mult = 1 / 64
    config.model.residual = False
    config.frames_per_clip = 2
    config.loss.lower_half = 1.0
    config.optimizer.warmup_steps = 0
    config.update(changes)
    method = methods.load(config)
    method.validate_config()
    return method


def batch_of(method, count=3):
    rng = np.random.default_rng(0)
    clips = [toy_clip(f"s/{i}", i) for i in range(count)]
    return method.collate([method.make_validation_example(clip, rng) for clip in clips])


@functools.cache
def random_state_and_batch(variant="tiny"):
    """A method, a batch, and a state with random weights."""
    method = make(variant)
    batch = batch_of(method)
    return method, batch, random_state(method, batch)


@functools.cache
def update(variant="tiny"):
    return jit(random_state_and_batch(variant)[0].train_step)


def test_each_frame_has_its_audio_and_a_reference_of_its_clip():
    clip = toy_clip("s/0", 0)
    every = decode_frames(clip, range(40))
    for features in ("mfcc", "mel"):
        method = make(frames_per_clip=8, model={"audio_features": features})
        example = method.make_example(clip, np.random.default_rng(0))
        samples = clip.audio.astype(np.float32) / 32768
        if features == "mfcc":
            whole = np.pad(audio.speech2vid_mfcc(samples)[:, 1:], ((50, 50), (0, 0)))
        else:
            mel = audio.mel_spectrogram(samples)
            whole = np.pad(mel, ((50, 50), (0, 0)), constant_values=audio.MEL_SILENCE)
        for i in range(8):
            frame, other = (
                next(t for t in range(40) if np.array_equal(every[t], example[name][i]))
                for name in ("frames", "reference")
            )
            assert abs(frame - other) >= 6
            # MFCCs as published; of mel 13 columns before the frame's middle.
            first = 4 * frame - 16 if features == "mfcc" else (2 * frame + 1) * 8 // 5 - 13
            window = whole[50 + first : 50 + first + len(example["audio"][i])]
            np.testing.assert_allclose(example["audio"][i], window, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", audio_features.LIPGAN)
def test_windows_are_centred_on_their_frames(kind):
    spec = audio_features.LIPGAN[kind]
    (start,) = spec.window_starts([40])
    middle = (start + (spec.window - 1) / 2) / spec.rate
    # An MFCC's 25 ms begin with its column, a mel column's are around it.
    middle += 0.0125 if kind == "mfcc" else 0
    assert abs(middle - 40.02) < 1 / spec.rate  # columns lie before moments, not nearest


@pytest.mark.slow
def test_a_batch_is_learned():
    _, batch, state = random_state_and_batch()
    before, first = jax.device_get(state.networks), {}
    for step in range(8):
        state, scalars = update()(state, batch, jax.random.key(step))
        first = first or jax.device_get(scalars)
    assert scalars["l1"] < 0.8 * first["l1"]
    whole = float(scalars["l1"] + 0.01 * scalars["gen_adv_loss"])
    assert float(scalars["loss"]) == pytest.approx(whole, rel=1e-5)
    for name, network in state.networks.items():
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), network.params, before[name].params)
        assert max(jax.tree.leaves(moved)) > 0, name


@pytest.mark.slow
def test_the_discriminator_takes_two_steps_on_the_pairs_of_the_paper():
    method, batch, state = random_state_and_batch()
    module, params = (
        method.networks["discriminator"].module,
        state.networks["discriminator"].params,
    )
    target = batch["frames"].reshape(-1, 96, 96, 3) / np.float32(255)
    audio = batch["audio"].reshape(-1, 35, 12)
    mismatched = np.roll(batch["audio"], 1, axis=0).reshape(-1, 35, 12)
    faces = np.concatenate([batch["reference"], batch["frames"]], axis=-1) / np.float32(255)
    faces[..., 48:, :, 3:] = 0
    faces = faces.reshape(-1, 96, 96, 6)
    generator = method.networks["generator"].module
    generated = jit(generator.apply)(state.networks["generator"].variables, audio, faces)
    distance = jit(lambda *pair: module.apply({"params": params}, *pair))
    negatives = {True: (audio, generated), False: (mismatched, target)}
    found = set()
    for seed in range(4):
        key = jax.random.key(seed)
        coin = bool(jax.random.bernoulli(key))
        _, scalars = update()(state, batch, key)
        expected = float(distance(*negatives[coin]).mean())
        assert float(scalars["distance_negative"]) == pytest.approx(expected, rel=1e-4)
        found.add(coin)
    assert found == {True, False}


@pytest.mark.slow
def test_each_optimizer_counts_the_steps_of_its_network():
    _, batch, state = random_state_and_batch()
    after, scalars = update()(state, batch, jax.random.key(0))
    # Optimizers have counted their own steps only.
    for name, steps in (("discriminator", 2), ("generator", 1)):
        leaves = jax.tree.leaves(after.networks[name].opt_state)
        assert {int(leaf) for leaf in leaves if leaf.dtype == np.int32} == {steps}
    assert 0 <= scalars["gen_adv_loss"] <= 4


@pytest.mark.slow
def test_without_a_discriminator_the_loss_is_l1():
    _, batch, state = random_state_and_batch("tiny_unet")
    assert set(state.networks) == {"generator"}
    _, scalars = update("tiny_unet")(state, batch, jax.random.key(0))
    assert set(scalars) == {"loss", "l1", "grad_norm"} and scalars["loss"] == scalars["l1"]


def test_metrics_of_the_baselines():
    method, batch, state = random_state_and_batch()
    found = jax.device_get(jit(method.eval_step)(state, batch))
    assert all(values.shape == (3,) and np.isfinite(values).all() for values in found.values())
    box = np.s_[..., 53:91, 24:72, :]
    target = batch["frames"].astype(np.float64) / 255
    for name, baseline in (
        ("copy_baseline", batch["reference"]),
        ("mean_baseline", batch["mean_frame"][:, None]),
    ):
        expected = np.abs(baseline / 255 - target)[box].mean(axis=(1, 2, 3, 4))
        np.testing.assert_allclose(found[f"mouth_l1_{name}"], expected, rtol=1e-4)
    assert np.abs(found["mouth_l1"] - found["mouth_l1_mismatched_audio"]).max() > 0
    assert (found["distance_real"] <= 2).all()


def test_branches_and_their_published_values():
    config = lipgan_config.get_config()
    assert (config.discriminators.distance.weight, config.loss.lower_half) == (0.01, 1)
    assert config.data.batch_size == 96 and config.optimizer.learning_rate == 1e-4
    assert config.optimizer.eps == config.discriminators.distance.optimizer.eps == 1e-7
    assert lipgan_config.get_config("tiny") == lipgan_config.get_config("tiny_published")
    assert lipgan_config.get_config("mel").model.audio_features == "mel"
    for variant in ("huge", "tiny_tiny"):
        with pytest.raises(ValueError, match=f"no variant '{variant}'"):
            lipgan_config.get_config(variant)


def test_bad_configs_and_short_clips_are_refused():
    with pytest.raises(ValueError, match=r"lips64 has 64x64 pixels; LipGAN takes 96x96"):
        make(data={"crop": "lips64"})
    with pytest.raises(ValueError, match=r"set --config.data.batch_size to 2"):
        make(data={"batch_size": 1})
    with pytest.raises(ValueError, match="has 8 frames; LipGAN takes 12 or more"):
        make().make_example(toy_clip("s/0", 0, 8), np.random.default_rng(0))


@pytest.fixture(scope="module", params=["mfcc", "mel"])
def run(request, tmp_path_factory):
    """A checkpoint with random weights, its method, and its variables."""
    method = make("tiny" if request.param == "mfcc" else "tiny_mel")
    shapes = jax.eval_shape(method.init, jax.random.key(0), batch_of(method, 1)).networks
    variables = {
        name: random_variables_like(getattr(shapes["generator"], name))
        for name in ("params", "batch_stats")
    }
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    config = {"config": method.config.to_dict()}
    checkpoints.export_networks(folder, {"generator": variables}, config)
    return folder, method, variables


def test_a_checkpoint_dubs_a_video(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, method, variables = run
    path = colour_faces.write_video(
        tmp_path / "film.mkv",
        [colour_faces.face_image(colour_faces.square_box(20 + i)) for i in range(6)],
    )
    samples = media_files.tone(220, 0.24, 16_000)
    audio.save(tmp_path / "a.wav", samples, 16_000)
    options = {
        "detector": colour_faces.detect,
        "lossless": True,
        "batch_size": 4,
        "min_face_height": 0,
    }
    report = dubbing.generate(folder, path, tmp_path / "a.wav", tmp_path / "o.mp4", **options)
    assert report.edited == report.frames == 6
    shown = [frame.image for frame in video_reader.read_frames(tmp_path / "o.mp4")]
    before = [frame.image for frame in video_reader.read_frames(path)]
    assert all(not np.array_equal(a, b) for a, b in zip(shown, before, strict=True))

    pipeline = dubbing.LipSyncPipeline.load(folder)
    faces = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    spec = method.audio_spec
    windows = spec.gather(spec.compute(samples), spec.window_starts([0.04]))
    generated = np.asarray(pipeline.model(windows.astype(np.float32), faces, 1))
    scaled = faces / np.float32(255)
    both = np.concatenate([scaled, scaled], axis=-1)
    both[:, 48:, :, 3:] = 0
    expected = jit(method.networks["generator"].module.apply)(variables, windows, jnp.asarray(both))
    assert np.abs(generated - np.rint(np.asarray(expected) * 255)).max() <= 1


def test_streaming_features_equal_those_of_the_whole_audio(run):
    from lipsync_jax.synthesis import driving_audio

    spec = run[1].audio_spec
    samples = np.random.default_rng(0).normal(0, 0.1, 12_345).astype(np.float32)
    pieces = (samples[first : first + 777] for first in range(0, len(samples), 777))
    live = driving_audio.StreamingFeatures(pieces, 16_000, spec)
    whole = spec.gather(spec.compute(samples), np.arange(-4, 80))
    for start in range(-4, 80):
        found = live.windows(np.array([start]))[0]
        np.testing.assert_allclose(found, whole[start + 4], atol=1e-4)


def test_a_checkpoint_generates_from_clips_of_a_data_set(run):
    real = from_clip(toy_clip("s/0", 0, 16))
    drawer = DubbingGenerator.load(run[0])
    generated, silent = (
        np.stack([*made.read_frames()]) for made in (drawer(real), drawer(real, silent=True))
    )
    assert generated.shape == (16, 96, 96, 3) and not np.array_equal(generated, silent)
