"""Dubbing networks are traced for any number of faces and for machines that are not here."""

import jax
import numpy as np
import pytest
from jax import export

from lipsync_jax import methods
from lipsync_jax.configs import lipgan, wav2lip
from lipsync_jax.nn.cpu import plain_programs
from tests.helpers.networks import abstract_variables

CONFIGS = {
    "wav2lip": lambda: wav2lip.get_config("tiny"),
    "warp": lambda: wav2lip.get_config("in_the_box"),
    "lipgan": lambda: lipgan.get_config("tiny"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_one_plain_program_serves_any_batch_and_platform(name):
    config = CONFIGS[name]()
    config.model.width_mult, config.model.depth_mult = 0.02, 0
    if "lipgan" not in name:
        config.data.crop = "face64"
    inference = methods.load_inference({"config": config.to_dict()})
    features, size = inference.audio_features, inference.image_size

    def shapes(n):
        audio = jax.ShapeDtypeStruct((n, features.window, features.bins), np.float32)
        return audio, *[jax.ShapeDtypeStruct((n, size, size, 3), np.float32)] * 2

    audio_shape = shapes(1)[0].shape[1:] if "lipgan" in name else (80, 16, 1)
    _, variables = abstract_variables(inference._generator, audio_shape, (size, size, 6))
    (batch,) = export.symbolic_shape("b")
    with plain_programs():
        exported = export.export(jax.jit(inference.generate), platforms=["cpu", "cuda", "tpu"])(
            variables, *shapes(batch)
        )
    assert str(exported.out_avals[0].shape[0]) == "b"
