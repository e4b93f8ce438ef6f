"""Sound against golden features, analytic signals and files made here."""

import hashlib
import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from lipsync_jax.media import audio, speech_activity
from tests.golden import recipe
from tests.golden.glance import recipe as glance
from tests.helpers import media_files


@pytest.fixture(scope="module")
def golden():
    return recipe.expected("audio")


@pytest.fixture(scope="module")
def signal():
    """Returns the input of the golden features: two seconds of chirps, noise and silence."""
    s = np.arange(32_000) / 16_000
    x = 0.35 * np.sin(2 * np.pi * (80 * s + 980 * s**2))
    x += 0.20 * np.sin(2 * np.pi * (6000 * s - 1450 * s**2))
    x *= 0.55 + 0.45 * np.sin(2 * np.pi * 3 * s)
    x += 0.02 * recipe.generator(0).standard_normal(32_000)
    x[20_000:22_400] = 0
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def signal16(signal):
    return np.clip(np.floor(signal.astype(np.float64) * 32767 + 0.5), -32768, 32767).astype("i2")


def test_log_mel_is_librosas(signal):
    """Its version 0.11 was given every third piece, as if at 44.1 kHz, in 16-bit units."""
    found = audio.log_mel(signal[: 18 * 1764].reshape(18, 1764))
    assert found.dtype == np.float32 and found.shape == (18, 4, 128)
    np.testing.assert_allclose(found[::3], glance.expected("log_mel")["librosa"], atol=1e-3)


def test_log_mel_range_is_80_decibels_and_silence_is_even():
    silence = audio.log_mel(np.zeros((1, 1764), np.float32))
    np.testing.assert_array_equal(silence, -100)
    tone = audio.log_mel(0.5 * np.sin(0.1 * np.arange(1764))[None])
    np.testing.assert_allclose(tone.max() - tone.min(), 80, atol=1e-4)
    with pytest.raises(ValueError, match="chunks of 512 samples are too short"):
        audio.log_mel(np.zeros((2, 512)))


def test_speech2vid_mfcc_is_the_published_recipe(signal):
    noise = np.float32(1e-3) * recipe.generator(7).standard_normal(32_000).astype(np.float32)
    found = audio.speech2vid_mfcc(signal + noise)
    assert found.shape == (198, 13)
    expected = recipe.expected("lipgan_mfcc_port")["mfcc"]
    np.testing.assert_allclose(found[:, 1:].T, expected, atol=1e-6)


def test_speech2vid_mfcc_of_silence_is_finite():
    assert np.isfinite(audio.speech2vid_mfcc(np.zeros(1600, np.float32))).all()
    with pytest.raises(ValueError, match="399 samples are too short"):
        audio.speech2vid_mfcc(np.zeros(399, np.float32))


def test_mel_spectrogram_is_the_published_one(signal, golden):
    mel = audio.mel_spectrogram(signal)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, golden["mel"].T, atol=1e-4)


def test_mel_spectrogram_in_blocks_is_the_same(signal, golden, monkeypatch):
    monkeypatch.setattr(audio, "_MEL_BLOCK", 50)
    np.testing.assert_allclose(audio.mel_spectrogram(signal), golden["mel"].T, atol=1e-4)


def test_mel_basis_is_the_published_one(golden):
    basis = audio.mel_basis()
    assert basis.shape == (80, 401)
    np.testing.assert_allclose(
        basis.sum(axis=1, dtype=float), golden["mel_basis_rowsum"], rtol=1e-6
    )
    np.testing.assert_array_equal((basis > 0).sum(axis=1), golden["mel_basis_nnz"])
    with pytest.raises(ValueError, match="read-only"):
        basis[0] = 0


@pytest.mark.parametrize("length", [1, 199, 200, 3199, 3200])
def test_mel_of_silence_and_of_very_short_audio(length):
    mel = audio.mel_spectrogram(np.zeros(length, np.float32))
    assert mel.shape == (1 + length // 200, 80)
    np.testing.assert_array_equal(mel, audio.MEL_SILENCE)


def test_mfcc_is_syncnets(signal16, golden):
    if hashlib.sha256(signal16.tobytes()).hexdigest() != str(golden["int16_sha256"]):
        pytest.skip("this platform's sine rounds another way")
    mfcc = audio.syncnet_mfcc(signal16)
    assert mfcc.dtype == np.float64
    np.testing.assert_allclose(mfcc, golden["mfcc"].T, atol=1e-6)


@pytest.mark.parametrize(("length", "frames"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3)])
def test_mfcc_frame_count(length, frames):
    mfcc = audio.syncnet_mfcc(np.zeros(length, np.int16))
    assert mfcc.shape == (frames, 13)
    assert np.isfinite(mfcc).all()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros((8, 2), np.float32), "one channel"),
        (np.array([0, np.nan], np.float32), "not finite"),
    ],
)
def test_features_refuse_invalid_samples(samples, message):
    with pytest.raises(ValueError, match=message):
        audio.mel_spectrogram(samples)
    with pytest.raises(ValueError, match=message):
        speech_activity.detect(samples, 16_000, 25, 10)


def test_mfcc_refuses_floats(signal):
    with pytest.raises(ValueError, match="to_int16"):
        audio.syncnet_mfcc(signal)


@pytest.mark.parametrize(("before", "after"), [(44_100, 16_000), (8_000, 16_000), (48_000, 44_100)])
def test_resampled_sine_is_the_same_sine(before, after):
    resampled = audio.resample(media_files.tone(1000, 0.5001, before), before, after)
    length = -(-round(0.5001 * before) * after // before)
    assert resampled.shape == (length,)
    assert resampled.dtype == np.float32
    middle = slice(after // 20, -after // 20)
    np.testing.assert_allclose(
        resampled[middle], media_files.tone(1000, 0.6, after)[:length][middle], atol=1e-3
    )


def test_resample_removes_what_the_new_rate_cannot_hold():
    resampled = audio.resample(media_files.tone(10_000, 0.5, 48_000), 48_000, 16_000)
    assert np.abs(resampled[800:-800]).max() < 1e-3


def test_resample_keeps_channels_apart():
    stereo = np.stack([media_files.tone(500, 0.2, 44_100), np.zeros(8820, np.float32)], axis=1)
    resampled = audio.resample(stereo, 44_100, 16_000)
    assert resampled.shape == (3200, 2)
    assert not resampled[:, 1].any()


def test_wav_round_trip_is_exact(tmp_path, signal16):
    audio.save(tmp_path / "folder" / "a.wav", signal16, 16_000)
    samples, rate = audio.load(tmp_path / "folder" / "a.wav")
    assert (rate, samples.dtype) == (16_000, np.float32)
    np.testing.assert_array_equal(audio.to_int16(samples), signal16)


def test_save_clips_and_load_gives_channels(tmp_path):
    audio.save(tmp_path / "a.wav", np.array([[2.0, 0.5], [-2.0, 0.25]], np.float32), 8000)
    samples, rate = audio.load(tmp_path / "a.wav", mono=False)
    assert rate == 8000
    np.testing.assert_array_equal(samples, np.float32([[32767 / 32768, 0.5], [-1, 0.25]]))
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav")[0], samples.mean(axis=1))


@pytest.mark.parametrize(
    ("name", "codec", "audio_codec"),
    [
        ("a.mp4", "libx264", "aac"),
        ("a.mkv", "libx264", "flac"),
        ("a.avi", "mpeg4", "pcm_s16le"),
        ("a.mpg", "mpeg1video", "mp2"),
        ("a.mp3", None, "libmp3lame"),
    ],
)
def test_load_any_container(tmp_path, name, codec, audio_codec):
    tone = media_files.tone(440, 1, 48_000)
    times = media_files.uniform_times(10) if codec else ()
    path = media_files.write_media(
        tmp_path / name, times, tone, codec=codec, audio_codec=audio_codec, tick=Fraction(1, 25)
    )
    samples, rate = audio.load(path, rate=16_000)
    assert rate == 16_000
    assert 16_000 <= len(samples) < 16_000 + 1200  # an encoder fills its last frame
    spectrum = np.abs(np.fft.rfft(samples[1000:15_000]))
    assert abs(spectrum.argmax() * 16_000 / 14_000 - 440) < 2
    assert np.std(samples[1000:15_000]) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize(
    ("picture_at", "sound_at"), [(0, 0), (0, Fraction(1, 5)), (Fraction(1, 5), 0)]
)
def test_loading_starts_with_the_first_video_frame(tmp_path, picture_at, sound_at):
    path = media_files.write_media(
        tmp_path / "a.mkv",
        media_files.uniform_times(10, start=picture_at),
        media_files.click(0.5, 1, 48_000),
        audio_start=sound_at,
        audio_codec="pcm_s16le",
    )
    samples, rate = audio.load_from_video_start(path)
    assert np.argmax(samples > 0.5) / rate == pytest.approx(float(sound_at - picture_at) + 0.5)
    assert len(samples) / rate == pytest.approx(float(sound_at - picture_at) + 1)
    alone, _ = audio.load(path)
    assert np.argmax(alone > 0.5) / rate == pytest.approx(0.5)


def test_lost_packets_are_silence(tmp_path):
    whole = media_files.write_media(
        tmp_path / "whole.mkv", (), media_files.click(0.8, 1, 48_000), audio_codec="pcm_s16le"
    )
    holey = tmp_path / "holey.mkv"
    with av.open(str(whole)) as source, av.open(str(holey), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is not None and not 300 <= packet.pts < 600:
                packet.stream = stream
                target.mux(packet)
    samples, rate = audio.load(holey)
    assert len(samples) / rate == pytest.approx(1, abs=1e-3)
    assert np.argmax(samples > 0.5) / rate == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("rate", [1, 3999, 768_001, 2**31 - 1])
def test_refuses_implausible_sample_rates(tmp_path, rate):
    with wave.open(str(tmp_path / "odd.wav"), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2000))
    with pytest.raises(ValueError, match=rf"odd\.wav claims a sample rate of {rate} Hz"):
        audio.load(tmp_path / "odd.wav")


def test_load_refuses_files_without_audio(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        audio.load(tmp_path / "none.wav")
    with pytest.raises(ValueError, match="is a folder"):
        audio.load(tmp_path)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(ValueError, match="is empty"):
        audio.load(tmp_path / "empty.wav")
    (tmp_path / "text.wav").write_text("not a sound\n" * 20)
    with pytest.raises(ValueError, match="cannot be read as audio or video"):
        audio.load(tmp_path / "text.wav")
    silent = media_files.write_media(tmp_path / "silent.mp4", media_files.uniform_times(3))
    with pytest.raises(ValueError, match="no audio stream"):
        audio.load(silent)
    with wave.open(str(tmp_path / "header.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16_000)
    with pytest.raises(ValueError, match="has no samples from"):
        audio.load(tmp_path / "header.wav")
    broken = np.array([0, np.nan] * 1000, np.float32)
    path = media_files.write_media(tmp_path / "nan.wav", (), broken, audio_codec="pcm_f32le")
    with pytest.raises(ValueError, match="not finite"):
        audio.load(path)
