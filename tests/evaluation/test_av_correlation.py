import dataclasses
import json

import numpy as np
import pytest

from lipsync_jax.cli import main
from lipsync_jax.data.clip import encode_frame
from lipsync_jax.evaluation.sync import av_correlation
from tests.conftest import toy_clip


@pytest.mark.parametrize("late", [-5, 0, 3])
def test_the_shift_is_found(late):
    rng = np.random.default_rng(0)
    audio = rng.random(80)
    motion = np.roll(audio, late) + 0.1 * rng.random(80)
    found = av_correlation.correlate(audio, motion)
    assert found.best_shift == late
    assert found.correlations.shape == (len(av_correlation.SHIFTS),)
    assert found.correlations.max() > 0.8


def test_correlations_are_means_of_numpys_over_chunks():
    rng = np.random.default_rng(1)
    audio, motion = rng.random((2, 24))
    found = av_correlation.correlate(audio, motion, shifts=(0, 2), chunk=20)
    for k, value in zip((0, 2), found.correlations, strict=True):
        each = [np.corrcoef(audio[s : s + 20], motion[s + k : s + k + 20])[0, 1] for s in range(3)]
        np.testing.assert_allclose(value, np.mean(each))


def test_what_cannot_be_correlated_is_told():
    with pytest.raises(ValueError, match="never changes"):
        av_correlation.correlate(np.zeros(60), np.arange(60))
    with pytest.raises(ValueError, match="hold no chunk"):
        av_correlation.correlate(np.arange(20), np.arange(20))
    with pytest.raises(ValueError, match="of one length"):
        av_correlation.correlate(np.arange(60), np.arange(61))


def test_motion_is_that_of_the_mouth():
    clip = toy_clip("a/0", seed=0)
    motion = av_correlation.mouth_motion(clip)
    assert motion.shape == (39,) and motion.max() > 0.02
    face = np.full((96, 96, 3), 150, np.uint8)
    reference_image = dataclasses.replace(clip, frames=(encode_frame(face),) * 40)
    assert av_correlation.mouth_motion(reference_image).max() < 1e-3


def test_the_command_writes_a_table_and_a_plot(toy_data, tmp_path, capsys):
    assert (
        main.main(["av-correlation", f"--data={toy_data}", f"--out={tmp_path}", "--limit=2"]) == 0
    )
    assert "clips with this best shift" in capsys.readouterr().out
    result = json.loads((tmp_path / "av_correlation.json").read_text())
    assert len(result["clips"]) == 2 and not result["left_out"]
    assert (tmp_path / "av_correlation.png").stat().st_size > 1000


def test_a_folder_that_cannot_be_made_is_refused_before_any_clip(
    toy_data, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(av_correlation, "measure", None)  # would be a fault
    assert (
        main.main(["av-correlation", f"--data={toy_data}", f"--out={tmp_path / 'file/out'}"]) == 1
    )
    error = capsys.readouterr().err
    assert "Not a directory" in error and "fault of the program" not in error
