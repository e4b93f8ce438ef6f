import csv
import json

import cv2
import numpy as np
import pytest

from lipsync_jax import weights
from lipsync_jax.cli import _batch, _terminal, dub, main
from lipsync_jax.evaluation.sync import dub_sync, video_sync
from lipsync_jax.media import video_reader
from lipsync_jax.synthesis import dubbing, options
from tests.helpers import colour_faces, scenes
from tests.helpers.scenes import LEFT, RIGHT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A film, a voice, and a command that needs no checkpoint."""
    scenes.write_scenes(tmp_path / "a film.mkv", [(LEFT, RIGHT)])
    scenes.write_tone(tmp_path / "-voice.wav", 0.2)
    loaded = []

    def load(checkpoint):
        loaded.append(checkpoint)
        return scenes.lip_sync_pipeline()

    monkeypatch.setattr(dubbing.LipSyncPipeline, "load", load)
    monkeypatch.setattr("lipsync_jax.faces.tracking.get_detector", lambda _: colour_faces.detect)
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("loaded").symlink_to(tmp_path)  # a folder of the same files
    return tmp_path, loaded


def batch(folder, rows, *words, names=None):
    with open(folder / "list.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names or ["face", "audio", "outfile", "crf", "box", "speaker", "static"])
        writer.writerows(rows)
    return main.main(["dub", "--checkpoint-path", "c", "--manifest", "list.csv", *words])


def test_failing_rows_do_not_stop_the_others(folder, capsys):
    folder, loaded = folder
    face, voice = "a film.mkv", "-voice.wav"
    rows = [
        [face, voice, "1.mp4", "30", "", "", ""],
        ["gone.mp4", voice, "2.mp4"],
        [face, voice, "o/3.mp4", "", "10 60 10 50", "", "True"],
        [face, voice, "4.mp4", "many"],
        [face, "", "5.mp4", "", "", "0=-voice.wav '1=./-voice.wav'"],
        [face, voice, "1.mp4"],
        [face, voice, "7.mp4", "", "1 2 3"],
        [face, voice, "8.mp4", "", "", "", "", "one too many"],
        [face, "", "9.mp4"],
    ]
    assert batch(folder, rows, "--preset", "ultrafast") == 1
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert [line.split()[1] for line in lines[:9]] == [
        *["done", "FAILED", "done", "FAILED", "done", "FAILED", "FAILED", "FAILED", "FAILED"]
    ]
    for line, fault in (
        (1, "--face gone.mp4 does not exist"),
        (3, "invalid int value: 'many'"),
        (5, "outfile 1.mp4 was made by a row above"),
        (6, "expected 4 arguments"),
        (7, "more cells than there are columns"),
        (8, "--audio is missing; give a recording"),
    ):
        assert fault in lines[line]
    assert lines[9] == "3 of 9 made, 6 failed" and "5 of 5 frames in" in lines[0]
    assert len(loaded) == 1
    assert video_reader.probe(folder / "o/3.mp4").frames_estimate == 5
    assert "Traceback" not in output.err


def test_all_made_is_success_and_the_command_line_fills_gaps(folder):
    folder, _ = folder
    rows = [["-voice.wav", "1.mp4"], ["-voice.wav", "2.mp4"]]
    words = ["--face", "a film.mkv"]
    assert batch(folder, rows, *words, names=["audio", "outfile"]) == 0
    assert (folder / "1.mp4").exists() and (folder / "2.mp4").exists()


def test_a_batch_for_scripts_has_an_entry_a_row(folder, capsys):
    folder, _ = folder
    rows = [
        ["a film.mkv", "-voice.wav", "1.mp4"],
        ["gone.mp4", "-voice.wav", "2.mp4"],
        ["a film.mkv", "-voice.wav", "3.mp4", "many"],
        ["a film.mkv", "-voice.wav", "4.mp4"],
    ]
    assert batch(folder, rows, "--preset", "ultrafast", "--json") == 1
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert (found["made"], found["failed"]) == (2, 2) and "error" not in found
    assert [item["row"] for item in found["items"]] == [1, 2, 3, 4]
    done, gone, wrong, last = found["items"]
    assert gone == {"row": 2, "outfile": "2.mp4", "error": gone["error"]}
    assert gone["error"].startswith("--face gone.mp4 does not exist") and "many" in wrong["error"]
    for item, name in ((done, "1.mp4"), (last, "4.mp4")):
        assert item["outfile"].endswith(name)
        assert (item["frames"], item["edited_frames"], item["face"]) == (5, 5, "a film.mkv")
    assert "2 of 4 made, 2 failed" in output.err and "videos 0/4 (0%), 1.mp4" in output.err


def test_one_video_for_scripts(folder, capsys, monkeypatch):
    folder, _ = folder
    before = video_sync.TrackSync(0, 0.0, 0.2, None, "shorter than 1 s")
    measured = dub_sync.DubSync(before, "no face was found")
    monkeypatch.setattr(weights, "default", lambda _: "sync")
    monkeypatch.setattr(dub, "_measure_sync", lambda *_: measured)
    files = ["--checkpoint-path=c", "--face=a film.mkv", "--audio=-voice.wav", "--outfile=o.mp4"]
    assert main.main(["dub", *files, "--preset=ultrafast", "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert found["face"] == "a film.mkv" and found["outfile"].endswith("o.mp4")
    assert (found["duration_seconds"], found["frames"], found["edited_frames"]) == (0.2, 5, 5)
    assert found["faces"]["missing_seconds"] == [] and found["faces"]["height_px"] > 0
    assert found["sync"]["before"]["reason"] == "shorter than 1 s"
    assert found["sync"]["before"]["end_seconds"] == 0.2
    no_face = {"is_confident": False, "reason": "no face was found", "offset_ms": None}
    assert found["sync"]["after"] == no_face
    assert found["model"]["hash"] and found["warnings"] == []
    assert "sync before: not measured, shorter than 1 s" in output.err
    assert "sync after: not measured, no face was found" in output.err


@pytest.mark.parametrize(
    ("names", "rows", "fault"),
    [
        (["face", "audio", "outfile", "colour"], [["a"] * 4], "no option for 'colour'; name"),
        (["face", "audio"], [["a", "b"]], "has no outfile"),
        (["face", "audio", "outfile"], [], "has no rows"),
        (["face", "outfile", "manifest"], [["a"] * 3], "no option for 'manifest'"),
        (
            ["face", "audio", "outfile", "detect-every", "crf", "detect_every"],
            [["a"] * 6],
            "list.csv: the columns 'detect-every' and 'detect_every' are one option; remove",
        ),
    ],
)
def test_tables_that_are_none_are_told_at_once(folder, names, rows, fault, capsys):
    folder, loaded = folder
    assert batch(folder, rows, names=names) == 1
    assert f"list.csv: the first line {fault}" in (err := capsys.readouterr().err) or fault in err
    assert not loaded
    assert main.main(["dub", "--checkpoint-path", "c", "--manifest", "gone.csv"]) == 1
    assert "--manifest gone.csv does not exist" in capsys.readouterr().err
    (folder / "list.csv").write_bytes(b"\xff\xfe\x00face")
    assert main.main(["dub", "--checkpoint-path", "c", "--manifest", "list.csv"]) == 1


def test_a_preview_alone_makes_no_video(folder):
    folder, _ = folder
    (folder / "out.mp4").write_bytes(b"older")
    report = scenes.lip_sync_pipeline().generate(
        folder / "a film.mkv", folder / "-voice.wav", folder / "out.mp4",
        **scenes.OPTIONS, preview_only=True,
    )  # fmt: skip
    assert (folder / "out.mp4").read_bytes() == b"older"
    assert report.outfile == folder / "out.preview.png" and report.preview_only
    assert (report.frames, report.edited, report.unchanged) == (3, 3, 0)  # of 5, without the ends
    width, height = scenes.SIZE
    assert cv2.imread(str(report.outfile)).shape == (2 * height, 3 * width, 3)
    text = _terminal.describe(report)
    assert "out.preview.png: 3 frames before and after, 3 of them edited; no video was" in text


def test_a_row_may_have_its_own_quality(folder, monkeypatch):
    folder, _ = folder
    crops_seen = []

    class Maker:
        def generate(self, face, audio, outfile, *, on_progress, **given):
            crops_seen.append(options.DubbingOptions.from_quality(**given))
            raise ValueError("that is all")

    monkeypatch.setattr(dubbing.LipSyncPipeline, "load", lambda _: Maker())
    (folder / "list.csv").write_text(
        "face,audio,outfile,quality,crf\nf,a,1.mp4,best,\nf,a,2.mp4,,9"
    )
    words = ["--checkpoint-path", "c", "--manifest", "list.csv", "--quality", "fast"]
    assert main.main(["dub", *words]) == 1
    assert [(s.detect_every, s.crf, s.sharpen) for s in crops_seen] == [
        (1, 14, True),
        (5, 9, False),
    ]


def test_a_preview_shows_frames_before_and_after_ahead_of_the_run(folder):
    folder, _ = folder
    captured = []

    def on_progress(progress):
        if progress.stage == "generate" and not captured:
            captured.append(cv2.imread(str(folder / "out.preview.png")))

    report = scenes.lip_sync_pipeline().generate(
        folder / "a film.mkv", folder / "-voice.wav", folder / "out.mp4",
        **scenes.OPTIONS, preview=3, on_progress=on_progress,
    )  # fmt: skip
    (contact_sheet,) = captured
    assert options.preview_path(folder / "out.mp4") == folder / "out.preview.png"
    width, height = scenes.SIZE
    assert contact_sheet.shape == (2 * height, 3 * width, 3)
    frames_out = [f.image for f in video_reader.read_frames(folder / "out.mp4")]
    before = [f.image for f in video_reader.read_frames(folder / "a film.mkv")]
    for i, number in enumerate((1, 2, 3)):
        tile = contact_sheet[:, i * width : (i + 1) * width, ::-1]
        np.testing.assert_array_equal(tile[:height], before[number])
        np.testing.assert_array_equal(tile[height:], frames_out[number])
    assert report.edited == report.frames == 5


def test_a_long_table_takes_time_in_proportion(folder, monkeypatch):
    folder, _ = folder
    counted = []
    item = _batch._item
    monkeypatch.setattr(_batch, "_item", lambda result: counted.append(result) or item(result))
    rows = [["gone.mp4", "-voice.wav", f"{number}.mp4"] for number in range(50)]
    assert batch(folder, rows, "--json", "result.json") == 1
    assert len(counted) == 50
    items = json.loads((folder / "result.json").read_text())["items"]
    assert [each["row"] for each in items] == [*range(1, 51)]
