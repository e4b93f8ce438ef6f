"""The temporal GANs of 2018 and 2020 on small faces with narrow networks."""

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
from lipsync_jax.configs import temporal_gan as tgan_config
from lipsync_jax.data import clip as clip_record
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.methods import base
from lipsync_jax.methods.base import Player, PlayerState
from lipsync_jax.methods.common import discriminators, recurrent_gan
from lipsync_jax.methods.common.discriminators import Footage
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.training import loop
from tests.helpers import aligned_faces
from tests.helpers.networks import drawn, filled
from tests.helpers.runs import assert_same_run

JUDGES = {
    "frame": {"samples": 2, "model": {}},
    "sequence": {"model": {"audio_features": 8, "audio_size": 8, "frame_size": 8}},
    "motion": {"model": {"frame_size": 8}},
    "sync": {"samples": 1, "model": {"audio_features": 8, "embedding_size": 8}},
}


pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clip_record.GEOMETRIES, aligned_faces.NAME, aligned_faces.GEOMETRY)
        yield


def narrow(variant="tiny", judged=None, **changes):
    """A small config; `judged` names its judges."""
    config = tgan_config.get_config(variant)
    config.data.geometry = aligned_faces.NAME
    config.data.batch_size = config.data.validation_batch_size = 2
    config.data.validation_frames = 12
    config.lengths = (6, 12)
    config.shortest, config.longest = 6, 12
    config.model.update(image_size=(32, 32), audio_rate=2000, audio_samples=400, width=1 / 8)
    config.optimiser.warmup = 0
    config.model.update(audio_features=8, audio_size=8, context_size=8, identity_size=8)
    if judged is not None:
        config.judges = ml_collections.ConfigDict()
        for name in judged:
            config.judges[name] = ml_collections.ConfigDict(JUDGES[name])
            config.judges[name].weight = 1.0
            config.judges[name].optimiser = config.optimiser
    for name in config.judges:
        config.judges[name].model.update(JUDGES[name]["model"], width=1 / 8)
        if name in ("sequence", "motion"):
            config.judges[name].model.hidden_size = 8
    config.update(changes)
    return config


def made(lengths=(6, 6), **options):
    """A method and a batch of clips."""
    method = methods.load(narrow(**options))
    method.check()
    clips = [aligned_faces.clip(f"a/{i}", i) for i in range(len(lengths))]
    return method, method.collate(
        [method._stretch(clip, range(n)) for clip, n in zip(clips, lengths, strict=True)]
    )


def started(method, batch):
    """A state with drawn weights: compiling `init` takes longer than all else."""
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    zeros = functools.partial(jax.tree.map, lambda leaf: np.zeros(leaf.shape, leaf.dtype))
    players = {
        name: PlayerState(filled(p.params), filled(p.batch_stats), zeros(p.opt_state))
        for name, p in state.players.items()
    }
    return base.fresh_state(jax.random.key(0), jax.device_put(players))


def gradients(state):
    """Of the first step, out of Adam's first moment."""
    found = {}
    for name, player in state.players.items():
        moments = [s.mu for s in jax.tree.leaves(player.opt_state, is_leaf=_is_adam) if _is_adam(s)]
        found[name] = flatten_dict(jax.tree.map(np.asarray, moments[0]), sep="/")
    return found


def assert_same_step(found, expected):
    """The same gradients and batch statistics, of a first step."""
    ours, theirs = gradients(found), gradients(expected)
    for name in theirs:
        one, other = (s.players[name].batch_stats for s in (found, expected))
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
    method, batch = made(lengths=(6, 5), judged=JUDGES)
    missing = 6
    longer = {
        "still": batch["still"],
        "frames": np.concatenate(
            [batch["frames"], np.full((2, missing, 32, 32, 3), 255, np.uint8)], axis=1
        ),
        "audio": np.concatenate([batch["audio"], np.full((2, missing, 400), 9, np.float32)], 1),
        "mask": np.pad(batch["mask"], ((0, 0), (0, missing))),
    }
    state, key = started(method, batch), jax.random.key(1)
    update = jit(method.update)
    (short, figures), (long, others) = update(state, batch, key), update(state, longer, key)
    for name in figures:
        np.testing.assert_allclose(figures[name], others[name], rtol=2e-4, err_msg=name)
    assert_same_step(long, short)
    total = 400 * figures["l1"] + sum(figures[f"{name}_deceived"] for name in method.judges)
    np.testing.assert_allclose(figures["loss"], total, rtol=1e-5)
    # The same padding does count where the mask says it does not.
    _, wrong = update(state, {**longer, "mask": np.ones_like(longer["mask"])}, key)
    assert abs(wrong["l1"] - figures["l1"]) > 1e-3


def test_judges_are_woken_by_lips_that_move_as_the_real_ones():
    method = methods.load(narrow(judged=("frame",), judged_from=0.4))
    before, after = {"judged": 0.0}, {"judged": 1.0}
    assert method.steer(before, {"mouth_correlation": 0.39}) == before
    assert method.steer(before, {"mouth_correlation": 0.41}) == after
    assert method.steer(after, {"mouth_correlation": 0.39}) == after


@pytest.mark.slow
def test_resting_judges_leave_the_l1_loss_alone():
    method, batch = made(judged=("frame",), judged_from=0.4)
    state = started(method, batch)
    state = state.replace(schedule={"judged": jnp.zeros(())})
    update, key = jit(method.update), jax.random.key(1)
    asleep, figures = update(state, batch, key)
    jax.tree.map(
        np.testing.assert_array_equal,
        asleep.players["frame_discriminator"],
        state.players["frame_discriminator"],
    )
    for figure in ("deceived", "of_real", "of_drawn", "gradient_norm"):
        assert figures[f"frame_discriminator_{figure}"] == 0
    np.testing.assert_allclose(figures["loss"], 400 * figures["l1"], rtol=1e-5)

    awake, figures = update(state.replace(schedule={"judged": jnp.ones(())}), batch, key)
    always, _ = made(judged=("frame",))
    expected, others = jit(always.update)(state, batch, key)
    assert_same_step(awake, expected)
    for name, value in figures.items():
        np.testing.assert_allclose(value, others[name], rtol=1e-4, err_msg=name)
    assert jit(always.init, once=True)(key, batch).schedule["judged"] == 1


def test_losses_are_those_of_numpy():
    _, batch = made(lengths=(6, 4), judged=())
    real = jax.tree.map(np.asarray, recurrent_gan.footage(batch))
    frames = np.tanh(drawn(*real.frames.shape))
    error, count = np.abs(frames.astype(np.float64) - real.frames), 0
    lower = upper = mouth = 0.0
    for clip, length in enumerate((6, 4)):
        for t in range(length):
            lower, upper = lower + error[clip, t, 16:].mean(), upper + error[clip, t, :16].mean()
            mouth += error[clip, t, 19:27, 9:25].mean()
            count += 1
    loss = jit(recurrent_gan.reconstruction, static_argnums=(2, 3))
    footage = real._replace(frames=frames)
    np.testing.assert_allclose(loss(footage, real, 0.0), lower / count, rtol=1e-5)
    np.testing.assert_allclose(loss(footage, real, 0.25), (lower + upper / 4) / count, rtol=1e-5)
    expected = (lower + 2 * mouth) / count
    np.testing.assert_allclose(loss(footage, real, 0.0, 2.0), expected, rtol=1e-5)

    logits = np.array([-30.0, -1.0, 0.5, 80.0])
    p = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(
        discriminators.cross_entropy(logits, True), -np.log(p).mean(), rtol=1e-6
    )
    with np.errstate(divide="ignore"):
        expected = np.where(p < 1, -np.log1p(-p), logits).mean()
    np.testing.assert_allclose(discriminators.cross_entropy(logits, False), expected, rtol=1e-6)


def test_a_judge_descends_the_cross_entropy_of_its_evidence():
    """Against the gradient of logistic regression, written out."""

    class Linear(nn.Module):
        @nn.compact
        def __call__(self, frames, audio, mask, train=False):
            weights = self.param("weights", nn.initializers.ones, (3,))
            return frames.mean(axis=(1, 2, 3)) @ weights

    judge = discriminators.Judge(Player(Linear(), optax.sgd(1.0)), 1.0)
    real, fake = drawn(4, 2, 2, 2, 3, seed=0), drawn(4, 2, 2, 2, 3, seed=1)
    mask = np.ones((4, 2), bool)
    footage = [Footage(x[:, 0], x, np.zeros((4, 2, 1)), mask) for x in (real, fake)]
    state = judge.player.start({"params": {"weights": np.array([0.5, -1.0, 2.0], np.float32)}})
    after, figures = jit(judge.learn)(state, *footage, jax.random.key(0))
    weights, gradient = np.array([0.5, -1.0, 2.0]), 0
    for x, target, name in ((real, 1, "of_real"), (fake, 0, "of_drawn")):
        x = x.astype(np.float64).mean(axis=(1, 2, 3))
        p = 1 / (1 + np.exp(-x @ weights))
        gradient += ((p - target) @ x) / len(x)
        loss = -np.log(p if target else 1 - p).mean()
        np.testing.assert_allclose(figures[name], loss, rtol=1e-5)
    np.testing.assert_allclose(after.params["weights"], weights - gradient, rtol=1e-4)


def counted(lengths):
    """Footage whose pictures and sound tell clip and time: 100 clip + time."""
    n, time = len(lengths), 20
    number = (100 * np.arange(n)[:, None] + np.arange(time)).astype(np.float32)
    frames = np.broadcast_to(number[..., None, None, None], (n, time, 4, 2, 3))
    mask = np.arange(time) < np.array(lengths)[:, None]
    return Footage(frames[:, 0], frames, number[..., None], mask)


def test_frames_are_drawn_from_the_whole_clip_and_no_further():
    judge = discriminators.FrameJudge(None, 1.0, samples=300)
    footage = counted((5, 20))
    look = jit(judge.look)
    frames, still = look(footage, jax.random.key(0))
    found = np.asarray(frames[:, 0, 0, 0]).reshape(2, 300)
    assert set(found[0]) == set(range(5)) and set(found[1]) == set(range(100, 120))
    assert np.bincount(found[0].astype(int)).max() < 100
    np.testing.assert_array_equal(np.asarray(still[:, 0, 0, 0]).reshape(2, 300)[:, 0], [0, 100])
    negative = footage._replace(frames=-footage.frames)
    np.testing.assert_array_equal(look(negative, jax.random.key(0))[0], -frames)
    assert (look(footage, jax.random.key(1))[0] != frames).any()


def test_sync_is_judged_by_the_right_sound_against_sound_at_least_five_frames_off():
    judge = discriminators.SyncJudge(None, 1.0, samples=400)
    real = counted((20, 11, 5))
    evidence = jit(
        lambda footage, key: {
            name: (share, shown)
            for name, (share, _, shown) in judge.evidence(
                footage, footage._replace(frames=footage.frames + 0.5), key
            ).items()
        }
    )(real, jax.random.key(0))
    shares = {name: float(share) for name, (share, _) in evidence.items()}
    assert shares == {"real": 1, "wrong_sound": 0.5, "drawn": 0.5}
    mouths, sound = (np.asarray(x) for x in evidence["real"][1])
    assert mouths.shape == (1200, 5, 2, 2, 3)
    middle = mouths[:, 2, 0, 0, 0]
    np.testing.assert_array_equal(sound[:, 0], middle)
    np.testing.assert_array_equal(np.diff(mouths[..., 0, 0, 0], axis=1), 1)
    for clip, last in enumerate((17, 8, 2)):
        own = middle.reshape(3, 400)[clip]
        assert own.min() == 100 * clip + 2 and own.max() == 100 * clip + last
    np.testing.assert_array_equal(evidence["drawn"][1][0], mouths + 0.5)
    np.testing.assert_array_equal(evidence["drawn"][1][1], sound)

    same, wrong = (np.asarray(x) for x in evidence["wrong_sound"][1])
    np.testing.assert_array_equal(same, mouths)
    wrong = wrong[:, 0]
    own_clip = wrong // 100 == middle // 100
    assert (np.abs(wrong - middle)[own_clip] >= 5).all()
    own_clip = own_clip.reshape(3, 400)
    assert 0.35 < own_clip[:2].mean() < 0.65 and not own_clip[2].any()
    heard = wrong % 100
    assert (heard >= 2).all() and (heard <= np.array([17, 8, 2])[(wrong // 100).astype(int)]).all()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "tiny_successor", "tiny_static"])
def test_steps_lower_the_losses_of_one_batch(variant):
    method, batch = made(variant=variant)
    state = jit(method.init, once=True)(jax.random.key(0), batch)
    update = jit(method.update, donate_argnums=0)
    first = last = None
    for step in range(12):
        state, figures = update(state, batch, jax.random.key(step))
        last = {name: float(value) for name, value in figures.items()}
        first = first or last
    assert all(np.isfinite(value) for value in last.values())
    assert last["l1"] < 0.8 * first["l1"] and last["loss"] < first["loss"]
    assert int(state.step) == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_learns_to_tell_footage_that_stays(name):
    method, batch = made(lengths=(12, 11), judged=(name,))
    (judge,) = method.judges.values()
    real = recurrent_gan.footage(batch)
    fake = real._replace(frames=np.tanh(drawn(*real.frames.shape)))
    learn = jit(judge.learn)
    state, seen = started(method, batch).players[f"{name}_discriminator"], []
    for _ in range(8):
        state, figures = learn(state, real, fake, jax.random.key(0))
        seen.append(float(figures["of_real"] + figures["of_drawn"]))
    assert seen[-1] < 0.7 * seen[0]


@pytest.mark.slow
def test_each_length_is_traced_once():
    method, batch = made(judged=())
    state, update, seen = started(method, batch), jit(method.update), set()
    for seed in range(8):
        # Of 5 to 12 frames, most of them of no length seen before.
        clips = [aligned_faces.clip(f"a/{i}", i, 5 + (seed + i) % 8) for i in range(2)]
        batch = method.collate([method.example(clip, rng(seed)) for clip in clips])
        seen.add(batch["mask"].shape[1])
        state, _ = update(state, batch, jax.random.key(seed))
    assert seen == {6, 12} and update._cache_size() == 2


def rng(seed):
    return np.random.default_rng(seed)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    aligned_faces.write(tmp_path)
    for folder, stops in (("whole", (4,)), ("parts", (1, 3, 4))):
        for steps in stops:
            config = narrow()
            config.data.dir = str(tmp_path)
            config.train.update(steps=steps, validate_every=2, checkpoint_every=1, log_every=1)
            scalars = loop.train(config, tmp_path / folder)
    assert {"psnr_lower_half", "psnr_lower_half_of_still", "mouth_error"} <= scalars.keys()
    assert len(list((tmp_path / "whole" / "samples").glob("*.png"))) == 2
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert loop.evaluate(config, tmp_path / "whole", "validation").keys() == scalars.keys()


def test_each_frame_has_the_sound_around_its_middle():
    config = narrow(judged=())
    config.model.audio_rate, config.model.audio_samples = 16000, 1280
    method = methods.load(config)
    clip = aligned_faces.clip("a", 0)
    example = method.example(clip, rng(3))
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
    method = methods.load(narrow(judged=(), mirror=True))
    clip = aligned_faces.clip("a", 0, frames=20)
    every = decode_frames(clip, range(20))
    lengths, starts, mirrored = set(), set(), set()
    for seed in range(60):
        frames = method.example(clip, rng(seed))["frames"]
        for flip in (False, True):
            original = frames[:, :, ::-1] if flip else frames
            for start in range(21 - len(frames)):
                if np.array_equal(every[start : start + len(frames)], original):
                    starts.add(start), mirrored.add(flip), lengths.add(len(frames))
    assert lengths == set(range(6, 13)) and mirrored == {False, True}
    assert min(starts) == 0 and max(starts) >= 10
    assert len(method.validation_example(clip, rng(0))["frames"]) == 12


def test_the_still_is_the_first_frame_of_the_stretch_or_of_the_clip():
    clip = aligned_faces.clip("a", 0, frames=20)
    own = methods.load(narrow(judged=(), mirror=True, still_of="stretch"))
    first = methods.load(narrow(judged=(), mirror=True, still_of="clip"))
    beginning, flipped = decode_frames(clip, [0])[0], set()
    for seed in range(20):
        example, other = (method.example(clip, rng(seed)) for method in (own, first))
        np.testing.assert_array_equal(example["still"], example["frames"][0])
        np.testing.assert_array_equal(other["frames"], example["frames"])
        flip = np.array_equal(other["still"], beginning[:, ::-1])
        assert flip or np.array_equal(other["still"], beginning)
        flipped.add(flip)
    assert flipped == {False, True}
    for method in (own, first):
        np.testing.assert_array_equal(method.validation_example(clip, rng(0))["still"], beginning)


def test_clips_at_another_rate_are_seen_at_the_networks_own():
    method = methods.load(narrow(judged=()))
    clip = dataclasses.replace(aligned_faces.clip("a", 0), frame_rate=Fraction(50))
    example = method.validation_example(clip, rng(0))
    np.testing.assert_array_equal(example["frames"], decode_frames(clip, range(0, 12, 2)))
    assert example["audio"].shape == (6, 400)
    with pytest.raises(ValueError, match="has 4 frames at 25 a second, fewer than 5"):
        method.example(aligned_faces.clip("a", 0, frames=4), rng(0))


def test_measures_are_those_of_numpy():
    method, batch = made(lengths=(6, 4), judged=())
    real = jax.tree.map(np.asarray, recurrent_gan.footage(batch))
    frames = np.clip(real.frames + 0.2 * drawn(*real.frames.shape), -1, 1)
    method.animate = lambda variables, clips: jnp.asarray(frames)
    found = jit(method.measure)(started(method, batch), batch)
    found = {name: np.asarray(value) for name, value in found.items()}
    grey = (np.stack([frames, real.frames]) / 2 + 0.5) @ np.array([0.299, 0.587, 0.114])
    box = slice(round(0.58 * 32), round(0.84 * 32)), slice(round(0.27 * 32), round(0.77 * 32))
    for i, n in enumerate((6, 4)):
        for name, rows in (("psnr", slice(None)), ("psnr_lower_half", slice(16, None))):
            error = (grey[0, i, :n, rows] - grey[1, i, :n, rows]) ** 2
            np.testing.assert_allclose(found[name][i], -10 * np.log10(error.mean()), rtol=1e-4)
        mouth, true = (x[i, :n, box[0], box[1]] for x in (frames, real.frames))
        np.testing.assert_allclose(
            found["mouth_error"][i], np.abs(mouth - true).mean() / 2, rtol=1e-4
        )
        np.testing.assert_allclose(
            found["mouth_error_of_still"][i], np.abs(true - true[:1]).mean() / 2, rtol=1e-4
        )
        np.testing.assert_allclose(
            found["mouth_error_of_mean"][i], np.abs(true - true.mean(axis=0)).mean() / 2, rtol=1e-4
        )
        moved, truly = (x - x.mean(axis=0) for x in (mouth, true))
        correlation = np.corrcoef(moved.ravel(), truly.ravel())[0, 1]
        np.testing.assert_allclose(found["mouth_correlation"][i], correlation, rtol=1e-3)
        np.testing.assert_allclose(found["mouth_motion"][i], moved.std() / truly.std(), rtol=1e-3)


def test_the_static_baseline_has_no_memory_and_no_noise():
    method, batch = made(variant="tiny_static")
    state = started(method, batch)
    generator = state.players["generator"]
    assert set(generator.params) == {"audio_encoder", "identity_encoder", "decoder"}
    animate = jit(method.animate)
    real = recurrent_gan.footage(batch)
    before = animate(generator.variables, real)
    audio = np.where(np.arange(6)[:, None] == 2, -real.audio, real.audio)
    after = animate(generator.variables, real._replace(audio=audio))
    changed = np.abs(before - after).max(axis=(0, 2, 3, 4)) > 1e-7
    np.testing.assert_array_equal(changed, np.arange(6) == 2)


ABLATIONS = {
    "l1": {"judges/frame", "judges/sequence"},
    "frame": {"judges/sequence"},
    "sequence": {"judges/frame"},
    "static": {"judges/sequence", "model/recurrent"},
}


@pytest.mark.parametrize("size", ["", "tiny_", "small_data_"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_leaves_out_what_its_name_says_and_nothing_else(size, name):
    def fields(system):
        config = tgan_config.get_config(size + system).to_dict()
        del config["start_from"]  # names the players
        return flatten_dict(config, sep="/")

    full, ablated = fields("paper2018"), fields(name)
    different = {k for k in {*full, *ablated} if full.get(k, "none") != ablated.get(k, "none")}
    assert {"/".join(k.split("/")[:2]) for k in different} == ABLATIONS[name]
    players = methods.load(tgan_config.get_config(size + name)).players
    left = {"frame", "sequence"} - {k.removeprefix("judges/") for k in ABLATIONS[name]}
    assert set(players) == {"generator", *(f"{judge}_discriminator" for judge in left)}


def test_the_successors_figures_are_the_papers():
    config = tgan_config.get_config("successor")
    assert set(config.judges) == {"frame", "motion", "sync"}
    assert [config.judges[n].weight for n in ("frame", "sync", "motion")] == [1.0, 0.8, 0.2]
    assert (config.l1_weight, config.model.identity_size) == (600.0, 128)
    assert config.model.audio_samples == 3200
    methods.load(config).check()
    paper = tgan_config.get_config()
    assert (paper.l1_weight, paper.model.identity_size, paper.model.audio_samples) == (
        400.0,
        50,
        2560,
    )
    assert paper.noise_std**2 == pytest.approx(0.6, rel=1e-2)
    methods.load(paper).check()


def test_configs_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="no variant 'huge'; choose one of paper2018"):
        tgan_config.get_config("huge")
    refused = [
        ({"lengths": (6, 8)}, "clips of 12 frames .* fit none .* add 12"),
        ({"still_of": "film"}, "still_of='film'; choose one of stretch, clip"),
        ({"shortest": 3}, "shortest=3 must lie between 5 frames and config.longest=12"),
    ]
    for changes, message in refused:
        with pytest.raises(ValueError, match=message):
            methods.load(narrow(judged=(), **changes)).check()
    config = narrow(judged=("sync",))
    config.model.image_size = (64, 32)
    with pytest.raises(ValueError, match=r"image_size=\(64, 32\) .*geometry=aligned32x32, 32x32"):
        methods.load(config).check()
    config = narrow(judged=("sync",))
    config.model.audio_samples = 320
    with pytest.raises(ValueError, match="sync hears 5 frames, 400 samples"):
        methods.load(config).check()
    config = narrow(judged=("sync",))
    config.data.batch_size = 1
    with pytest.raises(ValueError, match="batch_size to 2 or more"):
        methods.load(config).check()
    config = narrow(judged=("frame",))
    config.judges.smell = config.judges.frame
    with pytest.raises(ValueError, match=r"judges.smell: .* choose from frame, sequence"):
        methods.load(config)
