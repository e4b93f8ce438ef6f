import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax import weights
from lipsync_jax.training import inference, model_cards, packed

VARIABLES = {
    "params": {"head": {"kernel": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}},
    "batch_stats": {"norm": {"mean": np.arange(4, dtype=np.float32)}},
}
CONFIG = {"method": "wav2lip", "model": {"width": 0.1}}
MAX_SHIPPED_BYTES = 20 << 20


@pytest.fixture
def folder(tmp_path):
    packed.write(tmp_path / "base", {"generator": VARIABLES}, {"config": CONFIG, "step": 7})
    return tmp_path / "base"


def test_a_packed_checkpoint_is_read_like_any_other(folder):
    found, model_card = inference.load_network(folder, "generator")
    assert model_card["step"] == 7 and model_card["config"]["model"] == {"width": 0.1}
    kernel = found["params"]["head"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, VARIABLES["params"]["head"]["kernel"], atol=1e-3)
    np.testing.assert_array_equal(found["batch_stats"]["norm"]["mean"], np.arange(4))
    assert model_cards.network_names(folder) == ["generator"]


def test_every_keyword_of_savez_is_an_array(tmp_path, monkeypatch):
    """Before NumPy 2.2, `allow_pickle` would be stored as one."""
    savez, given = np.savez, {}

    def save(file, **arrays):
        given.update(arrays)
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", save)
    packed.write(tmp_path / "base", {"generator": VARIABLES}, {"config": CONFIG, "step": 7})
    assert given.keys() == {"params/head/kernel", "batch_stats/norm/mean"}


def test_its_shapes_are_known_before_its_values(folder):
    seen = {}
    inference.load_networks(folder, ("generator",), lambda found: seen.update(found))
    leaf = seen["generator"]["params"]["head"]["kernel"]
    assert leaf.shape == (3, 4) and leaf.dtype == np.float32


def test_a_network_that_it_lacks_is_named_with_those_it_has(folder):
    with pytest.raises(FileNotFoundError, match=r"has no expert; it holds generator"):
        inference.load_network(folder, "expert")


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_a_damaged_file_is_one_clear_error(folder, keep):
    file = folder / "generator.npz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"generator\.npz are damaged"):
        inference.load_network(folder, "generator")


def test_a_damaged_model_card_is_named(folder):
    (folder / "model_card.json").write_text("{")
    with pytest.raises(ValueError, match=r"its model_card\.json is no JSON"):
        inference.load_network(folder, "generator")


def test_a_file_that_unpacks_to_more_than_it_holds_is_refused(folder):
    np.savez_compressed(folder / "generator.npz", **{"params/x": np.zeros((4096, 4096), "f2")})
    with pytest.raises(ValueError, match="claim more bytes than the file has"):
        inference.load_network(folder, "generator")


def test_a_compressed_file_is_refused(folder):
    noise = np.random.default_rng(0).integers(0, 255, 4096, "u1").view("f2")
    np.savez_compressed(folder / "generator.npz", **{"params/x": noise})
    with pytest.raises(ValueError, match="not uncompressed half precision"):
        inference.load_network(folder, "generator")


def test_a_value_beyond_half_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="generator/params/x"):
        packed.write(tmp_path, {"generator": {"params": {"x": np.float32([1e6])}}}, {})


def test_every_built_in_model_is_what_its_card_says(monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", Path(weights.__file__).parent)
    total = 0
    for name in weights.names():
        model_card, folder = weights.model_card(name), weights.path(name)
        for key in ("name", "data", "attribution", "licence", "hardware", "validation", "config"):
            assert model_card[key], (name, key)
        assert model_card["name"] == name and model_card["task"] in weights.TASKS
        for file, digest in model_card["sha256"].items():
            content = (folder / file).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
            assert len(content) == model_card["bytes"][file]
            total += len(content)
        inference.read_model_card(folder)
        assert json.dumps(model_card)
    assert total <= MAX_SHIPPED_BYTES


def test_built_in_models_are_found_by_name_and_by_task(folder, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", folder.parent)
    (folder / "model_card.json").write_text(json.dumps({"task": "dubbing"}))
    assert weights.names() == ["base"] and weights.path("base") == folder
    assert weights.resolve(None, weights.DUBBING) == folder
    assert weights.resolve("given", weights.DUBBING).name == "given"
    with pytest.raises(ValueError, match="no built-in model 'nobody'; choose from base"):
        weights.path("nobody")
    with pytest.raises(FileNotFoundError, match=r"no built-in model for sync: give --sync-model"):
        weights.resolve(None, weights.SYNC, "--sync-model")
