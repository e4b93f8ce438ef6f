import socket
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest

from lipsync_jax import web_guard
from lipsync_jax.cli import live as command
from lipsync_jax.cli import main
from lipsync_jax.cli._parser import Parser
from lipsync_jax.configs import vougioukas as vougioukas_config
from lipsync_jax.training import checkpoints
from tests.helpers.imports import assert_help_imports_none


def parse(*line):
    parser = Parser()
    command.add_arguments(parser)
    return parser.parse_args(line)


@pytest.fixture
def face(tmp_path):
    path = tmp_path / "face.mp4"
    path.write_bytes(b"video")
    return str(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--audio", "gone.wav"], "gone.wav does not exist"),
        (["--host", "0.0.0.0"], "reachable from other machines.*--allow-network"),
        (["--max-viewers", "0"], "--max-viewers must be at least 1"),
        (["--max-height", "10"], "--max-height at least 64"),
        (["--quality", "superb"], "`quality`='superb' is unknown; choose from fast, good, best"),
        (["--detector", "eyes"], "eyes"),
        (["--ice-server", "example.org"], "--ice-server example.org: give the address of a STUN"),
        (["--ice-server", "turn:example.org"], "give the address of a STUN server"),
    ],
)
def test_mistakes_are_told_before_slow_work(face, options, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        command.check(parse("--face", face, *options))


def test_a_recording_without_audio_is_told(face, tmp_path):
    (tmp_path / "voice.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"voice\.wav"):
        command.check(parse("--face", face, "--audio", str(tmp_path / "voice.wav")))


def test_two_faces_of_one_name_are_refused(face):
    with pytest.raises(ValueError, match="two files have one name"):
        command.check(parse("--face", face, face))


def test_an_animator_is_refused_before_a_face_is_detected(face, tmp_path, monkeypatch):
    monkeypatch.setattr(command._terminal, "quiet", lambda: None)  # of the whole process
    folder, config = tmp_path / "animator", vougioukas_config.get_config("size=tiny")
    networks = {"generator": {"params": {"w": np.ones(1)}}}
    checkpoints.export_networks(folder, networks, {"config": config.to_dict()})
    with pytest.raises(ValueError, match="vougioukas, which does not dub faces; give"):
        command.prepare(parse("--face", face, "--checkpoint-path", str(folder)))


def test_stun_servers_are_accepted(face):
    servers = ["--ice-server", "stun:example.org", "--ice-server", "stun:10.0.0.1:3478"]
    command.check(parse("--face", face, *servers))


def test_a_port_in_use_is_told():
    with web_guard.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port {port} can't be used"):
            web_guard.listen("127.0.0.1", port)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_out_of_range_is_told(port):
    with pytest.raises(ValueError, match=f"--port {port} can't be used; give 0 to 65535"):
        web_guard.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_the_server_answers_by_the_address_that_is_shown(host):
    with web_guard.listen(host, 0) as listener:
        shown = urlsplit(web_guard.url(host, listener))
        socket.create_connection((shown.hostname, shown.port), timeout=5).close()
    assert shown.hostname in web_guard.host_names(host)


def test_names_of_the_server_are_of_any_case(monkeypatch):
    monkeypatch.setenv(web_guard.HOSTS_VARIABLE, "Studio.local, Proxy")
    assert {"studio.local", "proxy", "desk"} <= web_guard.host_names("Desk")


def test_a_network_address_is_allowed_if_that_is_meant(face):
    command.check(parse("--face", face, "--host", "0.0.0.0", "--allow_network"))
    assert parse("--face", face).host == "127.0.0.1"


def test_without_the_extra_one_line_names_it(face, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiortc", None)
    assert main.main(["live", "--face", face]) == 1
    assert "pip install 'lipsync_jax[live]'" in capsys.readouterr().err


def test_help_imports_no_web_server():
    assert_help_imports_none(["--help"], {"aiortc", "fastapi", "uvicorn", "av"})
