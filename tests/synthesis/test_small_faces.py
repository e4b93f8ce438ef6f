"""Faces too small to be generated stay unchanged by default; sizes are reported."""

import pytest

from lipsync_jax.cli import _terminal
from lipsync_jax.media import video_reader
from tests.helpers import scenes
from tests.helpers.scenes import LEFT

TINY = (74, 30, 90, 50)


def run(tmp_path, shots, **options):
    face_video = scenes.write_scenes(tmp_path / "film.mkv", shots)
    speech = scenes.write_tone(tmp_path / "voice.wav", 0.4 * len(shots))
    out = tmp_path / "out.mp4"
    result = scenes.lip_sync_pipeline().generate(
        face_video, speech, out, **scenes.OPTIONS, **options
    )
    return result, list(video_reader.read_frames(out))


def test_a_shot_with_a_small_face_stays_unchanged(tmp_path):
    result, shown = run(tmp_path, [(LEFT, None), (TINY, None)])
    assert (result.edited, result.unchanged) == (10, 10)
    assert result.too_small_intervals == ((0.4, 0.8),) and not result.missing_intervals
    assert scenes.face_changed(shown[0], LEFT) and not scenes.face_changed(shown[15], TINY)
    assert 48 <= result.face_height <= 58 and result.generated_height == 48
    text = _terminal.describe(result)
    assert f"face {result.face_height:.0f} px high, generated at 48 px" in text
    assert "enlarged" not in text
    assert "left unchanged (--min-face-height) for 0.40 s: 0:00.40-0:00.80" in text


@pytest.mark.parametrize("options", [{"min_face_height": 0}, {"box": (30, 50, 74, 90)}])
def test_a_small_face_is_generated_on_request(tmp_path, options):
    result, shown = run(tmp_path, [(TINY, None)], **options)
    assert result.edited == 10 and not result.too_small_intervals
    assert scenes.face_changed(shown[5], TINY)


@pytest.mark.parametrize("options", [{}, {"face_id": 0}, {"on_missing_face": "hold"}])
def test_only_small_faces_are_an_error_before_any_frame_is_generated(tmp_path, options):
    with pytest.raises(
        ValueError, match=r"film\.mkv: the face is 20 pixels high.*`min_face_height` 0"
    ):
        run(tmp_path, [(TINY, None)], **options)
    assert not (tmp_path / "out.mp4").exists()


def test_an_enlarged_face_is_reported(tmp_path):
    result, _ = run(tmp_path, [(LEFT, None)])
    lines = _terminal.describe(_replace(result, face_height=420.0, generated_height=96))
    assert "face 420 px high, generated at 96 px: enlarged 4.4 times" in lines


def _replace(result, **fields):
    return type(result)(**{**vars(result), **fields})
