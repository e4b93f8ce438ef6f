from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.media import audio, packets, video_reader
from lipsync_jax.media.samples import SampleStream
from lipsync_jax.synthesis import driving_audio, dubbing
from lipsync_jax.synthesis.dubbing_model import Editor
from tests.helpers import media_files, scenes
from tests.helpers.scenes import LEFT, RIGHT


def noise(seconds, rate=16_000):
    """Speech-like loudness: noise that comes and goes, int16."""
    samples = np.random.default_rng(5).normal(0, 0.2, round(seconds * rate))
    envelope = np.sin(np.arange(len(samples)) * 7 / rate) ** 2
    return audio.to_int16((samples * envelope).clip(-1, 1))


def pieces(samples, sizes):
    """The samples in chunks of changing sizes."""
    first = 0
    for size in np.resize(sizes, len(samples)).tolist():
        if first >= len(samples):
            return
        yield samples[first : first + size]
        first += size


@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
@pytest.mark.parametrize("sizes", [[160], [1, 7, 4000], [10**6]])
def test_a_live_voice_hears_what_a_file_gives_to_the_last_bit(tmp_path, rate, sizes):
    samples = noise(1.3, rate)
    audio.save(tmp_path / "a.wav", samples, rate)
    whole = driving_audio.load(tmp_path / "a.wav")
    live = driving_audio.Live(pieces(samples, sizes), rate)
    heard = [live.windows(np.array([start]))[0] for start in range(-4, 120)]
    expected = whole.windows(np.arange(-4, 120))
    np.testing.assert_array_equal(heard, expected)
    assert live.length(Fraction(99)) == whole.duration == Fraction(len(samples), rate)


def draw(mels, faces):
    """Faces that depend on every bit of what is heard."""
    grey = np.frombuffer(mels.sum(axis=(1, 2)).astype("<f4").tobytes(), np.uint8).reshape(-1, 4)
    return np.broadcast_to(grey[:, 0, None, None, None], faces.shape)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return scenes.film(path, [(LEFT, None), (RIGHT, None), (None, None)])


@pytest.mark.parametrize("loop", ["ping-pong", "hold", "none"])
@pytest.mark.parametrize(("seconds", "batch_size"), [(0.5, 1), (0.5, 4), (2.33, 3)])
def test_streamed_frames_are_those_of_the_whole(tmp_path, film, loop, seconds, batch_size):
    options = {**scenes.OPTIONS, "loop": loop, "batch_size": batch_size}
    synthesizer = dubbing.Synthesizer(Editor(draw, 48, "0"))
    samples = noise(seconds)
    streamed = [*synthesizer.prepare(film, **options).stream(pieces(samples, [333, 2000]))]
    audio.save(tmp_path / "voice.wav", samples, 16_000)
    synthesizer.generate(film, tmp_path / "voice.wav", tmp_path / "out.mkv", **options)
    frames = [*video_reader.read_frames(tmp_path / "out.mkv")]
    assert [f.index for f in streamed] == [f.index for f in frames]
    assert [f.time for f in streamed] == [Fraction(i, 25) for i in range(len(frames))]
    np.testing.assert_array_equal([f.image for f in streamed], [f.image for f in frames])


@pytest.mark.parametrize("batch_size", [1, 5])
def test_no_more_is_heard_than_the_stated_look_ahead(film, batch_size):
    prepared = scenes.synthesizer().prepare(film, **scenes.OPTIONS, batch_size=batch_size)
    heard = 0

    def chunks():
        nonlocal heard
        for chunk in pieces(noise(1.6), [80]):
            heard += len(chunk)
            yield chunk

    for frame in prepared.stream(chunks()):
        last = (frame.index // batch_size + 1) * batch_size - 1  # of its batch
        assert heard / 16_000 <= min(last / 25 + 0.225 + 0.005, 1.6) + 1e-9


def test_the_same_face_says_several_voices(film):
    prepared = scenes.synthesizer().prepare(film, **scenes.OPTIONS)
    assert prepared.size == scenes.SIZE and prepared.frame_rate == 25
    stereo = np.stack([media_files.tone(300, 0.3, 16_000)] * 2, axis=1)
    first = [frame.image for frame in prepared.stream([stereo])]
    again = [frame.image for frame in prepared.stream([stereo[:, 0]])]
    np.testing.assert_array_equal(first, again)
    with pytest.raises(ValueError, match="not finite"):
        list(prepared.stream([np.full(1000, np.nan)]))


def test_no_voice_at_all(film):
    silent = scenes.synthesizer().prepare(film, **scenes.OPTIONS)
    assert not list(silent.stream([])) and not list(silent.stream([np.zeros(0)]))
    whole = scenes.synthesizer().prepare(film, **scenes.OPTIONS, loop="none")
    assert len(list(whole.stream([]))) == 30


def test_what_a_live_voice_cannot_do_is_told(film, tmp_path):
    synthesizer = scenes.synthesizer()
    with pytest.raises(ValueError, match="silence='original' must know the whole voice"):
        synthesizer.prepare(film, silence="original")
    with pytest.raises(ValueError, match="a live voice is one"):
        synthesizer.prepare(film, speakers={0: film})
    with pytest.raises(FileNotFoundError, match=r"face .*gone"):
        synthesizer.prepare(tmp_path / "gone.mp4")


def test_a_late_start_of_the_sound_is_silence_in_both(tmp_path):
    path = tmp_path / "late.mp4"
    media_files.write(
        path, media_files.even(25), media_files.tone(220, 0.7, 48_000), sound_at=Fraction(3, 10)
    )
    whole = driving_audio.load(path)
    stream = SampleStream(path, packets.origin(path))
    live = driving_audio.Live(stream, stream.rate)
    np.testing.assert_array_equal(live.windows(np.arange(60)), whole.windows(np.arange(60)))
