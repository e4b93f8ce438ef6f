import json
import re
import time

import numpy as np
import pytest

pytest.importorskip("aiortc")
pytest.importorskip("fastapi")
pytest.importorskip("httpx2")

from fastapi.testclient import TestClient

from lipsync_jax import web_guard
from lipsync_jax.cli import live as command
from lipsync_jax.live import server, session
from lipsync_jax.live.faces import Plan, PreparedFace
from tests.helpers.live_faces import CodedFace

OFFER = {"type": "offer", "face": "anna", "source": "samples", "consent": True}


def make_live(**options):
    face = PreparedFace("anna", CodedFace(), Plan(0.01, 25.0), "0123456789ab")
    return session.Live({"anna": face}, **options)


@pytest.fixture
def live():
    return make_live()


@pytest.fixture
def client(live):
    with TestClient(command.make_app(live, "127.0.0.1"), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def sdp():
    import asyncio

    import aiortc

    async def make():
        connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration([]))
        connection.addTransceiver("audio", "recvonly")
        connection.addTransceiver("video", "recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        text = connection.localDescription.sdp
        await connection.close()
        return text

    return asyncio.run(make())


def connect(client, made, name):
    """Opens a websocket; the test client names another host unless it is told."""
    return client.websocket_connect(f"/live/sessions/{made}/{name}", headers={"host": "127.0.0.1"})


def fill(socket, voice, rate, chunk):
    """Sends 3 s of samples in chunks, and waits until the voice has no room."""
    socket.send_text(json.dumps({"rate": rate}))
    for _ in range(3 * rate // chunk):
        socket.send_bytes(np.ones(chunk, "<i2").tobytes())
    wait_until(lambda: voice.room == 0)


def wait_until(condition):
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_the_page_names_no_other_host(client):
    assert client.get("/", follow_redirects=False).headers["location"] == "/live/"
    page = client.get("/live/")
    assert page.status_code == 200 and "Live face" in page.text
    for name in ("live.css", "live.js"):
        text = client.get(f"/live/{name}").text
        assert text and not re.findall(r"https?://", text)
    assert not re.findall(r"https?://", page.text)
    assert client.get("/live/docs").status_code == client.get("/docs").status_code == 404


def test_requests_of_other_names_and_pages_are_refused(client):
    assert client.get("/live/setup", headers={"host": "evil.example"}).status_code == 403
    foreign = {"origin": "https://evil.example"}
    assert client.post("/live/offer", json={}, headers=foreign).status_code == 403
    assert client.get("/live/setup").json()["max_viewers"] == 1


def test_an_offer_needs_consent_and_a_face(client, live, sdp):
    refused = client.post("/live/offer", json={**OFFER, "sdp": sdp, "consent": False})
    assert refused.status_code == 422 and "consent is missing" in refused.json()["detail"]
    for changed, words in (
        ({"face": "/etc/passwd"}, "is not prepared; choose from anna"),
        ({"source": "recording"}, "source 'recording' is not there"),
        ({"sdp": "v=0"}, "the offer can't be used"),
    ):
        answer = client.post("/live/offer", json={**OFFER, "sdp": sdp, **changed})
        assert answer.status_code == 422 and words in answer.json()["detail"]
    assert not live.sessions


def test_h264_is_first_and_no_server_of_others_is_asked(client, live, sdp):
    answer = client.post("/live/offer", json={**OFFER, "sdp": sdp}).json()
    codecs = re.findall(r"a=rtpmap:\d+ (\w+)/90000", answer["sdp"])
    assert codecs[0] == "H264" and "VP8" in codecs
    (made,) = live.sessions.values()
    assert made._connection._RTCPeerConnection__configuration.iceServers == []
    assert client.delete(f"/live/sessions/{answer['session']}").json() == {"stopped": True}
    assert client.delete(f"/live/sessions/{answer['session']}").json() == {"stopped": False}
    assert not live.sessions


def test_a_viewer_too_many_is_told_so(client, live, sdp):
    first = client.post("/live/offer", json={**OFFER, "sdp": sdp}).json()["session"]
    second = client.post("/live/offer", json={**OFFER, "sdp": sdp})
    assert second.status_code == 409 and "1 of 1 places are taken" in second.json()["detail"]
    client.delete(f"/live/sessions/{first}")
    assert client.post("/live/offer", json={**OFFER, "sdp": sdp}).status_code == 200


def test_a_closed_tab_frees_its_place(client, live, sdp):
    made = client.post("/live/offer", json={**OFFER, "sdp": sdp}).json()["session"]
    with connect(client, made, "figures") as socket:
        figures = socket.receive_json()
        assert figures["state"] in ("new", "connecting") and figures["delay_ms"]["total"] > 300
    wait_until(lambda: not live.sessions)


def test_an_unconnected_session_is_given_up(monkeypatch, sdp):
    monkeypatch.setattr(session, "_CONNECT_SECONDS", 0.05)
    live = make_live()
    with TestClient(server.create_app(live)) as client:
        client.post("/offer", json={**OFFER, "sdp": sdp})
        wait_until(lambda: client.get("/setup").json()["viewers"] == 0)
    assert not live.sessions


def test_pushed_samples_arrive_and_wait_for_room(client, live, sdp):
    made = client.post("/live/offer", json={**OFFER, "sdp": sdp}).json()["session"]
    voice = live.sessions[made].pipeline.voice
    with connect(client, made, "samples") as socket:
        fill(socket, voice, rate=24_000, chunk=2400)
        assert voice.room == 0 and voice.dropped == 0
    client.delete(f"/live/sessions/{made}")


def test_samples_that_wait_for_room_are_refused_when_the_session_ends(client, live, sdp):
    made = client.post("/live/offer", json={**OFFER, "sdp": sdp}).json()["session"]
    voice = live.sessions[made].pipeline.voice
    with connect(client, made, "samples") as socket:
        fill(socket, voice, rate=48_000, chunk=24_000)
        client.delete(f"/live/sessions/{made}")
        closed = socket.receive()
    assert closed["code"] == 1008 and closed["reason"] == "this session has ended"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\0\0", "the first message is"),
        ("{}x", "a message of text is"),
        ('{"rate": 10}', "give 8000 to 192000"),
        ('{"rate": Infinity}', "a message of text is"),
    ],
)
def test_wrong_samples_are_explained(client, live, sdp, message, words):
    made = client.post("/live/offer", json={**OFFER, "sdp": sdp}).json()["session"]
    with connect(client, made, "samples") as socket:
        (socket.send_bytes if isinstance(message, bytes) else socket.send_text)(message)
        closed = socket.receive()
    assert closed["code"] == 1008 and words in closed["reason"]


def test_recordings_are_those_of_this_server(client, live, sdp, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"x")
    assert client.get("/live/recordings/..%2Fsecret.mp4").status_code == 404
    made = client.post("/live/offer", json={**OFFER, "sdp": sdp}).json()["session"]
    stop = client.post(f"/live/sessions/{made}/record", json={"on": False})
    assert stop.status_code == 409 and "nothing was being recorded" in stop.json()["detail"]
    gone = client.post("/live/sessions/none/record", json={"on": True})
    assert gone.status_code == 404


def test_a_folder_that_can_not_be_written_is_told(sdp, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    live = make_live(record_folder=tmp_path / "file")
    with TestClient(server.create_app(live)) as client:
        made = client.post("/offer", json={**OFFER, "sdp": sdp}).json()["session"]
        answer = client.post(f"/sessions/{made}/record", json={"on": True})
        client.delete(f"/sessions/{made}")
    assert answer.status_code == 409 and "the recording can't be written" in answer.json()["detail"]


def test_faces_may_be_prepared_while_they_are_listed():
    class GrowingPlan(Plan):
        def describe(self):
            live.faces["later"] = live.faces["anna"]
            return super().describe()

    live = make_live()
    live.faces["anna"] = PreparedFace("anna", CodedFace(), GrowingPlan(0.01, 25.0), "0123456789ab")
    with TestClient(server.create_app(live)) as client:
        assert [face["name"] for face in client.get("/setup").json()["faces"]] == ["anna"]


def test_the_guard_is_around_all_that_the_command_serves(live):
    assert isinstance(command.make_app(live, "127.0.0.1"), web_guard.Guard)
