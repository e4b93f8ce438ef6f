"""At a Glance and its autoencoder with narrow networks on two rendered speakers."""

import dataclasses
import functools
import itertools
import json
from fractions import Fraction

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from lipsync_jax import methods
from lipsync_jax.configs import flownet as flownet_config
from lipsync_jax.configs import glance as glance_config
from lipsync_jax.configs import glance_autoencoder as autoencoder_config
from lipsync_jax.data_prep.synthetic.render_clips import render_speaker
from lipsync_jax.methods.base import NetworkState
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.nn.cpu.jit import jit
from tests.helpers.networks import random_lip_clips, random_state, random_variables_like

pytestmark = pytest.mark.usefixtures("quick_programs")


@functools.cache
def clips():
    """Clips of two identities, 0.8 s each."""
    seeds = np.random.SeedSequence(4).spawn(2)
    return [render_speaker(seed, f"p{i}", [0], 0.8, "lips64")[0] for i, seed in enumerate(seeds)]


def narrow(variant="tiny", width=1 / 32):
    config = glance_config.get_config(variant)
    config.model.update(width_mult=width, residual_blocks=1)
    config.correlation.width_mult = width
    for discriminator in config.discriminators.values():
        discriminator.model.width_mult = width
    config.data.batch_size = config.data.validation_batch_size = 2
    config.optimizer.update(warmup_steps=0, lr_decay_steps=0)
    return config


def card():
    config = autoencoder_config.get_config("tiny")
    config.model.update(width_mult=1 / 32, residual_blocks=1)
    return {"config": json.loads(config.to_json_best_effort())}


def flownet_card():
    config = flownet_config.get_config("tiny")
    config.model.width_mult = 1 / 64
    return {"config": json.loads(config.to_json_best_effort())}


def make_method_and_batch(variant="tiny", **changes):
    """A method, and a batch of both identities."""
    config = narrow(variant)
    config.update(changes)
    cards = {"autoencoder": card(), "flownet": flownet_card()}
    method = methods.load(config, {name: cards[name] for name in config.frozen})
    method.validate_config()
    rng = np.random.default_rng(0)
    return method, method.collate([method.make_example(clip, rng) for clip in clips()])


def random_state_and_batch(method, batch):
    """A state with random weights, of the frozen networks too."""
    state = random_state(method, batch)
    inputs = {"autoencoder": (1, 1, 64, 64, 3), "flownet": (1, 64, 64, 6)}
    for name in method.networks.keys() - state.networks:
        module = method.networks[name].module
        images = jnp.zeros(inputs[name])
        variables = random_variables_like(jax.eval_shape(module.init, jax.random.key(0), images))
        frozen = NetworkState(variables["params"], variables.get("batch_stats", {}))
        state = state.replace(networks={**state.networks, name: frozen})
    return method.init_from_frozen(state)


FROZEN = {f"frozen.autoencoder.{name}": None for name in ("checkpoint", "method", "network")}
NO_CORRELATION = {"correlation.weight": 0.0}
NO_PERCEPTUAL = {"loss.perceptual": 0.0, **FROZEN}
NO_DISCRIMINATOR = {
    name: None
    for name in flatten_dict(glance_config.get_config().to_dict(), sep=".")
    if name.startswith("discriminators.clip.")
}
TWO_STREAMS = {"discriminators.clip.model.motion": "none"}
DIFFERENCES = {  # from the full system (table 2)
    "a": {**NO_CORRELATION, **NO_PERCEPTUAL, "loss.l1": 0.0},
    "b": {**NO_CORRELATION, **NO_PERCEPTUAL, **NO_DISCRIMINATOR},
    "c": {**NO_CORRELATION, **NO_PERCEPTUAL},
    "d": NO_CORRELATION,
    "e": {},
    "f": {"correlation.derivative": False},
    "g": TWO_STREAMS,
    "h": {**TWO_STREAMS, **NO_CORRELATION},
    "i": {"discriminators.clip.model.motion": "difference"},
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
    weights = [config.correlation.weight, config.loss.l1, config.loss.perceptual]
    assert [*weights, config.discriminators.clip.weight] == [1.0, 0.5, 1.0, 1.0]  # eq. 2
    assert (
        config.discriminators.clip.fake_weight
        == config.discriminators.clip.mismatched_weight
        == 0.5
    )  # eq. 4
    assert glance_config.get_config("tiny") == glance_config.get_config("tiny_full")
    with pytest.raises(ValueError, match="no variant 'tiny_tiny'"):
        glance_config.get_config("tiny_tiny")
    with pytest.raises(ValueError, match="no variant 'huge'"):
        autoencoder_config.get_config("huge")


def test_flow_of_flownet_is_a_variant_of_every_system_that_uses_flow():
    for system in DIFFERENCES:
        config = glance_config.get_config(f"tiny,{system},flow=flownet")
        assert config.flow == "flownet"
        assert ("flownet" in config.frozen) == (system not in "bh")
    assert glance_config.get_config("full").flow == "farneback"
    assert list(glance_config.get_config("full").frozen) == ["autoencoder"]


def test_flow_without_its_network_is_refused():
    with pytest.raises(ValueError, match=r"config.flow='flownets': choose one of farneback, .*net"):
        make_method_and_batch("tiny_c", flow="flownets")
    with pytest.raises(ValueError, match=r"flow=flownet: config.frozen.flownet is needed .*flow="):
        make_method_and_batch("tiny_c", flow="flownet")
    with pytest.raises(ValueError, match=r"flow=farneback: config.frozen.flownet is .* excluded"):
        make_method_and_batch("tiny,c,flownet", flow="farneback")
    with pytest.raises(ValueError, match=r"flow_trainable=True .* config.flow=lucas_kanade has no"):
        make_method_and_batch("tiny_c", flow_trainable=True)
    make_method_and_batch("tiny,h,flownet")  # uses no flow


@functools.cache
def with_flownet(trainable):
    """A method with all terms that take flow, a batch, and a state."""
    config = narrow("tiny,flow=flownet")
    config.loss.perceptual, config.flow_trainable = 0.0, trainable
    del config.frozen.autoencoder
    method = methods.load(config, {"flownet": flownet_card()})
    method.validate_config()
    batch = random_lip_clips()
    return method, batch, random_state_and_batch(method, batch)


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [False, True])
def test_loss_and_discriminator_take_the_flow_of_flownet(trainable):
    method, batch, before = with_flownet(trainable)
    step = jit(lambda state: method.train_step(state, batch, jax.random.key(1)))
    name = "flownet_tuned" if trainable else "flownet"
    flownet = before.networks[name]
    other = flownet.replace(params=jax.tree.map(lambda x: 0.9 * x, flownet.params))
    after, scalars = jax.device_get(step(before))
    _, changed = jax.device_get(step(before.replace(networks={**before.networks, name: other})))
    assert changed["l1"] == scalars["l1"]
    for kind in ("real", "fake"):
        assert changed[f"discriminator/loss_{kind}"] != scalars[f"discriminator/loss_{kind}"]
        assert changed[f"correlation_loss_{kind}"] != scalars[f"correlation_loss_{kind}"]
    moved = {
        name: max(
            np.abs(a - b).max()
            for a, b in zip(
                jax.tree.leaves(jax.device_get(before.networks[name].params)),
                jax.tree.leaves(network.params),
                strict=True,
            )
        )
        for name, network in after.networks.items()
    }
    assert moved.pop("flownet") == 0 < min(moved.values())
    assert ("flownet_tuned" in moved) == trainable == ("flow_pixels" in scalars)


def test_trained_flownet_starts_from_the_checkpoint():
    method, _, state = with_flownet(True)
    assert "flownet" not in method.trainable and "flownet_tuned" in method.trainable
    start, first = (state.networks[name] for name in ("flownet", "flownet_tuned"))
    jax.tree.map(np.testing.assert_array_equal, start.params, first.params)
    assert first.opt_state and not start.opt_state
    assert "flownet_tuned" not in with_flownet(False)[0].networks


def test_trained_flownet_can_start_from_another_run():
    method, _, state = with_flownet(True)
    config = ml_collections.ConfigDict(method.config)
    assert set(method.trainable) <= set(config.init_from)
    config.init_from.flownet_tuned = "runs/glance"
    assert methods.load(config, method.model_cards).init_from_frozen(state) is state


def test_flow_of_clips_is_that_of_successive_frames():
    method, batch, state = with_flownet(False)
    flownet, module = state.networks["flownet"], method.networks["flownet"].module

    @jit
    def flows(frames):
        pair = jnp.concatenate([frames[:, 1], frames[:, 2]], axis=-1)
        return method._clip_flow(frames, flownet), module.apply(flownet.variables, pair)[0]

    frames = batch["frames"][:1, :3, ..., ::-1] / np.float32(127.5) - 1
    found, expected = flows(frames)
    assert found.shape == (1, 2, 16, 16, 2)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-4, atol=1e-5)
    clips = lip_video_gan.LipClipBatch(batch["reference"], frames, batch["audio"], found)
    assert method._motion_inputs(clips) is found
    assert method.discriminator_loss.discriminator_inputs(clips, None)[2] is found


ENCODERS, DISCRIMINATOR, CODES = (
    {"audio_encoder", "motion_encoder"},
    {"discriminator"},
    {"autoencoder"},
)
NETWORKS = {
    "a": DISCRIMINATOR,
    "b": set(),
    "c": DISCRIMINATOR,
    "d": DISCRIMINATOR | CODES,
    "h": DISCRIMINATOR | CODES,
    **dict.fromkeys("efgi", ENCODERS | DISCRIMINATOR | CODES),
}


@pytest.mark.parametrize("system", NETWORKS)
def test_each_ablation_has_its_networks_and_no_others(system):
    method, _ = make_method_and_batch(f"tiny_{system}")
    assert set(method.networks) == {"generator"} | NETWORKS[system]


@pytest.mark.slow
@pytest.mark.parametrize("system", NETWORKS)
def test_each_ablation_has_its_terms_and_no_others(system):
    method, batch = make_method_and_batch(f"tiny_{system}")
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    if "autoencoder" in method.networks:
        module = method.networks["autoencoder"].module
        variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 64, 64, 3)))
        state.networks["autoencoder"] = NetworkState(variables["params"], variables["batch_stats"])
    _, scalars = jax.eval_shape(method.train_step, state, batch, jax.random.key(1))
    terms = {"l1", "loss"}
    terms |= {"correlation_loss_real"} if ENCODERS <= NETWORKS[system] else set()
    terms |= {"perceptual"} if CODES <= NETWORKS[system] else set()
    terms |= (
        {"gen_adv_loss", "discriminator/loss_mismatched"}
        if DISCRIMINATOR <= NETWORKS[system]
        else set()
    )
    assert terms <= set(scalars)
    others = {"correlation_loss_real", "perceptual", "gen_adv_loss"} - terms
    assert not others & set(scalars)


def test_a_batch_is_learned_by_the_absolute_error():
    method, batch = make_method_and_batch("tiny_b")
    batch = {name: x[:1] for name, x in batch.items()}
    state = random_state_and_batch(method, batch)
    update = jit(lambda state: method.train_step(state, batch, jax.random.key(1)))
    errors = []
    for _ in range(6):
        state, scalars = update(state)
        errors.append(float(scalars["l1"]))
    assert errors[-1] < 0.8 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["e", "f"])
def test_a_batch_is_learned_and_the_autoencoder_stays_as_it_was(system):
    method, batch = make_method_and_batch(f"tiny_{system}")
    state = random_state_and_batch(method, batch)
    before = jax.device_get(state.networks)
    update = jit(lambda state: method.train_step(state, batch, jax.random.key(1)))
    first = {}
    for _ in range(5):
        state, scalars = update(state)
        first = first or jax.device_get(scalars)
    # Without the terms that generator and discriminator change in opposite directions.
    for name in ("loss", "perceptual", "correlation_loss_real", "discriminator/loss_mismatched"):
        assert scalars[name] < first[name], name
    for name, network in state.networks.items():
        moved = jax.tree.map(
            lambda a, b: float(np.abs(a - b).max()), network.params, before[name].params
        )
        largest = max(jax.tree.leaves(moved))
        assert (largest == 0) == (name == "autoencoder"), name
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(state.networks["autoencoder"]),
        before["autoencoder"],
    )


@pytest.mark.slow
def test_metrics_cover_the_baseline_and_mismatched_audio():
    method, batch = make_method_and_batch("tiny_b")
    state, evaluate = random_state_and_batch(method, batch), jit(method.eval_step)
    rng = np.random.default_rng(0)
    batch = method.collate([method.make_validation_example(clip, rng) for clip in clips()])
    found = jax.device_get(evaluate(state, batch))
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in found.values())
    true, reference = (batch[name].astype(np.float64) / 255 for name in ("frames", "reference"))
    expected = np.abs(true - reference[:, None]).mean(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(found["l1_still_baseline"], expected, rtol=1e-4)
    assert (found["l1_mismatched_audio"] != found["l1"]).all()
    swapped = jax.device_get(evaluate(state, {**batch, "audio": batch["mismatched_audio"]}))
    np.testing.assert_array_equal(found["l1_mismatched_audio"], swapped["l1"])


def test_validation_has_mismatched_audio():
    method, _ = make_method_and_batch("tiny_b")
    clip = clips()[0]
    rng = np.random.default_rng(5)
    found = method.make_validation_example(clip, rng)
    start = lip_video_gan.sample_segment(clip, np.random.default_rng(5)).start
    later = (np.arange(start, start + 16) + 10) % 20
    whole = lip_video_gan.frame_log_mel(clip, range(20)).reshape(20, 4, 128)
    np.testing.assert_array_equal(found["mismatched_audio"].reshape(16, 4, 128), whole[later])
    np.testing.assert_array_equal(found["audio"].reshape(16, 4, 128), whole[start : start + 16])


def test_published_segments_start_every_eight_frames():
    clip = dataclasses.replace(clips()[0], frames=clips()[0].frames * 2)  # 40 frames
    assert (
        glance_config.get_config().segment_hop == autoencoder_config.get_config().segment_hop == 8
    )
    for hop, expected in ((8, {0, 8, 16, 24}), (1, set(range(25)))):
        rngs = map(np.random.default_rng, range(300))
        assert {lip_video_gan.sample_segment(clip, rng, hop).start for rng in rngs} == expected
    with pytest.raises(ValueError, match=r"config.segment_hop=0: give 1 or more"):
        make_method_and_batch("tiny_b", segment_hop=0)


def test_examples_are_sixteen_frames_with_their_audio():
    method, batch = make_method_and_batch("tiny_b")
    assert {name: (x.dtype, x.shape) for name, x in batch.items()} == {
        "reference": (np.uint8, (2, 64, 64, 3)),
        "frames": (np.uint8, (2, 16, 64, 64, 3)),
        "audio": (np.float32, (2, 64, 128)),
    }
    clip = clips()[0]
    assert clip.frame_rate == Fraction(25)
    whole = lip_video_gan.frame_log_mel(clip, range(20))
    assert whole.shape == (80, 128)
    np.testing.assert_array_equal(lip_video_gan.frame_log_mel(clip, range(3, 19)), whole[12:76])
    short = render_speaker(np.random.SeedSequence(1), "p", [0], 0.4, "lips64")[0]
    with pytest.raises(ValueError, match="it has 10 frames; at least 16 are required"):
        method.make_example(short, np.random.default_rng(0))


def test_lips_lie_in_the_middle_of_their_crops():
    for clip in clips():
        corners = clip.landmarks[:, 3:]
        middle, width = corners.mean(axis=(0, 1)), np.ptp(corners[:, :, 0], axis=1).mean()
        assert np.abs(middle - 32).max() < 8
        assert 64 / 2 < width < 64 / 1.05


def test_losses_that_lack_what_they_need_are_refused():
    with pytest.raises(ValueError, match=r"face96 has 96x96 pixels.*crop=lips64"):
        make_method_and_batch("tiny_b", data={"crop": "face96"})
    with pytest.raises(ValueError, match=r"set config.data.batch_size to 2"):
        make_method_and_batch("tiny_c", data={"batch_size": 1})
    with pytest.raises(ValueError, match=r"loss.perceptual=1.0, which needs config.frozen"):
        make_method_and_batch("tiny_c", loss={"perceptual": 1.0})
    other = card()
    other["config"]["method"] = "wav2lip"
    with pytest.raises(ValueError, match="holds a wav2lip of lips64"):
        methods.load(narrow(), {"autoencoder": other}).validate_config()


@pytest.mark.parametrize("frames", [3, 16, 17, 24, 61])
def test_windows_of_a_long_clip_fade_into_one_another(frames):
    starts = lip_video_gan.window_starts(frames)
    assert starts[0] == 0 and starts[-1] == max(0, frames - 16)
    assert all(0 < b - a <= 8 for a, b in itertools.pairwise(starts))
    clip = np.arange(starts[-1] + 16, dtype=np.float32)
    windows = np.stack([clip[s : s + 16] for s in starts])[None]
    # What agrees stays; what differs from window to window changes by small steps.
    np.testing.assert_allclose(
        lip_video_gan.cross_fade_windows(windows, starts)[0], clip, rtol=1e-5
    )
    apart = np.broadcast_to(np.arange(len(starts), dtype=np.float32)[None, :, None], windows.shape)
    faded = np.asarray(lip_video_gan.cross_fade_windows(apart, starts)[0])
    assert (np.diff(faded) > -1e-6).all() and np.diff(faded).max(initial=0) < 0.3


@pytest.mark.slow
def test_clips_of_any_length_are_generated():
    method, batch = make_method_and_batch("tiny_b")
    variables = random_state_and_batch(method, batch).networks["generator"].variables
    reference = jnp.zeros((1, 64, 64, 3))
    generate = jit(method.generate_clip)
    for frames in (5, 20):
        audio = lip_video_gan.frame_log_mel(clips()[0], range(frames))[None] / 100
        assert generate(variables, reference, audio).shape == (1, frames, 64, 64, 3)


@pytest.mark.slow
def test_the_autoencoder_learns_a_batch():
    config = autoencoder_config.get_config("tiny")
    config.model.update(width_mult=1 / 16, residual_blocks=1)
    method = methods.load(config)
    rng = np.random.default_rng(0)
    batch = method.collate([method.make_example(clip, rng) for clip in clips()])
    state = random_state_and_batch(method, batch)
    update = jit(lambda state: method.train_step(state, batch, jax.random.key(1)))
    errors = []
    for _ in range(12):
        state, scalars = update(state)
        errors.append(float(scalars["loss"]))
    assert errors[-1] < 0.5 * errors[0]
    assert jit(method.eval_step)(state, batch)["psnr"].shape == (2,)
