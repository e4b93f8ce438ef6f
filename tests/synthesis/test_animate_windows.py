"""Lips that are drawn sixteen frames at once: At a Glance and VGAN say recordings of any length."""

import json
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import glance as glance_config
from lipsync_jax.configs import vgan as vgan_config
from lipsync_jax.data.audio_windows import log_mel_windows
from lipsync_jax.faces import alignment
from lipsync_jax.media import audio, video_reader
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.methods.vgan.model import NOISE
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.synthesis import audio_frontends
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.training import checkpoints
from tests.helpers import networks, reference_images
from tests.helpers.reference_images import DETECTOR
from tests.synthesis.test_streaming import noise, pieces

INPUTS = {"still": (64, 64, 3), "audio": (64, 128), "noise": (NOISE,)}
METHODS = {
    "glance": (glance_config.get_config("tiny_b"), ("still", "audio")),
    "vgan": (vgan_config.get_config("tiny"), ("noise", "audio", "still")),
}


pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module", params=METHODS)
def trained(request, tmp_path_factory):
    """A method, a narrow generator's variables and their checkpoint."""
    config, inputs = METHODS[request.param]
    config.model.width = 1 / 32
    method = methods.load(config)
    module = method.players["generator"].module
    variables = networks.variables(module, *(INPUTS[name] for name in inputs), n=1)
    folder = tmp_path_factory.mktemp(request.param) / "run"
    card = {"config": json.loads(config.to_json_best_effort())}
    checkpoints.save_inference(folder, {"generator": variables}, card)
    return method, variables, folder


@pytest.fixture(scope="module")
def animator(trained):
    return Animator.load(trained[2])


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    path = tmp_path_factory.mktemp("lips") / "lips.png"
    video_reader.write_image(
        path, np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    )
    return path


def test_frames_are_those_of_overlapping_windows(trained, animator, still):
    method, variables, _ = trained
    samples = noise(1.5, audio.LOG_MEL_RATE)
    prepared = animator.prepare(still, aligned=True, batch_size=9, seed=3)
    shown = [*prepared.stream(pieces(samples, [5000]), audio.LOG_MEL_RATE)]
    assert len(shown) == 38 and prepared.size == (64, 64)
    # A batch is a multiple of eight frames, each of which would take its own noise.
    of_clip = np.random.default_rng(3).standard_normal((16, method.noise_size), np.float32)[:1]
    spectra = log_mel_windows(samples.astype(np.float32) / 32768, range(40)).reshape(1, -1, 128)
    heard = (spectra - method.config.sound_mean) / method.config.sound_scale
    picture = next(video_reader.read_frames(still)).image[None].astype(np.float32) / 127.5 - 1
    whole = np.asarray(jit(method.animate)(variables, picture, heard, jnp.asarray(of_clip)))[0]
    expected = np.rint((whole * 0.5 + 0.5) * 255)
    # Windows of both begin at the same frames until one of them knows how the clip ends.
    alike = slice(0, 24)
    found = np.stack([frame.image for frame in shown])
    assert np.abs(found[alike] - expected[alike]).max() <= 1
    assert np.abs(np.diff(found.astype(int), axis=0)).max() > 0


def test_streams_are_the_whole_and_the_seed_is_the_video(tmp_path, trained, animator, still):
    samples = noise(0.9, 16_000)
    audio.save(tmp_path / "voice.wav", samples, 16_000)

    def shown(seed):
        outfile = tmp_path / "out.mp4"
        options = {"aligned": True, "lossless": True, "batch_size": 8, "seed": seed}
        animator.animate(still, tmp_path / "voice.wav", outfile, **options)
        return np.stack([frame.image for frame in video_reader.read_frames(outfile)])

    first = shown(1)
    prepared = animator.prepare(still, aligned=True, batch_size=8, seed=1)
    streamed = [frame.image for frame in prepared.stream(pieces(samples, [333]), 16_000)]
    np.testing.assert_array_equal(streamed, first)
    np.testing.assert_array_equal(shown(1), first)
    assert (shown(2) != first).any() == (trained[0].noise_size > 0)


def test_lips_are_found_and_put_back_into_the_picture(tmp_path, animator):
    face = reference_images.picture(tmp_path / "face.png", face=(30, 30, 120, 120))
    picture = next(video_reader.read_frames(face)).image
    audio.save(tmp_path / "voice.wav", noise(0.2, 16_000), 16_000)
    options = {**DETECTOR, "paste_back": True, "lossless": True, "batch_size": 8}
    report = animator.animate(face, tmp_path / "voice.wav", tmp_path / "out.mp4", **options)
    assert report.frames == 5
    shown = next(video_reader.read_frames(tmp_path / "out.mp4")).image
    (found,) = DETECTOR["detector"](picture)
    matrix = alignment.place(found.landmarks, alignment.CANONICAL["lips"])
    np.testing.assert_allclose(animator.performer.place(found), matrix)
    y, x = np.nonzero((shown != picture).any(axis=-1))
    inside = alignment.to_frame(np.stack([x, y], axis=-1) + 0.5, matrix)
    assert len(x) > 100 and inside.min() >= 0 and inside.max() <= 64


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_the_ear_hears_each_frame_and_those_after_it(rate):
    ear, seconds = audio_frontends.LogMelEar(rate, 4, 60.0, 30.0), 0.56
    samples = noise(seconds, audio.LOG_MEL_RATE)
    frames = range(round(seconds * rate))  # of the last one more than half, at 30000/1001
    voice = audio_frontends.Samples(pieces(samples, [777]), audio.LOG_MEL_RATE, ear.rate)
    heard = np.concatenate([ear.hear(voice, part) for part in (frames[:5], frames[5:])])
    spectra = log_mel_windows(samples.astype(np.float32) / 32768, frames, rate)
    last = np.repeat(spectra[-1:], 3, axis=0)
    spectra = (np.concatenate([spectra, last]) - 60) / 30
    expected = np.stack([spectra[t : t + 4].reshape(16, 128) for t in frames])
    np.testing.assert_allclose(heard, expected, atol=1e-4)
    assert heard.shape[1:] == ear.shape == (16, 128)
    assert ear.look_ahead == 3 / rate + Fraction(1, 25)
    short = audio_frontends.Samples([np.full(100, 9000, np.int16)], 16_000, ear.rate)
    assert np.isfinite(ear.hear(short, range(1))).all()


@pytest.mark.parametrize("parts", [[1, 1, 1], [3], [2, 1]])
def test_windows_fade_into_one_another_wherever_they_are_cut(parts):
    windows = np.random.default_rng(0).standard_normal((3, 16, 2)).astype(np.float32)
    begun, rest, frames = jnp.array(False), jnp.zeros((8, 2)), []
    fade = jax.jit(lip_video_gan.fade_on)
    for part in np.split(windows, np.cumsum(parts)[:-1]):
        more, rest = fade(begun, rest, part)
        begun = jnp.array(True)
        frames.append(more)
    expected = lip_video_gan.cross_fade(windows[None], (0, 8, 16))[0]
    np.testing.assert_allclose(np.concatenate(frames), expected[:24], atol=1e-6)
