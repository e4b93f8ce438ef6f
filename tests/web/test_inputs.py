"""What is known of a file before a job is queued."""

from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.media import containers
from lipsync_jax.web import inputs
from tests.helpers import heic, media_files, scenes


def test_a_video_whose_header_has_no_duration_is_no_image(tmp_path):
    video = scenes.write_scenes(tmp_path / "face.mkv", [(scenes.LEFT, None)], frames=50)
    known = inputs.inspect(video)
    recorded = tmp_path / "recorded.mkv"
    content = video.read_bytes()
    # The element of Matroska with the duration, 8 bytes long, becomes one that readers skip.
    assert content.count(b"\x44\x89\x88") == 1
    recorded.write_bytes(content.replace(b"\x44\x89\x88", b"\xec\x40\x08"))
    with containers.open_container(recorded) as container:
        assert container.duration is None
    found = inputs.inspect(recorded)
    assert found.seconds == pytest.approx(2, abs=0.001) == known.seconds
    assert found.frame_rate == pytest.approx(25)
    assert found.describe() == "120 x 80 pixels, 2.0 s, 25 frames a second"


def test_the_size_of_a_phones_video_is_the_displayed_one(tmp_path):
    times = [Fraction(i, 25) for i in range(3)]
    for rotation, size in ((0, (64, 48)), (90, (48, 64)), (180, (64, 48)), (-90, (48, 64))):
        path = media_files.write_media(tmp_path / f"{rotation}.mp4", times, rotation=rotation)
        found = inputs.inspect(path)
        assert (found.width, found.height) == size


def test_a_large_video_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = media_files.write_media(tmp_path / "large.mp4", [Fraction(0)])
    monkeypatch.setattr(inputs, "MAX_SIDE", 60)
    monkeypatch.setattr(inputs.packets, "first_frame", None)
    with pytest.raises(ValueError, match="at most 60 on a side"):
        inputs.inspect(path)


def test_a_photo_in_tiles_is_read_whole_or_refused_before_it_is_queued(tmp_path):
    path = heic.write_heic(tmp_path / "a.heic", np.zeros((128, 192, 3), np.uint8))
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match=r"a photo\.heic is a photo stored in tiles"):
            inputs.inspect(path, "a photo.heic")
    else:
        assert inputs.inspect(path)[:2] == (192, 128)


def test_a_file_without_sound_is_told_what_to_give(tmp_path):
    silent = scenes.write_scenes(tmp_path / "silent.mp4", [(scenes.LEFT, None)], frames=2)
    with pytest.raises(ValueError, match=r"`audio` silent\.mp4 has no sound; give a recording"):
        inputs.require_audio(silent)
    with pytest.raises(ValueError, match=r"`video` silent\.mp4 has no sound; give a video with"):
        inputs.require_talking_face(silent)
