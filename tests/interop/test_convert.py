import hashlib
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

from lipsync_jax import methods
from lipsync_jax.cli import main
from lipsync_jax.interop import convert
from lipsync_jax.methods.wav2lip import torch_weights as wav2lip
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from lipsync_jax.training import checkpoints
from tests.golden import recipe

FIXTURES = Path(__file__).parents[1] / "golden" / "torch_files"


@pytest.fixture(scope="module")
def discriminator():
    return recipe.weights("wav2lip_disc_qual")


def saved(state, path):
    safetensors.numpy.save_file({f"module.{name}": value for name, value in state.items()}, path)
    return path


def small(official):
    """A state dict of the official names whose tensors are all too small."""
    return {name: np.zeros(1, np.float32) for name in recipe.manifest(official)}


def test_every_network_has_an_entry():
    assert convert.OFFICIAL_NETWORKS.keys() == wav2lip.NETWORKS.keys()


def test_converts_bit_for_bit(tmp_path, capsys, discriminator):
    source = saved(discriminator, tmp_path / "visual_quality_disc.safetensors")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    out = tmp_path / "made" / "out"
    assert main.main(["convert", str(source), str(out)]) == 0
    assert digest in capsys.readouterr().out

    variables, model_card = checkpoints.load_network(out, "discriminator")
    assert variables["batch_stats"] == {}
    expected = wav2lip.to_variables(discriminator, "quality_discriminator")["params"]
    converted = flatten_dict(variables["params"])
    assert converted.keys() == flatten_dict(expected).keys()
    for name, value in flatten_dict(expected).items():
        np.testing.assert_array_equal(converted[name], value, strict=True)
    assert model_card["network"] == "quality_discriminator"
    assert model_card["source"] == {
        "file": source.name,
        "bytes": source.stat().st_size,
        "sha256": digest,
    }
    assert "non-commercial" in model_card["licence"]
    method = methods.load(ml_collections.ConfigDict(model_card["config"]))
    shapes = jax.eval_shape(
        method.networks["discriminator"].module.init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 96, 96, 3), np.float32),
    )
    assert jax.tree.map(np.shape, shapes["params"]) == jax.tree.map(np.shape, variables["params"])


def test_never_overwrites(tmp_path, capsys):
    assert main.main(["convert", str(FIXTURES / "zip.pth"), str(tmp_path)]) == 1
    assert f"{tmp_path} exists already" in capsys.readouterr().err


def test_refuses_a_diverged_network(tmp_path, discriminator):
    state = dict(discriminator)
    state["binary_pred.0.bias"] = np.full(1, np.nan, np.float32)
    source = saved(state, tmp_path / "disc.safetensors")
    with pytest.raises(ValueError, match=r"disc.safetensors .*1 tensors .*binary_pred.0.bias"):
        convert.convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "scripted.pt"])
def test_names_a_foreign_checkpoint(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name} .*are of none of the networks wav2lip, sync"):
        convert.convert(FIXTURES / name, tmp_path / "out")


@pytest.mark.parametrize(
    ("official", "network"),
    [
        ("wav2lip", "wav2lip"),
        ("syncnet_color", "sync_expert"),
        ("wav2lip_disc_qual", "quality_discriminator"),
        ("syncnet_v2", "syncnet_v2"),
    ],
)
def test_names_the_first_keys_that_differ(tmp_path, official, network):
    state = small(official)
    first = next(iter(state))
    del state[first]
    source = saved({**state, "surplus": np.zeros(1, np.float32)}, tmp_path / "file.safetensors")
    with pytest.raises(ValueError, match=rf"file.safetensors .*published {network}") as error:
        convert.convert(source, tmp_path / "out")
    assert f"1 missing ({first})" in str(error.value)
    assert "1 unexpected (surplus)" in str(error.value)
    assert "of another shape" in str(error.value)


def test_reports_a_missing_state_dict(tmp_path):
    source = tmp_path / "none.safetensors"
    safetensors.numpy.save_file({}, source)
    with pytest.raises(ValueError, match=r"none.safetensors can't .*no state dict"):
        convert.convert(source, tmp_path / "out")


@pytest.mark.slow
def test_inference_runs_a_converted_generator(tmp_path):
    source = saved(recipe.weights("wav2lip"), tmp_path / "wav2lip.safetensors")
    out = convert.convert(source, tmp_path / "out")
    variables, model_card = checkpoints.load_network(out, "generator")
    method = methods.load(ml_collections.ConfigDict(model_card["config"]))
    given, expected = recipe.inputs("wav2lip"), recipe.expected("wav2lip")
    audio, faces = (given[name].transpose(0, 2, 3, 1) for name in ("audio4", "face4"))
    with jax.default_matmul_precision("highest"):
        generated = method.generate_frames(variables, audio, faces)
    np.testing.assert_allclose(
        np.asarray(generated).transpose(0, 3, 1, 2), expected["out4"], rtol=0, atol=2e-5
    )
    assert DubbingModel.load(out).size == 96
