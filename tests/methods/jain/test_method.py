"""The temporal GAN of Jain et al. on small faces with narrow networks."""

import dataclasses
from fractions import Fraction

import jax
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import jain as jain_config
from lipsync_jax.data import clip as clip_record
from lipsync_jax.media import audio
from lipsync_jax.nn.cpu.jit import jit
from tests.helpers import aligned_faces

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clip_record.GEOMETRIES, aligned_faces.NAME, aligned_faces.GEOMETRY)
        yield


def narrow(variant="tiny", **changes):
    config = jain_config.get_config(variant)
    config.data.geometry = aligned_faces.NAME
    config.data.validation_frames = 12
    config.lengths = (6, 12)
    config.shortest, config.longest = 5, 12
    config.model.update(image_size=(32, 32), audio_size=8, context_size=8, identity_size=8)
    config.judges.sequence.model.update(audio_size=8, frame_size=8, hidden_size=8)
    config.optimiser.warmup = 0
    config.update(changes)
    return config


def method(**options):
    made = methods.load(narrow(**options))
    made.check()
    return made


def rng(seed=0):
    return np.random.default_rng(seed)


def batch_of(made, lengths):
    clips = [aligned_faces.clip(f"a/{i}", i, n) for i, n in enumerate(lengths)]
    return made.collate([made.validation_example(clip, rng()) for clip in clips])


def test_each_frame_has_its_mfccs():
    made = method()
    clip = aligned_faces.clip("a", 0)
    example = made.validation_example(clip, rng())
    assert example["audio"].shape == (12, 35, 12) and example["audio"].dtype == np.float32
    mfcc = audio.syncnet_mfcc(clip.audio)[:, 1:] / 25
    padded = np.pad(mfcc, ((15, 35), (0, 0)))
    for t, window in enumerate(example["audio"]):
        np.testing.assert_allclose(window, padded[4 * t : 4 * t + 35], rtol=1e-5, atol=1e-6)


def test_sound_at_another_rate_is_resampled():
    made = method()
    clip = aligned_faces.clip("a", 0)
    twice = np.repeat(clip.audio, 2)
    other = dataclasses.replace(clip, audio=twice, audio_rate=32000, frame_rate=Fraction(25))
    one, two = (made.validation_example(c, rng())["audio"] for c in (clip, other))
    assert np.corrcoef(one[4:8].ravel(), two[4:8].ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_steps_on_clips_of_any_length_are_traced_once_a_bucket_and_learn():
    made = method()
    batch = batch_of(made, (12, 9))
    state = jit(made.init, once=True)(jax.random.key(0), batch)
    update = jit(made.update)
    seen = []
    for step in range(10):
        state, figures = update(state, batch, jax.random.key(step))
        seen.append({name: float(value) for name, value in figures.items()})
    assert all(np.isfinite(value) for value in seen[-1].values())
    assert seen[-1]["l1"] < 0.8 * seen[0]["l1"]
    for lengths in ((5, 6), (6, 6), (7, 11), (12, 5), (8, 10)):
        state, _ = update(state, batch_of(made, lengths), jax.random.key(0))
    assert update._cache_size() == 2
    measure = jit(made.measure)
    for lengths in ((12, 7), (8, 10), (9, 11)):  # seen in training or not
        figures = measure(state, batch_of(made, lengths))
        assert all(np.isfinite(values).all() for values in figures.values())
    assert measure._cache_size() == 1


@pytest.mark.slow
def test_padding_enters_no_loss_and_no_statistic():
    made = method()
    short = batch_of(made, (6, 5))
    longer = dict(short)  # the still has no time
    for name, fill in (("frames", 255), ("audio", 9), ("mask", False)):
        edges = [(0, 0), (0, 6)] + [(0, 0)] * (short[name].ndim - 2)
        longer[name] = np.pad(short[name], edges, constant_values=fill)
    state, key = jit(made.init, once=True)(jax.random.key(0), short), jax.random.key(1)
    update = jit(made.update)
    (one, figures), (other, others) = update(state, short, key), update(state, longer, key)
    for name in figures:
        np.testing.assert_allclose(figures[name], others[name], rtol=2e-4, err_msg=name)
    for name in made.players:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
            one.players[name].batch_stats,
            other.players[name].batch_stats,
        )


def test_the_published_config_is_the_text():
    config = jain_config.get_config()
    assert config.l1_weight == 0 and config.noise_std == 0.77 and config.model.noise_layers == 2
    assert config.optimiser.learning_rate == 2e-3
    assert {judge.optimiser.learning_rate for judge in config.judges.values()} == {2e-5}
    made = methods.load(config)
    made.check()
    assert set(made.players) == {"generator", "frame_discriminator", "sequence_discriminator"}
    for size in ("small_data", "tiny"):
        assert set(methods.load(jain_config.get_config(f"{size}_l1")).players) == {"generator"}
    with pytest.raises(ValueError, match="no variant 'huge'"):
        jain_config.get_config("huge")


def test_a_judge_of_another_paper_is_refused():
    config = narrow()
    config.judges.sync = config.judges.frame
    with pytest.raises(ValueError, match=r"judges.sync: jain has none of that name"):
        methods.load(config)
