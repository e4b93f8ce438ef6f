"""Talking rectangles: their mouths are white where the sound is on, and a sync model knows it."""

import pytest

from lipsync_jax.faces import tracking
from tests.helpers import colour_faces


@pytest.fixture(autouse=True)
def _coloured_faces(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(tracking, "get_detector", lambda name: colour_faces.detect)
