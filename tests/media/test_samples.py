"""How the channels of a recording become the one that speech is taken from."""

import av
import numpy as np
import pytest

from lipsync_jax.media import audio, audio_mix, samples, video_reader
from lipsync_jax.synthesis import driving_audio
from tests.helpers import media_files

RATE = 48_000


def surround(path, layout, **parts):
    """A recording with these channels, the others silent; float samples."""
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    length = len(next(iter(parts.values())))
    data = np.zeros((length, len(names)), np.float32)
    for name, part in parts.items():
        data[:, names.index(name)] = part
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(data.reshape(1, -1), "flt", layout)
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def level(sound):
    return np.sqrt(np.mean(np.square(sound)))


VOICE = media_files.tone(300, 0.5, RATE)
NOISE = np.random.default_rng(0).normal(0, 0.05, len(VOICE)).astype(np.float32)


@pytest.mark.parametrize("layout", ["3.0", "5.0", "5.1", "5.1(side)", "6.1", "7.1"])
@pytest.mark.parametrize("parts", ["FC", "FL FR"])
def test_speech_is_as_loud_as_in_its_channels(tmp_path, layout, parts):
    path = surround(tmp_path / "a.mkv", layout, **dict.fromkeys(parts.split(), VOICE))
    for sound in (audio.load(path)[0], np.concatenate([*driving_audio.read_mono_chunks(path)[1]])):
        np.testing.assert_allclose(sound, VOICE, atol=1e-6)


def test_the_same_in_all_channels_is_no_louder_and_bass_is_left_out(tmp_path):
    names = [channel.name for channel in av.AudioLayout("5.1").channels]
    path = surround(tmp_path / "a.mkv", "5.1", **dict.fromkeys(names, VOICE))
    np.testing.assert_allclose(audio.load(path)[0], VOICE, atol=1e-5)
    path = surround(tmp_path / "b.mkv", "5.1", FC=VOICE, LFE=NOISE)
    np.testing.assert_allclose(audio.load(path)[0], VOICE, atol=1e-6)


@pytest.mark.parametrize("strength", [1.0, 0.95])
def test_stereo_with_one_side_inverted_does_not_cancel(tmp_path, strength):
    path = tmp_path / "a.wav"
    audio.save(path, np.stack([VOICE, -strength * VOICE], axis=1), RATE)
    assert level(audio.load(path)[0]) == pytest.approx(level(VOICE), rel=0.01)
    audio.save(tmp_path / "mono.wav", VOICE, RATE)
    starts = np.arange(0, len(VOICE) * audio.MEL_RATE // RATE, 16)
    stereo, mono = (driving_audio.load(p).windows(starts) for p in (path, tmp_path / "mono.wav"))
    assert np.abs(stereo - mono).max() < 0.05
    mixed = audio_mix.mix([path, tmp_path / "mono.wav"], tmp_path / "mix.wav")
    assert audio.load(mixed, mono=False)[0].shape[1] == 2


def test_ordinary_stereo_is_averaged(tmp_path):
    audio.save(tmp_path / "a.wav", np.stack([VOICE, NOISE], axis=1), RATE)
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav")[0], (VOICE + NOISE) / 2, atol=1e-4)
    assert samples.mono_weights(tmp_path / "a.wav").tolist() == [0.5, 0.5]


def test_a_replaced_file_is_inspected_again(tmp_path):
    path = tmp_path / "a.wav"
    audio.save(path, np.stack([VOICE, -VOICE], axis=1), RATE)
    assert samples.mono_weights(path).tolist() == [1, 0]
    audio.save(path, np.stack([VOICE, VOICE, VOICE], axis=1), RATE)
    assert len(samples.mono_weights(path)) == 3


@pytest.mark.parametrize("outfile", ["o.mp4", "o.mov", "o.mkv"])
@pytest.mark.parametrize("layout", ["2.1", "quad", "5.1(side)", "6.1", "7.1", "7.1(wide)"])
def test_any_layout_fits_a_video(tmp_path, layout, outfile):
    """Layouts that AAC lacks become 5.1, with the centre at its level."""
    voice = "FC" if "FC" in layout or layout[0] in "567" else "FL"
    path = surround(tmp_path / "a.mkv", layout, **{voice: VOICE})
    silent = media_files.write_media(tmp_path / "silent.mp4", media_files.uniform_times(5))
    video_reader.mux(silent, path, tmp_path / outfile, copy_audio=False)
    sound, rate = audio.load(tmp_path / outfile, mono=False)
    with av.open(str(tmp_path / outfile)) as container:
        stream = container.streams.audio[0]
        names = [channel.name for channel in stream.codec_context.layout.channels]
    assert len(names) <= 6
    heard = sound[rate // 10 : rate * 4 // 10, names.index(voice)]
    assert level(heard) == pytest.approx(level(VOICE), rel=0.05)


@pytest.mark.skipif("libopencore_amrnb" not in av.codecs_available, reason="no AMR encoder")
def test_amr_is_decoded(tmp_path):
    codec = "libopencore_amrnb"
    tone = media_files.tone(300, 1, 8000)
    path = media_files.write_media(tmp_path / "a.amr", (), tone, rate=8000, audio_codec=codec)
    sound, rate = audio.load(path)
    assert rate == 8000 and len(sound) / rate == pytest.approx(1, abs=0.05)
    assert level(sound[800:7200]) == pytest.approx(0.35, rel=0.2)


def test_aac_that_doubles_its_rate_is_decoded(tmp_path):
    # HE-AAC by its header: object type 5 (SBR) at 24 kHz that becomes 48 kHz.
    path = media_files.write_media(
        tmp_path / "a.m4a", (), media_files.tone(300, 1, 24_000), rate=24_000
    )
    data = bytearray(path.read_bytes())
    at = data.index(b"\x05\x80\x80\x80", data.index(b"esds")) + 4
    assert data[at] >= 4
    data[at + 1 : at + 5] = bytes([0x2B, 0x09, 0x88, 0x00])
    path.write_bytes(data)
    sound, rate = audio.load(path)
    assert rate == 48_000 and len(sound) / rate == pytest.approx(1, abs=0.1)
    assert level(sound[4800:43_000]) == pytest.approx(0.35, rel=0.1)
    silent = media_files.write_media(tmp_path / "silent.mp4", media_files.uniform_times(5))
    video_reader.mux(silent, path, tmp_path / "o.mp4")
    copied, rate = audio.load(tmp_path / "o.mp4")
    assert rate == 48_000 and len(copied) / rate == pytest.approx(1, abs=0.1)
