"""The script that trains the built-in models, whole, in a tiny form."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax import weights
from lipsync_jax.data_prep.synthetic.face import FaceState, Identity, Portrait
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.synthesis.dubbing import LipSyncPipeline
from tests.helpers import talking
from tests.helpers.colour_faces import write_video

SCRIPT = Path(__file__).parents[1] / "scripts" / "train_base_models.py"
SENTENCES = {"s1": 3, "s2": 2, "s5": 1, "s31": 1}


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("train_base_models", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RENDERED", {"clips": 6, "seed": 14})
    return module


@pytest.fixture
def grid(tmp_path):
    """Rendered people in GRID's layout."""
    for number, (speaker, count) in enumerate(SENTENCES.items()):
        portrait = Portrait(Identity.sample(np.random.default_rng(number)), 60)
        closed, open_ = (
            portrait.render(FaceState(opening=m, jaw=m), (160, 160), (-2.6, -2.45, 2.6, 2.75))
            for m in (0.0, 0.6)
        )
        for sentence, name in enumerate(("bbaf2n", "lwbsza", "prii9a")[:count]):
            mask = talking.random_speech_mask(75, seed=10 * number + sentence)
            images = [
                np.ascontiguousarray((open_ if speaks else closed)[..., ::-1]) for speaks in mask
            ]
            path = tmp_path / "grid" / speaker / f"{name}.mkv"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, images, talking.speech_audio(mask))
    return tmp_path / "grid"


@pytest.mark.slow
def test_every_part_runs_resumes_and_is_skipped_once_it_is_finished(
    script, grid, tmp_path, monkeypatch
):
    out, commands, call = tmp_path / "base", [], script.call

    def counted(*command):
        commands.append(command)
        call(*command)

    def run(*options):
        commands.clear()
        given = ["--grid", grid, "--out", out, "--steps-scale", 0.001, *options]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, given)])
        script.main()
        return [Path(part).name for each in commands for part in each if "--workdir" in part]

    monkeypatch.setattr(script, "call", counted)
    assert run("--stages", "l1") == ["expert", "expert", "l1"]
    assert run("--stages", "gan") == ["gan"]
    config = json.loads((out / "gan" / "config.json").read_text())
    assert config["init_from"]["generator"] == str(out / "l1")
    before = (out / "models" / "wav2lip_base" / "generator.npz").read_bytes()
    assert run() == []
    assert (out / "models" / "wav2lip_base" / "generator.npz").read_bytes() == before

    monkeypatch.setattr(weights, "FOLDER", out / "models")
    assert weights.names() == ["sync_base", "wav2lip_base"]
    card = weights.model_card("wav2lip_base")
    assert card["task"] == weights.DUBBING and card["step"] == 6
    assert card["data"] == (
        "GRID s1 s2 (3 clips, 0 minutes) and 1 synthetic people (2 clips, 0 minutes)"
    )
    assert LipSyncPipeline.load().model.size == 96
    assert SyncModel.load(weights.path("sync_base")).size == 96
