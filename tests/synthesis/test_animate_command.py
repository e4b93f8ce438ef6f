"""`lipsync animate`, and what checkpoints it takes."""

import csv
import json
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.cli import _parser, animate, main
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.faces import alignment
from lipsync_jax.media import video_reader
from lipsync_jax.methods.common import recurrent_inference
from lipsync_jax.synthesis import animation, animation_model, options
from lipsync_jax.training import checkpoints
from tests.helpers import reference_images, scenes

FILES = ["--checkpoint_path", "c", "--face", "f", "--audio", "a"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A picture, a voice, and a command that needs no checkpoint."""
    reference_images.write_face_image(tmp_path / "face.png")
    for name in "ab":
        scenes.write_tone(tmp_path / f"{name}.wav", 0.2)
    monkeypatch.setattr(animation.Animator, "load", lambda checkpoint: reference_images.animator())
    monkeypatch.setattr(
        "lipsync_jax.faces.detection.get_detector", lambda _: reference_images.DETECTOR["detector"]
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(*arguments):
    parser = _parser.Parser()
    animate.add_arguments(parser)
    parsed = vars(parser.parse_args([*FILES, *arguments]))
    for name in ("checkpoint_path", "face", "audio", "outfile", "manifest"):
        del parsed[name]
    return options.AnimationOptions(**parsed)


def test_defaults_are_those_of_the_library():
    assert parse() == options.AnimationOptions()
    chosen = parse(*"--seed 3 --noise-std 0.5 --paste_back --batch_size 2 --crf 20".split())
    assert chosen == options.AnimationOptions(
        seed=3, noise_std=0.5, paste_back=True, batch_size=2, crf=20
    )


def test_the_command_makes_a_marked_video(folder, capsys):
    arguments = ["--checkpoint_path", "c", "--face", "face.png", "--audio", "a.wav"]
    assert main.main(["animate", *arguments, "--outfile", "o/out.mp4"]) == 0
    assert "0.20 s, 5 frames at 25 a second" in capsys.readouterr().out
    assert main.main(["verify", str(folder / "o" / "out.mp4")]) == 0
    capsys.readouterr()
    assert main.main(["animate", *arguments[:4], "--outfile", "out.mp4", "--json"]) == 1
    output = capsys.readouterr()
    assert "--audio is missing" in output.err
    assert json.loads(output.out)["error"].startswith("--audio is missing")
    assert main.main(["animate", *arguments[:2], *arguments[4:]]) == 1
    assert "--face is missing" in capsys.readouterr().err


def test_the_report_for_scripts(folder, capsys):
    arguments = ["--checkpoint_path", "c", "--face", "face.png", "--audio", "a.wav"]
    assert main.main(["animate", *arguments, "--outfile", "out.mp4", "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert (found["face"], found["audio"]) == ("face.png", "a.wav")
    assert found["outfile"].endswith("out.mp4")
    assert (found["duration_seconds"], found["frames"], found["frame_rate_fps"]) == (0.2, 5, 25)
    assert "5 frames at 25 a second" in output.err


def test_many_voices_from_a_table(folder, capsys):
    with open(folder / "list.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                ["audio", "outfile", "seed", "paste_back"],
                ["a.wav", "1.mp4", "4"],
                ["gone.wav", "2.mp4"],
                ["b.wav", "3.mp4", "", "true"],
                ["b.wav", "4.mp4", "many"],
            ]
        )
    words = ["--checkpoint_path", "c", "--face", "face.png", "--manifest", "list.csv"]
    assert main.main(["animate", *words]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:4]] == ["done", "FAILED", "done", "FAILED"]
    assert "--audio gone.wav does not exist" in lines[1] and "invalid int value" in lines[3]
    assert video_reader.probe(folder / "1.mp4").height == 128
    assert video_reader.probe(folder / "3.mp4").height == reference_images.SIZE[1]
    (folder / "list.csv").write_text("audio,outfile,box\na.wav,1.mp4,1\n")
    assert main.main(["animate", *words]) == 1
    assert "has no option for 'box'" in capsys.readouterr().err


def test_a_checkpoint_says_how_faces_are_placed(tmp_path):
    card = checkpoints.read_model_card(
        reference_images.write_checkpoint(tmp_path / "ours", "vougioukas")
    )
    variables, _ = checkpoints.load_network(tmp_path / "ours", "generator")
    found = reference_images.DETECTOR["detector"](video_picture(tmp_path))[0]

    ours = animation_model.load(tmp_path / "ours")
    np.testing.assert_allclose(ours.align(found), alignment.align_matrix(found.landmarks))
    assert (ours.frame_rate, ours.noise_std, ours.size) == (25, 0.5, (32, 32))

    # As `lipsync convert` writes it.
    face = np.zeros((68, 2))
    face[list(alignment.LANDMARKS)] = alignment.CANONICAL_FACE / 4
    config = {"method": "vougioukas", "model": card["config"]["model"]}
    converted = {"config": config, "frame_rate": 29.97, "canonical_face": face.tolist()}
    checkpoints.export_networks(tmp_path / "official", {"generator": variables}, converted)
    official = animation_model.load(tmp_path / "official")
    centre = alignment.transform_points(found.landmarks[2:3], official.align(found))
    np.testing.assert_allclose(centre, [[12.5, 16.5]], atol=1)
    assert official.frame_rate == Fraction(2997, 100).limit_denominator(1001)
    assert official.noise_std == recurrent_inference.NOISE_STD

    card["config"]["data"]["crop"] = "face128"
    checkpoints.export_networks(tmp_path / "boxes", {"generator": variables}, card)
    matrix = animation_model.load(tmp_path / "boxes").align(found)
    box = faces.face_box(found.box, found.landmarks)
    corners = alignment.transform_points(np.array([box[:2], box[2:]]), matrix)
    np.testing.assert_allclose(corners, [[0, 0], [32, 32]], atol=1e-4)
    assert CROP_SPECS["face128"].method == "box"


def video_picture(folder):
    return next(
        video_reader.read_frames(reference_images.write_face_image(folder / "face.png"))
    ).image


def test_checkpoints_that_do_not_animate_are_told(tmp_path):
    reference_images.write_checkpoint(tmp_path / "ours", "jain")
    variables, card = checkpoints.load_network(tmp_path / "ours", "generator")
    card["config"]["method"] = "wav2lip"
    checkpoints.export_networks(tmp_path / "other", {"generator": variables}, card)
    with pytest.raises(ValueError, match="of the method wav2lip, which does not animate images"):
        animation_model.load(tmp_path / "other")
    card["config"]["method"] = "vougioukas"
    card["config"]["model"] = {"width_mult": 1 / 8, "image_size": (32, 32)}
    checkpoints.export_networks(tmp_path / "wrong", {"generator": variables}, card)
    with pytest.raises(ValueError, match="weights are not those of the network it describes"):
        animation_model.load(tmp_path / "wrong")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        animation.animate(
            tmp_path / "gone", reference_images.write_face_image(tmp_path / "f.png"),
            scenes.write_tone(tmp_path / "v.wav"), tmp_path / "o.mp4",
        )  # fmt: skip
