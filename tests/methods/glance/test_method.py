"""At a Glance and its autoencoder with narrow networks on two drawn speakers."""

import functools
import itertools
import json
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from lipsync_jax import methods
from lipsync_jax.configs import glance as glance_config
from lipsync_jax.configs import glance_autoencoder as autoencoder_config
from lipsync_jax.data_prep.synthetic.render_clips import film_speaker
from lipsync_jax.methods.base import PlayerState
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.nn.cpu.jit import jit
from tests.helpers.networks import drawn_state, filled

pytestmark = pytest.mark.usefixtures("quick_programs")


@functools.cache
def clips():
    """Two people, 0.8 s each."""
    seeds = np.random.SeedSequence(4).spawn(2)
    return [film_speaker(seed, f"p{i}", [0], 0.8, "lips64")[0] for i, seed in enumerate(seeds)]


def narrow(variant="tiny", width=1 / 32):
    config = glance_config.get_config(variant)
    config.model.update(width=width, residual_blocks=1)
    config.correlation.width = config.adversarial.model.width = width
    config.data.batch_size = config.data.validation_batch_size = 2
    config.optimiser.update(warmup=0, decay_steps=0)
    return config


def card():
    config = autoencoder_config.get_config("tiny")
    config.model.update(width=1 / 32, residual_blocks=1)
    return {"config": json.loads(config.to_json_best_effort())}


def made(variant="tiny", **changes):
    """A method, and a batch of both people."""
    config = narrow(variant)
    config.update(changes)
    method = methods.load(config, {"autoencoder": card()} if config.frozen else {})
    method.check()
    rng = np.random.default_rng(0)
    return method, method.collate([method.example(clip, rng) for clip in clips()])


def started(method, batch):
    """A state with drawn weights, of the frozen player too."""
    state = drawn_state(method, batch)
    if "autoencoder" in method.players.keys() - state.players:
        module = method.players["autoencoder"].module
        frames = jnp.zeros((1, 1, 64, 64, 3))
        variables = filled(jax.eval_shape(module.init, jax.random.key(0), frames))
        frozen = PlayerState(variables["params"], variables["batch_stats"])
        state = state.replace(players={**state.players, "autoencoder": frozen})
    return state


FROZEN = {f"frozen.autoencoder.{name}": None for name in ("checkpoint", "method", "player")}
NO_CORRELATION = {"correlation.weight": 0.0}
NO_PERCEPTUAL = {"perceptual_weight": 0.0, **FROZEN}
TWO_STREAMS = {"adversarial.model.motion": "none"}
DIFFERENCES = {  # from the full system (table 2)
    "a": {**NO_CORRELATION, **NO_PERCEPTUAL, "pixel_weight": 0.0},
    "b": {**NO_CORRELATION, **NO_PERCEPTUAL, "adversarial.weight": 0.0},
    "c": {**NO_CORRELATION, **NO_PERCEPTUAL},
    "d": NO_CORRELATION,
    "e": {},
    "f": {"correlation.derivative": False},
    "g": TWO_STREAMS,
    "h": {**TWO_STREAMS, **NO_CORRELATION},
    "i": {"adversarial.model.motion": "difference"},
}


@pytest.mark.parametrize("size", ["", "tiny_"])
@pytest.mark.parametrize("system", DIFFERENCES)
def test_each_ablation_differs_from_the_full_system_as_the_table_says(system, size):
    full, found = (
        flatten_dict(glance_config.get_config(size + name).to_dict(), sep=".")
        for name in ("full", system)
    )
    different = {name: found.get(name) for name in full if found.get(name) != full[name]}
    assert found.keys() <= full.keys()
    assert different == DIFFERENCES[system]


def test_the_full_system_has_the_weights_of_the_paper():
    config = glance_config.get_config()
    weights = [config.correlation.weight, config.pixel_weight, config.perceptual_weight]
    assert [*weights, config.adversarial.weight] == [1.0, 0.5, 1.0, 1.0]  # eq. 2
    assert config.adversarial.drawn_share == config.adversarial.mismatched_share == 0.5  # eq. 4
    assert glance_config.get_config("tiny") == glance_config.get_config("tiny_full")
    with pytest.raises(ValueError, match="no variant 'tiny_tiny'"):
        glance_config.get_config("tiny_tiny")
    with pytest.raises(ValueError, match="no variant 'huge'"):
        autoencoder_config.get_config("huge")


ENCODERS, JUDGE, CODES = {"sound_encoder", "motion_encoder"}, {"discriminator"}, {"autoencoder"}
PLAYERS = {
    "a": JUDGE,
    "b": set(),
    "c": JUDGE,
    "d": JUDGE | CODES,
    "h": JUDGE | CODES,
    **dict.fromkeys("efgi", ENCODERS | JUDGE | CODES),
}


@pytest.mark.parametrize("system", PLAYERS)
def test_each_ablation_has_its_networks_and_no_others(system):
    method, _ = made(f"tiny_{system}")
    assert set(method.players) == {"generator"} | PLAYERS[system]


@pytest.mark.slow
@pytest.mark.parametrize("system", PLAYERS)
def test_each_ablation_has_its_terms_and_no_others(system):
    method, batch = made(f"tiny_{system}")
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    if "autoencoder" in method.players:
        module = method.players["autoencoder"].module
        variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 64, 64, 3)))
        state.players["autoencoder"] = PlayerState(variables["params"], variables["batch_stats"])
    _, scalars = jax.eval_shape(method.update, state, batch, jax.random.key(1))
    terms = {"l1", "loss"}
    terms |= {"correlation_of_real"} if ENCODERS <= PLAYERS[system] else set()
    terms |= {"perceptual"} if CODES <= PLAYERS[system] else set()
    terms |= {"deceived", "discriminator_of_wrong_sound"} if JUDGE <= PLAYERS[system] else set()
    assert terms <= set(scalars)
    others = {"correlation_of_real", "perceptual", "deceived"} - terms
    assert not others & set(scalars)


def test_a_batch_is_learned_by_the_absolute_error():
    method, batch = made("tiny_b")
    batch = {name: x[:1] for name, x in batch.items()}
    state = started(method, batch)
    update = jit(lambda state: method.update(state, batch, jax.random.key(1)))
    errors = []
    for _ in range(6):
        state, scalars = update(state)
        errors.append(float(scalars["l1"]))
    assert errors[-1] < 0.8 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["e", "f"])
def test_a_batch_is_learned_and_the_autoencoder_stays_as_it_was(system):
    method, batch = made(f"tiny_{system}")
    state = started(method, batch)
    before = jax.device_get(state.players)
    update = jit(lambda state: method.update(state, batch, jax.random.key(1)))
    first = {}
    for _ in range(5):
        state, scalars = update(state)
        first = first or jax.device_get(scalars)
    # Not what generator and discriminator pull both ways.
    for name in ("loss", "perceptual", "correlation_of_real", "discriminator_of_wrong_sound"):
        assert scalars[name] < first[name], name
    for name, player in state.players.items():
        moved = jax.tree.map(
            lambda a, b: float(np.abs(a - b).max()), player.params, before[name].params
        )
        largest = max(jax.tree.leaves(moved))
        assert (largest == 0) == (name == "autoencoder"), name
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(state.players["autoencoder"]),
        before["autoencoder"],
    )


@pytest.mark.slow
def test_figures_tell_a_still_and_another_sound_from_the_clip():
    method, batch = made("tiny_b")
    state, measure = started(method, batch), jit(method.measure)
    rng = np.random.default_rng(0)
    batch = method.collate([method.validation_example(clip, rng) for clip in clips()])
    found = jax.device_get(measure(state, batch))
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in found.values())
    true, still = (batch[name].astype(np.float64) / 255 for name in ("frames", "still"))
    expected = np.abs(true - still[:, None]).mean(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(found["l1_of_still"], expected, rtol=1e-4)
    assert (found["l1_of_other_sound"] != found["l1"]).all()
    heard = jax.device_get(measure(state, {**batch, "audio": batch["other_audio"]}))
    np.testing.assert_array_equal(found["l1_of_other_sound"], heard["l1"])


def test_validation_hears_another_moment_too():
    method, _ = made("tiny_b")
    clip = clips()[0]
    rng = np.random.default_rng(5)
    found = method.validation_example(clip, rng)
    start = lip_video_gan.stretch(clip, np.random.default_rng(5)).start
    later = (np.arange(start, start + 16) + 10) % 20
    whole = lip_video_gan.sound(clip, range(20)).reshape(20, 4, 128)
    np.testing.assert_array_equal(found["other_audio"].reshape(16, 4, 128), whole[later])
    np.testing.assert_array_equal(found["audio"].reshape(16, 4, 128), whole[start : start + 16])


def test_examples_are_sixteen_frames_with_their_sound():
    method, batch = made("tiny_b")
    assert {name: (x.dtype, x.shape) for name, x in batch.items()} == {
        "still": (np.uint8, (2, 64, 64, 3)),
        "frames": (np.uint8, (2, 16, 64, 64, 3)),
        "audio": (np.float32, (2, 64, 128)),
    }
    clip = clips()[0]
    assert clip.frame_rate == Fraction(25)
    whole = lip_video_gan.sound(clip, range(20))
    assert whole.shape == (80, 128)
    np.testing.assert_array_equal(lip_video_gan.sound(clip, range(3, 19)), whole[12:76])
    short = film_speaker(np.random.SeedSequence(1), "p", [0], 0.4, "lips64")[0]
    with pytest.raises(ValueError, match="it has 10 frames, fewer than 16"):
        method.example(short, np.random.default_rng(0))


def test_lips_lie_in_the_middle_of_their_crops():
    for clip in clips():
        corners = clip.landmarks[:, 3:]
        middle, width = corners.mean(axis=(0, 1)), np.ptp(corners[:, :, 0], axis=1).mean()
        assert np.abs(middle - 32).max() < 8
        assert 64 / 2 < width < 64 / 1.05


def test_losses_that_lack_what_they_need_are_refused():
    with pytest.raises(ValueError, match=r"face96 has pictures of 96x96.*choose lips64"):
        made("tiny_b", data={"geometry": "face96"})
    with pytest.raises(ValueError, match=r"set config.data.batch_size to 2"):
        made("tiny_c", data={"batch_size": 1})
    with pytest.raises(ValueError, match=r"perceptual_weight=1.0, which needs config.frozen"):
        made("tiny_c", perceptual_weight=1.0)
    other = card()
    other["config"]["method"] = "wav2lip"
    with pytest.raises(ValueError, match="holds a wav2lip of lips64"):
        methods.load(narrow(), {"autoencoder": other}).check()


@pytest.mark.parametrize("frames", [3, 16, 17, 24, 61])
def test_windows_of_a_long_clip_fade_into_one_another(frames):
    starts = lip_video_gan.window_starts(frames)
    assert starts[0] == 0 and starts[-1] == max(0, frames - 16)
    assert all(0 < b - a <= 8 for a, b in itertools.pairwise(starts))
    clip = np.arange(starts[-1] + 16, dtype=np.float32)
    windows = np.stack([clip[s : s + 16] for s in starts])[None]
    # What agrees stays; what differs from window to window changes by small steps.
    np.testing.assert_allclose(lip_video_gan.cross_fade(windows, starts)[0], clip, rtol=1e-5)
    apart = np.broadcast_to(np.arange(len(starts), dtype=np.float32)[None, :, None], windows.shape)
    faded = np.asarray(lip_video_gan.cross_fade(apart, starts)[0])
    assert (np.diff(faded) > -1e-6).all() and np.diff(faded).max(initial=0) < 0.3


@pytest.mark.slow
def test_a_clip_of_any_length_is_drawn():
    method, batch = made("tiny_b")
    variables = started(method, batch).players["generator"].variables
    still = jnp.zeros((1, 64, 64, 3))
    animate = jit(method.animate)
    for frames in (5, 20):
        audio = lip_video_gan.sound(clips()[0], range(frames))[None] / 100
        assert animate(variables, still, audio).shape == (1, frames, 64, 64, 3)


@pytest.mark.slow
def test_the_autoencoder_learns_a_batch():
    config = autoencoder_config.get_config("tiny")
    config.model.update(width=1 / 16, residual_blocks=1)
    method = methods.load(config)
    rng = np.random.default_rng(0)
    batch = method.collate([method.example(clip, rng) for clip in clips()])
    state = started(method, batch)
    update = jit(lambda state: method.update(state, batch, jax.random.key(1)))
    errors = []
    for _ in range(12):
        state, scalars = update(state)
        errors.append(float(scalars["loss"]))
    assert errors[-1] < 0.5 * errors[0]
    assert jit(method.measure)(state, batch)["psnr"].shape == (2,)
