import numpy as np

from lipsync_jax.media import audio, audio_mix
from tests.helpers import media_files


def test_recordings_are_summed_to_the_end_of_the_longest(tmp_path):
    audio.save(tmp_path / "a.wav", media_files.tone(300, 1.3, 16_000), 16_000)
    stereo = np.stack([media_files.tone(500, 2.6, 44_100), np.zeros(114_660, np.float32)], axis=1)
    audio.save(tmp_path / "b.wav", stereo, 44_100)
    out = audio_mix.mix([tmp_path / "a.wav", tmp_path / "b.wav"], tmp_path / "mix.wav")
    mixed, rate = audio.load(out, mono=False)
    assert rate == audio_mix.RATE and mixed.shape == (124_800, 2)
    expected = np.stack([media_files.tone(500, 2.6, rate), np.zeros(124_800)], axis=1)
    expected[:62_400] += media_files.tone(300, 1.3, rate)[:, None]
    inside = np.r_[500:61_900, 62_900:124_300]  # resampling rings where a tone begins or ends
    np.testing.assert_allclose(mixed[inside], expected[inside], atol=2e-3)


def test_loud_sums_are_made_quieter_and_not_clipped(tmp_path):
    loud = 1.8 * media_files.tone(200, 0.5, 48_000)
    audio.save(tmp_path / "a.wav", loud, 48_000)
    out = audio_mix.mix([tmp_path / "a.wav"] * 2, tmp_path / "mix.wav")
    mixed, _ = audio.load(out)
    np.testing.assert_allclose(mixed, loud / 0.9, atol=1e-3)
