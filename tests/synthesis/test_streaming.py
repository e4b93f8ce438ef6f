from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.data import audio_features
from lipsync_jax.media import audio, packets, video_reader
from lipsync_jax.media.samples import SampleStream
from lipsync_jax.provenance import visible_label
from lipsync_jax.synthesis import driving_audio, dubbing, streaming
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from tests.helpers import media_files, scenes
from tests.helpers.scenes import LEFT, RIGHT


def noise(seconds, rate=16_000):
    """Returns noise with the loudness of speech, int16."""
    samples = np.random.default_rng(5).normal(0, 0.2, round(seconds * rate))
    envelope = np.sin(np.arange(len(samples)) * 7 / rate) ** 2
    return audio.to_int16((samples * envelope).clip(-1, 1))


def chunks_of(samples, sizes):
    """Yields the samples in chunks of changing sizes."""
    first = 0
    for size in np.resize(sizes, len(samples)).tolist():
        if first >= len(samples):
            return
        yield samples[first : first + size]
        first += size


@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
@pytest.mark.parametrize("sizes", [[160], [1, 7, 4000], [10**6]])
def test_streaming_features_are_those_of_the_file_bit_for_bit(tmp_path, rate, sizes):
    samples = noise(1.3, rate)
    audio.save(tmp_path / "a.wav", samples, rate)
    whole = driving_audio.load(tmp_path / "a.wav")
    streaming_features = driving_audio.StreamingFeatures(chunks_of(samples, sizes), rate)
    found = [streaming_features.windows(np.array([start]))[0] for start in range(-4, 120)]
    expected = whole.windows(np.arange(-4, 120))
    np.testing.assert_array_equal(found, expected)
    assert streaming_features.length(Fraction(99)) == whole.duration == Fraction(len(samples), rate)


def generate(audio_windows, faces):
    """Returns faces that depend on every bit of the audio features."""
    grey = np.frombuffer(audio_windows.sum(axis=(1, 2)).astype("<f4").tobytes(), np.uint8).reshape(
        -1, 4
    )
    return np.broadcast_to(grey[:, 0, None, None, None], faces.shape)


@pytest.fixture(scope="module")
def face_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return scenes.write_scenes(path, [(LEFT, None), (RIGHT, None), (None, None)])


def test_temporal_averages_are_equal_when_streaming_and_after_a_preview(tmp_path, face_video):
    def colour_cast(mels, faces):  # varies with the audio
        level = 3 * (mels[:, 3].max(axis=1) + 4)[:, None, None, None]
        return np.clip(faces * 0.7 + level, 0, 255).astype(np.uint8)

    options = {**scenes.OPTIONS, "batch_size": 3}
    options |= {"blend": "outline", "match_colours": True, "sharpen": True}
    pipeline = dubbing.LipSyncPipeline(DubbingModel(colour_cast, 48, "0"))
    samples = noise(0.8)
    audio.save(tmp_path / "voice.wav", samples, 16_000)
    streamed = [*pipeline.prepare(face_video, **options).stream(chunks_of(samples, [333, 2000]))]
    out = tmp_path / "out.mkv"
    pipeline.generate(face_video, tmp_path / "voice.wav", out, preview=2, **options)
    whole = [*video_reader.read_frames(out)]
    assert len(streamed) == len(whole) == 20
    assert scenes.face_changed(whole[5], LEFT)
    for a, b in zip(streamed, whole, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


@pytest.mark.parametrize("loop", ["ping-pong", "hold", "none"])
@pytest.mark.parametrize(("seconds", "batch_size"), [(0.5, 1), (0.5, 4), (2.33, 3)])
def test_streamed_frames_are_those_of_the_whole(tmp_path, face_video, loop, seconds, batch_size):
    options = {**scenes.OPTIONS, "loop": loop, "batch_size": batch_size}
    pipeline = dubbing.LipSyncPipeline(DubbingModel(generate, 48, "0"))
    samples = noise(seconds)
    streamed = [*pipeline.prepare(face_video, **options).stream(chunks_of(samples, [333, 2000]))]
    audio.save(tmp_path / "voice.wav", samples, 16_000)
    pipeline.generate(face_video, tmp_path / "voice.wav", tmp_path / "out.mkv", **options)
    frames = [*video_reader.read_frames(tmp_path / "out.mkv")]
    assert [f.index for f in streamed] == [f.index for f in frames]
    assert [f.time for f in streamed] == [Fraction(i, 25) for i in range(len(frames))]
    np.testing.assert_array_equal([f.image for f in streamed], [f.image for f in frames])


@pytest.mark.parametrize("batch_size", [1, 5])
def test_no_more_audio_is_consumed_than_the_stated_look_ahead(face_video, batch_size):
    dubber = scenes.lip_sync_pipeline().prepare(face_video, **scenes.OPTIONS, batch_size=batch_size)
    consumed = 0

    def chunks():
        nonlocal consumed
        for chunk in chunks_of(noise(1.6), [80]):
            consumed += len(chunk)
            yield chunk

    for frame in dubber.stream(chunks()):
        last = (frame.index // batch_size + 1) * batch_size - 1  # of its batch
        assert consumed / 16_000 <= min(last / 25 + dubber.look_ahead + 0.005, 1.6) + 1e-9


@pytest.mark.parametrize("name", ["mel", "mfcc"])
@pytest.mark.parametrize("audio_offset", ["corrected", "reference"])
def test_the_look_ahead_is_the_most_that_a_frame_needs(name, audio_offset):
    spec = audio_features.LIPGAN[name]
    needed = []
    for i in range(200):
        moment = Fraction(i, 30)
        last = int(spec.window_starts([moment], audio_offset)[0]) + spec.window - 1
        block_end = (last // driving_audio._BLOCK + 1) * driving_audio._BLOCK
        needed.append(Fraction(block_end + spec.right_context, spec.rate) - moment)
    bound = driving_audio.look_ahead(spec, audio_offset)
    assert bound - Fraction(2, spec.rate) <= max(needed) <= bound


@pytest.mark.parametrize("batch_size", [1, 4])
def test_unwanted_frames_are_left_out_and_the_others_keep_their_times(face_video, batch_size):
    pipeline = dubbing.LipSyncPipeline(DubbingModel(generate, 48, "0"))
    dubber = pipeline.prepare(face_video, **scenes.OPTIONS, batch_size=batch_size)
    whole = [*dubber.stream([noise(1.0)])]
    half = [*dubber.stream([noise(1.0)], is_wanted=lambda moment: moment * 25 % 2 == 1)]
    assert [frame.index for frame in half] == [*range(1, 25, 2)]
    for frame in half:
        assert frame.time == Fraction(frame.index, 25)
        np.testing.assert_array_equal(frame.image, whole[frame.index].image)


def test_without_speech_the_frames_are_the_face_videos(face_video):
    dubber = scenes.lip_sync_pipeline().prepare(face_video, **scenes.OPTIONS, batch_size=1)
    whole = [*dubber.stream([noise(1.0)])]
    original = [*video_reader.read_frames(face_video)]
    consumed, heard = 0, []

    def chunks():
        nonlocal consumed
        for chunk in chunks_of(noise(1.0), [80]):
            consumed += len(chunk)
            yield chunk

    def speech(moment):
        heard.append(Fraction(consumed, 16_000) - moment)
        return float(moment >= Fraction(8, 25))

    frames = [*dubber.stream(chunks(), speech=speech)]
    assert streaming.SPEECH_LOOK_AHEAD < min(heard[:15]) and max(heard) <= dubber.look_ahead + 0.005
    for i in range(20):
        expected = original[i] if i < 8 else whole[i]
        np.testing.assert_array_equal(frames[i].image, expected.image)


@pytest.mark.parametrize("hooks", [{"speech": lambda _: 0.0}, {"is_wanted": lambda _: False}])
def test_a_long_silence_fills_no_memory(face_video, monkeypatch, hooks):
    made = []

    class Spied(driving_audio.StreamingFeatures):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(driving_audio, "StreamingFeatures", Spied)
    dubber = scenes.lip_sync_pipeline().prepare(face_video, **scenes.OPTIONS, batch_size=2)
    silence = (np.zeros(4000, np.int16) for _ in range(200))  # 50 s
    for _ in dubber.stream(silence, **hooks):
        assert len(made[0]._buffer) < 80  # a second
    assert len(made[0]._buffer) < 80


def test_frames_in_memory_are_those_of_the_file(face_video):
    pipeline = scenes.lip_sync_pipeline()
    whole = pipeline.prepare(face_video, **scenes.OPTIONS)
    held = pipeline.prepare(face_video, **scenes.OPTIONS, max_frame_bytes=10**9)
    for a, b in zip(whole.stream([noise(3.0)]), held.stream([noise(3.0)]), strict=True):
        assert a.time == b.time and a.index == b.index
        np.testing.assert_array_equal(a.image, b.image)
    width, height = whole.size
    part = pipeline.prepare(face_video, **scenes.OPTIONS, max_frame_bytes=12 * 3 * width * height)
    images = [frame.image for frame in part.stream([np.zeros(16_000)], speech=lambda _: 0.0)]
    original = [*video_reader.read_frames(face_video)]
    for i, number in ((0, 0), (11, 11), (12, 10), (24, 2)):  # forwards and backwards
        np.testing.assert_array_equal(images[i], original[number].image)


def test_a_streamed_frame_has_the_label(face_video):
    dubber = scenes.lip_sync_pipeline().prepare(face_video, **scenes.OPTIONS, label="synthetic")
    plain = scenes.lip_sync_pipeline().prepare(face_video, **scenes.OPTIONS)
    label = visible_label.VisibleWatermark("synthetic", dubber.size)
    labelled, unlabelled = next(dubber.stream([noise(0.5)])), next(plain.stream([noise(0.5)]))
    np.testing.assert_array_equal(labelled.image, label(unlabelled.image))


def test_a_label_that_cannot_be_written_is_refused_before_faces_are_detected(face_video):
    options = {**scenes.OPTIONS, "detector": lambda image: pytest.fail("a face was detected")}
    with pytest.raises(ValueError, match="there are no letters"):
        scenes.lip_sync_pipeline().prepare(face_video, **options, label="AI 顔")


def test_one_face_takes_several_streams(face_video):
    dubber = scenes.lip_sync_pipeline().prepare(face_video, **scenes.OPTIONS)
    assert dubber.size == scenes.SIZE and dubber.frame_rate == 25
    stereo = np.stack([media_files.tone(300, 0.3, 16_000)] * 2, axis=1)
    first = [frame.image for frame in dubber.stream([stereo])]
    again = [frame.image for frame in dubber.stream([stereo[:, 0]])]
    np.testing.assert_array_equal(first, again)
    with pytest.raises(ValueError, match="not finite"):
        list(dubber.stream([np.full(1000, np.nan)]))


def test_empty_audio(face_video):
    silent = scenes.lip_sync_pipeline().prepare(face_video, **scenes.OPTIONS)
    assert not list(silent.stream([])) and not list(silent.stream([np.zeros(0)]))
    whole = scenes.lip_sync_pipeline().prepare(face_video, **scenes.OPTIONS, loop="none")
    assert len(list(whole.stream([]))) == 30


def test_options_that_streaming_lacks_are_refused(face_video, tmp_path):
    pipeline = scenes.lip_sync_pipeline()
    with pytest.raises(ValueError, match="`silence_mode`='passthrough' needs the whole audio"):
        pipeline.prepare(face_video, silence_mode="passthrough")
    with pytest.raises(ValueError, match="streaming audio drives one face"):
        pipeline.prepare(face_video, speakers={0: face_video})
    with pytest.raises(FileNotFoundError, match=r"`face` .*gone"):
        pipeline.prepare(tmp_path / "gone.mp4")


def test_a_late_start_of_the_audio_is_silence_in_both(tmp_path):
    path = tmp_path / "late.mp4"
    media_files.write_media(
        path,
        media_files.uniform_times(25),
        media_files.tone(220, 0.7, 48_000),
        audio_start=Fraction(3, 10),
    )
    whole = driving_audio.load(path)
    stream = SampleStream(path, packets.video_start_time(path))
    streaming_features = driving_audio.StreamingFeatures(stream, stream.rate)
    np.testing.assert_array_equal(
        streaming_features.windows(np.arange(60)), whole.windows(np.arange(60))
    )
