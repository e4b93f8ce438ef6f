"""Stills that say what is coming in, by stand-ins and by small networks."""

from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.data import audio_windows
from lipsync_jax.data.audio_frontends import MFCCFrontend, WaveformFrontend
from lipsync_jax.media import audio, video_reader
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.synthesis.streaming_audio import StreamingAudio
from tests.helpers import reference_images
from tests.helpers.reference_images import DETECTOR, MODELS, animator
from tests.synthesis.test_streaming import chunks_of, noise

FRONTENDS = {
    "raw": WaveformFrontend(16_000, 2560, Fraction(25)),
    "between samples": WaveformFrontend(16_000, 3200, Fraction(30000, 1001)),
    "mfcc": MFCCFrontend(Fraction(25), 10.0),
}


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    return reference_images.write_face_image(tmp_path_factory.mktemp("still") / "face.png")


def features_at_once(frontend, samples, frames):
    if isinstance(frontend, MFCCFrontend):
        mfcc = audio.syncnet_mfcc(samples)
        return audio_windows.mfcc_windows(mfcc, frames, frontend.frame_rate) / frontend.scale
    whole = samples.astype(np.float32) / 32768
    return audio_windows.waveform_windows(whole, frontend.window_samples, frontend.hop, frames)


@pytest.mark.parametrize("name", FRONTENDS)
@pytest.mark.parametrize("sizes", [[160], [1, 7, 4000], [10**6]])
@pytest.mark.parametrize("batch", [1, 8])
def test_streaming_features_are_those_of_the_whole(name, sizes, batch):
    frontend, samples = FRONTENDS[name], noise(1.337)
    frames = range(int(1.337 * frontend.frame_rate) + 1)
    streaming_audio = StreamingAudio(chunks_of(samples, sizes), 16_000, frontend.rate)
    features = [
        frontend.extract(streaming_audio, frames[i : i + batch])
        for i in range(0, len(frames), batch)
    ]
    np.testing.assert_allclose(
        np.concatenate(features), features_at_once(frontend, samples, frames), atol=1e-5
    )
    assert features[0].shape[1:] == frontend.shape
    assert streaming_audio.length(Fraction(99)) == Fraction(len(samples), 16_000)


def test_resampling_does_not_depend_on_the_chunks():
    samples = noise(1.1, 44_100)
    parts = [
        StreamingAudio(chunks_of(samples, sizes), 44_100, 50_000).read(0, 10**6)
        for sizes in ([333], [10**6])
    ]
    np.testing.assert_array_equal(*parts)
    assert abs(len(parts[0]) - 55_000) <= 1


@pytest.mark.parametrize("frontend", [FRONTENDS["raw"], FRONTENDS["mfcc"]])
def test_audio_shorter_than_a_window_has_features(frontend):
    for count in (1, 100, 399, 401):
        streaming_audio = StreamingAudio([np.full(count, 9000, np.int16)], 16_000, 16_000)
        assert np.isfinite(frontend.extract(streaming_audio, range(1))).all()


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_streamed_frames_are_those_of_the_whole(tmp_path, face, batch_size, rate):
    samples = noise(1.3, rate)
    audio.save(tmp_path / "voice.wav", samples, rate)
    options = {**DETECTOR, "batch_size": batch_size, "seed": 5, "label": "made"}
    animator().animate(face, tmp_path / "voice.wav", tmp_path / "out.mp4", lossless=True, **options)
    written = [*video_reader.read_frames(tmp_path / "out.mp4")]
    streaming = animator().prepare(face, **options)
    streamed = [*streaming.stream(chunks_of(samples, [333, 2000]), rate)]
    assert [f.index for f in streamed] == [f.index for f in written] == list(range(33))
    assert [f.time for f in streamed] == [f.time for f in written]
    np.testing.assert_array_equal([f.image for f in streamed], [f.image for f in written])
    assert streaming.size == (96, 128) and streaming.frame_rate == 25
    again = [f.image for f in streaming.stream([samples], rate)]
    np.testing.assert_array_equal(again, [f.image for f in streamed])


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize(("rate", "more"), [(16_000, 0), (44_100, 0.05), (8000, 0.13)])
def test_no_more_audio_is_consumed_than_the_stated_look_ahead(face, batch_size, rate, more):
    streaming = animator().prepare(face, **DETECTOR, batch_size=batch_size)
    assert streaming.look_ahead == Fraction(1, 10)
    consumed, chunk = 0, rate // 200

    def chunks():
        nonlocal consumed
        for piece in chunks_of(noise(1.6, rate), [chunk]):
            consumed += len(piece)
            yield piece

    for frame in streaming.stream(chunks(), rate):
        last = (frame.index // batch_size + 1) * batch_size - 1  # of its batch
        limit = min(last / 25 + float(streaming.look_ahead) + more + chunk / rate, 1.6)
        assert consumed / rate <= limit + 1e-9


def test_empty_and_broken_audio(face):
    streaming = animator().prepare(face, **DETECTOR)
    assert not [*streaming.stream([])] and not [*streaming.stream([np.zeros(0)])]
    stereo = np.stack([noise(0.2)] * 2, axis=1)
    assert len([*streaming.stream([stereo])]) == 5
    with pytest.raises(ValueError, match="not finite"):
        list(streaming.stream([np.full(1000, np.nan)]))


@pytest.mark.parametrize("method", MODELS)
def test_networks_carry_their_states_from_frame_to_frame(tmp_path, face, method):
    network = Animator.load(reference_images.write_checkpoint(tmp_path / "network", method))
    samples = noise(0.7)
    audio.save(tmp_path / "voice.wav", samples, 16_000)

    def streamed(batch_size, sizes, **options):
        streaming = network.prepare(face, **DETECTOR, batch_size=batch_size, **options)
        return np.stack([f.image for f in streaming.stream(chunks_of(samples, sizes))])

    out = tmp_path / "out.mp4"
    result = network.animate(
        face, tmp_path / "voice.wav", out, **DETECTOR, batch_size=3, lossless=True
    )
    written = np.stack([f.image for f in video_reader.read_frames(out)])
    assert written.shape == (18, 32, 32, 3) and result.frames == 18
    first = streamed(3, [777])
    np.testing.assert_array_equal(first, written)
    if method == "vougioukas":  # another batch is another program
        assert np.abs(streamed(1, [160]).astype(int) - first).max() <= 1
    # Audio and noise of the past have effects: the states are carried over batches.
    changed = noise(0.7)
    changed[:4000] = 0
    audio.save(tmp_path / "voice.wav", changed, 16_000)
    network.animate(face, tmp_path / "voice.wav", out, **DETECTOR, batch_size=3, lossless=True)
    late = np.stack([f.image for f in video_reader.read_frames(out)])
    assert (late[13] != first[13]).any()
    assert (streamed(3, [777], seed=1)[17] != first[17]).any()
