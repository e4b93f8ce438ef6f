import jax
import numpy as np
import pytest

from lipsync_jax.methods.wav2lip import torch_weights as wav2lip
from lipsync_jax.methods.wav2lip.model import QualityDiscriminator
from tests.golden import recipe

OFFICIAL = {
    "wav2lip": "wav2lip",
    "syncnet_color": "sync_expert",
    "wav2lip_disc_qual": "quality_discriminator",
    "syncnet_v2": "syncnet_v2",
}


def empty_state(official):
    """Tensors of the official names and shapes that take no memory."""
    return {
        name: np.broadcast_to(np.float32(i), shape)
        for i, (name, shape) in enumerate(recipe.manifest(official).items())
    }


@pytest.mark.parametrize(("official", "network"), OFFICIAL.items())
def test_identifies_each_network_by_its_names(official, network):
    names = list(recipe.manifest(official))
    assert wav2lip.identify(names) == network
    assert wav2lip.identify([f"module.{name}" for name in names]) == network
    assert wav2lip.identify(names[1:]) is None


@pytest.mark.parametrize("official", ["wav2lip_disc_qual", "syncnet_v2"])
def test_round_trip(official):
    state = recipe.weights(official)
    network = OFFICIAL[official]
    back = wav2lip.from_variables(wav2lip.to_variables(state, network), network)
    floats = {name: value for name, value in state.items() if value.dtype == np.float32}
    assert back.keys() == floats.keys()
    for name, value in floats.items():
        np.testing.assert_array_equal(back[name], value)


def test_conversion_takes_dataparallel_names():
    state = recipe.weights("wav2lip_disc_qual")
    wrapped = {f"module.{name}": value for name, value in state.items()}
    params = wav2lip.to_variables(wrapped, "quality_discriminator")["params"]
    np.testing.assert_array_equal(
        params["prediction"]["kernel"][0, 0], state["binary_pred.0.weight"][:, :, 0, 0].T
    )


def test_refuses_another_networks_tensors():
    state = empty_state("wav2lip")
    state["surplus.weight"] = np.zeros(3, np.float32)
    del state["audio_encoder.0.conv_block.0.weight"]
    state["output_block.1.bias"] = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="published wav2lip network") as error:
        wav2lip.to_variables(state, "wav2lip")
    for part in (
        "1 missing (audio_encoder.0.conv_block.0.weight)",
        "1 unexpected (surplus.weight)",
        "1 of another shape (output_block.1.bias (4,) instead of (3,))",
    ):
        assert part in str(error.value)


def test_refuses_variables_of_another_network():
    with pytest.raises(ValueError, match="not those of the published sync_expert"):
        wav2lip.from_variables({"params": {"a": np.zeros(3)}}, "sync_expert")


def test_refuses_unknown_networks():
    with pytest.raises(ValueError, match="none of wav2lip, sync_expert"):
        wav2lip.to_variables({}, "wavlip")


def test_gives_state_dicts_of_other_widths_only_when_asked():
    module = QualityDiscriminator(width_mult=0.125)
    variables = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 96, 96, 3)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    with pytest.raises(ValueError, match=r"of another shape \(face_encoder_blocks"):
        wav2lip.from_variables(variables, "quality_discriminator")
    narrow = wav2lip.from_variables(variables, "quality_discriminator", any_width=True)
    assert narrow["face_encoder_blocks.1.0.conv_block.0.weight"].shape == (8, 8, 5, 5)
