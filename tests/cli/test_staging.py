"""Commands whose files are in a bucket, and paths that no command takes."""

import argparse
from pathlib import Path

import pytest

from lipsync_jax import paths
from lipsync_jax.cli import _staging, main
from tests.helpers import media_files


def test_files_are_copied_before_and_after(gs, tmp_path):
    for name in ("face.mp4", "voices/0.wav", "voices/1.wav"):
        paths.write_text(paths.parse(f"{gs}/in/{name}"), name)
    given = argparse.Namespace(
        command="dub",
        face=paths.parse(f"{gs}/in/face.mp4"),
        audio=tmp_path / "local.wav",
        speakers=[(0, paths.parse(f"{gs}/in/voices/0.wav")), (1, tmp_path / "local.wav")],
        checkpoint_path=paths.parse(f"{gs}/run"),
        outfile=paths.parse(f"{gs}/made/dubbed.mp4"),
    )
    with _staging.staged(given) as local:
        assert local.face.read_text() == "face.mp4" and local.face.name == "face.mp4"
        assert local.speakers[0][1].read_text() == "voices/0.wav"
        assert local.speakers[1] == given.speakers[1] and local.audio == given.audio
        assert local.checkpoint_path == given.checkpoint_path  # read where it is
        local.outfile.write_text("video")
        local.outfile.with_suffix(".preview.png").write_text("image")
    assert not local.outfile.exists() and not local.face.exists()
    made = paths.files(paths.parse(f"{gs}/made"))
    assert made == {"dubbed.mp4": 5, "dubbed.preview.png": 5}


def test_what_a_failed_command_wrote_is_not_copied(gs):
    given = argparse.Namespace(command="evaluate", out=paths.parse(f"{gs}/report"))
    with pytest.raises(ValueError, match="no clip"), _staging.staged(given) as local:
        local.out.mkdir()
        (local.out / "results.json").write_text("{}")
        raise ValueError("no clip")
    assert not paths.files(paths.parse(f"{gs}/report"))


def test_a_command_reads_a_video_of_a_bucket(gs, tmp_path, capsys):
    video = media_files.write_media(tmp_path / "clip.mp4", media_files.uniform_times(5))
    paths.upload(video, paths.parse(f"{gs}/videos/clip.mp4"))
    assert main.main(["verify", str(video)]) == main.main(["verify", f"{gs}/videos/clip.mp4"])
    local, remote = capsys.readouterr().out.splitlines()
    assert local.rpartition("clip.mp4")[2] == remote.rpartition("clip.mp4")[2]
    assert main.main(["verify", f"{gs}/videos/none.mp4"]) == 1
    assert f"{gs}/videos/none.mp4 does not exist" in capsys.readouterr().err


def test_a_command_of_local_folders_says_so(gs, capsys):
    assert main.main(["doctor", "--dir", f"{gs}/runs"]) == 1
    error = capsys.readouterr().err
    assert f"{gs}/runs: `lipsync doctor` looks for runs" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        ["dub", "--face=foo://x/y.mp4"],
        ["dub", "--speakers", "0=foo://x/y.wav"],
        ["prepare", "--input", "videos", "--out", "foo://x"],
        ["evaluate", "--videos=a", "--out", "foo://x"],
        ["verify", "foo://x"],
        ["convert", "a.pth", "foo://x"],
    ],
)
def test_unknown_schemes_are_refused_at_once(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main.main(line)
    assert stop.value.code == 2
    assert "paths of the scheme foo:// are unknown" in capsys.readouterr().err
    assert not [*Path().iterdir()]
