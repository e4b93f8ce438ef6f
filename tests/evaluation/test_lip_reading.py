"""Lip reading in an evaluation: loaded, of clips of any length, and the words that it is given."""

import json

import jax
import numpy as np
import pytest

from lipsync_jax.cli import main
from lipsync_jax.data import word_labels
from lipsync_jax.evaluation import generators, lip_reading, samples
from lipsync_jax.methods.lip_reader import method as lip_reader
from lipsync_jax.methods.lip_reader.model import LipReader
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.synthesis import model_info
from lipsync_jax.training import checkpoints

VOCABULARY = ("bin", "red", "now")
CARD = {
    "config": {
        "method": "lip_reader",
        "precision": "float32",
        "data": {"crop": "face96"},
        "vocabulary": VOCABULARY,
        "viterbi_transition_cost": 0.0,
        "model": {"width_mult": 0.25, "hidden_size": 8},
    }
}


class Bright:
    """Reads the first picture's brightness: one word for light mouths, another for dark ones."""

    model_hash, crop, size, crop_style = "feedbeef", "face96", 96, "face"

    def transcribe(self, mouths):
        return "bin red" if np.mean(next(iter(mouths))) > 40 else "bin now"


def test_words_of_all_frames_and_of_no_padding():
    shapes = []

    def classify(mouths, mask):
        shapes.append((mouths.shape, mask.sum()))
        return np.eye(4)[np.asarray(mouths)[..., 0, 0]]

    reader = lip_reading.LipReadingModel("x", "face96", VOCABULARY, 0.5, classify)
    classes = np.array([0] * 4 + [2] * 5 + [0] * 2 + [1] * 8 + [3] * 8, np.uint8)
    assert reader.transcribe(np.full((4, 6), c, np.uint8) for c in classes) == "red bin now"
    assert reader.transcribe(np.full((4, 6), c, np.uint8) for c in classes * 0) == ""
    assert shapes == [((1, 50, 4, 6), 27)] * 2


def test_a_reader_sees_as_in_training(tmp_path):
    module = LipReader(num_words=3, width_mult=0.25, hidden_size=8)
    mouths = np.random.default_rng(0).integers(0, 256, (1, 25, 48, 64), np.uint8)
    mask = np.arange(25)[None] < 20
    captured = lip_reader.standardize_mouths(mouths, mask)
    variables = jit(module.init, optimize=False)(jax.random.key(0), captured, mask)
    checkpoints.export_networks(tmp_path / "reader", {"reader": variables}, CARD)
    reader = lip_reading.LipReadingModel.load(tmp_path / "reader")
    assert (reader.size, reader.crop_style, len(reader.model_hash)) == (96, "face", 12)
    classes = np.argmax(jit(module.apply)(variables, captured, mask)[0, :20], axis=-1)
    expected = " ".join(VOCABULARY[word - 1] for word in word_labels.collapse_repeats(classes))
    assert reader.transcribe(mouths[0, :20]) == expected
    wider = {**CARD["config"], "model": {"width_mult": 0.5, "hidden_size": 8}}
    checkpoints.export_networks(tmp_path / "wider", {"reader": variables}, {"config": wider})
    with pytest.raises(ValueError, match="wider: its weights are not those of the network"):
        lip_reading.LipReadingModel.load(tmp_path / "wider")


def test_other_checkpoints_are_refused(tmp_path):
    checkpoints.export_networks(tmp_path / "x", {"expert": {"params": {"a": np.ones(1)}}}, CARD)
    with pytest.raises(FileNotFoundError, match="holds no lip reader"):
        lip_reading.LipReadingModel.load(tmp_path / "x")


def test_words_of_shards_are_read_from_every_method(toy_data, tmp_path, monkeypatch, capsys):
    def blacken(audio_windows, faces, reference):
        del audio_windows, reference
        return faces * 0

    monkeypatch.setattr(
        generators, "load", lambda path: generators.DubbingGenerator("face96", "abc", blacken)
    )
    monkeypatch.setattr(lip_reading.LipReadingModel, "load", lambda path: Bright())
    monkeypatch.setattr(model_info, "credit", str)
    options = ["evaluate", "--checkpoint-path", "runs/x", "--data", str(toy_data), "--limit", "2"]
    options += ["--landmarks", "none", "--lip-reader", "runs/reader", "--out"]
    assert main.main([*options, str(tmp_path / "none")]) == 1
    assert "WER needs the transcripts of the clips; give --transcripts" in capsys.readouterr().err

    monkeypatch.setattr(samples, "_id_and_transcript", lambda clip: (clip.clip_id, "bin red"))
    assert main.main([*options, str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["lip_reader"] == "feedbeef"
    rates = {name: result["methods"][name]["metrics"]["wer"]["mean"] for name in result["order"]}
    assert rates == {"ground truth": 0, "copy-reference": 0, "mean-mouth": 0, "x": 0.5}
    assert "lip reader feedbeef" in (tmp_path / "out" / "report.html").read_text()
