"""Speech2Vid with narrow networks on two synthetic speakers, and animation with checkpoints."""

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
from lipsync_jax.data.audio_frontends import SpectrogramFrontend
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.data_prep.synthetic.render_clips import render_speaker
from lipsync_jax.faces import alignment
from lipsync_jax.media import audio, video_reader
from lipsync_jax.methods.speech2vid import method as speech2vid
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.synthesis import animation
from lipsync_jax.synthesis.streaming_audio import StreamingAudio
from lipsync_jax.training import checkpoints
from tests.helpers import colour_faces, reference_images
from tests.helpers.networks import random_array, random_state

pytestmark = pytest.mark.usefixtures("quick_programs")


@functools.cache
def clips():
    """Returns clips of two identities, 0.6 s each."""
    seeds = np.random.SeedSequence(4).spawn(2)
    return [
        render_speaker(seed, f"p{i}", [0], 0.6, "aligned112x112")[0] for i, seed in enumerate(seeds)
    ]


def make(variant="tiny", **changes):
    config = speech2vid_config.get_config(variant)
    config.model.width_mult, config.deblur.width_mult = 1 / 32, 1 / 8
    config.frames_per_clip = 2
    config.optimizer.warmup_steps = 0
    config.update(changes)
    method = methods.load(config)
    method.validate_config()
    return method


@functools.cache
def random_state_and_batch(variant="tiny"):
    """A method, a batch, and a state with random weights."""
    method, rng = make(variant), np.random.default_rng(0)
    batch = method.collate([method.make_validation_example(clip, rng) for clip in clips()])
    return method, batch, random_state(method, batch)


def test_each_frame_has_its_audio_and_references_of_other_moments():
    clip = clips()[0]
    every = decode_frames(clip, range(15))
    mfcc = audio.speech2vid_mfcc(clip.audio.astype(np.float32) / 32768)[:, 1:]
    padded = np.pad(mfcc, ((16, 40), (0, 0)))
    method = make("tiny_k5", frames_per_clip=6)
    example = method.make_example(clip, np.random.default_rng(0))
    for i in range(6):
        frame, *others = (
            next(t for t in range(15) if np.array_equal(every[t], image))
            for image in (example["frames"][i], *example["reference"][i])
        )
        assert len({frame, *others}) == 6
        window = padded[4 * frame : 4 * frame + 35]
        np.testing.assert_allclose(example["audio"][i], window, rtol=1e-5, atol=1e-5)
    with pytest.raises(
        ValueError, match="has 15 frames; Speech2Vid with 15 reference images takes 16 or more"
    ):
        make(num_reference_images=15).make_example(clip, np.random.default_rng(0))


def test_references_are_stacked_and_frames_lose_their_borders():
    method, rng = make("tiny_k5"), np.random.default_rng(0)
    example = method.make_example(clips()[0], rng)
    _, images, target = method.network_inputs(method.collate([example]))
    assert images.shape == (2, 112, 112, 15) and target.shape == (2, 109, 109, 3)
    np.testing.assert_allclose(images[1, ..., 6:9], example["reference"][1, 2, ..., ::-1] / 255)
    np.testing.assert_allclose(target, example["frames"][:, 1:110, 1:110, ::-1] / 255)
    frames = jnp.asarray(target)
    wide = speech2vid.pad_to_face(frames)
    np.testing.assert_array_equal(speech2vid.crop_output(wide), frames)
    np.testing.assert_array_equal(wide[:, 0, 1:110], frames[:, 0])


def test_blur_is_opencvs():
    frames = random_array(2, 20, 17, 3)
    found = jax.jit(speech2vid.blur)(frames)
    for frame, blurred in zip(frames, found, strict=True):
        expected = cv2.GaussianBlur(frame, (5, 5), 2, borderType=cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(blurred, expected, atol=1e-5)


@pytest.mark.slow
def test_a_batch_is_learned_by_both_networks():
    method, batch, state = random_state_and_batch()
    before, first = jax.device_get(state.networks), {}
    update = jit(method.train_step)
    for step in range(8):
        state, scalars = update(state, batch, jax.random.key(step))
        first = first or jax.device_get(scalars)
    assert scalars["loss"] < 0.9 * first["loss"] and scalars["deblur_loss"] < first["deblur_loss"]
    for name, network in state.networks.items():
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), network.params, before[name].params)
        assert max(jax.tree.leaves(moved)) > 0, name


@pytest.mark.slow
def test_terms_are_those_of_the_paper():
    method, batch, state = random_state_and_batch()
    _, scalars = jit(method.train_step)(state, batch, jax.random.key(0))
    windows, images, target = (np.asarray(x) for x in method.network_inputs(batch))
    generator, deblurrer = (method.networks[name] for name in ("generator", "deblurrer"))
    found, _ = jit(
        lambda v, *x: generator.module.apply(v, *x, train=True, mutable=["batch_stats"])
    )(state.networks["generator"].variables, windows, images)
    error = np.abs(found.frames - target)
    assert scalars["l1"] == pytest.approx(error.mean(), rel=1e-4)
    mouth = 2 * error[:, 60:104, 27:82].mean()  # size=tiny has this term, size=published does not
    assert scalars["loss"] == pytest.approx(error.mean() + mouth, rel=1e-4)
    assert speech2vid_config.get_config().loss.mouth == 0
    blurred = np.stack([cv2.GaussianBlur(frame, (5, 5), 2) for frame in target])
    lost = jit(deblurrer.module.apply)(state.networks["deblurrer"].variables, blurred)
    expected = np.square(lost - (target - blurred)).mean()
    assert scalars["deblur_loss"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_deblurring_has_no_part_in_the_generator():
    method, batch, state = random_state_and_batch()
    alone = methods.load(make("tiny_no_deblur").config)
    few = state.replace(networks={"generator": state.networks["generator"]})
    together, _ = jit(method.train_step)(state, batch, jax.random.key(0))
    apart, scalars = jit(alone.train_step)(few, batch, jax.random.key(0))
    assert set(scalars) == {"loss", "l1", "grad_norm"} and set(apart.networks) == {"generator"}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        together.networks["generator"].params,
        apart.networks["generator"].params,
    )


def test_metrics_of_the_baselines():
    method, batch, state = random_state_and_batch()
    found = jax.device_get(jit(method.eval_step)(state, batch))
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in found.values())
    box = np.s_[:, :, 60:104, 27:82]
    target, first, mean = (
        x[..., 1:110, 1:110, :].astype(np.float64) / 255
        for x in (batch["frames"], batch["reference"][:, :, 0], batch["mean_frame"][:, None])
    )
    for name, baseline in (("copy_baseline", first), ("mean_baseline", mean)):
        expected = np.abs(baseline - target)[box].mean(axis=(1, 2, 3, 4))
        np.testing.assert_allclose(found[f"mouth_l1_{name}"], expected, rtol=1e-4)
    assert {"l1_deblurred", "mouth_l1_deblurred"} <= found.keys()


def test_variants_and_refusals():
    config = speech2vid_config.get_config()
    assert config == speech2vid_config.get_config("published") and config.num_reference_images == 1
    assert (config.data.batch_size, config.optimizer.learning_rate) == (50, 1e-4)
    assert speech2vid_config.get_config("k5").num_reference_images == 5
    for variant in ("huge", "tiny_tiny"):
        with pytest.raises(ValueError, match=f"no variant '{variant}'"):
            speech2vid_config.get_config(variant)
    with pytest.raises(
        ValueError, match=r"face96 has 96x96 pixels; .* --config.data.crop=aligned112x112"
    ):
        make(data={"crop": "face96"})
    with pytest.raises(ValueError, match=r"config.num_reference_images=0: give 1 or 5"):
        make(num_reference_images=0)


def test_the_mouth_lies_where_errors_are_measured():
    for clip in clips():
        eyes, mouth = clip.landmarks[:, :2].mean(axis=(0, 1)), clip.landmarks[:, 3:]
        x, y = mouth.mean(axis=(0, 1))
        assert abs(x - 56) < 6 and 0.62 < y / 112 < 0.85 and 0.15 < eyes[1] / 112 < 0.35
        assert np.ptp(mouth[..., 0], axis=1).mean() < 56


@pytest.mark.parametrize("kind", LIPGAN)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_streamed_features_equal_those_of_the_whole_audio(kind, rate):
    samples = np.random.default_rng(0).normal(0, 0.1, rate).astype(np.float32)
    frontend = SpectrogramFrontend(LIPGAN[kind], 25)
    given = StreamingAudio((samples[i : i + 999] for i in range(0, rate, 999)), rate, 16_000)
    parts = [frontend.extract(given, range(first, first + 5)) for first in range(0, 30, 5)]
    whole = LIPGAN[kind].compute(
        np.concatenate([*StreamingAudio([samples], rate, 16_000)._resampled]).astype(np.float32)
    )
    expected = LIPGAN[kind].gather(whole, LIPGAN[kind].window_starts([i / 25 for i in range(30)]))
    # Frame 25 is the first after the audio, whose windows reach past its end.
    np.testing.assert_allclose(np.concatenate(parts)[:18], expected[:18], atol=2e-3)
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=0.5)
    nothing = SpectrogramFrontend(LIPGAN[kind], 25).extract(
        StreamingAudio([], rate, 16_000), range(3)
    )
    assert (nothing == LIPGAN[kind].silence).all()


def test_a_checkpoint_animates_an_image(tmp_path):
    method, _, state = random_state_and_batch()
    variables = {name: jax.device_get(p.variables) for name, p in state.networks.items()}
    config = {"config": method.config.to_dict()}
    checkpoints.export_networks(tmp_path / "run", variables, config)
    image_path = reference_images.write_face_image(tmp_path / "face.png")
    noise = np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32)
    audio.save(tmp_path / "a.wav", noise, 16_000)
    options = {**reference_images.DETECTOR, "lossless": True, "batch_size": 5}
    report = animation.animate(
        tmp_path / "run", image_path, tmp_path / "a.wav", tmp_path / "o.mp4", **options
    )
    shown = np.stack([frame.image for frame in video_reader.read_frames(tmp_path / "o.mp4")])
    assert report.frames == 5 and shown.shape == (5, 112, 112, 3)
    np.testing.assert_array_equal(shown[:, :, 0], shown[:, :, 1])

    image = next(video_reader.read_frames(image_path)).image
    (face,) = colour_faces.detect(image)
    matrix = alignment.align_matrix(face.landmarks, alignment.CANONICAL["square"])
    crop = alignment.warp_crop(image, matrix, (112, 112)) / np.float32(255)
    samples, _ = audio.load(tmp_path / "a.wav")
    windows = MFCC.gather(
        MFCC.compute(samples), MFCC.window_starts([Fraction(i, 25) for i in range(5)])
    )
    plain, sharp = jit(method.generate_frames)(variables, windows, np.repeat(crop[None], 5, axis=0))
    for frames, same in ((sharp, True), (plain, False)):
        apart = np.abs(shown[:, 1:110, 1:110] - np.asarray(frames) * 255).max()
        assert (apart <= 1) == same
