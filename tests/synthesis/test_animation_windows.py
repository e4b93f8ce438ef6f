"""Networks that generate sixteen frames at once (At a Glance, VGAN), on audio of any length."""

import dataclasses
import json
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import glance as glance_config
from lipsync_jax.configs import speech2vid_lips as lips_config
from lipsync_jax.configs import vgan as vgan_config
from lipsync_jax.data import audio_frontends
from lipsync_jax.data.audio_windows import log_mel_windows
from lipsync_jax.faces import alignment
from lipsync_jax.media import audio, video_reader
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.methods.vgan.model import NOISE_SIZE
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.synthesis.streaming_audio import StreamingAudio
from lipsync_jax.training import checkpoints
from tests.helpers import networks, reference_images
from tests.helpers.reference_images import DETECTOR
from tests.synthesis.test_streaming import chunks_of, noise

INPUTS = {"image": (64, 64, 3), "audio": (64, 128), "noise": (NOISE_SIZE,)}
METHODS = {
    "glance": (glance_config.get_config("tiny_b"), ("image", "audio")),
    "speech2vid_lips": (lips_config.get_config("tiny"), ("image", "audio")),
    "vgan": (vgan_config.get_config("tiny"), ("noise", "audio", "image")),
}


pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module", params=METHODS)
def trained(request, tmp_path_factory):
    """A method, a narrow generator's variables and their checkpoint."""
    config, inputs = METHODS[request.param]
    config.model.width_mult = 1 / 32
    method = methods.load(config)
    module = method.networks["generator"].module
    variables = networks.random_variables(module, *(INPUTS[name] for name in inputs), n=1)
    folder = tmp_path_factory.mktemp(request.param) / "run"
    card = {"config": json.loads(config.to_json_best_effort())}
    checkpoints.export_networks(folder, {"generator": variables}, card)
    return method, variables, folder


@pytest.fixture(scope="module")
def animator(trained):
    return Animator.load(trained[2])


@pytest.fixture(scope="module")
def image_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("lips") / "lips.png"
    video_reader.write_image(
        path, np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    )
    return path


def test_frames_are_those_of_overlapping_windows(trained, animator, image_path):
    method, variables, _ = trained
    samples = noise(1.5, audio.LOG_MEL_RATE)
    streaming = animator.prepare(image_path, aligned=True, batch_size=9, seed=3)
    frames_shown = [*streaming.stream(chunks_of(samples, [5000]), audio.LOG_MEL_RATE)]
    assert len(frames_shown) == 38 and streaming.size == (64, 64)
    # A batch is a multiple of eight frames; the first frame's noise holds for the clip.
    of_clip = np.random.default_rng(3).standard_normal((16, method.noise_size), np.float32)[:1]
    spectra = log_mel_windows(samples.astype(np.float32) / 32768, range(40)).reshape(1, -1, 128)
    features = (spectra - method.config.audio_mean) / method.config.audio_std
    image = next(video_reader.read_frames(image_path)).image[None].astype(np.float32) / 127.5 - 1
    whole_clip = np.asarray(
        jit(method.generate_clip)(variables, image, features, jnp.asarray(of_clip))
    )[0]
    expected = np.rint((whole_clip * 0.5 + 0.5) * 255)
    # Windows of both begin at equal frames, except the last window of the whole clip.
    common = slice(0, 24)
    found = np.stack([frame.image for frame in frames_shown])
    assert np.abs(found[common] - expected[common]).max() <= 1
    assert np.abs(np.diff(found.astype(int), axis=0)).max() > 0


def test_streams_are_the_whole_and_the_seed_is_the_video(tmp_path, trained, animator, image_path):
    samples = noise(0.9, 16_000)
    audio.save(tmp_path / "voice.wav", samples, 16_000)

    def frames_shown(seed):
        outfile = tmp_path / "out.mp4"
        options = {"aligned": True, "lossless": True, "batch_size": 8, "seed": seed}
        animator.animate(image_path, tmp_path / "voice.wav", outfile, **options)
        return np.stack([frame.image for frame in video_reader.read_frames(outfile)])

    first = frames_shown(1)
    streaming = animator.prepare(image_path, aligned=True, batch_size=8, seed=1)
    streamed = [frame.image for frame in streaming.stream(chunks_of(samples, [333]), 16_000)]
    np.testing.assert_array_equal(streamed, first)
    np.testing.assert_array_equal(frames_shown(1), first)
    assert (frames_shown(2) != first).any() == (trained[0].noise_size > 0)


def test_lips_are_detected_and_pasted_back(tmp_path, animator):
    face = reference_images.write_face_image(tmp_path / "face.png", face=(30, 30, 120, 120))
    picture = next(video_reader.read_frames(face)).image
    audio.save(tmp_path / "voice.wav", noise(0.2, 16_000), 16_000)
    options = {**DETECTOR, "paste_back": True, "lossless": True, "batch_size": 8}
    result = animator.animate(face, tmp_path / "voice.wav", tmp_path / "out.mp4", **options)
    assert result.frames == 5
    frames_shown = next(video_reader.read_frames(tmp_path / "out.mp4")).image
    (found,) = DETECTOR["detector"](picture)
    matrix = alignment.align_matrix(found.landmarks, alignment.CANONICAL["lips"])
    np.testing.assert_allclose(animator.model.align(found), matrix)
    y, x = np.nonzero((frames_shown != picture).any(axis=-1))
    inside = alignment.transform_points(np.stack([x, y], axis=-1) + 0.5, matrix)
    assert len(x) > 100 and inside.min() >= 0 and inside.max() <= 64


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_features_are_those_of_each_frame_and_the_following_ones(rate):
    frontend, seconds = audio_frontends.LogMelFrontend(rate, 4, 60.0, 30.0), 0.56
    samples = noise(seconds, audio.LOG_MEL_RATE)
    frames = range(round(seconds * rate))  # of the last one more than half, at 30000/1001
    speech = StreamingAudio(chunks_of(samples, [777]), audio.LOG_MEL_RATE, frontend.rate)
    features = np.concatenate([frontend.extract(speech, part) for part in (frames[:5], frames[5:])])
    spectra = log_mel_windows(samples.astype(np.float32) / 32768, frames, rate)
    last = np.repeat(spectra[-1:], 3, axis=0)
    spectra = (np.concatenate([spectra, last]) - 60) / 30
    expected = np.stack([spectra[t : t + 4].reshape(16, 128) for t in frames])
    np.testing.assert_allclose(features, expected, atol=1e-4)
    assert features.shape[1:] == frontend.shape == (16, 128)
    assert frontend.look_ahead == 3 / rate + Fraction(1, 25)
    short = StreamingAudio([np.full(100, 9000, np.int16)], 16_000, frontend.rate)
    assert np.isfinite(frontend.extract(short, range(1))).all()


@pytest.mark.parametrize("parts", [[1, 1, 1], [3], [2, 1]])
def test_cross_fades_do_not_depend_on_the_batches(parts):
    windows = np.random.default_rng(0).standard_normal((3, 16, 2)).astype(np.float32)
    has_previous, rest, frames = jnp.array(False), jnp.zeros((8, 2)), []
    fade = jax.jit(lip_video_gan.cross_fade_streaming)
    for part in np.split(windows, np.cumsum(parts)[:-1]):
        more, rest = fade(has_previous, rest, part)
        has_previous = jnp.array(True)
        frames.append(more)
    expected = lip_video_gan.cross_fade_windows(windows[None], (0, 8, 16))[0]
    np.testing.assert_allclose(np.concatenate(frames), expected[:24], atol=1e-6)


def test_windows_for_the_evaluation_are_generated_on_their_own(trained):
    from lipsync_jax.data.clip import encode_frame
    from lipsync_jax.evaluation import face_clip, generators
    from tests.conftest import toy_clip

    method, variables, folder = trained
    rng = np.random.default_rng(0)
    frames = tuple(encode_frame(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(40))
    clip = dataclasses.replace(toy_clip("s/0", 0), frames=frames)
    clip = dataclasses.replace(clip, audio=noise(1.6, clip.audio_rate))
    generated = generators.load(folder)(face_clip.from_clip(clip, "lips"))
    assert generated.windows.shape == (4, 16, 64, 64, 3) and generated.windows.dtype == np.uint8
    # The second window: frames 8 to 23 from the first image, not cross-faded.
    spectra = log_mel_windows(clip.samples(audio.LOG_MEL_RATE), range(8, 24)).reshape(1, -1, 128)
    features = (spectra - method.config.audio_mean) / method.config.audio_std
    image = next(face_clip.from_clip(clip).read_frames())[None].astype(np.float32) / 127.5 - 1
    window_noise = np.random.default_rng(0).standard_normal((4, method.noise_size), np.float32)
    expected = np.asarray(
        jit(method.generate_frames)(variables, image, features, window_noise[1:2])
    )[0]
    assert np.abs(generated.windows[1] - np.rint((expected * 0.5 + 0.5) * 255)).max() <= 1
    assert np.abs(generated.windows.astype(int)[1] - list(generated.read_frames())[8:24]).max() > 0
