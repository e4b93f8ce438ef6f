"""What is known of a file before a job is queued."""

import pytest

from lipsync_jax.media import containers
from lipsync_jax.web import inputs
from tests.helpers import scenes


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
