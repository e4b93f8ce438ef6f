"""Built-in models: which there are, who uses them, and what an installation without them says."""

import json
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax import weights
from lipsync_jax.cli import evaluate, main
from lipsync_jax.configs import sync_expert, wav2lip
from lipsync_jax.methods.wav2lip import model as networks
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis import animation, dubbing, model_info
from lipsync_jax.training import checkpoints, packed
from tests.helpers.networks import random_variables

ATTRIBUTION = "The Speakers, 2006"


def _card(name, task, config, **extra):
    return {"name": name, "task": task, "licence": "CC BY 4.0", "attribution": ATTRIBUTION,
            "validation": {"mouth_l1": 0.02}, "step": 7,
            "config": json.loads(config.to_json()), **extra}  # fmt: skip


@pytest.fixture(scope="module")
def generator():
    config = wav2lip.get_config("tiny")
    module = networks.Wav2Lip(**config.model)
    return config, random_variables(module, (80, 16, 1), (96, 96, 6))


@pytest.fixture
def built_in(generator, tmp_path, monkeypatch):
    config, variables = generator
    folder = tmp_path / "models"
    card = _card("base", weights.DUBBING, config)
    packed.write(folder / "base", {"generator": variables}, card)
    monkeypatch.setattr(weights, "FOLDER", folder)
    return folder


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("dub --face f.mp4 --audio f.mp4 --outfile o.mp4", "dubbing: give --checkpoint-path"),
        ("animate --face f.mp4 --audio f.mp4 --outfile o.mp4", "animation: give --checkpoint-path"),
        ("sync f.mp4", "sync: give --sync-model"),
        ("evaluate --data data --out out", "dubbing: give --checkpoint-path"),
    ],
)
def test_an_installation_without_models_says_so_in_a_sentence(
    command, option, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("f.mp4").write_bytes(b"x")
    assert main.main(command.split()) == 1
    error = capsys.readouterr().err.strip()
    assert f"this installation has no built-in model for {option} DIR" in error
    assert "\n" not in error


def test_the_built_in_model_is_used_unless_another_is_named(built_in, generator, tmp_path):
    pipeline = dubbing.LipSyncPipeline.load()
    assert pipeline.credit == (
        f"model base (wav2lip, built-in); licence: CC BY 4.0; attribution: {ATTRIBUTION}"
    )
    config, variables = generator
    own = _card("", "", config, licence="", attribution="")
    checkpoints.export_networks(tmp_path / "own", {"generator": variables}, own)
    assert dubbing.LipSyncPipeline.load(tmp_path / "own").credit == (
        "model own (wav2lip, trained for 7 steps)"
    )
    with pytest.raises(FileNotFoundError, match="no built-in model for animation") as told:
        animation.Animator.load()
    assert "`lipsync dub --face IMAGE` moves the lips of an image" in str(told.value)


def test_the_file_tag_names_model_licence_and_attribution(tmp_path):
    from lipsync_jax.media import video_reader

    out = tmp_path / "out.mp4"
    tags = metadata.tags("0123456789ab", "model base; licence: CC BY 4.0")
    with video_reader.VideoWriter(out, 25, (64, 64), metadata=tags) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
    assert metadata.read(out).credit == "model base; licence: CC BY 4.0"


def test_models_are_listed_with_size_licence_hash_and_metrics(
    built_in, generator, tmp_path, capsys
):
    config, variables = generator
    source = {"file": "official.pth", "sha256": "ab" * 32}
    found = tmp_path / "found"
    own = _card("", "", config, licence="", attribution="")
    checkpoints.export_networks(found / "run", {"generator": variables}, own)
    converted = _card("", "", config, licence="research only", source=source)
    checkpoints.export_networks(found / "official", {"generator": variables}, converted)
    assert main.main(["models", str(found), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert [(m["name"], m["task"], m["origin"]) for m in listed] == [
        ("base", "dubbing", "built-in"),
        ("official", "dubbing", "converted"),
        ("run", "dubbing", "trained"),
    ]
    card = weights.model_card("base")
    assert listed[0]["sha256"] == card["sha256"]
    assert listed[0]["size"] == sum(card["bytes"].values())
    assert listed[0]["metrics"] == {"mouth_l1": 0.02}
    assert listed[1]["sha256"] == {"official.pth": "ab" * 32}
    assert len({m["parameters"] for m in listed}) == 1 and listed[2]["licence"] == ""

    assert main.main(["models", str(found)]) == 0
    printed = capsys.readouterr().out
    for text in ("mouth_l1 0.02", "licence      CC BY 4.0", ATTRIBUTION, "source       official"):
        assert text in printed
    (found / "run" / "model_card" / "metadata").write_text("{")
    assert main.main(["models", str(found)]) == 1
    assert "can't be used" in capsys.readouterr().out
    assert main.main(["models", str(tmp_path / "none")]) == 1
    assert "does not exist; give a folder" in capsys.readouterr().err


def test_models_without_any(tmp_path, capsys):
    assert main.main(["models", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "this installation has no built-in models",
        "no converted or trained model was found",
    ]


def test_evaluation_takes_the_built_in_sync_model_where_its_crops_fit(
    tmp_path, monkeypatch, capsys
):
    card = _card("sync", weights.SYNC, sync_expert.get_config("tiny"))
    packed.write(tmp_path / "sync", {"expert": {"params": {"x": np.zeros(1)}}}, card)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    assert evaluate._sync_folder(None, "") == evaluate._sync_folder(None, "face96")
    assert evaluate._sync_folder(None, "face96") == tmp_path / "sync"
    assert evaluate._sync_folder(Path("own"), "face96") == Path("own")
    assert evaluate._sync_folder(Path("none"), "face96") is None
    assert evaluate._sync_folder(None, "aligned112x112") is None
    assert "without sync metrics" in capsys.readouterr().err
    assert model_info.read(tmp_path / "sync").task == weights.SYNC


def test_the_demo_without_models_says_that_it_trains(tmp_path, monkeypatch, capsys):
    from lipsync_jax.cli import _demo_training as training

    def stop(out, clips, *_):
        raise ValueError(f"training {clips} clips in {out.name}")

    monkeypatch.setattr(training, "train", stop)
    assert main.main(["demo", "--out", str(tmp_path / "demo")]) == 1
    printed = capsys.readouterr()
    assert "no built-in model for dubbing, so the demo trains a small one" in printed.out
    assert f"training {training.CLIPS} clips in demo" in printed.err
    assert main.main(["demo", "--out", str(tmp_path / "demo"), "--clips", "9"]) == 1
    assert "--clips is an option of the training; add --train" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_dubs_with_the_built_in_model(built_in, tmp_path, capsys):
    assert main.main(["demo", "--out", str(tmp_path / "demo")]) == 0
    printed = capsys.readouterr().out
    assert "a rendered person in no training data" in printed
    assert "mouth L1" in printed and ATTRIBUTION in printed and "training.png" not in printed
    for name in ("demo.mp4", "face.mp4", "real.mp4", "voice.wav", "contact_sheet.jpg"):
        assert (tmp_path / "demo" / name).stat().st_size > 100
    assert ATTRIBUTION in metadata.read(tmp_path / "demo" / "demo.mp4").credit
