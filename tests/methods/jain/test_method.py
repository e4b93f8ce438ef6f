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
        patch.setitem(clip_record.CROP_SPECS, aligned_faces.NAME, aligned_faces.CROP_SPEC)
        yield


def narrow(variant="tiny", **changes):
    config = jain_config.get_config(variant)
    config.data.crop = aligned_faces.NAME
    config.data.validation_frames = 12
    config.length_buckets = (6, 12)
    config.min_frames, config.max_frames = 5, 12
    config.model.update(image_size=(32, 32), audio_size=8, context_size=8, identity_size=8)
    config.discriminators.sequence.model.update(audio_size=8, frame_size=8, hidden_size=8)
    config.optimizer.warmup_steps = 0
    config.update(changes)
    return config


def method(**options):
    made = methods.load(narrow(**options))
    made.validate_config()
    return made


def rng(seed=0):
    return np.random.default_rng(seed)


def batch_of(made, lengths):
    clips = [aligned_faces.aligned_clip(f"a/{i}", i, n) for i, n in enumerate(lengths)]
    return made.collate([made.make_validation_example(clip, rng()) for clip in clips])


def test_each_frame_has_its_mfccs():
    made = method()
    clip = aligned_faces.aligned_clip("a", 0)
    example = made.make_validation_example(clip, rng())
    assert example["audio"].shape == (12, 35, 12) and example["audio"].dtype == np.float32
    mfcc = audio.syncnet_mfcc(clip.audio)[:, 1:] / 25
    padded = np.pad(mfcc, ((15, 35), (0, 0)))
    for t, window in enumerate(example["audio"]):
        np.testing.assert_allclose(window, padded[4 * t : 4 * t + 35], rtol=1e-5, atol=1e-6)


def test_audio_at_another_rate_is_resampled():
    made = method()
    clip = aligned_faces.aligned_clip("a", 0)
    twice = np.repeat(clip.audio, 2)
    other = dataclasses.replace(clip, audio=twice, audio_rate=32000, frame_rate=Fraction(25))
    one, two = (made.make_validation_example(c, rng())["audio"] for c in (clip, other))
    assert np.corrcoef(one[4:8].ravel(), two[4:8].ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_steps_on_clips_of_any_length_are_traced_once_a_bucket_and_learn():
    made = method()
    batch = batch_of(made, (12, 9))
    state = jit(made.init, optimize=False)(jax.random.key(0), batch)
    update = jit(made.train_step)
    history = []
    for step in range(10):
        state, metrics = update(state, batch, jax.random.key(step))
        history.append({name: float(value) for name, value in metrics.items()})
    assert all(np.isfinite(value) for value in history[-1].values())
    assert history[-1]["l1"] < 0.8 * history[0]["l1"]
    for lengths in ((5, 6), (6, 6), (7, 11), (12, 5), (8, 10)):
        state, _ = update(state, batch_of(made, lengths), jax.random.key(0))
    assert update._cache_size() == 2
    evaluate = jit(made.eval_step)
    for lengths in ((12, 7), (8, 10), (9, 11)):  # lengths of training or not
        metrics = evaluate(state, batch_of(made, lengths))
        assert all(np.isfinite(values).all() for values in metrics.values())
    assert evaluate._cache_size() == 1


@pytest.mark.slow
def test_padding_enters_no_loss_and_no_statistic():
    made = method()
    short = batch_of(made, (6, 5))
    longer = dict(short)  # the reference has no time axis
    for name, fill in (("frames", 255), ("audio", 9), ("mask", False)):
        edges = [(0, 0), (0, 6)] + [(0, 0)] * (short[name].ndim - 2)
        longer[name] = np.pad(short[name], edges, constant_values=fill)
    state, key = jit(made.init, optimize=False)(jax.random.key(0), short), jax.random.key(1)
    update = jit(made.train_step)
    (one, metrics), (other, others) = update(state, short, key), update(state, longer, key)
    for name in metrics:
        np.testing.assert_allclose(metrics[name], others[name], rtol=2e-4, err_msg=name)
    for name in made.networks:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
            one.networks[name].batch_stats,
            other.networks[name].batch_stats,
        )


def test_the_published_config_is_the_text():
    config = jain_config.get_config()
    assert config.loss.l1 == 0 and config.noise_std == 0.77 and config.model.noise_layers == 2
    assert config.optimizer.learning_rate == 2e-3
    assert {
        discriminator.optimizer.learning_rate for discriminator in config.discriminators.values()
    } == {2e-5}
    made = methods.load(config)
    made.validate_config()
    assert set(made.networks) == {"generator", "frame_discriminator", "sequence_discriminator"}
    for size in ("small_data", "tiny"):
        assert set(methods.load(jain_config.get_config(f"{size}_l1")).networks) == {"generator"}
    with pytest.raises(ValueError, match="no variant 'huge'"):
        jain_config.get_config("huge")


def test_a_discriminator_of_another_paper_is_refused():
    config = narrow()
    config.discriminators.sync = config.discriminators.frame
    with pytest.raises(
        ValueError, match=r"discriminators.sync: jain has no discriminator of that name"
    ):
        methods.load(config)
