"""Stills that say what is coming in, by stand-ins and by small networks."""

from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.data import audio_windows
from lipsync_jax.media import audio, video_reader
from lipsync_jax.synthesis import audio_frontends
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.synthesis.audio_frontends import MFCCEar, RawEar
from tests.helpers import reference_images
from tests.helpers.reference_images import DETECTOR, MODELS, animator
from tests.synthesis.test_streaming import noise, pieces

EARS = {
    "raw": RawEar(16_000, 2560, Fraction(25)),
    "between samples": RawEar(16_000, 3200, Fraction(30000, 1001)),
    "mfcc": MFCCEar(Fraction(25), 10.0),
}


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    return reference_images.picture(tmp_path_factory.mktemp("still") / "face.png")


def heard_at_once(ear, samples, frames):
    if isinstance(ear, MFCCEar):
        mfcc = audio.syncnet_mfcc(samples)
        return audio_windows.mfcc_windows(mfcc, frames, ear.frame_rate) / ear.scale
    whole = samples.astype(np.float32) / 32768
    return audio_windows.raw_windows(whole, ear.samples, ear.hop, frames)


@pytest.mark.parametrize("name", EARS)
@pytest.mark.parametrize("sizes", [[160], [1, 7, 4000], [10**6]])
@pytest.mark.parametrize("batch", [1, 8])
def test_a_live_voice_sounds_as_the_whole_one(name, sizes, batch):
    ear, samples = EARS[name], noise(1.337)
    frames = range(int(1.337 * ear.frame_rate) + 1)
    live = audio_frontends.Samples(pieces(samples, sizes), 16_000, ear.rate)
    heard = [ear.hear(live, frames[i : i + batch]) for i in range(0, len(frames), batch)]
    np.testing.assert_allclose(
        np.concatenate(heard), heard_at_once(ear, samples, frames), atol=1e-5
    )
    assert heard[0].shape[1:] == ear.shape
    assert live.length(Fraction(99)) == Fraction(len(samples), 16_000)


def test_other_rates_are_resampled_the_same_in_pieces():
    samples = noise(1.1, 44_100)
    parts = [
        audio_frontends.Samples(pieces(samples, sizes), 44_100, 50_000).take(0, 10**6)
        for sizes in ([333], [10**6])
    ]
    np.testing.assert_array_equal(*parts)
    assert abs(len(parts[0]) - 55_000) <= 1


@pytest.mark.parametrize("ear", [EARS["raw"], EARS["mfcc"]])
def test_a_voice_too_short_for_a_window_is_heard(ear):
    for count in (1, 100, 399, 401):
        live = audio_frontends.Samples([np.full(count, 9000, np.int16)], 16_000, 16_000)
        assert np.isfinite(ear.hear(live, range(1))).all()


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_streamed_frames_are_those_of_the_whole(tmp_path, face, batch_size, rate):
    samples = noise(1.3, rate)
    audio.save(tmp_path / "voice.wav", samples, rate)
    options = {**DETECTOR, "batch_size": batch_size, "seed": 5, "label": "made"}
    animator().animate(face, tmp_path / "voice.wav", tmp_path / "out.mp4", lossless=True, **options)
    written = [*video_reader.read_frames(tmp_path / "out.mp4")]
    prepared = animator().prepare(face, **options)
    streamed = [*prepared.stream(pieces(samples, [333, 2000]), rate)]
    assert [f.index for f in streamed] == [f.index for f in written] == list(range(33))
    assert [f.time for f in streamed] == [f.time for f in written]
    np.testing.assert_array_equal([f.image for f in streamed], [f.image for f in written])
    assert prepared.size == (96, 128) and prepared.frame_rate == 25
    again = [f.image for f in prepared.stream([samples], rate)]
    np.testing.assert_array_equal(again, [f.image for f in streamed])


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize(("rate", "more"), [(16_000, 0), (44_100, 0.05), (8000, 0.13)])
def test_no_more_is_heard_than_the_stated_look_ahead(face, batch_size, rate, more):
    prepared = animator().prepare(face, **DETECTOR, batch_size=batch_size)
    assert prepared.look_ahead == Fraction(1, 10)
    heard, chunk = 0, rate // 200

    def chunks():
        nonlocal heard
        for piece in pieces(noise(1.6, rate), [chunk]):
            heard += len(piece)
            yield piece

    for frame in prepared.stream(chunks(), rate):
        last = (frame.index // batch_size + 1) * batch_size - 1  # of its batch
        limit = min(last / 25 + float(prepared.look_ahead) + more + chunk / rate, 1.6)
        assert heard / rate <= limit + 1e-9


def test_no_voice_and_a_broken_one(face):
    prepared = animator().prepare(face, **DETECTOR)
    assert not [*prepared.stream([])] and not [*prepared.stream([np.zeros(0)])]
    stereo = np.stack([noise(0.2)] * 2, axis=1)
    assert len([*prepared.stream([stereo])]) == 5
    with pytest.raises(ValueError, match="not finite"):
        list(prepared.stream([np.full(1000, np.nan)]))


@pytest.mark.parametrize("method", MODELS)
def test_networks_carry_their_states_from_frame_to_frame(tmp_path, face, method):
    network = Animator.load(reference_images.checkpoint(tmp_path / "network", method))
    samples = noise(0.7)
    audio.save(tmp_path / "voice.wav", samples, 16_000)

    def streamed(batch_size, sizes, **options):
        prepared = network.prepare(face, **DETECTOR, batch_size=batch_size, **options)
        return np.stack([f.image for f in prepared.stream(pieces(samples, sizes))])

    out = tmp_path / "out.mp4"
    report = network.animate(
        face, tmp_path / "voice.wav", out, **DETECTOR, batch_size=3, lossless=True
    )
    written = np.stack([f.image for f in video_reader.read_frames(out)])
    assert written.shape == (18, 32, 32, 3) and report.frames == 18
    first = streamed(3, [777])
    np.testing.assert_array_equal(first, written)
    if method == "temporal_gan":  # another batch is another program
        assert np.abs(streamed(1, [160]).astype(int) - first).max() <= 1
    # Sound and noise of the past are still felt: the states are carried over batches.
    silenced = noise(0.7)
    silenced[:4000] = 0
    audio.save(tmp_path / "voice.wav", silenced, 16_000)
    network.animate(face, tmp_path / "voice.wav", out, **DETECTOR, batch_size=3, lossless=True)
    late = np.stack([f.image for f in video_reader.read_frames(out)])
    assert (late[13] != first[13]).any()
    assert (streamed(3, [777], seed=1)[17] != first[17]).any()
