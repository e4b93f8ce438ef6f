"""Dubbing with an exported network, in an ONNX runtime."""

import hashlib
import json

import numpy as np
import pytest

from lipsync_jax.cli import main
from lipsync_jax.synthesis import exported_model
from tests.helpers import media_files

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def write_network(folder, batch="b", floats=False, size=48):
    """Writes a network that inverts the colours of faces, with its card."""
    helper, kinds = onnx.helper, onnx.TensorProto
    kind, shape = kinds.FLOAT if floats else kinds.UINT8, [batch, size, size, 3]
    top = np.array(1.0 if floats else 255, np.float32 if floats else np.uint8)
    graph = helper.make_graph(
        [helper.make_node("Sub", ["top", "faces"], ["generated"])],
        "model",
        [
            helper.make_tensor_value_info("audio", kinds.FLOAT, [batch, 16, 80]),
            helper.make_tensor_value_info("faces", kind, shape),
        ],
        [helper.make_tensor_value_info("generated", kind, shape)],
        [onnx.numpy_helper.from_array(top, "top")],
    )
    opset = [helper.make_opsetid("", 21)]
    folder.mkdir()
    file = folder / exported_model.FILE
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), file)
    dtype = "float32" if floats else "uint8"
    inputs = [
        {"name": "audio", "shape": [batch, 16, 80], "dtype": "float32"},
        {"name": "faces", "shape": shape, "dtype": dtype},
    ]
    card = {
        "format": 1,
        "kind": "dubbing",
        "model_hash": "0123456789ab",
        "credit": "model test (wav2lip)",
        "functions": {"model": {"inputs": inputs, "outputs": []}},
        "image": {"size": [size, size]},
        "audio": {"features": "mel", "window": 16, "lookback_seconds": "1/25"},
        "files": {file.name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}},
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def change_card(folder, change):
    file = folder / "card.json"
    card = json.loads(file.read_text())
    change(card)
    file.write_text(json.dumps(card))


@pytest.mark.parametrize(("batch", "floats"), [("b", False), (2, False), (3, True)])
def test_any_number_of_faces_is_generated(batch, floats, tmp_path):
    model, credit = exported_model.load(write_network(tmp_path / "out", batch, floats))
    assert (model.size, model.model_hash) == (48, "0123456789ab")
    assert model.audio_features.window == 16 and credit == "model test (wav2lip)"
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), np.uint8)
    generated = model(np.zeros((5, 16, 80), np.float32), faces, 7)
    assert np.asarray(generated).dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(generated)[:5], 255 - faces)


def test_the_command_dubs_with_an_exported_network(tmp_path, capsys):
    folder = write_network(tmp_path / "out")
    media_files.write_media(
        tmp_path / "face.mp4", media_files.uniform_times(8), media_files.tone(200, 0.4, 48_000)
    )
    arguments = ["dub", "--checkpoint-path", str(folder), "--outfile", str(tmp_path / "o.mp4")]
    arguments += ["--audio", str(tmp_path / "face.mp4"), "--box", "4", "40", "4", "40"]
    arguments += ["--min-face-height", "0", "--no-report-sync"]
    assert main.main([*arguments[:-1], "--face", str(tmp_path / "face.mp4")]) == 0
    told = capsys.readouterr().out
    assert "frames edited, 0 unchanged" in told and "model test (wav2lip)" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(format=7), "card.json is no card of an exported network"),
        (lambda card: card.update(kind="animation"), "exported network for animation, which"),
        (lambda card: card.update(files={}), "model.onnx is not the file that card.json"),
        (lambda card: card.update(image={"size": ["x"]}), "does not describe a dubbing network"),
        (lambda card: card.update(audio={"features": "x"}), "does not describe a dubbing network"),
        (lambda card: card["audio"].update(lookback_seconds="1e-400"), "seconds is no fraction"),
        (lambda card: card["audio"].update(lookback_seconds=0), "does not describe a dubbing"),
    ],
)
def test_damaged_cards_are_told(change, message, tmp_path):
    folder = write_network(tmp_path / "out")
    change_card(folder, change)
    with pytest.raises(ValueError, match=message):
        exported_model.load(folder)


def test_a_missing_file_or_runtime_is_told(tmp_path, monkeypatch):
    folder = write_network(tmp_path / "out")
    monkeypatch.setenv(exported_model.RUNTIME_VARIABLE, "abacus")
    with pytest.raises(ValueError, match="LIPSYNC_RUNTIME=abacus: choose onnxruntime or openvino"):
        exported_model.load(folder)
    monkeypatch.delenv(exported_model.RUNTIME_VARIABLE)
    monkeypatch.setattr(exported_model.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        exported_model.load(folder)
    (folder / exported_model.FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.onnx: export the checkpoint again"):
        exported_model.load(folder)


def test_a_file_that_is_no_network_is_told_in_one_sentence(tmp_path):
    folder = write_network(tmp_path / "out")
    file = folder / exported_model.FILE
    file.write_bytes(b"no network")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    change_card(folder, lambda card: card.update(files={file.name: {"sha256": digest}}))
    with pytest.raises(ValueError, match=r"can't be loaded by onnxruntime .*export the checkpoint"):
        exported_model.load(folder)


def test_openvino_generates_the_same_faces(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv(exported_model.RUNTIME_VARIABLE, "openvino")
    model, _ = exported_model.load(write_network(tmp_path / "out"))
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    generated = model(np.zeros((3, 16, 80), np.float32), faces, 4)
    np.testing.assert_array_equal(np.asarray(generated)[:3], 255 - faces)
