"""A paper outside of the package goes through all programs without a change elsewhere."""

import json

import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.cli import main
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.faces import tracking
from lipsync_jax.media import video_reader
from lipsync_jax.methods.inference import DubbingInference
from lipsync_jax.training import checkpoints, loop
from tests.helpers import colour_faces, talking, toy_paper
from tests.helpers.runs import assert_same_run

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module", autouse=True)
def _registered():
    before = dict(methods.MODULES)
    toy_paper.register()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "plot_scalars", lambda workdir, path: None)
        yield
    methods.MODULES.clear()
    methods.MODULES.update(before)


@pytest.fixture(scope="module")
def runs(toy_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    for name in ("toy", "toy_sync"):
        loop.train(toy_paper.get_config(name, toy_data, 2), root / name)
    return root


@pytest.fixture
def video(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tracking, "get_detector", lambda name: colour_faces.detect)
    return talking.write_talking_video(tmp_path / "video.mkv", talking.random_speech_mask(40))


def test_a_resumed_run_is_the_same_run(runs, toy_data, tmp_path):
    config = toy_paper.get_config("toy", toy_data, 4)
    loop.train(config, tmp_path / "once")
    loop.train(toy_paper.get_config("toy", toy_data, 2), tmp_path / "twice")
    loop.train(config, tmp_path / "twice")
    assert_same_run(tmp_path / "once", tmp_path / "twice")
    assert 0 < loop.evaluate(config, tmp_path / "once", "test")["l1"] < 1


def test_its_checkpoint_dubs(runs, video, tmp_path, capsys):
    assert methods.has_inference("toy", DubbingInference)
    out = tmp_path / "out.mp4"
    files = ["--face", video, "--audio", video, "--outfile", out]
    status = main.main(["dub", "--checkpoint-path", str(runs / "toy"), *map(str, files)])
    assert status == 0, capsys.readouterr().err
    assert video_reader.probe(out).frames_estimate == 40


@pytest.mark.slow
def test_a_sync_model_of_its_own_measures_and_scores(runs, video, toy_data, tmp_path, capsys):
    loaded = SyncModel.load(runs / "toy_sync")
    assert (loaded.kind, loaded.window_frames, loaded.size) == ("toy_sync", 3, 96)
    offsets = tmp_path / "offsets.json"
    main.main(["sync", str(video), "--sync-model", str(runs / "toy_sync"), "--json", str(offsets)])
    said = json.loads(offsets.read_text())
    assert said["sync_model"]["kind"] == "toy_sync" and said["tracks"][0]["distance"] >= 0

    words = ["--checkpoint-path", runs / "toy", "--data", toy_data, "--out", tmp_path / "scores"]
    words += ["--sync-model", runs / "toy_sync", "--limit", 2]
    assert main.main(["evaluate", *map(str, words)]) == 0, capsys.readouterr().err
    result = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert result["sync_model"]["kind"] == "toy_sync"
    assert "sync_d" in result["methods"]["toy"]["metrics"]


def test_names_are_taken_once_and_methods_without_inference_are_refused(tmp_path):
    toy_paper.register()
    with pytest.raises(ValueError, match="'toy' is registered already"):
        methods.register("toy", "another.module")
    with pytest.raises(ValueError, match="flownet has no inference"):
        methods.load_inference({"config": {"method": "flownet"}})
    with pytest.raises(ValueError, match="'none' is unknown; known ones are flownet, "):
        methods.load_inference({"config": {"method": "none"}})
    checkpoints.export_networks(
        tmp_path / "run",
        {"generator": {"params": {"a": np.ones(1)}}},
        {"config": {"method": "toy", "data": {"crop": "no"}}},
    )
    with pytest.raises(ValueError, match=r"config\.data\.crop that is none of"):
        checkpoints.load_inference(tmp_path / "run", DubbingInference, "")
