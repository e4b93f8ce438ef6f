"""Speech2Vid with narrow networks on two drawn speakers, and its checkpoints at work."""

import functools
from fractions import Fraction

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import speech2vid as speech2vid_config
from lipsync_jax.data.audio_features import LIPGAN, MFCC
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.data_prep.synthetic.render_clips import film_speaker
from lipsync_jax.faces import alignment
from lipsync_jax.media import audio, video_reader
from lipsync_jax.methods.speech2vid import method as speech2vid
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.synthesis import animation
from lipsync_jax.synthesis.audio_frontends import Samples, SpectrumEar
from lipsync_jax.training import checkpoints
from tests.helpers import colour_faces, reference_images
from tests.helpers.networks import drawn, drawn_state

pytestmark = pytest.mark.usefixtures("quick_programs")


@functools.cache
def clips():
    """Two people, 0.6 s each."""
    seeds = np.random.SeedSequence(4).spawn(2)
    return [
        film_speaker(seed, f"p{i}", [0], 0.6, "aligned112x112")[0] for i, seed in enumerate(seeds)
    ]


def make(variant="tiny", **changes):
    config = speech2vid_config.get_config(variant)
    config.model.width, config.deblur.width = 1 / 32, 1 / 8
    config.frames_per_clip = 2
    config.optimiser.warmup = 0
    config.update(changes)
    method = methods.load(config)
    method.check()
    return method


@functools.cache
def started(variant="tiny"):
    """A method, a batch, and a state with drawn weights."""
    method, rng = make(variant), np.random.default_rng(0)
    batch = method.collate([method.validation_example(clip, rng) for clip in clips()])
    return method, batch, drawn_state(method, batch)


def test_each_frame_has_its_sound_and_stills_of_other_moments():
    clip = clips()[0]
    every = decode_frames(clip, range(15))
    mfcc = audio.speech2vid_mfcc(clip.audio.astype(np.float32) / 32768)[:, 1:]
    padded = np.pad(mfcc, ((16, 40), (0, 0)))
    method = make("tiny_five", frames_per_clip=6)
    example = method.example(clip, np.random.default_rng(0))
    for i in range(6):
        frame, *others = (
            next(t for t in range(15) if np.array_equal(every[t], picture))
            for picture in (example["target"][i], *example["stills"][i])
        )
        assert len({frame, *others}) == 6
        window = padded[4 * frame : 4 * frame + 35]
        np.testing.assert_allclose(example["sound"][i], window, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="it has 15 frames, fewer than 16"):
        make(stills=15).example(clip, np.random.default_rng(0))


def test_stills_are_stacked_and_frames_lose_their_borders():
    method, rng = make("tiny_five"), np.random.default_rng(0)
    example = method.example(clips()[0], rng)
    _, pictures, target = method.inputs(method.collate([example]))
    assert pictures.shape == (2, 112, 112, 15) and target.shape == (2, 109, 109, 3)
    np.testing.assert_allclose(pictures[1, ..., 6:9], example["stills"][1, 2, ..., ::-1] / 255)
    np.testing.assert_allclose(target, example["target"][:, 1:110, 1:110, ::-1] / 255)
    frames = jnp.asarray(target)
    wide = speech2vid.widened(frames)
    np.testing.assert_array_equal(speech2vid.middle(wide), frames)
    np.testing.assert_array_equal(wide[:, 0, 1:110], frames[:, 0])


def test_blur_is_opencvs():
    frames = drawn(2, 20, 17, 3)
    found = jax.jit(speech2vid.blur)(frames)
    for frame, blurred in zip(frames, found, strict=True):
        expected = cv2.GaussianBlur(frame, (5, 5), 2, borderType=cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(blurred, expected, atol=1e-5)


@pytest.mark.slow
def test_a_batch_is_learned_by_both_networks():
    method, batch, state = started()
    before, first = jax.device_get(state.players), {}
    update = jit(method.update)
    for step in range(8):
        state, scalars = update(state, batch, jax.random.key(step))
        first = first or jax.device_get(scalars)
    assert scalars["loss"] < 0.9 * first["loss"] and scalars["deblur"] < first["deblur"]
    for name, player in state.players.items():
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), player.params, before[name].params)
        assert max(jax.tree.leaves(moved)) > 0, name


@pytest.mark.slow
def test_terms_are_those_of_the_paper():
    method, batch, state = started()
    _, scalars = jit(method.update)(state, batch, jax.random.key(0))
    sound, pictures, target = (np.asarray(x) for x in method.inputs(batch))
    generator, deblurrer = (method.players[name] for name in ("generator", "deblurrer"))
    found, _ = jit(
        lambda v, *x: generator.module.apply(v, *x, train=True, mutable=["batch_stats"])
    )(state.players["generator"].variables, sound, pictures)
    error = np.abs(found.frames - target)
    assert scalars["l1"] == pytest.approx(error.mean(), rel=1e-4)
    mouth = 2 * error[:, 60:104, 27:82].mean()  # tiny forms add it, the published one does not
    assert scalars["loss"] == pytest.approx(error.mean() + mouth, rel=1e-4)
    assert speech2vid_config.get_config().mouth_weight == 0
    blurred = np.stack([cv2.GaussianBlur(frame, (5, 5), 2) for frame in target])
    lost = jit(deblurrer.module.apply)(state.players["deblurrer"].variables, blurred)
    expected = np.square(lost - (target - blurred)).mean()
    assert scalars["deblur"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_sharpening_has_no_part_in_the_generator():
    method, batch, state = started()
    alone = methods.load(make("tiny_plain").config)
    few = state.replace(players={"generator": state.players["generator"]})
    together, _ = jit(method.update)(state, batch, jax.random.key(0))
    apart, scalars = jit(alone.update)(few, batch, jax.random.key(0))
    assert set(scalars) == {"loss", "l1", "gradient_norm"} and set(apart.players) == {"generator"}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        together.players["generator"].params,
        apart.players["generator"].params,
    )


def test_figures_of_the_trivial_answers():
    method, batch, state = started()
    found = jax.device_get(jit(method.measure)(state, batch))
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in found.values())
    box = np.s_[:, :, 60:104, 27:82]
    target, first, mean = (
        x[..., 1:110, 1:110, :].astype(np.float64) / 255
        for x in (batch["target"], batch["stills"][:, :, 0], batch["mean_face"][:, None])
    )
    for name, answer in (("copying_still", first), ("mean_mouth", mean)):
        expected = np.abs(answer - target)[box].mean(axis=(1, 2, 3, 4))
        np.testing.assert_allclose(found[f"mouth_error_{name}"], expected, rtol=1e-4)
    assert {"l1_sharpened", "mouth_error_sharpened"} <= found.keys()


def test_variants_and_refusals():
    config = speech2vid_config.get_config()
    assert config == speech2vid_config.get_config("published") and config.stills == 1
    assert (config.data.batch_size, config.optimiser.learning_rate) == (50, 1e-4)
    assert speech2vid_config.get_config("five").stills == 5
    for variant in ("huge", "tiny_tiny"):
        with pytest.raises(ValueError, match=f"no variant '{variant}'"):
            speech2vid_config.get_config(variant)
    with pytest.raises(ValueError, match=r"face96 has pictures of 96x96; .* aligned112x112"):
        make(data={"geometry": "face96"})
    with pytest.raises(ValueError, match=r"config.stills=0: give 1 or 5"):
        make(stills=0)


def test_the_mouth_lies_where_errors_are_measured():
    for clip in clips():
        eyes, mouth = clip.landmarks[:, :2].mean(axis=(0, 1)), clip.landmarks[:, 3:]
        x, y = mouth.mean(axis=(0, 1))
        assert abs(x - 56) < 6 and 0.62 < y / 112 < 0.85 and 0.15 < eyes[1] / 112 < 0.35
        assert np.ptp(mouth[..., 0], axis=1).mean() < 56


@pytest.mark.parametrize("kind", LIPGAN)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_ear_hears_in_pieces_what_the_whole_is(kind, rate):
    samples = np.random.default_rng(0).normal(0, 0.1, rate).astype(np.float32)
    ear = SpectrumEar(LIPGAN[kind], 25)
    given = Samples((samples[i : i + 999] for i in range(0, rate, 999)), rate, 16_000)
    parts = [ear.hear(given, range(first, first + 5)) for first in range(0, 30, 5)]
    whole = LIPGAN[kind].compute(
        np.concatenate([*Samples([samples], rate, 16_000)._pieces]).astype(np.float32)
    )
    expected = LIPGAN[kind].take(whole, LIPGAN[kind].starts([i / 25 for i in range(30)]))
    # Frame 25 is the first after the sound, whose windows reach behind its end.
    np.testing.assert_allclose(np.concatenate(parts)[:18], expected[:18], atol=2e-3)
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=0.5)
    nothing = SpectrumEar(LIPGAN[kind], 25).hear(Samples([], rate, 16_000), range(3))
    assert (nothing == LIPGAN[kind].silence).all()


def test_a_checkpoint_animates_a_still(tmp_path):
    method, _, state = started()
    variables = {name: jax.device_get(p.variables) for name, p in state.players.items()}
    config = {"config": method.config.to_dict()}
    checkpoints.save_inference(tmp_path / "run", variables, config)
    picture = reference_images.picture(tmp_path / "still.png")
    noise = np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32)
    audio.save(tmp_path / "a.wav", noise, 16_000)
    options = {**reference_images.DETECTOR, "lossless": True, "batch_size": 5}
    report = animation.animate(
        tmp_path / "run", picture, tmp_path / "a.wav", tmp_path / "o.mp4", **options
    )
    shown = np.stack([frame.image for frame in video_reader.read_frames(tmp_path / "o.mp4")])
    assert report.frames == 5 and shown.shape == (5, 112, 112, 3)
    np.testing.assert_array_equal(shown[:, :, 0], shown[:, :, 1])

    image = next(video_reader.read_frames(picture)).image
    (face,) = colour_faces.detect(image)
    matrix = alignment.place(face.landmarks, alignment.CANONICAL["square"])
    crop = alignment.cut_out(image, matrix, (112, 112)) / np.float32(255)
    samples, _ = audio.load(tmp_path / "a.wav")
    sound = MFCC.take(MFCC.compute(samples), MFCC.starts([Fraction(i, 25) for i in range(5)]))
    plain, sharp = jit(method.draw)(variables, sound, np.repeat(crop[None], 5, axis=0))
    for frames, same in ((sharp, True), (plain, False)):
        apart = np.abs(shown[:, 1:110, 1:110] - np.asarray(frames) * 255).max()
        assert (apart <= 1) == same
