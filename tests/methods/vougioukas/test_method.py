"""The temporal GANs of 2018 and 2020 on small faces with narrow networks."""

import contextlib
import dataclasses
import functools
from fractions import Fraction

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from lipsync_jax import methods
from lipsync_jax.configs import vougioukas as vougioukas_config
from lipsync_jax.data import clip as clip_record
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.methods import base
from lipsync_jax.methods.base import Network, NetworkState
from lipsync_jax.methods.common import discriminators, recurrent_gan
from lipsync_jax.methods.common.discriminators import ClipBatch
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.training import loop, sharding
from lipsync_jax.training.data_pipeline import DataPipeline
from tests.helpers import aligned_faces
from tests.helpers.networks import random_array, random_variables_like
from tests.helpers.runs import assert_same_run

DISCRIMINATORS = {
    "frame": {"frames_per_clip": 2, "model": {}},
    "sequence": {"model": {"audio_encoder_channels": 8, "audio_size": 8, "frame_size": 8}},
    "motion": {"model": {"frame_size": 8}},
    "sync": {"frames_per_clip": 1, "model": {"audio_encoder_channels": 8, "embedding_size": 8}},
}


pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clip_record.CROP_SPECS, aligned_faces.NAME, aligned_faces.CROP_SPEC)
        yield


def narrow(variant="tiny", discriminators=None, **changes):
    """A small config; `discriminators`: names of its discriminators, None: the variant's."""
    config = vougioukas_config.get_config(variant)
    config.data.crop = aligned_faces.NAME
    config.data.batch_size = config.data.validation_batch_size = 2
    config.data.validation_frames = 12
    config.length_buckets = (6, 12)
    config.min_frames, config.max_frames = 6, 12
    config.model.update(image_size=(32, 32), audio_rate=2000, audio_samples=400, width_mult=1 / 8)
    config.optimizer.warmup_steps = 0
    config.model.update(audio_encoder_channels=8, audio_size=8, context_size=8, identity_size=8)
    if discriminators is not None:
        config.discriminators = ml_collections.ConfigDict()
        for name in discriminators:
            config.discriminators[name] = ml_collections.ConfigDict(DISCRIMINATORS[name])
            config.discriminators[name].weight = 1.0
            config.discriminators[name].optimizer = config.optimizer
    for name in config.discriminators:
        config.discriminators[name].model.update(DISCRIMINATORS[name]["model"], width_mult=1 / 8)
        if name in ("sequence", "motion"):
            config.discriminators[name].model.hidden_size = 8
    config.update(changes)
    return config


def make_method_and_batch(lengths=(6, 6), **options):
    """A method and a batch of clips."""
    method = methods.load(narrow(**options))
    method.validate_config()
    clips = [aligned_faces.aligned_clip(f"a/{i}", i) for i in range(len(lengths))]
    return method, method.collate(
        [method._make_segment(clip, range(n)) for clip, n in zip(clips, lengths, strict=True)]
    )


def random_state_and_batch(method, batch):
    """A state with random weights: compiling `init` takes longer than all else."""
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    zeros = functools.partial(jax.tree.map, lambda leaf: np.zeros(leaf.shape, leaf.dtype))
    networks = {
        name: NetworkState(
            random_variables_like(p.params),
            random_variables_like(p.batch_stats),
            zeros(p.opt_state),
        )
        for name, p in state.networks.items()
    }
    return base.init_train_state(jax.random.key(0), jax.device_put(networks))


def gradients(state):
    """Gradients of the first step, from Adam's first moment."""
    found = {}
    for name, network in state.networks.items():
        moments = [
            s.mu for s in jax.tree.leaves(network.opt_state, is_leaf=_is_adam) if _is_adam(s)
        ]
        found[name] = flatten_dict(jax.tree.map(np.asarray, moments[0]), sep="/")
    return found


def assert_same_step(found, expected):
    """Compares gradients and batch statistics of a first step."""
    ours, theirs = gradients(found), gradients(expected)
    for name in theirs:
        one, other = (s.networks[name].batch_stats for s in (found, expected))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one, other)
        largest = max(np.abs(gradient).max() for gradient in theirs[name].values())
        assert largest > 1e-4
        for path, gradient in theirs[name].items():
            np.testing.assert_allclose(
                ours[name][path], gradient, rtol=1e-3, atol=1e-4 * largest, err_msg=path
            )


def _is_adam(x):
    return isinstance(x, optax.ScaleByAdamState)


@pytest.mark.slow
def test_padding_enters_no_loss_no_statistic_and_no_gradient():
    method, batch = make_method_and_batch(lengths=(6, 5), discriminators=DISCRIMINATORS)
    missing = 6
    longer = {
        "reference": batch["reference"],
        "frames": np.concatenate(
            [batch["frames"], np.full((2, missing, 32, 32, 3), 255, np.uint8)], axis=1
        ),
        "audio": np.concatenate([batch["audio"], np.full((2, missing, 400), 9, np.float32)], 1),
        "mask": np.pad(batch["mask"], ((0, 0), (0, missing))),
    }
    state, key = random_state_and_batch(method, batch), jax.random.key(1)
    update = jit(method.train_step)
    (short, metrics), (long, others) = update(state, batch, key), update(state, longer, key)
    for name in metrics:
        np.testing.assert_allclose(metrics[name], others[name], rtol=2e-4, err_msg=name)
    assert_same_step(long, short)
    total = 400 * metrics["l1"] + sum(
        metrics[f"gen_adv_loss/{name}"] for name in method.discriminator_losses
    )
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    # The same padding does count where the mask says it does not.
    _, wrong = update(state, {**longer, "mask": np.ones_like(longer["mask"])}, key)
    assert abs(wrong["l1"] - metrics["l1"]) > 1e-3


def test_discriminators_are_activated_by_the_motion_correlation():
    method = methods.load(narrow(discriminators=("frame",), adversarial_start_corr=0.4))
    before, after = {"adversarial_active": 0.0}, {"adversarial_active": 1.0}
    assert method.on_validation_end(before, {"motion_corr": 0.39}) == before
    assert method.on_validation_end(before, {"motion_corr": 0.41}) == after
    assert method.on_validation_end(after, {"motion_corr": 0.39}) == after


@pytest.mark.slow
def test_inactive_discriminators_leave_the_l1_loss_alone():
    method, batch = make_method_and_batch(discriminators=("frame",), adversarial_start_corr=0.4)
    state = random_state_and_batch(method, batch)
    state = state.replace(host_scalars={"adversarial_active": jnp.zeros(())})
    key = jax.random.key(1)
    update = jit(method.without_terms(frozenset(method.switches)).train_step)
    inactive, metrics = update(state, batch, key)
    jax.tree.map(
        np.testing.assert_array_equal,
        inactive.networks["frame_discriminator"],
        state.networks["frame_discriminator"],
    )
    for name in ("loss_real", "loss_fake", "grad_norm"):
        assert metrics[f"frame_discriminator/{name}"] == 0
    assert metrics["gen_adv_loss/frame_discriminator"] == 0
    np.testing.assert_allclose(metrics["loss"], 400 * metrics["l1"], rtol=1e-5)

    active, metrics = jit(method.train_step)(
        state.replace(host_scalars={"adversarial_active": jnp.ones(())}), batch, key
    )
    always, _ = make_method_and_batch(discriminators=("frame",))
    assert method.switches and not always.switches
    expected, others = jit(always.train_step)(state, batch, key)
    assert_same_step(active, expected)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, others[name], rtol=1e-4, err_msg=name)
    assert jit(always.init, optimize=False)(key, batch).host_scalars["adversarial_active"] == 1


def test_losses_equal_those_of_numpy():
    _, batch = make_method_and_batch(lengths=(6, 4), discriminators=())
    real = jax.tree.map(np.asarray, recurrent_gan.to_model_inputs(batch))
    frames = np.tanh(random_array(*real.frames.shape))
    error, count = np.abs(frames.astype(np.float64) - real.frames), 0
    lower = upper = mouth = 0.0
    for clip, length in enumerate((6, 4)):
        for t in range(length):
            lower, upper = lower + error[clip, t, 16:].mean(), upper + error[clip, t, :16].mean()
            mouth += error[clip, t, 19:27, 9:25].mean()
            count += 1
    loss = jit(recurrent_gan.reconstruction_loss, static_argnums=(2, 3))
    clips = real._replace(frames=frames)
    np.testing.assert_allclose(loss(clips, real, 0.0), lower / count, rtol=1e-5)
    np.testing.assert_allclose(loss(clips, real, 0.25), (lower + upper / 4) / count, rtol=1e-5)
    expected = (lower + 2 * mouth) / count
    np.testing.assert_allclose(loss(clips, real, 0.0, 2.0), expected, rtol=1e-5)

    logits = np.array([-30.0, -1.0, 0.5, 80.0])
    p = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(
        discriminators.sigmoid_binary_cross_entropy(logits, True), -np.log(p).mean(), rtol=1e-6
    )
    with np.errstate(divide="ignore"):
        expected = np.where(p < 1, -np.log1p(-p), logits).mean()
    np.testing.assert_allclose(
        discriminators.sigmoid_binary_cross_entropy(logits, False), expected, rtol=1e-6
    )


def test_a_discriminator_step_descends_the_cross_entropy_of_its_batches():
    """Against the gradient of logistic regression, written out."""

    class Linear(nn.Module):
        @nn.compact
        def __call__(self, frames, audio, mask, train=False):
            weights = self.param("weights", nn.initializers.ones, (3,))
            return frames.mean(axis=(1, 2, 3)) @ weights

    discriminator = discriminators.DiscriminatorLoss(Network(Linear(), optax.sgd(1.0)), 1.0)
    real, fake = random_array(4, 2, 2, 2, 3, seed=0), random_array(4, 2, 2, 2, 3, seed=1)
    mask = np.ones((4, 2), bool)
    clips = [ClipBatch(x[:, 0], x, np.zeros((4, 2, 1)), mask) for x in (real, fake)]
    state = discriminator.network.init_state(
        {"params": {"weights": np.array([0.5, -1.0, 2.0], np.float32)}}
    )
    after, metrics = jit(discriminator.discriminator_step)(state, *clips, jax.random.key(0))
    weights, gradient = np.array([0.5, -1.0, 2.0]), 0
    for x, target, name in ((real, 1, "loss_real"), (fake, 0, "loss_fake")):
        x = x.astype(np.float64).mean(axis=(1, 2, 3))
        p = 1 / (1 + np.exp(-x @ weights))
        gradient += ((p - target) @ x) / len(x)
        loss = -np.log(p if target else 1 - p).mean()
        np.testing.assert_allclose(metrics[name], loss, rtol=1e-5)
    np.testing.assert_allclose(after.params["weights"], weights - gradient, rtol=1e-4)


def counted(lengths):
    """Clips whose frames and audio hold 100 * clip + time."""
    n, time = len(lengths), 20
    number = (100 * np.arange(n)[:, None] + np.arange(time)).astype(np.float32)
    frames = np.broadcast_to(number[..., None, None, None], (n, time, 4, 2, 3))
    mask = np.arange(time) < np.array(lengths)[:, None]
    return ClipBatch(frames[:, 0], frames, number[..., None], mask)


def test_frames_are_sampled_from_the_whole_clip_without_padding():
    discriminator = discriminators.FrameDiscriminatorLoss(None, 1.0, frames_per_clip=300)
    clips = counted((5, 20))
    inputs = jit(discriminator.discriminator_inputs)
    frames, reference = inputs(clips, jax.random.key(0))
    found = np.asarray(frames[:, 0, 0, 0]).reshape(2, 300)
    assert set(found[0]) == set(range(5)) and set(found[1]) == set(range(100, 120))
    assert np.bincount(found[0].astype(int)).max() < 100
    np.testing.assert_array_equal(np.asarray(reference[:, 0, 0, 0]).reshape(2, 300)[:, 0], [0, 100])
    negative = clips._replace(frames=-clips.frames)
    np.testing.assert_array_equal(inputs(negative, jax.random.key(0))[0], -frames)
    assert (inputs(clips, jax.random.key(1))[0] != frames).any()


def test_mismatched_audio_of_sync_is_at_least_five_frames_away():
    discriminator = discriminators.SyncDiscriminatorLoss(None, 1.0, frames_per_clip=400)
    real = counted((20, 11, 5))
    batches = jit(
        lambda clips, key: {
            name: (weight, inputs)
            for name, (weight, _, inputs) in discriminator.real_and_fake_batches(
                clips, clips._replace(frames=clips.frames + 0.5), key
            ).items()
        }
    )(real, jax.random.key(0))
    weights = {name: float(weight) for name, (weight, _) in batches.items()}
    assert weights == {"real": 1, "mismatched": 0.5, "fake": 0.5}
    mouths, audio = (np.asarray(x) for x in batches["real"][1])
    assert mouths.shape == (1200, 5, 2, 2, 3)
    middle = mouths[:, 2, 0, 0, 0]
    np.testing.assert_array_equal(audio[:, 0], middle)
    np.testing.assert_array_equal(np.diff(mouths[..., 0, 0, 0], axis=1), 1)
    for clip, last in enumerate((17, 8, 2)):
        own = middle.reshape(3, 400)[clip]
        assert own.min() == 100 * clip + 2 and own.max() == 100 * clip + last
    np.testing.assert_array_equal(batches["fake"][1][0], mouths + 0.5)
    np.testing.assert_array_equal(batches["fake"][1][1], audio)

    same, wrong = (np.asarray(x) for x in batches["mismatched"][1])
    np.testing.assert_array_equal(same, mouths)
    wrong = wrong[:, 0]
    own_clip = wrong // 100 == middle // 100
    assert (np.abs(wrong - middle)[own_clip] >= 5).all()
    own_clip = own_clip.reshape(3, 400)
    assert 0.35 < own_clip[:2].mean() < 0.65 and not own_clip[2].any()
    time = wrong % 100
    assert (time >= 2).all() and (time <= np.array([17, 8, 2])[(wrong // 100).astype(int)]).all()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "tiny_v2020", "tiny_no_recurrence"])
def test_steps_lower_the_losses_of_one_batch(variant):
    method, batch = make_method_and_batch(variant=variant)
    state = jit(method.init, optimize=False)(jax.random.key(0), batch)
    update = jit(method.train_step, donate_argnums=0)
    first = last = None
    for step in range(12):
        state, metrics = update(state, batch, jax.random.key(step))
        last = {name: float(value) for name, value in metrics.items()}
        first = first or last
    assert all(np.isfinite(value) for value in last.values())
    assert last["l1"] < 0.8 * first["l1"] and last["loss"] < first["loss"]
    assert int(state.step) == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_discriminator_learns_to_separate_fixed_clips(name):
    method, batch = make_method_and_batch(lengths=(12, 11), discriminators=(name,))
    (discriminator,) = method.discriminator_losses.values()
    real = recurrent_gan.to_model_inputs(batch)
    fake = real._replace(frames=np.tanh(random_array(*real.frames.shape)))
    step = jit(discriminator.discriminator_step)
    state, losses = random_state_and_batch(method, batch).networks[f"{name}_discriminator"], []
    for _ in range(8):
        state, metrics = step(state, real, fake, jax.random.key(0))
        losses.append(float(metrics["loss_real"] + metrics["loss_fake"]))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
def test_each_length_is_traced_once():
    method, batch = make_method_and_batch(discriminators=())
    state, update = random_state_and_batch(method, batch), jit(method.train_step)
    lengths = set()
    for seed in range(8):
        # Of 5 to 12 frames, most of them of a new length.
        clips = [aligned_faces.aligned_clip(f"a/{i}", i, 5 + (seed + i) % 8) for i in range(2)]
        batch = method.collate([method.make_example(clip, rng(seed)) for clip in clips])
        lengths.add(batch["mask"].shape[1])
        state, _ = update(state, batch, jax.random.key(seed))
    assert lengths == {6, 12} and update._cache_size() == 2


def rng(seed):
    return np.random.default_rng(seed)


def test_batches_of_several_hosts_have_one_shape_whatever_process_makes_them(tmp_path, monkeypatch):
    aligned_faces.write_dataset(tmp_path)
    config = narrow(max_frames=6)
    config.data.dir = str(tmp_path)
    method, mesh = methods.load(config), sharding.make_mesh(jax.devices()[:1])
    times = []
    for count in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(jax, "process_count", lambda count=count: count)
            data = DataPipeline(config, method, mesh)
        # As in a worker process, JAX knows of one host only.
        with contextlib.closing(data.training_batches()) as batches:
            times.append(next(batches)["mask"].shape[1])
    assert times == [6, 12]


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    aligned_faces.write_dataset(tmp_path)
    for folder, stops in (("whole", (4,)), ("parts", (1, 3, 4))):
        for steps in stops:
            config = narrow()
            config.data.dir = str(tmp_path)
            config.train.update(steps=steps, validate_every=2, checkpoint_every=1, log_every=1)
            scalars = loop.train(config, tmp_path / folder)
    assert {"psnr_y_lower", "psnr_y_lower_still_baseline", "mouth_l1"} <= scalars.keys()
    assert len(list((tmp_path / "whole" / "samples").glob("*.png"))) == 2
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert loop.evaluate(config, tmp_path / "whole", "validation").keys() == scalars.keys()


def test_each_frame_has_the_audio_around_its_middle():
    config = narrow(discriminators=())
    config.model.audio_rate, config.model.audio_samples = 16000, 1280
    method = methods.load(config)
    clip = aligned_faces.aligned_clip("a", 0)
    example = method.make_example(clip, rng(3))
    every = decode_frames(clip, range(12))
    count = len(example["frames"])
    start = next(
        s for s in range(13 - count) if np.array_equal(every[s : s + count], example["frames"])
    )
    samples = np.pad(clip.audio, 2000) / np.float32(32768)
    for i, window in enumerate(example["audio"]):
        first = 2000 + (start + i) * 640 - 320
        np.testing.assert_allclose(window, samples[first : first + 1280], atol=1e-6)


def test_examples_have_every_length_and_place_and_may_be_mirrored():
    method = methods.load(narrow(discriminators=(), horizontal_flip=True))
    clip = aligned_faces.aligned_clip("a", 0, frames=20)
    every = decode_frames(clip, range(20))
    lengths, starts, mirrored = set(), set(), set()
    for seed in range(60):
        frames = method.make_example(clip, rng(seed))["frames"]
        for flip in (False, True):
            original = frames[:, :, ::-1] if flip else frames
            for start in range(21 - len(frames)):
                if np.array_equal(every[start : start + len(frames)], original):
                    starts.add(start), mirrored.add(flip), lengths.add(len(frames))
    assert lengths == set(range(6, 13)) and mirrored == {False, True}
    assert min(starts) == 0 and max(starts) >= 10
    assert len(method.make_validation_example(clip, rng(0))["frames"]) == 12


def test_the_reference_is_the_first_frame_of_the_segment_or_of_the_clip():
    clip = aligned_faces.aligned_clip("a", 0, frames=20)
    own = methods.load(narrow(discriminators=(), horizontal_flip=True, reference_frame="segment"))
    first = methods.load(narrow(discriminators=(), horizontal_flip=True, reference_frame="clip"))
    beginning, flipped = decode_frames(clip, [0])[0], set()
    for seed in range(20):
        example, other = (method.make_example(clip, rng(seed)) for method in (own, first))
        np.testing.assert_array_equal(example["reference"], example["frames"][0])
        np.testing.assert_array_equal(other["frames"], example["frames"])
        flip = np.array_equal(other["reference"], beginning[:, ::-1])
        assert flip or np.array_equal(other["reference"], beginning)
        flipped.add(flip)
    assert flipped == {False, True}
    for method in (own, first):
        np.testing.assert_array_equal(
            method.make_validation_example(clip, rng(0))["reference"], beginning
        )


def test_clips_at_another_rate_are_resampled_to_the_networks_rate():
    method = methods.load(narrow(discriminators=()))
    clip = dataclasses.replace(aligned_faces.aligned_clip("a", 0), frame_rate=Fraction(50))
    example = method.make_validation_example(clip, rng(0))
    np.testing.assert_array_equal(example["frames"], decode_frames(clip, range(0, 12, 2)))
    assert example["audio"].shape == (6, 400)
    with pytest.raises(ValueError, match=r"has 4 frames at config.frame_rate=25 .* at least 5"):
        method.make_example(aligned_faces.aligned_clip("a", 0, frames=4), rng(0))


def test_metrics_equal_those_of_numpy():
    method, batch = make_method_and_batch(lengths=(6, 4), discriminators=())
    real = jax.tree.map(np.asarray, recurrent_gan.to_model_inputs(batch))
    frames = np.clip(real.frames + 0.2 * random_array(*real.frames.shape), -1, 1)
    method.generate_clips = lambda variables, clips: jnp.asarray(frames)
    found = jit(method.eval_step)(random_state_and_batch(method, batch), batch)
    found = {name: np.asarray(value) for name, value in found.items()}
    grey = (np.stack([frames, real.frames]) / 2 + 0.5) @ np.array([0.299, 0.587, 0.114])
    box = slice(round(0.58 * 32), round(0.84 * 32)), slice(round(0.27 * 32), round(0.77 * 32))
    for i, n in enumerate((6, 4)):
        for name, rows in (("psnr_y", slice(None)), ("psnr_y_lower", slice(16, None))):
            error = (grey[0, i, :n, rows] - grey[1, i, :n, rows]) ** 2
            np.testing.assert_allclose(found[name][i], -10 * np.log10(error.mean()), rtol=1e-4)
        mouth, true = (x[i, :n, box[0], box[1]] for x in (frames, real.frames))
        np.testing.assert_allclose(found["mouth_l1"][i], np.abs(mouth - true).mean() / 2, rtol=1e-4)
        np.testing.assert_allclose(
            found["mouth_l1_still_baseline"][i], np.abs(true - true[:1]).mean() / 2, rtol=1e-4
        )
        np.testing.assert_allclose(
            found["mouth_l1_mean_baseline"][i],
            np.abs(true - true.mean(axis=0)).mean() / 2,
            rtol=1e-4,
        )
        moved, truly = (x - x.mean(axis=0) for x in (mouth, true))
        correlation = np.corrcoef(moved.ravel(), truly.ravel())[0, 1]
        np.testing.assert_allclose(found["motion_corr"][i], correlation, rtol=1e-3)
        np.testing.assert_allclose(found["motion_ratio"][i], moved.std() / truly.std(), rtol=1e-3)


def test_the_static_baseline_has_no_memory_and_no_noise():
    method, batch = make_method_and_batch(variant="tiny_no_recurrence")
    state = random_state_and_batch(method, batch)
    generator = state.networks["generator"]
    assert set(generator.params) == {"audio_encoder", "identity_encoder", "decoder"}
    animate = jit(method.generate_clips)
    real = recurrent_gan.to_model_inputs(batch)
    before = animate(generator.variables, real)
    audio = np.where(np.arange(6)[:, None] == 2, -real.audio, real.audio)
    after = animate(generator.variables, real._replace(audio=audio))
    changed = np.abs(before - after).max(axis=(0, 2, 3, 4)) > 1e-7
    np.testing.assert_array_equal(changed, np.arange(6) == 2)


ABLATIONS = {
    "l1": {"discriminators/frame", "discriminators/sequence"},
    "frame": {"discriminators/sequence"},
    "sequence": {"discriminators/frame"},
    "no_recurrence": {"discriminators/sequence", "model/recurrent"},
}


@pytest.mark.parametrize("size", ["", "tiny_", "small_data_"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_leaves_out_what_its_name_says_and_nothing_else(size, name):
    def fields(system):
        config = vougioukas_config.get_config(size + system).to_dict()
        del config["init_from"]  # has the names of the networks
        return flatten_dict(config, sep="/")

    full, ablated = fields("v2018"), fields(name)
    different = {k for k in {*full, *ablated} if full.get(k, "none") != ablated.get(k, "none")}
    assert {"/".join(k.split("/")[:2]) for k in different} == ABLATIONS[name]
    networks = methods.load(vougioukas_config.get_config(size + name)).networks
    left = {"frame", "sequence"} - {k.removeprefix("discriminators/") for k in ABLATIONS[name]}
    assert set(networks) == {"generator", *(f"{kept}_discriminator" for kept in left)}


def test_the_values_of_v2020_are_the_papers():
    config = vougioukas_config.get_config("v2020")
    assert set(config.discriminators) == {"frame", "motion", "sync"}
    assert [config.discriminators[n].weight for n in ("frame", "sync", "motion")] == [1.0, 0.8, 0.2]
    assert (config.loss.l1, config.model.identity_size) == (600.0, 128)
    assert config.model.audio_samples == 3200
    methods.load(config).validate_config()
    paper = vougioukas_config.get_config()
    assert (paper.loss.l1, paper.model.identity_size, paper.model.audio_samples) == (
        400.0,
        50,
        2560,
    )
    assert paper.noise_std**2 == pytest.approx(0.6, rel=1e-2)
    methods.load(paper).validate_config()


def test_configs_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match=r"no variant 'huge'; .*system=v2018"):
        vougioukas_config.get_config("huge")
    refused = [
        ({"length_buckets": (6, 8)}, "clips of 12 frames .* exceed .* add 12"),
        (
            {"reference_frame": "film"},
            "reference_frame='film' is unknown; choose one of segment, clip",
        ),
        ({"min_frames": 3}, "min_frames=3 must be between 5 frames and config.max_frames=12"),
    ]
    for changes, message in refused:
        with pytest.raises(ValueError, match=message):
            methods.load(narrow(discriminators=(), **changes)).validate_config()
    config = narrow(discriminators=("sync",))
    config.model.image_size = (64, 32)
    with pytest.raises(ValueError, match=r"image_size=\(64, 32\) .*crop=aligned32x32, .32, 32"):
        methods.load(config).validate_config()
    config = narrow(discriminators=("sync",))
    config.model.audio_samples = 320
    with pytest.raises(ValueError, match="sync needs the audio of 5 frames, 400 samples"):
        methods.load(config).validate_config()
    config = narrow(discriminators=("sync",))
    config.data.batch_size = 1
    with pytest.raises(ValueError, match="batch_size to 2 or more"):
        methods.load(config).validate_config()
    config = narrow(discriminators=("frame",))
    config.discriminators.smell = config.discriminators.frame
    with pytest.raises(ValueError, match=r"discriminators.smell: .* choose from frame, sequence"):
        methods.load(config)
