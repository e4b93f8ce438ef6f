"""Live faces beside the page."""

import types
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lipsync_jax.web import live_faces, server, texts
from lipsync_jax.web.page import Page
from lipsync_jax.web.submission import Submitter
from tests.helpers import scenes

pytest.importorskip("aiortc")


@pytest.fixture
def live(actions, tmp_path):
    return live_faces.LiveFaces(actions, tmp_path / "live")


def test_a_face_is_prepared_by_the_model_of_the_page(live, tmp_path):
    face = scenes.write_scenes(tmp_path / "face.mp4", [((20, 6, 90, 76), None)], frames=30)
    steps = [*live.prepare(face)]
    assert "detecting" in steps[0] and "a frame" in steps[-1]
    with pytest.raises(ValueError, match="no face"):
        [*live.prepare(scenes.write_scenes(tmp_path / "nobody.mp4", [(None, None)]))]


def test_few_faces_are_kept(live, monkeypatch):
    def prepare(pipeline, path, on_step):
        if path.name == "x":
            raise ValueError(f"{path}: no face was found")
        plan = types.SimpleNamespace(describe=lambda: "ok")
        return types.SimpleNamespace(name=path.name, plan=plan)

    monkeypatch.setattr("lipsync_jax.live.faces.prepare", prepare)
    for name in "abacdef":
        assert [*live.prepare(Path("/server", name))] == [f"{name}: ok"]
    with pytest.raises(ValueError, match=r"^`face` x: no face was found"):
        [*live.prepare(Path("/server/x"))]
    assert [*live._faces] == ["c", "d", "e", "f"]


def test_the_app_is_mounted_beside_the_page(live, actions, queue, tmp_path):
    app = server.create_app(Submitter(actions, queue), tmp_path / "work", live)
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        assert "Live face" in client.get("/live/").text
        assert client.get("/live/setup").json()["faces"] == []


def test_the_tab_shows_the_face_when_one_is_ready(actions, queue, tmp_path):
    face = tmp_path / "face.mp4"
    face.write_bytes(b"")
    fake = types.SimpleNamespace(prepare=lambda path: iter(["trying", f"{path.name}: ok"]))
    page = Page(Submitter(actions, queue), tmp_path, live=fake)
    shown = [*page._prepare(str(face))]
    assert shown[-1] == ("face.mp4: ok", texts.LIVE_FRAME) and shown[1] == ("trying", "")
    with pytest.raises(ValueError, match="Still needed"):
        [*page._prepare(None)]
