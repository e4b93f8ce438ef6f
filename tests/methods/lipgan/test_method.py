"""LipGAN with narrow networks on drawn faces, and its checkpoints at work."""

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
from lipsync_jax.evaluation.generators import Drawer
from lipsync_jax.media import audio, video_reader
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.synthesis import dubbing
from lipsync_jax.training import checkpoints
from tests.conftest import toy_clip
from tests.helpers import colour_faces, media_files
from tests.helpers.networks import drawn_state, filled

pytestmark = pytest.mark.usefixtures("quick_programs")


def make(variant="tiny", **changes):
    config = lipgan_config.get_config(variant)
    config.model.width = config.adversarial.width = 1 / 64
    config.model.residual = False
    config.frames_per_clip = 2
    config.lower_half_weight = 1.0
    config.optimiser.warmup = 0
    config.update(changes)
    method = methods.load(config)
    method.check()
    return method


def batch_of(method, count=3):
    rng = np.random.default_rng(0)
    clips = [toy_clip(f"s/{i}", i) for i in range(count)]
    return method.collate([method.validation_example(clip, rng) for clip in clips])


@functools.cache
def started(variant="tiny"):
    """A method, a batch, and a state with drawn weights."""
    method = make(variant)
    batch = batch_of(method)
    return method, batch, drawn_state(method, batch)


@functools.cache
def update(variant="tiny"):
    return jit(started(variant)[0].update)


def test_each_face_has_its_sound_and_another_face_of_its_clip():
    clip = toy_clip("s/0", 0)
    every = decode_frames(clip, range(40))
    for sound in ("mfcc", "mel"):
        method = make(frames_per_clip=8, model={"sound": sound})
        example = method.example(clip, np.random.default_rng(0))
        samples = clip.audio.astype(np.float32) / 32768
        if sound == "mfcc":
            whole = np.pad(audio.speech2vid_mfcc(samples)[:, 1:], ((50, 50), (0, 0)))
        else:
            mel = audio.mel_spectrogram(samples)
            whole = np.pad(mel, ((50, 50), (0, 0)), constant_values=audio.MEL_SILENCE)
        for i in range(8):
            frame, other = (
                next(t for t in range(40) if np.array_equal(every[t], example[name][i]))
                for name in ("target", "reference")
            )
            assert abs(frame - other) >= 6
            # MFCCs as published; of mel 13 columns before the frame's middle.
            first = 4 * frame - 16 if sound == "mfcc" else (2 * frame + 1) * 8 // 5 - 13
            window = whole[50 + first : 50 + first + len(example["sound"][i])]
            np.testing.assert_allclose(example["sound"][i], window, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", audio_features.LIPGAN)
def test_windows_are_centred_on_their_frames(kind):
    hears = audio_features.LIPGAN[kind]
    (start,) = hears.starts([40])
    middle = (start + (hears.window - 1) / 2) / hears.rate
    # An MFCC's 25 ms begin with its column, a mel column's are around it.
    middle += 0.0125 if kind == "mfcc" else 0
    assert abs(middle - 40.02) < 1 / hears.rate  # columns lie before moments, not nearest


@pytest.mark.slow
def test_a_batch_is_learned():
    _, batch, state = started()
    before, first = jax.device_get(state.players), {}
    for step in range(8):
        state, scalars = update()(state, batch, jax.random.key(step))
        first = first or jax.device_get(scalars)
    assert scalars["l1"] < 0.8 * first["l1"]
    whole = float(scalars["l1"] + 0.01 * scalars["deceived"])
    assert float(scalars["loss"]) == pytest.approx(whole, rel=1e-5)
    for name, player in state.players.items():
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), player.params, before[name].params)
        assert max(jax.tree.leaves(moved)) > 0, name


@pytest.mark.slow
def test_the_discriminator_takes_two_steps_on_the_pairs_of_the_paper():
    method, batch, state = started()
    module, params = (
        method.players["discriminator"].module,
        state.players["discriminator"].params,
    )
    target = batch["target"].reshape(-1, 96, 96, 3) / np.float32(255)
    sound = batch["sound"].reshape(-1, 35, 12)
    other = np.roll(batch["sound"], 1, axis=0).reshape(-1, 35, 12)
    faces = np.concatenate([batch["reference"], batch["target"]], axis=-1) / np.float32(255)
    faces[..., 48:, :, 3:] = 0
    faces = faces.reshape(-1, 96, 96, 6)
    generator = method.players["generator"].module
    drawn = jit(generator.apply)(state.players["generator"].variables, sound, faces)
    distance = jit(lambda *pair: module.apply({"params": params}, *pair))
    refused = {True: (sound, drawn), False: (other, target)}
    found = set()
    for seed in range(4):
        key = jax.random.key(seed)
        coin = bool(jax.random.bernoulli(key))
        _, scalars = update()(state, batch, key)
        expected = float(distance(*refused[coin]).mean())
        assert float(scalars["distance_of_refused"]) == pytest.approx(expected, rel=1e-4)
        found.add(coin)
    assert found == {True, False}


@pytest.mark.slow
def test_the_generator_is_pulled_towards_real_by_a_judge_that_stays_as_it_was():
    _, batch, state = started()
    after, scalars = update()(state, batch, jax.random.key(0))
    # Optimisers have counted their own steps only.
    for name, steps in (("discriminator", 2), ("generator", 1)):
        leaves = jax.tree.leaves(after.players[name].opt_state)
        assert {int(leaf) for leaf in leaves if leaf.dtype == np.int32} == {steps}
    assert 0 <= scalars["deceived"] <= 4


@pytest.mark.slow
def test_without_a_judge_the_error_is_all():
    _, batch, state = started("tiny_unet")
    assert set(state.players) == {"generator"}
    _, scalars = update("tiny_unet")(state, batch, jax.random.key(0))
    assert set(scalars) == {"loss", "l1", "gradient_norm"} and scalars["loss"] == scalars["l1"]


def test_figures_of_the_trivial_answers():
    method, batch, state = started()
    found = jax.device_get(jit(method.measure)(state, batch))
    assert all(values.shape == (3,) and np.isfinite(values).all() for values in found.values())
    box = np.s_[..., 53:91, 24:72, :]
    target = batch["target"].astype(np.float64) / 255
    for name, answer in (
        ("copying_reference", batch["reference"]),
        ("mean_mouth", batch["mean_face"][:, None]),
    ):
        expected = np.abs(answer / 255 - target)[box].mean(axis=(1, 2, 3, 4))
        np.testing.assert_allclose(found[f"mouth_error_{name}"], expected, rtol=1e-4)
    assert np.abs(found["mouth_error"] - found["mouth_error_of_other_sound"]).max() > 0
    assert (found["distance_of_real"] <= 2).all()


def test_branches_and_their_published_values():
    config = lipgan_config.get_config()
    assert (config.adversarial.weight, config.lower_half_weight) == (0.01, 1)
    assert config.data.batch_size == 96 and config.optimiser.learning_rate == 1e-4
    assert lipgan_config.get_config("tiny") == lipgan_config.get_config("tiny_published")
    assert lipgan_config.get_config("mel").model.sound == "mel"
    for variant in ("huge", "tiny_tiny"):
        with pytest.raises(ValueError, match=f"no variant '{variant}'"):
            lipgan_config.get_config(variant)


def test_refuses_what_it_cannot_learn_from():
    with pytest.raises(ValueError, match=r"lips64 has pictures of 64x64; LipGAN draws 96x96"):
        make(data={"geometry": "lips64"})
    with pytest.raises(ValueError, match=r"set config.data.batch_size to 2"):
        make(data={"batch_size": 1})
    with pytest.raises(ValueError, match="it has 8 frames, fewer than 12"):
        make().example(toy_clip("s/0", 0, 8), np.random.default_rng(0))


@pytest.fixture(scope="module", params=["mfcc", "mel"])
def run(request, tmp_path_factory):
    """A checkpoint with drawn weights, and the method."""
    method = make("tiny" if request.param == "mfcc" else "tiny_mel")
    shapes = jax.eval_shape(method.init, jax.random.key(0), batch_of(method, 1)).players
    variables = {
        name: filled(getattr(shapes["generator"], name)) for name in ("params", "batch_stats")
    }
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    config = {"config": method.config.to_dict()}
    checkpoints.save_inference(folder, {"generator": variables}, config)
    return folder, method, variables


def test_a_checkpoint_edits_a_video(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, method, variables = run
    path = colour_faces.film(
        tmp_path / "film.mkv", [colour_faces.picture(colour_faces.at(20 + i)) for i in range(6)]
    )
    samples = media_files.tone(220, 0.24, 16_000)
    audio.save(tmp_path / "a.wav", samples, 16_000)
    options = {"detector": colour_faces.detect, "lossless": True, "batch_size": 4}
    report = dubbing.generate(folder, path, tmp_path / "a.wav", tmp_path / "o.mp4", **options)
    assert report.edited == report.frames == 6
    shown = [frame.image for frame in video_reader.read_frames(tmp_path / "o.mp4")]
    before = [frame.image for frame in video_reader.read_frames(path)]
    assert all(not np.array_equal(a, b) for a, b in zip(shown, before, strict=True))

    synthesizer = dubbing.Synthesizer.load(folder)
    faces = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    hears = method.hears
    sound = hears.take(hears.compute(samples), hears.starts([0.04]))
    drawn = np.asarray(synthesizer.editor(sound.astype(np.float32), faces, 1))
    scaled = faces / np.float32(255)
    both = np.concatenate([scaled, scaled], axis=-1)
    both[:, 48:, :, 3:] = 0
    expected = jit(method.players["generator"].module.apply)(variables, sound, jnp.asarray(both))
    assert np.abs(drawn - np.rint(np.asarray(expected) * 255)).max() <= 1


def test_a_live_voice_gives_the_same_windows(run):
    from lipsync_jax.synthesis import driving_audio

    hears = run[1].hears
    samples = np.random.default_rng(0).normal(0, 0.1, 12_345).astype(np.float32)
    pieces = (samples[first : first + 777] for first in range(0, len(samples), 777))
    live = driving_audio.Live(pieces, 16_000, hears)
    whole = hears.take(hears.compute(samples), np.arange(-4, 80))
    for start in range(-4, 80):
        found = live.windows(np.array([start]))[0]
        np.testing.assert_allclose(found, whole[start + 4], atol=1e-4)


def test_a_checkpoint_redraws_shards(run):
    real = from_clip(toy_clip("s/0", 0, 16))
    drawer = Drawer.load(run[0])
    drawn, silent = (np.stack([*made.read()]) for made in (drawer(real), drawer(real, silent=True)))
    assert drawn.shape == (16, 96, 96, 3) and not np.array_equal(drawn, silent)
