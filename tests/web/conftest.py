"""A server with stand-ins for network and detector, and videos for it."""

import contextlib

import pytest

pytest.importorskip("gradio")

from lipsync_jax import weights
from lipsync_jax.web import server
from lipsync_jax.web.actions import Actions
from lipsync_jax.web.jobs import JobQueue
from lipsync_jax.web.models import CreditedSyncModel, ModelShelf
from lipsync_jax.web.submission import Submitter
from tests.helpers import colour_faces, scenes, talking


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _colour_detector(monkeypatch):
    monkeypatch.setattr("lipsync_jax.faces.tracking.get_detector", lambda _: colour_faces.detect)


@pytest.fixture
def actions(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    made = Actions(work)
    made.dubbing = ModelShelf(
        weights.DUBBING,
        "--checkpoint-path",
        [tmp_path / "toy"],
        lambda _: scenes.lip_sync_pipeline(),
    )
    return made


@pytest.fixture
def sync_actions(actions, tmp_path):
    folder = tmp_path / "talking_sync"
    model = CreditedSyncModel(talking.sync_model(), "toy sync model")
    actions.sync = ModelShelf(weights.SYNC, "--sync-model", [folder], lambda _: model)
    return actions


@pytest.fixture
def queue(tmp_path, actions):
    with contextlib.closing(JobQueue(tmp_path / "work" / "jobs", actions.run)) as made:
        yield made


@pytest.fixture
def app(tmp_path, actions, queue):
    return server.create_app(Submitter(actions, queue), tmp_path / "work")


@pytest.fixture
def face(tmp_path):
    return scenes.write_scenes(tmp_path / "face.mp4", [(scenes.LEFT, scenes.RIGHT)], frames=20)


@pytest.fixture
def speech(tmp_path):
    return scenes.write_tone(tmp_path / "voice.wav", 0.8)
